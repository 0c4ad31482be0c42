"""SMS and push from a preference to the message and back: what the providers are sent, and what their
reports do. Their faults are in tests/faults/test_outbox_faults.py."""
import base64
import json
import sys
import time

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from client import new_ip
from harness import REPO
from kit import Person, change, row, rows
from patience import wait_until

sys.path.insert(0, str(REPO / "tests/lib"))
import signed  # noqa: E402
from providers import SECRETS, Providers  # noqa: E402

PUBLIC = "https://api.example.test"


@pytest.fixture(scope="module")
def providers():
    with Providers() as all_of_them:
        yield all_of_them


@pytest.fixture(scope="module")
def server(module_server, providers):
    return module_server(env=providers.env("twilio", "firebase"),
                         conf=f"{providers.conf()}\nBizApiPublicURL {PUBLIC}\n"
                              "BizApiQuietHours off")


@pytest.fixture(autouse=True)
def fresh(providers):
    providers.clear()


_numbers = iter(range(100, 1000))


def text_row(server, person, channel, **more):
    """A row as the planner writes it: no route makes one yet, so a mail that was sent becomes it."""
    found = wait_until(lambda: [r for r in rows(server, "outbox", recipient=person.email)
                                if r["state"] == "sent" and r["channel"] == "mail"],
                       what="a mail that was sent")[0]
    data = {"text": "Tomorrow at 10:00, Salon A", "title": "Reminder"}
    values = {"channel": channel, "kind": "text", "data": json.dumps(data), "recipient": None,
              "user_id": person.document()["_id"], "tries": 0, "provider_id": None,
              "sent_at": None, "expires_at": None, "due_at": 0, "state": "queued", **more}
    assert change(server, "outbox", {"_id": found["_id"]}, **values) == 1
    return found["_id"]


def settled(server, id_):
    return wait_until(lambda: (r := row(server, "outbox", _id=id_))["state"] != "queued" and r,
                      15, f"the end of {id_}")


def with_phone(server):
    return Person(server, phone=f"+4930123{next(_numbers):03}")


def allow(person, **what):
    answer = person.api.put("/portal/notifications", token=person.access, json=what, ip=new_ip())
    assert answer.status == 200, answer


def report(api, providers, sid, word, **more):
    """As Twilio does, at the address that it was given with the message."""
    url = providers.twilio.last().form["StatusCallback"]
    assert url.startswith(PUBLIC + "/api/v1/")
    headers, body = signed.twilio(SECRETS["TWILIO_AUTH_TOKEN"], url, {
        "MessageSid": sid, "MessageStatus": word, **more})
    answer = api.post(url[len(PUBLIC + "/api/v1"):], headers=headers, body=body, ip=new_ip())
    assert answer.status == 200, answer


# ---- SMS ----

def test_an_sms_from_consent_to_stop(server, api, providers):
    person = with_phone(server)
    id_ = text_row(server, person, "sms")
    assert settled(server, id_)["state"] == "dropped" and not providers.twilio.requests
    allow(person, sms=True)
    change(server, "outbox", {"_id": id_}, state="queued", due_at=0)
    found = settled(server, id_)
    sent = providers.twilio.last()
    assert (found["state"], found["provider_id"]) == ("sent", providers.twilio.messages[-1]["sid"])
    assert sent.form["To"] == person.document()["phone"]
    assert sent.form["From"] == SECRETS["TWILIO_PHONE_NUMBER"]
    assert sent.form["Body"] == "Tomorrow at 10:00, Salon A"
    report(api, providers, found["provider_id"], "delivered")
    wait_until(lambda: row(server, "outbox", _id=id_)["state"] == "delivered")
    # STOP, and no further message.
    path = "/webhooks/twilio/inbound"
    headers, body = signed.twilio(SECRETS["TWILIO_AUTH_TOKEN"], f"{PUBLIC}/api/v1{path}", {
        "MessageSid": "SM" + id_, "From": sent.form["To"], "Body": "STOP"})
    assert api.post(path, headers=headers, body=body, ip=new_ip()).status == 200
    wait_until(lambda: person.api.get("/portal/notifications", token=person.access,
                                      ip=new_ip()).data["sms"]["allowed"] is False)
    change(server, "outbox", {"_id": id_}, state="queued", due_at=0)
    assert settled(server, id_)["state"] == "dropped" and len(providers.twilio.requests) == 1


@pytest.mark.bz("BZ0605")
@pytest.mark.bz_may("BZ0801")
def test_an_answer_that_is_lost_is_settled_by_the_report(server, api, providers):
    person = with_phone(server)
    allow(person, sms=True)
    providers.twilio.fault(drop="mid")
    id_ = text_row(server, person, "sms")
    assert settled(server, id_)["state"] == "unknown"
    report(api, providers, "SM" + "7" * 32, "sent")
    wait_until(lambda: row(server, "outbox", _id=id_)["state"] == "sent")
    assert len(providers.twilio.requests) == 1


