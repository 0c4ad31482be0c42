"""What we send is what the providers' own contracts accept, and what their own SDKs would send.
BIZAPI_CONTRACTS=DIR names a folder with their published interfaces and contractmock.py, which
validates each request against them and keeps a journal; BIZAPI_SDKCHECK=DIR one with a package.json
and a node_modules that have the SDKs. Without them these tests are left out, and say so: the stand-in
of tests/lib/providers.py has the other tests, and is no judge of a whole contract."""
import base64
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request

import pytest

import driver
import providers
from client import new_ip
from harness import BUILD
from kit import Admin, Person, change, insert, now_ms, rows
from patience import wait_until

CONTRACTS = os.environ.get("BIZAPI_CONTRACTS")
pytestmark = pytest.mark.skipif(not CONTRACTS, reason="left out: BIZAPI_CONTRACTS names no folder "
                                                      "with the providers' contracts")
SDKS = os.environ.get("BIZAPI_SDKCHECK")
sdks = pytest.mark.skipif(not SDKS, reason="left out: BIZAPI_SDKCHECK names no folder with the "
                                           "providers' own SDKs")
HERE = pathlib.Path(__file__).resolve().parent
NAMES = ("stripe", "twilio", "sendgrid", "googlemaps", "osrm", "openweather", "elevenlabs", "fcm")


class Mock:
    """contractmock.py on eight ports in a row."""

    def __init__(self, folder):
        self.base = self.free_base()
        python = shutil.which("python3", path="/usr/bin") or "python3"
        self.process = subprocess.Popen(
            [python, f"{CONTRACTS}/contractmock.py", "--base", str(self.base), "--journal",
             str(folder / "journal.jsonl")], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("ready"):
                break
        self.url = {name: f"http://127.0.0.1:{self.base + i}" for i, name in enumerate(NAMES)}

    @staticmethod
    def free_base():
        for _ in range(100):
            base = random.randrange(20000, 32000)
            try:
                for port in range(base, base + len(NAMES)):
                    with socket.socket() as s:
                        s.bind(("127.0.0.1", port))
                return base
            except OSError:
                continue
        raise AssertionError("no eight free ports in a row")

    def reset(self):
        for url in self.url.values():
            urllib.request.urlopen(f"{url}/__reset").read()

    def entries(self, name):
        """What came; fails on any violation."""
        with urllib.request.urlopen(f"{self.url[name]}/__journal") as answer:
            entries = json.load(answer)
        for entry in entries:
            assert not entry["violations"], entry
        return entries

    def journal(self, name):
        """[METHOD target] of what came."""
        entries = self.entries(name)
        return [f"{e['method']} {e['target'].partition('?')[0]}" for e in entries]

    def everything(self):
        return {name: found for name in NAMES if (found := self.journal(name))}

    def urls(self):
        """{name of BizApiProviderURL: address}"""
        return {"stripe": self.url["stripe"], "twilio": self.url["twilio"],
                "sendgrid": self.url["sendgrid"], "google_maps": self.url["googlemaps"],
                "google_routes": self.url["googlemaps"], "osrm": self.url["osrm"],
                "openweather": self.url["openweather"], "elevenlabs": self.url["elevenlabs"],
                "firebase": self.url["fcm"]}

    def conf(self):
        return "\n".join(f"BizApiProviderURL {name} {url}" for name, url in self.urls().items())


@pytest.fixture(scope="module")
def mock(tmp_path_factory):
    started = Mock(tmp_path_factory.mktemp("contracts"))
    yield started
    started.process.kill()
    started.process.wait()


@pytest.fixture(autouse=True)
def fresh(request):
    if CONTRACTS:
        request.getfixturevalue("mock").reset()


@pytest.fixture(scope="module")
def secrets(mock, tmp_path_factory):
    """The variables of all services."""
    with providers.Providers() as stand_in:
        account = json.loads(stand_in.firebase_file.read_text())
    account["token_uri"] = mock.url["fcm"] + "/token"
    path = tmp_path_factory.mktemp("firebase") / "account.json"
    path.write_text(json.dumps(account))
    path.chmod(0o600)
    return {**providers.SECRETS, "FIREBASE_CREDENTIALS_PATH": str(path)}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return driver.build(HERE.parent / "faults/stripe_driver.c",
                        tmp_path_factory.mktemp("driver") / "stripe_driver")


# ---- Stripe ----

@pytest.mark.parametrize("words, asked", [
    (("create",), "POST /v1/checkout/sessions"), (("get", "cs_123"),
                                                  "GET /v1/checkout/sessions/cs_123"),
    (("expire", "cs_123"), "POST /v1/checkout/sessions/cs_123/expire"),
    (("refund", "pi_123"), "POST /v1/refunds")])
def test_stripe(mock, program, words, asked):
    done = subprocess.run([program, mock.url["stripe"], "sk_test_x", *words], capture_output=True,
                          text=True, timeout=60)
    assert json.loads(done.stdout)["code"] == "OK", done
    assert mock.everything() == {"stripe": [asked]}


# ---- one live question to each ----

def test_the_live_tests(mock, secrets, tmp_path):
    (tmp_path / "conf").write_text(mock.conf())
    done = subprocess.run([BUILD / "bizapictl", "--json", "integrations", "test", "--conf",
                           tmp_path / "conf"], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], **secrets})
    found = {each["name"]: each for each in json.loads(done.stdout)}
    journal = mock.everything()
    # The mock's key for SendGrid has no scopes of ours; everything else is well.
    assert all(each["ok"] for name, each in found.items() if name != "sendgrid"), done.stdout
    assert {name: len(lines) for name, lines in journal.items()} == {
        "stripe": 1, "twilio": 1, "sendgrid": 1, "googlemaps": 2, "openweather": 1,
        "elevenlabs": 1, "fcm": 1}


