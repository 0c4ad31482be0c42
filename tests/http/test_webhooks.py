"""What providers tell us: believed by the signature over the raw bytes alone, stored before it is
answered, worked later, once, in any order; and what administrators see of it."""
import hashlib
import itertools
import json
import sys
import time

import pytest

from client import new_ip
from harness import REPO
from kit import (FORM, PASSWORD, Person, Wire, address, change, check_error, in_parallel, login, row,
                 rows)
from patience import wait_until

sys.path.insert(0, str(REPO / "tests/lib"))
import signed  # noqa: E402

WHSEC = "whsec_Marker-of-stripe-41"
TOKEN = "0123456789abcdef0123456789abcdef"
SENDGRID = signed.SendGrid()
PUBLIC = "https://api.example.test/base"
SERVER = {"conf": f"BizApiPublicURL {PUBLIC}",
          "env": {"STRIPE_WEBHOOK_SECRET": WHSEC, "TWILIO_AUTH_TOKEN": TOKEN,
                  "SENDGRID_WEBHOOK_PUBLIC_KEY": SENDGRID.public},
          # Half a provider is set: it says so at the start.
          "may": ("BZ1003",)}
_numbers = itertools.count(1)


def unique(word):
    return f"{word}_{next(_numbers)}{time.monotonic_ns()}"


def event(kind="account.updated", **more):
    return {"id": unique("evt"), "object": "event", "type": kind, **more}


def post(api, path, headers, body):
    return api.post(path, headers=headers, body=body, ip=new_ip())


def stripe(api, what, **more):
    body = what if isinstance(what, bytes) else json.dumps(what).encode()
    return post(api, "/webhooks/stripe", signed.stripe(WHSEC, body, **more), body)


def twilio(api, fields, path="/webhooks/twilio/status", signed_url=None, token=TOKEN):
    url = signed_url or f"{PUBLIC}/api/v1{path}"
    return post(api, path, *signed.twilio(token, url, fields))


def sendgrid(api, events, **more):
    return post(api, "/webhooks/sendgrid", *SENDGRID.sign(events, **more))


def stored(server, event_id):
    return rows(server, "webhook_events", event_id=event_id)


def worked(server, event_id):
    return wait_until(lambda: next((e for e in stored(server, event_id)
                                    if e["status"] != "received"), None),
                      timeout=10, what=f"the work on {event_id}")


def received(answer):
    assert answer.status == 200, answer
    assert answer.data == {"status": "received"}


def count(server):
    return len(rows(server, "webhook_events"))


# ---- Stripe ----

def test_an_event_is_stored_as_it_came_and_worked(server, api):
    what = event("account.updated", data={"object": {"id": "acct_1", "amount": 1.5}})
    received(stripe(api, what))
    found = worked(server, what["id"])
    assert (found["provider"], found["type"], found["status"]) == (
        "stripe", "account.updated", "ignored")
    assert json.loads(found["payload"]) == what
    assert found["expires_at"] > found["created_at"] + 89 * 86400 * 1000


def test_payments_wait_for_the_part_that_handles_them(server, api):
    what = event("checkout.session.completed")
    received(stripe(api, what))
    found = worked(server, what["id"])
    assert found["status"] == "unhandled" and found["expires_at"] is None


@pytest.mark.bz("BZ0831")
def test_what_stripe_did_not_sign_changes_nothing(server, api):
    before = count(server)
    body = json.dumps(event()).encode()
    now = int(time.time())
    good = signed.stripe(WHSEC, body, at=now)
    value = good["Stripe-Signature"]
    for name, headers, sent in [
            ("none", {}, body), ("empty", {"Stripe-Signature": ""}, body),
            ("wrong", signed.stripe("whsec_other", body), body),
            ("truncated", {"Stripe-Signature": value[:-2]}, body),
            ("v0 only", signed.stripe(WHSEC, body, scheme="v0"), body),
            ("no time", {"Stripe-Signature": value.split(",", 1)[1]}, body),
            ("another time", {"Stripe-Signature": f"t={now - 1}," + value.split(",", 1)[1]}, body),
            ("old", signed.stripe(WHSEC, body, at=now - 302), body),
            ("ahead", signed.stripe(WHSEC, body, at=now + 320), body),
            ("a newline more", good, body + b"\n"), ("re-serialised", good, body.replace(b": ", b":")),
            ("no body", good, b"")]:
        headers = {"Content-Type": "application/json", **headers}
        answer = post(api, "/webhooks/stripe", headers, sent)
        check_error(answer, 400, "INVALID_SIGNATURE"), name
    assert count(server) == before


