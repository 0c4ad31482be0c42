"""Who wants to be told what, and how: preferences, devices for push messages, the link that ends it
without signing in (RFC 8058); and the outbox as administrators see it."""
import time

import pytest

from client import new_ip
from kit import (FORM, PASSWORD, Person, address, change, check_error, in_parallel, login, row, rows,
                 unsubscribe_token)
from patience import wait_until

SERVER = {"conf": "BizApiQuietHours 22:00-07:30\nBizApiBusiness timezone Europe/Berlin"}
CHANNELS = ("mail", "sms", "push", "voice")


@pytest.fixture
def person(server):
    return Person(server)


def prefer(person, **what):
    return person.api.put("/portal/notifications", token=person.access, json=what, ip=new_ip())


def shown(person):
    return person.api.get("/portal/notifications", token=person.access, ip=new_ip()).data


# ---- preferences ----

def test_before_anything_was_said(person):
    found = shown(person)
    assert {c: found[c]["allowed"] for c in CHANNELS} == {
        "mail": True, "sms": False, "push": True, "voice": False}
    assert {c: found[c]["reachable"] for c in CHANNELS} == {
        "mail": True, "sms": False, "push": True, "voice": True}
    assert {found[c]["changed_at"] for c in CHANNELS} == {None}
    assert found["quiet_hours"] == {"from": "22:00", "to": "07:30", "timezone": "Europe/Berlin"}


def test_each_channel_can_be_allowed_and_forbidden(server):
    person = Person(server, phone="+49301234501", timezone="America/New_York")
    answer = prefer(person, mail=False, sms=True)
    assert answer.status == 200
    assert answer.data["mail"]["allowed"] is False and answer.data["mail"]["changed_at"]
    assert answer.data["sms"]["allowed"] is True and answer.data["push"]["changed_at"] is None
    assert answer.data["quiet_hours"]["timezone"] == "America/New_York"
    assert shown(person) == answer.data
    found = row(server, "consents", address="+49301234501")
    assert (found["channel"], found["state"], found["source"]) == ("sms", "given", "portal")
    assert found["user_id"] == person.document()["_id"] and found["given_at"] and not found[
        "withdrawn_at"]
    assert prefer(person, sms=False).data["sms"]["allowed"] is False
    assert row(server, "consents", address="+49301234501")["withdrawn_at"]
    events = [e["event"] for e in rows(server, "audit_log", user_id=person.document()["_id"])]
    assert events.count("user_consent_given") == 1 and events.count("user_consent_withdrawn") == 2
    assert prefer(person).data == shown(person)  # nothing named, nothing changed


def test_a_new_number_has_agreed_to_nothing(server):
    person = Person(server, phone="+49301234502")
    prefer(person, sms=True)
    person.api.patch("/auth/me", token=person.access, json={"phone": "+49301234503"})
    assert shown(person)["sms"]["allowed"] is False
    person.api.patch("/auth/me", token=person.access, json={"phone": "+49301234502"})
    assert shown(person)["sms"]["allowed"] is True


def test_sms_needs_a_number(server, person):
    check_error(prefer(person, mail=False, sms=True), 422, "VALIDATION_FAILED", "sms")
    assert shown(person)["mail"]["allowed"] is True  # all or nothing
    assert prefer(person, sms=False).status == 200


@pytest.mark.parametrize("value", [1, 0, "true", "", None, [], {}])
def test_a_switch_is_true_or_false(person, value):
    check_error(prefer(person, mail=value), 422, "VALIDATION_FAILED", "mail")


def test_said_at_once_it_is_said_once(server):
    person = Person(server, phone="+49301234504")
    answers = in_parallel(8, lambda i: prefer(person, sms=bool(i % 2)))
    assert {a.status for a in answers} <= {200, 503}
    assert len(rows(server, "consents", address="+49301234504")) == 1


# ---- devices ----

def device(person, method, **what):
    return person.api.request(method, "/portal/push-devices", token=person.access, json=what,
                              ip=new_ip())


