"""An extra beside the tests of the tree: what the channels send, held against the providers' own
published contracts, and webhooks signed by the providers' own SDKs.

BIZAPI_CONTRACTS   a folder with contractmock.py and the contract files
BIZAPI_SDKCHECK    a folder with deliver.mjs and its node_modules
Where they are not set, these tests are left out, and the run says so."""
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest

from harness import REPO
from kit import Person, change, now_ms, row, rows
from patience import wait_until
from ports import free_port
from test_channels import allow, settled, text_row, with_phone

sys.path.insert(0, str(REPO / "tests/lib"))
import signed  # noqa: E402

CONTRACTS, SDK = os.environ.get("BIZAPI_CONTRACTS"), os.environ.get("BIZAPI_SDKCHECK")
NAMES = ("stripe", "twilio", "sendgrid", "googlemaps", "osrm", "openweather", "elevenlabs", "fcm")
TOKEN, WHSEC = "0123456789abcdef0123456789abcdef", "whsec_Marker-contracts-7"
PUBLIC = "https://api.example.test"
contracts = pytest.mark.skipif(not CONTRACTS, reason="BIZAPI_CONTRACTS is not set: what is sent is "
                                                     "not held against the providers' contracts")
sdks = pytest.mark.skipif(not SDK, reason="BIZAPI_SDKCHECK is not set: no webhook is signed by the "
                                          "providers' own SDKs")


class Mock:
    """contractmock.py on eight ports from `base` on."""

    def __init__(self):
        self.base = free_port()
        self.process = subprocess.Popen(
            ["/usr/bin/python3", f"{CONTRACTS}/contractmock.py", "--base", str(self.base)],
            stdout=subprocess.PIPE, text=True)
        while "ready" not in (line := self.process.stdout.readline()):
            assert line, "contractmock.py ended"

    def url(self, name):
        return f"http://127.0.0.1:{self.base + NAMES.index(name)}"

    def journal(self, name):
        with urllib.request.urlopen(f"{self.url(name)}/__journal", timeout=5) as answer:
            text = answer.read().decode()
        try:
            return json.loads(text)
        except ValueError:
            return [json.loads(line) for line in text.splitlines() if line]

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture(scope="module")
def mock():
    mock = Mock()
    yield mock
    mock.stop()


@pytest.fixture(scope="module")
def firebase(tmp_path_factory, mock):
    key = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt",
                          "rsa_keygen_bits:2048"], check=True, capture_output=True, text=True)
    path = tmp_path_factory.mktemp("firebase") / "account.json"
    path.write_text(json.dumps({
        "type": "service_account", "project_id": "p1", "private_key_id": "k1",
        "client_email": "a@p1.iam.gserviceaccount.com", "private_key": key.stdout,
        "token_uri": f"{mock.url('fcm')}/token"}))
    path.chmod(0o600)
    return path


@pytest.fixture
def calling(make_server, mock, firebase):
    """A server that calls the mock, with mail by SendGrid."""
    conf = "\n".join(f"BizApiProviderURL {ours} {mock.url(theirs)}" for ours, theirs in
                     (("twilio", "twilio"), ("sendgrid", "sendgrid"), ("firebase", "fcm")))
    return make_server(mail=False, conf=f"{conf}\nBizApiPublicURL {PUBLIC}\nBizApiQuietHours off\n"
                                        "BizApiBusiness email office@example.test",
                       env={"TWILIO_ACCOUNT_SID": "AC" + "a" * 32, "TWILIO_AUTH_TOKEN": TOKEN,
                            "TWILIO_PHONE_NUMBER": "+15005550006",
                            "SENDGRID_API_KEY": "SG.Marker-contracts",
                            "FIREBASE_CREDENTIALS_PATH": str(firebase)})


def violations(entries):
    return [e for e in entries if e.get("violations")]