def test_two_secrets_while_one_is_rolled_over(server, api):
    what = event()
    received(stripe(api, what, more="v1=" + "0" * 64 + ","))
    assert len(stored(server, what["id"])) == 1


def test_the_same_event_many_times_at_once_and_later(server):
    what = event()
    answers = in_parallel(12, lambda i: stripe(server.api(), what))
    for answer in answers:
        received(answer)
    assert len(stored(server, what["id"])) == 1
    done = worked(server, what["id"])
    received(stripe(server.api(), what))
    assert stored(server, what["id"]) == [done]


def test_events_that_are_none(server, api):
    before = count(server)
    for body in (b"[]", b"{}", b"1", b"", b"\xff", b'{"id":"evt_1"}', b'{"id":1,"type":"x"}',
                 b'{"id":"a\\nb","type":"x"}', b'{"id":"evt_1","id":"evt_2","type":"x"}'):
        check_error(stripe(api, body), 400, "INVALID_REQUEST")
    assert count(server) == before


# ---- bodies ----

def test_a_body_of_a_mebibyte_and_one_byte_more(server, api):
    what = event()
    frame = json.dumps({**what, "x": ""}).encode()
    largest = frame[:-2] + b"a" * (1024 * 1024 - len(frame)) + b'"}'
    assert len(largest) == 1024 * 1024
    received(stripe(api, largest))
    assert len(stored(server, what["id"])) == 1
    check_error(stripe(api, largest + b" "), 413, "BODY_TOO_LARGE")


def test_a_chunked_body(server):
    what = event()
    body = json.dumps(what).encode()
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/webhooks/stripe",
                     {**signed.stripe(WHSEC, body), "Transfer-Encoding": "chunked"})
        for byte in body[:20], body[20:]:
            wire.send(b"%x\r\n%s\r\n" % (len(byte), byte))
        answer = wire.send(b"0\r\n\r\n").answer()
    assert answer.status == 200 and len(stored(server, what["id"])) == 1


def test_other_types_are_refused(server, api):
    body = json.dumps(event()).encode()
    for kind in ("text/plain", "application/jsonx", FORM, "multipart/form-data"):
        headers = {**signed.stripe(WHSEC, body), "Content-Type": kind}
        check_error(post(api, "/webhooks/stripe", headers, body), 415, "UNSUPPORTED_MEDIA_TYPE")
    headers = {**signed.stripe(WHSEC, body), "Content-Type": "application/json; charset=utf-8"}
    received(post(api, "/webhooks/stripe", headers, body))
    headers["Content-Encoding"] = "gzip"
    check_error(post(api, "/webhooks/stripe", headers, body), 415, "UNSUPPORTED_MEDIA_TYPE")


def test_other_routes_take_no_more_than_before(server, api):
    check_error(api.post("/auth/login", body=b" " * 70000, headers={
        "Content-Type": "application/json"}), 413, "BODY_TOO_LARGE")
    check_error(api.post("/auth/login", body=b"a=b", headers={"Content-Type": FORM}), 415,
                "UNSUPPORTED_MEDIA_TYPE")


# ---- Twilio ----

def sms_row(server, **more):
    """An SMS that was handed over, as the worker leaves it."""
    person = Person(server, sign_in=False)
    found = wait_until(lambda: rows(server, "outbox", recipient=person.email, state="sent"))[0]
    change(server, "outbox", {"_id": found["_id"]}, channel="sms", kind="text", **more)
    return found["_id"]


def state_of(server, row_id):
    return row(server, "outbox", _id=row_id)["state"]


