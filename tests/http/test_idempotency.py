"""Idempotency-Key, on the routes that honour it: the same key and body give the same answer once
more, another body is refused, and of many at once one works."""
import hashlib
import hmac
import json
import time

import pytest

from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Admin, Person, Wire, address, change, check_error, database,
                 hkdf, in_parallel, login, now_ms, once, row, rows)

SERVER = {}


def body_for(email=None, **more):
    return {"email": email or address("key"), "password": PASSWORD, "name": "Nora Body", **more}


def register(api, key, body):
    return api.post("/auth/register", ip=new_ip(), json=body, headers={"Idempotency-Key": key})


def test_the_same_again(server, api):
    body = body_for()
    first = register(api, "k-1", body)
    assert first.status == 201 and "idempotent-replayed" not in first.headers
    for _ in range(3):
        again = register(api, "k-1", body)
        assert again.headers["idempotent-replayed"] == "true"
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
        assert again.headers["cache-control"] == "no-store"
        assert again.headers["content-type"] == first.headers["content-type"]
    assert len(rows(server, "users", email=body["email"])) == 1
    assert len(rows(server, "outbox", recipient=body["email"])) == 1


def test_another_body_under_the_same_key(server, api):
    assert register(api, "k-2", body_for()).status == 201
    other = body_for()
    check_error(register(api, "k-2", other), 422, "IDEMPOTENCY_KEY_REUSED")
    assert not rows(server, "users", email=other["email"])
    # The same fields written otherwise are another body: bytes are compared.
    body = body_for()
    assert register(api, "k-3", body).status == 201
    answer = api.post("/auth/register", ip=new_ip(), body=json.dumps(body, indent=1).encode(),
                      headers={"Content-Type": "application/json", "Idempotency-Key": "k-3"})
    check_error(answer, 422, "IDEMPOTENCY_KEY_REUSED")


def test_without_a_key_nothing_is_remembered(server, api):
    before, body = len(rows(server, "idempotency_keys")), body_for()
    for _ in range(2):
        answer = api.post("/auth/register", ip=new_ip(), json=body)
        assert answer.status == 201 and "idempotent-replayed" not in answer.headers
    assert len(rows(server, "idempotency_keys")) == before
    assert len(rows(server, "outbox", recipient=body["email"])) == 2


@pytest.mark.bz_may("BZ0501")
def test_fifty_at_once_make_one_account(server):
    body = body_for()
    answers = in_parallel(50, lambda _: once(server, "POST", "/auth/register", json=body,
                                             headers={"Idempotency-Key": "k-50"}))
    seen = {(a.status, None if a.status == 201 else a.code) for a in answers}
    assert seen <= {(201, None), (409, "IDEMPOTENCY_IN_PROGRESS")}, seen
    fresh = [a for a in answers if a.status == 201 and "idempotent-replayed" not in a.headers]
    assert len(fresh) == 1
    assert len(rows(server, "users", email=body["email"])) == 1
    assert len(rows(server, "outbox", recipient=body["email"])) == 1
    assert register(server.api(), "k-50", body).headers["idempotent-replayed"] == "true"


def running(server, lease_until):
    """A key as a worker has it that is still at work, or was killed at it."""
    key, body = address("running"), body_for()
    assert register(server.api(), key, body).status == 201
    newest = rows(server, "idempotency_keys")[-1]["_id"]
    change(server, "idempotency_keys", {"_id": newest}, state="running", status=None, answer=None,
           lease_until=lease_until)
    return key, body


def test_one_that_is_still_running(server):
    key, body = running(server, now_ms() + 30_000)
    check_error(register(server.api(), key, body), 409, "IDEMPOTENCY_IN_PROGRESS")
    check_error(register(server.api(), key, body_for()), 422, "IDEMPOTENCY_KEY_REUSED")


def test_one_whose_worker_was_killed(server):
    """Its lease has ended: the next try works again, and finds the account that was made."""
    key, body = running(server, now_ms() - 1)
    answer = register(server.api(), key, body)
    assert answer.status == 201 and "idempotent-replayed" not in answer.headers
    assert register(server.api(), key, body).headers["idempotent-replayed"] == "true"
    assert len(rows(server, "users", email=body["email"])) == 1


def killed_at_work(server):
    """The newest key, as a worker has left it that was killed after its commits."""
    newest = rows(server, "idempotency_keys")[-1]["_id"]
    change(server, "idempotency_keys", {"_id": newest}, state="running", status=None, answer=None,
           lease_until=now_ms() - 1)