# ---- push ----

def register(person, token, status=200):
    answer = person.api.post("/portal/push-devices", token=person.access, ip=new_ip(),
                             json={"token": token, "platform": "web"})
    assert answer.status == status and answer.data == {"push": True}
    return row(person.server, "push_devices", token=token)


def sent_to(providers):
    return sorted(r.json["message"]["token"] for r in providers.firebase.requests)


def claims_of(providers):
    """Of the assertion, whose signature is checked with the key of the credentials."""
    form = providers.firebase_token.last().form
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, payload, signature = form["assertion"].split(".")
    account = json.loads(providers.firebase_file.read_text())
    key = serialization.load_pem_private_key(account["private_key"].encode(), None).public_key()
    key.verify(decode(signature), f"{head}.{payload}".encode(), padding.PKCS1v15(),
               hashes.SHA256())
    header = json.loads(decode(head))
    assert header == {"alg": "RS256", "typ": "JWT", "kid": account["private_key_id"]}
    return json.loads(decode(payload)), account


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_push_reaches_each_device_with_one_token(server, providers):
    person = Person(server)
    for token in ("dev-a" * 20, "dev-b" * 20):
        register(person, token)
    register(Person(server), "dev-of-another" * 9)
    text_row(server, person, "push")
    providers.firebase.wait(2)
    assert sent_to(providers) == ["dev-a" * 20, "dev-b" * 20]
    wait_until(lambda: row(server, "push_devices", token="dev-b" * 20)["last_ok_at"])
    message = providers.firebase.last().json["message"]
    assert message["notification"] == {"title": "Reminder", "body": "Tomorrow at 10:00, Salon A"}
    if providers.firebase_token.requests:  # a worker asks once an hour
        claims, account = claims_of(providers)
        now = time.time()
        assert claims["iss"] == account["client_email"] and claims["aud"] == account["token_uri"]
        assert claims["scope"] == "https://www.googleapis.com/auth/firebase.messaging"
        assert abs(claims["iat"] - now) < 60 and claims["exp"] - claims["iat"] <= 3600
        assert len(providers.firebase_token.requests) == 1


def test_a_token_that_was_withdrawn_is_renewed_once(server, providers):
    person = Person(server)
    register(person, "dev-c" * 20)
    providers.firebase.fault(status=401, body={"error": {"code": 401,
                                                         "status": "UNAUTHENTICATED"}})
    text_row(server, person, "push")
    providers.firebase.wait(2)
    wait_until(lambda: rows(server, "outbox", user_id=person.document()["_id"], channel="push",
                            state="sent"))
    assert len(providers.firebase_token.requests) >= 1
    claims_of(providers)
    bearers = [r.headers["authorization"] for r in providers.firebase.requests]
    assert len(set(bearers)) == 2


def test_a_device_that_is_gone_is_forgotten(server, providers):
    person = Person(server)
    device = register(person, "dev-d" * 20)
    providers.firebase.fault(status=404, body={"error": {
        "code": 404, "status": "NOT_FOUND", "details": [
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
             "errorCode": "UNREGISTERED"}]}})
    text_row(server, person, "push")
    wait_until(lambda: not rows(server, "push_devices", _id=device["_id"]))


def test_a_device_belongs_to_who_signed_in_last(server, providers):
    one, two = Person(server), Person(server)
    device = register(one, "dev-e" * 20)
    assert register(two, "dev-e" * 20)["_id"] == device["_id"]
    assert row(server, "push_devices", _id=device["_id"])["user_id"] == two.document()["_id"]
    for person, left in ((one, 1), (two, 0)):
        answer = person.api.delete("/portal/push-devices", token=person.access, ip=new_ip(),
                                   json={"token": "dev-e" * 20})
        assert answer.data == {"status": "removed"}
        assert len(rows(server, "push_devices", _id=device["_id"])) == left


def test_twenty_devices_and_no_more(server):
    person = Person(server)
    for n in range(22):
        register(person, f"dev-{n:03}" * 9)
    tokens = {d["token"] for d in rows(server, "push_devices", user_id=person.document()["_id"])}
    assert tokens == {f"dev-{n:03}" * 9 for n in range(2, 22)}


# ---- without the variables ----

def test_without_its_variables_nobody_is_called(make_server, providers):
    server = make_server(conf=providers.conf())
    person = with_phone(server)
    allow(person, sms=True)
    for channel in ("sms", "push"):
        id_ = text_row(server, person, channel)
        assert settled(server, id_)["state"] == "skipped"
        change(server, "outbox", {"_id": id_}, state="sent", channel="mail",
               recipient=person.email)
    assert providers.requests() == []