def status(api, sid, word, row_id=None, **more):
    fields = {"MessageSid": sid, "SmsSid": sid, "MessageStatus": word, "To": "+4930123456",
              "From": "+15005550006", "AccountSid": "AC1", "ApiVersion": "2010-04-01", **more}
    path = "/webhooks/twilio/status" + (f"?row={row_id}" if row_id else "")
    return twilio(api, fields, path)


def test_a_report_settles_its_row_in_whatever_order(server, api):
    row_id, sid = sms_row(server, state="unknown"), unique("SM")
    for word in ("queued", "delivered", "sent", "queued"):
        received(status(api, sid, word, row_id))
        worked(server, f"{sid}:{word}")
    assert state_of(server, row_id) == "delivered"
    assert row(server, "outbox", _id=row_id)["provider_id"] == sid
    assert len([e for e in rows(server, "webhook_events") if e["event_id"].startswith(sid)]) == 3


def test_a_report_finds_its_row_by_the_providers_id_too(server, api):
    sid = unique("SM")
    row_id = sms_row(server, provider_id=sid)
    received(status(api, sid, "undelivered", ErrorCode="30003"))
    assert worked(server, f"{sid}:undelivered")["status"] == "done"
    found = row(server, "outbox", _id=row_id)
    assert (found["state"], found["last_error"]) == ("bounced", "Twilio error 30003")


def test_a_report_about_nothing_of_ours_is_kept_and_done(server, api):
    sid = unique("SM")
    received(status(api, sid, "delivered", "obx_" + "0" * 26))
    assert worked(server, f"{sid}:delivered")["status"] == "done"
    received(status(api, unique("SM"), "canceled"))


@pytest.mark.bz_may("BZ0831")  # once a minute
def test_what_twilio_did_not_sign_changes_nothing(server, api):
    before = count(server)
    fields = {"MessageSid": unique("SM"), "MessageStatus": "delivered"}
    path = "/webhooks/twilio/status"
    url = f"{PUBLIC}/api/v1{path}"
    headers, body = signed.twilio(TOKEN, url, fields)
    for name, sent, what in [
            ("none", {"X-Twilio-Signature": ""}, body),
            ("wrong token", signed.twilio("x" * 32, url, fields)[0], body),
            ("another field", headers, body + b"&To=%2B4930123456"),
            ("truncated", {"X-Twilio-Signature": headers["X-Twilio-Signature"][:-2]}, body),
            ("another address", signed.twilio(TOKEN, url.replace("https", "http"), fields)[0], body),
            ("the address of this server", signed.twilio(
                TOKEN, f"{server.url}/api/v1{path}", fields)[0], body),
            ("malformed", headers, body + b"&x=%zz"), ("no body", headers, b"")]:
        answer = post(api, path, {"Content-Type": FORM, **sent}, what)
        check_error(answer, 400, "INVALID_SIGNATURE"), name
    # Neither do headers say where we are.
    answer = post(api, path, {**signed.twilio(TOKEN, f"https://evil.test/api/v1{path}", fields)[0],
                              "X-Forwarded-Host": "evil.test", "X-Forwarded-Proto": "https"}, body)
    check_error(answer, 400, "INVALID_SIGNATURE")
    check_error(twilio(api, fields, path + "?row=a", signed_url=url), 400, "INVALID_SIGNATURE")
    assert count(server) == before


def test_the_address_may_be_signed_with_its_port(server, api):
    sid = unique("SM")
    url = f"{PUBLIC.replace('.test', '.test:443')}/api/v1/webhooks/twilio/status"
    received(twilio(api, {"MessageSid": sid, "MessageStatus": "sent", "Empty": "",
                          "Body": "h\u00e9 \U0001f600"}, signed_url=url))
    assert json.loads(worked(server, f"{sid}:sent")["payload"])["Body"] == "h\u00e9 \U0001f600"


@pytest.mark.bz_may("BZ0831")  # once a minute
def test_a_json_body_of_twilio(server, api):
    sid = unique("SM")
    body = json.dumps({"MessageSid": sid, "MessageStatus": "sent"}).encode()
    path = f"/webhooks/twilio/status?bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers, _ = signed.twilio(TOKEN, f"{PUBLIC}/api/v1{path}", {})
    headers["Content-Type"] = "application/json"
    received(post(api, path, headers, body))
    assert worked(server, f"{sid}:sent")["status"] == "done"
    check_error(post(api, path, headers, body + b" "), 400, "INVALID_SIGNATURE")