def test_without_firebase_there_is_no_push(server, person):
    answer = device(person, "POST", token="d" * 150, platform="web")
    assert answer.status == 200 and answer.data == {"push": False}
    assert rows(server, "push_devices", user_id=person.document()["_id"]) == []
    assert device(person, "DELETE", token="d" * 150).data == {"status": "removed"}


@pytest.mark.parametrize("what, param", [
    ({"token": "", "platform": "web"}, "token"),
    ({"token": "device\nof two lines", "platform": "web"}, "token"),
    ({"token": "a" * 4097, "platform": "web"}, "token"), ({"platform": "web"}, "token"),
    ({"token": "a-device-alone", "platform": "fridge"}, "platform"),
    ({"token": "a-device-alone"}, "platform"),
    ({"token": ["a-device-alone"], "platform": "web"}, "token")])
def test_devices_that_are_none(person, what, param):
    error = check_error(device(person, "POST", **what), 422, "VALIDATION_FAILED", param)
    if what.get("platform") == "fridge":
        assert error["message"] == "platform must be one of web, android, ios."


# ---- the link ----

def link_of(server, email):
    prefer(Person(server, email=email), mail=True)
    return unsubscribe_token(server, email)


def test_to_look_ends_nothing_one_click_does(server):
    email = address("unsub")
    token, api = link_of(server, email), server.api()
    for _ in range(2):
        assert api.get(f"/portal/unsubscribe/{token}").data == {
            "channel": "mail", "address": f"u***@{email.split('@')[1]}", "subscribed": True}
    assert api.head(f"/portal/unsubscribe/{token}").status == 200
    answer = api.post(f"/portal/unsubscribe/{token}", body=b"List-Unsubscribe=One-Click",
                      headers={"Content-Type": FORM})
    assert answer.status == 200 and answer.data == {"status": "unsubscribed"}
    assert api.get(f"/portal/unsubscribe/{token}").data["subscribed"] is False
    found = row(server, "consents", address=email)
    assert (found["state"], found["source"]) == ("withdrawn", "unsubscribe_link")
    assert api.post(f"/portal/unsubscribe/{token}").data == {"status": "unsubscribed"}


def test_an_account_undoes_no_no_of_a_mailbox_that_it_did_not_confirm(server):
    email = address("theirs")
    person = Person(server, email=email)
    assert prefer(person, mail=True).status == 200  # undoes nothing
    token = unsubscribe_token(server, email)
    assert person.api.post(f"/portal/unsubscribe/{token}").status == 200
    check_error(prefer(person, mail=True), 422, "VALIDATION_FAILED", "mail")
    assert shown(person)["mail"]["allowed"] is False
    assert prefer(person, push=True).status == 200
    change(server, "users", {"email": email}, email_verified=1)
    assert prefer(person, mail=True).data["mail"]["allowed"] is True


def test_an_account_undoes_no_stop_of_a_number(server):
    number = "+49301234577"
    person = Person(server, phone=number)
    assert prefer(person, sms=True).status == prefer(person, sms=False).status == 200
    assert prefer(person, sms=True).data["sms"]["allowed"] is True  # its own no
    change(server, "consents", {"address": number}, state="withdrawn", source="stop")
    check_error(prefer(person, sms=True), 422, "VALIDATION_FAILED", "sms")
    assert row(server, "consents", address=number)["source"] == "stop"
    assert prefer(person, sms=False).status == 200


@pytest.mark.parametrize("kind, body", [
    ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; '
     b'name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'),
    ("application/json", b"{}"), (FORM, b"")])
def test_the_forms_of_one_click(server, kind, body):
    token = link_of(server, address("click"))
    answer = server.api().post(f"/portal/unsubscribe/{token}", body=body,
                               headers={"Content-Type": kind})
    assert answer.data == {"status": "unsubscribed"}