# ---- what the server asks for its users ----

@pytest.fixture
def salon(make_server, mock):
    def make(env, conf="", **more):
        server = make_server(conf="BizApiBusiness latitude 52.504\nBizApiBusiness longitude 13.33\n"
                                  f"BizApiBusiness locale pt-BR\n{mock.conf()}\n{conf}", env=env,
                             **more)
        server.person = Person(server)
        change(server, "users", {"email": server.person.email}, email_verified=1)
        server.customer = insert(server, "customers", name="N", email=server.person.email,
                                 address="Straße des 17. Juni 135, 10623 Berlin")
        return server
    return make


def ask(server, what, start, location=None):
    number = insert(server, "bookings", number=f"C-{start}", customer_id=server.customer,
                    start_at=start, end_at=start + 1, status="confirmed",
                    location=json.dumps({"type": "customer", **(location or {})}))
    return server.person.api.get(f"/portal/bookings/{number}/{what}", ip=new_ip(),
                                 token=server.person.access).data


def test_the_way_by_google(mock, salon, secrets):
    server = salon({"GOOGLE_MAPS_API_KEY": secrets["GOOGLE_MAPS_API_KEY"]})
    assert ask(server, "route", now_ms())["provider"] == "google"
    assert mock.everything() == {"googlemaps": ["GET /maps/api/geocode/json",
                                                "POST /directions/v2:computeRoutes"]}


def test_the_way_by_osrm(mock, salon):
    server = salon({})
    assert ask(server, "route", now_ms(), {"latitude": -33.5, "longitude": -70.6})[
        "provider"] == "osrm"
    assert mock.everything() == {"osrm": [
        "GET /route/v1/driving/13.3300,52.5040;-70.6000,-33.5000"]}


@pytest.mark.bz_may("BZ0801")
@pytest.mark.parametrize("hours, asked", [(0, "weather"), (30, "forecast")])
def test_the_weather(mock, salon, secrets, hours, asked):
    server = salon({"OPENWEATHER_API_KEY": secrets["OPENWEATHER_API_KEY"]})
    ask(server, "weather", now_ms() + hours * 3600_000 + 60_000,
        {"latitude": 52.5, "longitude": 13.4})
    assert mock.everything() == {"openweather": [f"GET /data/2.5/{asked}"]}


def test_a_town_without_google(mock, salon, secrets):
    server = salon({"OPENWEATHER_API_KEY": secrets["OPENWEATHER_API_KEY"]})
    ask(server, "route", now_ms())
    assert mock.everything()["openweather"] == ["GET /geo/1.0/direct"]


def test_voice(mock, salon, secrets):
    server = salon({"ELEVENLABS_API_KEY": secrets["ELEVENLABS_API_KEY"]})
    staff = Admin(server, "staff")
    answer = staff.api.post("/admin/voice", token=staff.access, json={"text": "Olá\nNora"})
    assert answer.status == 200 and answer.headers["content-type"] == "audio/mpeg"
    assert mock.everything() == {"elevenlabs": ["POST /v1/text-to-speech/21m00Tcm4TlvDq8ikWAM"]}