def inbound(server, api, number, text, **more):
    sid = unique("SM")
    received(twilio(api, {"MessageSid": sid, "From": number, "To": "+15005550006", "Body": text,
                          **more}, "/webhooks/twilio/inbound"))
    return worked(server, f"{sid}:inbound")


def consent(server, channel, who):
    found = rows(server, "consents", channel=channel, address=who)
    return (found[0]["state"], found[0]["source"]) if found else None


def number():
    return f"+4930{next(_numbers):03}{time.monotonic_ns() % 10**6:06}"


@pytest.mark.parametrize("text, more", [("STOP", {}), (" stop ", {}), ("Stop all", {}),
                                        ("UNSUBSCRIBE", {}), ("halt!", {"OptOutType": "STOP"})])
def test_stop_ends_it(server, api, text, more):
    who = number()
    assert inbound(server, api, who, text, **more)["status"] == "done"
    assert consent(server, "sms", who) == ("withdrawn", "stop")


def test_start_takes_a_stop_back_but_makes_no_consent(server, api):
    who = number()
    inbound(server, api, who, "START")
    assert consent(server, "sms", who) is None
    inbound(server, api, who, "STOP")
    inbound(server, api, who, "START")
    assert consent(server, "sms", who) == ("withdrawn", "stop")  # it was never given
    for source in ("stop", "unsubscribe_link"):  # what its owner said there, or here
        change(server, "consents", {"address": who}, state="withdrawn", given_at=1,
               withdrawn_at=2, source=source)
        inbound(server, api, who, "start")
        assert consent(server, "sms", who) == ("given", "start")
    for source in ("portal", "spamreport"):
        change(server, "consents", {"address": who}, state="withdrawn", given_at=1,
               withdrawn_at=2, source=source)
        inbound(server, api, who, "start")
        assert consent(server, "sms", who) == ("withdrawn", source)


def test_other_words_are_no_answer(server, api):
    who = number()
    assert inbound(server, api, who, "Please stop by tomorrow")["status"] == "ignored"
    assert inbound(server, api, who, "", OptOutType="HELP")["status"] == "ignored"
    assert inbound(server, api, "12345", "STOP")["status"] == "ignored"
    assert consent(server, "sms", who) is None


def test_a_number_that_said_stop_to_twilio(server, api):
    who, sid = number(), unique("SM")
    received(status(api, sid, "failed", ErrorCode="21610", To=who))
    worked(server, f"{sid}:failed")
    assert consent(server, "sms", who) == ("withdrawn", "stop")


# ---- SendGrid ----

def mail_row(server):
    person = Person(server, sign_in=False)
    return wait_until(lambda: rows(server, "outbox", recipient=person.email,
                                   state="sent"))[0]["_id"], person.email


def mail_event(kind, row_id=None, **more):
    return {"event": kind, "sg_event_id": unique("sg"), "email": "a@people.test",
            "timestamp": 1790000000, **({"outbox_id": row_id} if row_id else {}), **more}


def test_mails_are_delivered_and_come_back(server, api):
    one, _ = mail_row(server)
    two, email = mail_row(server)
    events = [mail_event("delivered", one), mail_event("processed", one),
              mail_event("bounce", two, email=email, type="bounce",
                         reason=f"550 no such user <{email}>"),
              mail_event("open", one), {"nonsense": 1}, 7]
    received(sendgrid(api, events))
    assert worked(server, events[0]["sg_event_id"])["status"] == "done"
    assert worked(server, events[2]["sg_event_id"])["status"] == "done"
    assert worked(server, events[3]["sg_event_id"])["status"] == "ignored"
    assert state_of(server, one) == "delivered"
    found = row(server, "outbox", _id=two)
    assert (found["state"], found["last_error"]) == ("bounced", "550 no such user [address]")
    assert consent(server, "mail", email) == ("withdrawn", "bounce")
    strange = [e for e in rows(server, "webhook_events") if e["type"] == "unknown"]
    assert {e["payload"] for e in strange} == {'{"nonsense":1}', '{"value":7}'}