def test_links_that_are_none(server, api):
    good = link_of(server, address("forged"))
    id_, mac = good.split(".")
    other = link_of(server, address("forged"))
    for bad in ("x", ".", id_, f"{id_}.", f"{id_}.{mac[:-1]}", f"{id_}.{mac}A", f"{id_}.{mac[::-1]}",
                f"{other.split('.')[0]}.{mac}", f"cns_{'0' * 26}.{mac}", "%00", "a" * 3000):
        for method in ("GET", "POST"):
            answer = api.request(method, f"/portal/unsubscribe/{bad}", ip=new_ip())
            assert answer.status in (400, 404), (bad, answer)
            if answer.status == 400:
                assert answer.code in ("INVALID_TOKEN", "INVALID_REQUEST")
                assert answer.code != "INVALID_TOKEN" or "from the message" in answer.text
    check_error(api.post(f"/portal/unsubscribe/{good}", body=b"a" * 4097,
                         headers={"Content-Type": FORM}), 413, "BODY_TOO_LARGE")
    error = check_error(api.post(f"/portal/unsubscribe/{good}", body=b"a", headers={
        "Content-Type": "text/plain"}), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert error["message"] == f"The body must be {FORM} or multipart/form-data or application/json."
    assert api.get(f"/portal/unsubscribe/{good}").data["subscribed"] is True


# ---- the outbox ----

@pytest.fixture(scope="module")
def admin(server):
    email = address("admin")
    server.add_user(email, PASSWORD, "admin")
    return login(server.api(), email, PASSWORD).data["access_token"]


def test_administrators_see_what_is_sent(server, api, admin):
    person = Person(server, sign_in=False)
    sent = wait_until(lambda: rows(server, "outbox", recipient=person.email, state="sent"))[0]
    found = api.get("/admin/outbox?state=sent&channel=mail&limit=100", token=admin).data
    mine = next(r for r in found if r["id"] == sent["_id"])
    assert (mine["kind"], mine["channel"], mine["state"], mine["recipient"]) == (
        "register", "mail", "sent", person.email)
    assert mine["tries"] == 1 and mine["sent_at"] and not mine["being_sent"]
    assert "data" not in mine and "sealed" not in mine
    assert api.get("/admin/outbox?state=dead", token=admin).data == []
    assert api.get("/admin/outbox?channel=sms", token=admin).data == []
    page = api.get("/admin/outbox?limit=1", token=admin).json
    assert len(page["data"]) == 1 and page["pagination"]["limit"] == 1
    check_error(api.get("/admin/outbox?state=gone", token=admin), 422, "VALIDATION_FAILED", "state")


def test_a_row_is_cancelled_and_sent_after_all(server, api, admin):
    person = Person(server, sign_in=False)
    id_ = wait_until(lambda: rows(server, "outbox", recipient=person.email, state="sent"))[0]["_id"]
    server.mail.wait(person.email)
    check_error(api.post(f"/admin/outbox/{id_}/retry", token=admin), 409, "INVALID_STATE")
    check_error(api.post(f"/admin/outbox/{id_}/cancel", token=admin), 409, "INVALID_STATE")
    soon = int(time.time() * 1000) + 3600_000
    change(server, "outbox", {"_id": id_}, state="queued", due_at=soon)
    assert api.post(f"/admin/outbox/{id_}/cancel", token=admin).data == {"status": "cancelled"}
    assert row(server, "outbox", _id=id_)["state"] == "cancelled"
    assert api.post(f"/admin/outbox/{id_}/retry", token=admin).data == {"status": "queued"}
    wait_until(lambda: row(server, "outbox", _id=id_)["state"] != "queued")
    assert len(rows(server, "audit_log", event="outbox_cancelled")) == 1
    for action in ("retry", "cancel"):
        for bad in ("obx_" + "0" * 26, "x"):
            check_error(api.post(f"/admin/outbox/{bad}/{action}", token=admin), 404, "NOT_FOUND")


def test_nobody_else_does(server, api, person):
    for method, path in (("GET", "/admin/outbox"), ("POST", "/admin/outbox/obx_1/retry"),
                         ("POST", "/admin/outbox/obx_1/cancel")):
        check_error(api.request(method, path, token=person.access), 403, "FORBIDDEN")
        check_error(api.request(method, path), 401, "UNAUTHENTICATED")