def asked_again(ask, server):
    """(the first answer, that of a repeat which works again)"""
    first = ask()
    killed_at_work(server)
    second = ask()
    assert "idempotent-replayed" not in second.headers
    assert ask().headers["idempotent-replayed"] == "true"
    return first, second


def test_an_account_whose_worker_was_killed_is_the_same_one(server):
    body = body_for()
    first, second = asked_again(lambda: register(server.api(), "k-killed", body), server)
    assert (first.status, first.body) == (second.status, second.body)
    user = row(server, "users", email=body["email"])["_id"]
    assert [r["user_id"] for r in rows(server, "outbox", recipient=body["email"])] == [user]
    assert [r["event"] for r in rows(server, "audit_log", user_id=user)] == ["user_created"]


def test_an_account_by_an_admin_whose_worker_was_killed(server):
    admin, email = Admin(server), address("made")

    def ask(key="k-admin"):
        return admin.api.post("/admin/users", token=admin.access, json={
            "email": email, "name": "New"}, headers={"Idempotency-Key": key})

    first, second = asked_again(ask, server)
    assert (first.status, second.status) == (201, 201) and first.data["id"] == second.data["id"]
    assert len(rows(server, "outbox", recipient=email)) == 1
    check_error(ask("another key"), 409, "CONFLICT", "email")


def test_a_new_password_whose_worker_was_killed(server):
    """The repeat says the password that was; and the session goes on, whenever the worker died."""
    person = Person(server)

    def ask(key="k-password"):
        return person.api.post("/auth/change-password", token=person.access, json={
            "current_password": PASSWORD, "new_password": OTHER_PASSWORD},
            headers={"Idempotency-Key": key})

    first, second = asked_again(ask, server)
    assert (first.status, first.body) == (second.status, second.body)
    assert person.document()["session_epoch"] == 2
    check_error(ask("another key"), 401, "INVALID_CREDENTIALS", "current_password")
    # Killed before the session was moved on: it goes on in that epoch, and in no later one.
    where = {"user_id": person.document()["_id"], "epoch": 2}
    assert change(server, "sessions", where, epoch=1) == 1
    assert person.me().status == 200
    other = Person.__new__(Person)
    other.__dict__.update(person.__dict__)
    other.login(OTHER_PASSWORD)
    assert other.api.post("/auth/logout-all", token=other.access).status == 200
    check_error(person.me(), 401, "TOKEN_REVOKED")


def test_a_key_lives_24_hours(server, api):
    register(api, "k-day", body_for())
    stored = rows(server, "idempotency_keys")[-1]
    assert abs(stored["expires_at"] - now_ms() - 24 * 3600 * 1000) < 60_000


def test_what_is_remembered_holds_no_secret(server, api):
    register(api, "k-secret", body_for())
    stored = rows(server, "idempotency_keys")[-1]
    assert "k-secret" not in json.dumps(stored) and PASSWORD not in json.dumps(stored)
    assert json.loads(stored["answer"])["success"] is True


def test_the_body_is_kept_as_a_keyed_digest(server, api):
    """It holds a password, of which a plain digest would be a quick hash without salt."""
    body = body_for()
    text = json.dumps(body).encode()

    def send():
        return api.post("/auth/register", ip=new_ip(), body=text, headers={
            "Content-Type": "application/json", "Idempotency-Key": "k-digest"})

    first = send()
    stored = rows(server, "idempotency_keys")[-1]
    key = hkdf(bytes.fromhex((server.root / "state/keys/master.key").read_text()),
               b"bizapi idempotency v1")
    assert stored["body_hash"] == hmac.new(key, text, "sha256").hexdigest()
    # What a version before this one has kept is still of the same body.
    change(server, "idempotency_keys", {"_id": stored["_id"]},
           body_hash=hashlib.sha256(text).hexdigest())
    again = send()
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["idempotent-replayed"] == "true"


def test_refusals_that_are_final_are_repeated(api):
    body = body_for(password="password123")
    first = register(api, "k-weak", body)
    check_error(first, 422, "WEAK_PASSWORD", "password")
    again = register(api, "k-weak", body)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status, again.body) == (first.status, first.body)


def test_malformed_requests_take_no_key(server, api):
    before = len(rows(server, "idempotency_keys"))
    check_error(register(api, "k-bad", {"email": 1}), 422, "VALIDATION_FAILED")
    check_error(api.post("/auth/register", ip=new_ip(), body=b"{", headers={
        "Content-Type": "application/json", "Idempotency-Key": "k-bad"}), 400, "INVALID_JSON")
    assert len(rows(server, "idempotency_keys")) == before
    assert register(api, "k-bad", body_for()).status == 201


@pytest.mark.parametrize("key", ["x" * 255, "a b", "ключ", "a;b,c", '"quoted"',
                                 "8e03978e-40d5-43dd-bc93-6894a57f9324"])