def test_what_is_said_of_an_earlier_copy_is_not_said_of_this_one(server, api):
    """Sent twice (its first answer was lost, or staff wanted it): the reports of the first copy come
    when the second has arrived, and the other way round."""
    row_id, email = mail_row(server)
    for state, events, after in [
            ("sent", [("bounce", "first"), ("delivered", "second")], "delivered"),
            ("sent", [("delivered", "second"), ("bounce", "first"), ("dropped", "first")],
             "delivered"),
            ("sent", [("bounce", "second"), ("delivered", "first"), ("deferred", "first")],
             "bounced")]:
        change(server, "outbox", {"_id": row_id}, state=state, provider_id="second")
        sent = [mail_event(kind, row_id, email=email, type="bounce",
                           sg_message_id=f"{copy}.recvd-1-2.0") for kind, copy in events]
        received(sendgrid(api, sent))
        ends = [worked(server, each["sg_event_id"])["status"] for each in sent]
        assert ends == ["done" if copy == "second" else "ignored" for _, copy in events]
        assert state_of(server, row_id) == after
        withdrawn = ("withdrawn", "bounce") if ("bounce", "second") in events else None
        assert consent(server, "mail", email) == withdrawn


@pytest.mark.parametrize("kind", ["spamreport", "unsubscribe", "group_unsubscribe"])
def test_whoever_wants_no_more_mails(server, api, kind):
    who = address()
    what = mail_event(kind, email=who.upper())
    received(sendgrid(api, [what]))
    worked(server, what["sg_event_id"])
    assert consent(server, "mail", who) == ("withdrawn", kind)


def test_a_mail_that_is_blocked_for_now_withdraws_nothing(server, api):
    row_id, email = mail_row(server)
    what = mail_event("bounce", row_id, email=email, type="blocked")
    received(sendgrid(api, [what]))
    worked(server, what["sg_event_id"])
    assert state_of(server, row_id) == "bounced" and consent(server, "mail", email) is None


def test_five_hundred_at_once_and_again(make_server):
    """On a server of its own: what other tests send would wait behind them."""
    server = make_server(**SERVER)
    api = server.api()
    events = [mail_event("delivered") for _ in range(500)]
    begin = time.monotonic()
    received(sendgrid(api, events + events[:100]))
    print(f"500 events in {time.monotonic() - begin:.2f} s")
    received(sendgrid(api, events))
    ids = [e["event_id"] for e in rows(server, "webhook_events", provider="sendgrid")]
    assert len(ids) == len(set(ids)) and {e["sg_event_id"] for e in events} <= set(ids)


@pytest.mark.bz_may("BZ0831")  # once a minute
def test_what_sendgrid_did_not_sign_changes_nothing(server, api):
    before = count(server)
    headers, body = SENDGRID.sign([mail_event("delivered")])
    now = int(time.time())
    when, what = ("X-Twilio-Email-Event-Webhook-Timestamp",
                  "X-Twilio-Email-Event-Webhook-Signature")
    for name, sent, text in [
            ("another key", signed.SendGrid().sign([])[0], body), ("no line end", headers, body[:-2]),
            ("another time", {**headers, when: str(now + 1)}, body),
            ("none", {**headers, what: ""}, body), ("no time", {**headers, when: ""}, body),
            ("truncated", {**headers, what: headers[what][:-4]}, body),
            ("old", SENDGRID.sign([], at=now - 302)[0], b"[]\r\n"),
            ("ahead", SENDGRID.sign([], at=now + 320)[0], b"[]\r\n")]:
        check_error(post(api, "/webhooks/sendgrid", sent, text), 400, "INVALID_SIGNATURE"), name
    check_error(sendgrid(api, {"event": "delivered"}), 400, "INVALID_REQUEST")
    assert count(server) == before


# ---- without a secret, without a store ----