@contracts
def test_what_the_channels_send_keeps_the_contracts(calling, mock):
    person = with_phone(calling)
    allow(person, sms=True)
    id_ = text_row(calling, person, "sms")
    assert settled(calling, id_)["state"] == "sent", row(calling, "outbox", _id=id_)
    assert len(mock.journal("twilio")) == 1
    # As if the answer had been lost: the list of messages is asked for.
    change(calling, "outbox", {"_id": id_}, state="unknown", due_at=0, sent_at=now_ms())
    wait_until(lambda: len(mock.journal("twilio")) > 1, 15, "the question what became of it")
    other = Person(calling)
    answer = other.api.post("/portal/push-devices", token=other.access,
                            json={"token": "d" * 150, "platform": "web"})
    assert answer.data == {"push": True}
    text_row(calling, other, "push")
    wait_until(lambda: rows(calling, "outbox", user_id=other.document()["_id"], channel="push",
                            state="sent"), 15, "the push message")
    for name, least in (("twilio", 2), ("sendgrid", 2), ("fcm", 2)):
        entries = mock.journal(name)
        assert len(entries) >= least, (name, entries)
        assert violations(entries) == [], name
    assert [e["method"] for e in mock.journal("twilio")][:2] == ["POST", "GET"]


# ---- the SDKs ----

def deliver(server, who, path, *arguments):
    """(status, body) of a webhook that the provider's own SDK signed."""
    done = subprocess.run(["node", "deliver.mjs", who, f"{server.url}/api/v1{path}", *arguments],
                          cwd=SDK, capture_output=True, text=True,
                          env={**os.environ, "PUBLIC_URL": f"{PUBLIC}/api/v1{path}"})
    assert done.returncode == 0, done.stderr
    status, _, body = done.stdout.partition(" ")
    return int(status), body


@sdks
@pytest.mark.bz("BZ0831")
def test_webhooks_of_the_providers_own_sdks(make_server, tmp_path):
    keys = signed.SendGrid()
    (tmp_path / "sg_priv.pem").write_text(keys.pem())
    server = make_server(conf=f"BizApiPublicURL {PUBLIC}", may=("BZ1003",),
                         env={"STRIPE_WEBHOOK_SECRET": WHSEC, "TWILIO_AUTH_TOKEN": TOKEN,
                              "SENDGRID_WEBHOOK_PUBLIC_KEY": keys.public})
    event = tmp_path / "event.json"
    event.write_text('{"id":"evt_sdk_1","type":"account.updated","note":"f\u00fcr M\u00fcller"}\n')
    batch = tmp_path / "batch.json"
    batch.write_bytes(b'[{"event":"delivered","sg_event_id":"sg1","email":"a@b.test"}]\r\n')
    for who, path, arguments in [
            ("stripe", "/webhooks/stripe", (WHSEC, str(event))),
            ("twilio", "/webhooks/twilio/status",
             (TOKEN, "MessageSid=SM1", "MessageStatus=sent", "Empty=", "Body=h\u00e9 & \U0001f600")),
            ("twilio", "/webhooks/twilio/inbound", (TOKEN, "MessageSid=SM2", "From=+4930123456",
                                                    "Body=STOP")),
            ("sendgrid", "/webhooks/sendgrid", (str(tmp_path), str(batch)))]:
        status, body = deliver(server, who, path, *arguments)
        assert status == 200, (who, path, body)
    assert {e["event_id"] for e in rows(server, "webhook_events")} == {
        "evt_sdk_1", "SM1:sent", "SM2:inbound", "sg1"}
    old = str(int(time.time()) - 302)
    assert deliver(server, "stripe", "/webhooks/stripe", WHSEC, str(event), old)[0] == 400
    assert deliver(server, "stripe", "/webhooks/stripe", "whsec_other", str(event))[0] == 400
    assert deliver(server, "twilio", "/webhooks/twilio/status", "x" * 32, "MessageSid=SM1",
                   "MessageStatus=sent")[0] == 400