def test_without_their_variables_nobody_but_osrm_is_asked(mock, salon):
    server = salon({})
    start = now_ms() + 3600_000
    ask(server, "weather", start, {"latitude": 52.5, "longitude": 13.4})
    staff = Admin(server, "staff")
    assert staff.api.post("/admin/voice", token=staff.access, json={"text": "x"}).status == 503
    assert server.api().get("/integrations/status").status == 200
    assert mock.everything() == {}


def test_a_mail_by_sendgrid(mock, salon, secrets):
    server = salon({"SENDGRID_API_KEY": secrets["SENDGRID_API_KEY"]}, mail=False)
    server.person.api.post("/auth/forgot-password", json={"email": server.person.email})
    wait_until(lambda: len(mock.journal("sendgrid")) >= 1, 15, "the mail")
    assert set(mock.journal("sendgrid")) == {"POST /v3/mail/send"}


# ---- what their own SDKs send ----

# What of a request means something to its provider; SDKs have more to say of themselves.
MEANT = ("authorization", "content-type", "idempotency-key", "stripe-version", "xi-api-key")


def by_sdk(mock, name, provider, key, given):
    """(our last request, what the SDK sends when it is given the same): of each
    [method, path, query, heads that mean something, body]."""
    done = subprocess.run(["node", HERE / "sdk.mjs", name, mock.url[provider], key], text=True,
                          input=json.dumps(given), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [parts_of(entry) for entry in mock.entries(provider)[-2:]]


def parts_of(entry):
    heads = {name.lower(): value for name, value in entry["headers"]}
    body = base64.b64decode(entry["body"]).decode()
    # The type of nothing means nothing: Stripe's SDK has one on GET, too.
    heads["content-type"] = "" if not body else heads["content-type"].partition(";")[0]
    path, _, query = entry["target"].partition("?")
    return [entry["method"], path, sorted(urllib.parse.parse_qsl(query)),
            {name: heads[name] for name in MEANT if heads.get(name)}, body]


def same(ours, theirs):
    """To the byte; a difference is shown by where it begins."""
    assert ours[:-1] == theirs[:-1]
    at = next((i for i, (a, b) in enumerate(zip(ours[-1], theirs[-1])) if a != b), 0)
    shown = slice(max(0, at - 40), at + 40)
    assert ours[-1] == theirs[-1], (at, ours[-1][shown], theirs[-1][shown])


def our_body(mock, provider):
    return base64.b64decode(mock.entries(provider)[-1]["body"]).decode()


def nested(form):
    """{"a[b][0][c]": "x"} as the SDKs are given it."""
    found = {}
    for name, value in urllib.parse.parse_qsl(form):
        keys = name.replace("]", "").split("[")
        place = found
        for each in keys[:-1]:
            place = place.setdefault(each, {})
        place[keys[-1]] = value
    if "line_items" in found:
        found["line_items"] = list(found["line_items"].values())
    return found


@sdks
@pytest.mark.parametrize("words, name", [
    (("create",), "session"), (("get", "cs_123"), "retrieve"), (("expire", "cs_123"), "expire"),
    (("refund", "pi_123"), "refund")])
def test_stripe_as_by_its_sdk(mock, program, words, name):
    subprocess.run([program, mock.url["stripe"], "sk_test_x", *words], check=True, timeout=60,
                   capture_output=True)
    parameters = nested(our_body(mock, "stripe"))
    key = parts_of(mock.entries("stripe")[-1])[3].get("idempotency-key")
    named = words[1:] if name != "refund" else ()
    given = [*named, parameters, {"idempotencyKey": key} if key else {}]
    ours, theirs = by_sdk(mock, name, "stripe", "sk_test_x", given)
    same(ours, theirs)


@sdks
def test_an_sms_as_by_its_sdk(mock, salon, secrets):
    server = salon({n: v for n, v in secrets.items() if n.startswith("TWILIO")}, conf=(
        "BizApiPublicURL https://api.example.test\nBizApiQuietHours off"))
    insert(server, "consents", channel="sms", address="+4930123456", state="given",
           given_at=now_ms())
    text = "Morgen um 10:00 – *bis dann* & Grüße, 100 % (~1'!)\n😀"
    insert(server, "outbox", channel="sms", kind="text", recipient="+4930123456", state="queued",
           tries=0, due_at=1, data=json.dumps({"text": text}))
    wait_until(lambda: mock.journal("twilio"), 60, "the SMS")
    form = dict(urllib.parse.parse_qsl(our_body(mock, "twilio")))
    assert form["Body"] == text
    message = {name[0].lower() + name[1:]: value for name, value in form.items()}
    ours, theirs = by_sdk(mock, "sms", "twilio", secrets["TWILIO_AUTH_TOKEN"],
                          {"account": secrets["TWILIO_ACCOUNT_SID"], "message": message})
    same(ours, theirs)


@sdks
def test_a_mail_as_by_its_sdk(mock, salon, secrets):
    server = salon({"SENDGRID_API_KEY": secrets["SENDGRID_API_KEY"]}, mail=False, conf=(
        "BizApiBusiness email office@example.test\nBizApiBusiness name \"Müller & Söhne\""))
    server.person.api.post("/auth/forgot-password", json={"email": server.person.email})
    wait_until(lambda: mock.journal("sendgrid") and not rows(server, "outbox", state="queued"), 60,
               "the mails")
    body = json.loads(our_body(mock, "sendgrid"))
    assert body["personalizations"][0].keys() == {"to"} and body["reply_to"]
    given = {"to": body["personalizations"][0]["to"], "from": body["from"],
             "replyTo": body["reply_to"], "subject": body["subject"],
             "text": body["content"][0]["value"], "html": body["content"][1]["value"],
             "headers": body["headers"], "customArgs": body["custom_args"],
             "trackingSettings": {"clickTracking": {"enable": False},
                                  "openTracking": {"enable": False}}}
    ours, theirs = by_sdk(mock, "mail", "sendgrid", secrets["SENDGRID_API_KEY"], given)
    same(ours, theirs)


@sdks
def test_voice_as_by_its_sdk(mock, salon, secrets):
    server = salon({"ELEVENLABS_API_KEY": secrets["ELEVENLABS_API_KEY"]})
    staff = Admin(server, "staff")
    staff.api.post("/admin/voice", token=staff.access, json={"text": "Olá\n\"Nora\" 😀"})
    body = json.loads(our_body(mock, "elevenlabs"))
    how = body["voice_settings"]
    given = {"text": body["text"], "modelId": body["model_id"],
             "voiceSettings": {"stability": how["stability"],
                               "similarityBoost": how["similarity_boost"]},
             "outputFormat": "mp3_44100_128"}
    ours, theirs = by_sdk(mock, "voice", "elevenlabs", secrets["ELEVENLABS_API_KEY"],
                          {"voice": "21m00Tcm4TlvDq8ikWAM", "request": given})
    same(ours, theirs)


@sdks
def test_an_address_as_by_its_sdk(mock, salon, secrets):
    server = salon({"GOOGLE_MAPS_API_KEY": secrets["GOOGLE_MAPS_API_KEY"]})
    ask(server, "route", now_ms())
    ours = [e for e in mock.entries("googlemaps") if e["method"] == "GET"][-1]
    asked = dict(parts_of(ours)[2])
    key = asked.pop("key")
    assert key == secrets["GOOGLE_MAPS_API_KEY"] and asked["address"].startswith("Straße des 17.")
    theirs = by_sdk(mock, "geocode", "googlemaps", key, asked)[1]
    same(parts_of(ours), theirs)


@sdks
def test_the_word_for_firebases_token(mock, secrets, tmp_path):
    """Its SDK's own check of the signed word, as Google would read it."""
    (tmp_path / "conf").write_text(mock.conf())
    subprocess.run([BUILD / "bizapictl", "integrations", "test", "firebase", "--conf",
                    tmp_path / "conf"], capture_output=True, timeout=60,
                   env={"PATH": os.environ["PATH"], **secrets})
    form = dict(urllib.parse.parse_qsl(our_body(mock, "fcm")))
    account = json.loads(pathlib.Path(secrets["FIREBASE_CREDENTIALS_PATH"]).read_text())
    public = subprocess.run(["openssl", "pkey", "-pubout"], input=account["private_key"], text=True,
                            capture_output=True, check=True).stdout
    (tmp_path / "pub.pem").write_text(public)
    done = subprocess.run(["node", "fcm.mjs", "verify", tmp_path / "pub.pem", form["assertion"]],
                          cwd=SDKS, capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout)
    # The address of the mock stands where Google's would.
    assert found["bad"] == [f"aud {account['token_uri']}"], found
    assert found["claims"]["aud"] == account["token_uri"]