@pytest.mark.bz("BZ0830")
def test_without_its_secret_nothing_is_believed(make_server):
    server = make_server(env={"STRIPE_SECRET_KEY": "sk_test_Marker-11",
                              "STRIPE_PUBLISHABLE_KEY": "pk_test_Marker-11"})
    api = server.api()
    assert api.get("/health/ready").status == 200
    for path, headers, body in [
            ("/webhooks/stripe", signed.stripe("", b"{}"), b"{}"),
            ("/webhooks/twilio/status", *signed.twilio("", PUBLIC, {"MessageSid": "SM1"})),
            ("/webhooks/twilio/inbound", *signed.twilio("", PUBLIC, {"MessageSid": "SM1"})),
            ("/webhooks/sendgrid", *SENDGRID.sign([]))]:
        check_error(post(api, path, headers, body), 503, "NOT_CONFIGURED")
    assert count(server) == 0


def test_a_store_that_is_away_is_told_to_the_provider(make_server):
    server = make_server(start=False, env=SERVER["env"], may=("BZ02", "BZ1003"))
    server.write_conf(f"BizApiStore sqlite:{server.root}/nowhere/bizapi.db\n{SERVER['conf']}")
    server.start()
    api = server.api()
    check_error(stripe(api, event()), 503, "STORE_UNAVAILABLE")
    check_error(sendgrid(api, [mail_event("delivered")]), 503, "STORE_UNAVAILABLE")
    check_error(status(api, "SM1", "sent"), 503, "STORE_UNAVAILABLE")


# ---- administrators ----

def as_admin(server):
    email = address("admin")
    server.add_user(email, PASSWORD, "admin")
    return login(server.api(), email, PASSWORD).data["access_token"]


def test_events_are_listed_and_replayed(server, api):
    token = as_admin(server)
    what = event("charge.refunded", data={"object": {"id": "ch_1"}})
    received(stripe(api, what))
    worked(server, what["id"])
    found = api.get("/admin/webhook-events?provider=stripe&status=unhandled&limit=1",
                    token=token).data[0]
    assert (found["event_id"], found["type"], found["status"]) == (
        what["id"], "charge.refunded", "unhandled")
    assert found["payload"] == what and found["worked_at"] and found["tries"] == 1
    assert api.post(f"/admin/webhook-events/{found['id']}/replay",
                    token=token).data == {"status": "received"}
    wait_until(lambda: stored(server, what["id"])[0]["status"] == "unhandled")
    assert rows(server, "audit_log", event="webhook_event_replayed")
    first = api.get("/admin/webhook-events?limit=2", token=token).json
    assert first["pagination"]["has_more"] and len(first["data"]) == 2
    for bad in ("whe_" + "0" * 26, "x", "evt_1"):
        check_error(api.post(f"/admin/webhook-events/{bad}/replay", token=token), 404, "NOT_FOUND")
    check_error(api.get("/admin/webhook-events?status=lost", token=token), 422,
                "VALIDATION_FAILED", "status")
    change(server, "webhook_events", {"_id": found["id"]}, lease="lse_x",
           due_at=int(time.time() * 1000) + 60000)
    check_error(api.post(f"/admin/webhook-events/{found['id']}/replay", token=token), 409,
                "INVALID_STATE")


def test_nobody_else_sees_them(server, api):
    person = Person(server)
    check_error(api.get("/admin/webhook-events", token=person.access), 403, "FORBIDDEN")
    check_error(api.get("/admin/webhook-events"), 401, "UNAUTHENTICATED")


@pytest.mark.bz("BZ0832")
def test_an_event_that_cannot_be_worked_is_given_up_and_the_others_go_on(server, api):
    good, bad, killer = event(), event(), event()
    for what in (bad, killer, good):
        received(stripe(api, what))
        worked(server, what["id"])
    # As a damaged row and one whose workers died would look.
    change(server, "webhook_events", {"event_id": bad["id"]}, payload='"x', status="received",
           due_at=0)
    change(server, "webhook_events", {"event_id": killer["id"]}, tries=10, status="received",
           due_at=0)
    assert worked(server, bad["id"])["status"] == "dead"
    assert worked(server, killer["id"])["status"] == "dead"
    received(stripe(api, (after := event())))
    assert worked(server, after["id"])["status"] == "ignored"