def test_keys_that_are_good(api, key):
    body = body_for()
    first, again = (register(api, key.encode(), body) for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\u00a0"])
def test_keys_that_are_not(server, key):
    body = body_for()
    text = json.dumps(body).encode()
    with Wire(server) as wire:
        wire.send(f"POST /api/v1/auth/register HTTP/1.1\r\nHost: localhost\r\n"
                  f"X-Forwarded-For: {new_ip()}\r\nContent-Type: application/json\r\n"
                  f"Idempotency-Key: {key}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
        answer = wire.answer()
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert answer.json["error"]["param"] == "Idempotency-Key"
    assert not rows(server, "users", email=body["email"])


# ---- change-password: a key belongs to whoever calls ----

def change_password(person, key, current, new):
    return person.api.post("/auth/change-password", token=person.access, json={
        "current_password": current, "new_password": new}, headers={"Idempotency-Key": key})


def test_a_changed_password_is_changed_once(server):
    person = Person(server)
    first = change_password(person, "c-1", PASSWORD, OTHER_PASSWORD)
    assert first.status == 200
    epoch = person.document()["session_epoch"]
    again = change_password(person, "c-1", PASSWORD, OTHER_PASSWORD)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert person.document()["session_epoch"] == epoch
    assert login(person.api, person.email, OTHER_PASSWORD).status == 200
    check_error(change_password(person, "c-1", OTHER_PASSWORD, PASSWORD), 422,
                "IDEMPOTENCY_KEY_REUSED")


def test_a_refusal_of_the_moment_is_not_kept(server):
    """A wrong password under a key leaves the key free, also for the right one."""
    person = Person(server)
    for _ in range(2):
        answer = change_password(person, "c-2", "wrong password", OTHER_PASSWORD)
        check_error(answer, 401, "INVALID_CREDENTIALS")
        assert "idempotent-replayed" not in answer.headers
    right = change_password(person, "c-2", PASSWORD, OTHER_PASSWORD)
    assert right.status == 200 and "idempotent-replayed" not in right.headers


def test_the_key_of_somebody_else(server):
    one, two = Person(server), Person(server)
    assert change_password(one, "c-3", PASSWORD, OTHER_PASSWORD).status == 200
    answer = change_password(two, "c-3", PASSWORD, OTHER_PASSWORD)
    assert answer.status == 200 and "idempotent-replayed" not in answer.headers
    assert login(two.api, two.email, OTHER_PASSWORD).status == 200


def test_a_replay_needs_a_session_too(server):
    person = Person(server)
    change_password(person, "c-4", PASSWORD, OTHER_PASSWORD)
    person.api.post("/auth/logout", token=person.access)
    check_error(change_password(person, "c-4", PASSWORD, OTHER_PASSWORD), 401, "TOKEN_REVOKED")


def test_a_key_on_one_route_says_nothing_about_another(server):
    person = Person(server)
    assert register(person.api, "c-5", body_for()).status == 201
    answer = change_password(person, "c-5", PASSWORD, OTHER_PASSWORD)
    assert answer.status == 200 and "idempotent-replayed" not in answer.headers


@pytest.mark.parametrize("path, body", [
    ("/auth/login", {"email": "nobody@people.test", "password": "wrong password"}),
    ("/auth/forgot-password", {"email": "nobody@people.test"})])
def test_routes_that_do_not_honour_keys_ignore_them(server, api, path, body):
    before = len(rows(server, "idempotency_keys"))
    answers = [api.post(path, ip=new_ip(), json=body, headers={"Idempotency-Key": "k-x"})
               for _ in range(2)]
    assert answers[0].status == answers[1].status
    assert "idempotent-replayed" not in answers[1].headers
    assert len(rows(server, "idempotency_keys")) == before


@pytest.mark.sqlite
@pytest.mark.bz("BZ0201")
def test_a_locked_database_answers_503_and_keeps_no_key(make_server):
    """Somebody else holds the right to write; when they are done, the same request succeeds."""
    server = make_server(may=("BZ02", "BZ06"))
    assert register(server.api(), "warm", body_for()).status == 201
    body, db = body_for(), database(server)
    db.execute("BEGIN IMMEDIATE")
    try:
        begin = time.monotonic()
        check_error(register(server.api(), "k-lock", body), 503, "STORE_UNAVAILABLE")
        assert time.monotonic() - begin < 10
    finally:
        db.execute("ROLLBACK")
        db.close()
    assert register(server.api(), "k-lock", body).status == 201
    assert row(server, "users", email=body["email"])["name"] == "Nora Body"
