"""The journey of a customer, from the registration to the logout, and every step of it by itself:
confirming the address, a forgotten password, sessions, the profile."""
import hashlib
import json as jsonlib
import time

import pytest

import harness
from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Person, Wire, address, change, check_error, comparable,
                 everything, in_parallel, login, now_ms, once, refresh, row, rows)
from patience import wait_until
from received import html_of, text_of, token_of

SERVER = {"conf": "BizApiBusiness name \"Salon Nora\"\nBizApiFrontendURL https://portal.test/app"}
HOUR = 3600 * 1000


def whole_journey(server, api):
    """register -> login -> me -> forgot -> mail -> verify token -> reset -> login -> refresh ->
    logout, by one client."""
    email = address("journey")
    made = api.post("/auth/register", ip=new_ip(), json={
        "email": email, "password": PASSWORD, "name": "Zoë Journey", "timezone": "Europe/Berlin"})
    assert (made.status, made.data) == (201, {"status": "verification_sent"})
    welcome = server.mail.wait(email, "Confirm")
    assert api.post("/auth/verify-email", json={"token": token_of(welcome)}).data == {
        "status": "verified"}

    first = login(api, email, PASSWORD).data
    assert set(first) == {"access_token", "token_type", "expires_in", "refresh_token", "user",
                          "device_token"}
    assert (first["token_type"], first["expires_in"]) == ("Bearer", 900)
    me = api.get("/auth/me", token=first["access_token"])
    assert (me.data["email"], me.data["name"], me.data["email_verified"]) == (
        email, "Zoë Journey", True)

    asked = api.post("/auth/forgot-password", ip=new_ip(), json={"email": email})
    assert asked.status == 200
    mail = server.mail.wait(email, "new password")
    token = token_of(mail, "reset-password.html")
    checked = api.get("/auth/verify-reset-token", params={"token": token})
    assert checked.data["valid"] is True
    assert checked.data["expires_at"].endswith("Z")
    done = api.post("/auth/reset-password", json={"token": token, "new_password": OTHER_PASSWORD})
    assert (done.status, done.data) == (200, {"status": "password_changed"})
    server.mail.wait(email, "Password (changed|reset)")

    again = api.post("/auth/reset-password", json={"token": token, "new_password": PASSWORD})
    check_error(again, 400, "INVALID_TOKEN")
    check_error(api.get("/auth/verify-reset-token", params={"token": token}), 400, "INVALID_TOKEN")
    check_error(api.get("/auth/me", token=first["access_token"]), 401, "TOKEN_REVOKED")
    check_error(refresh(api, first["refresh_token"]), 401, "TOKEN_REVOKED")
    check_error(login(api, email, PASSWORD), 401, "INVALID_CREDENTIALS")

    second = login(api, email, OTHER_PASSWORD).data
    third = refresh(api, second["refresh_token"]).data
    assert set(third) == set(first) - {"device_token"} and third["user"]["email"] == email
    assert third["refresh_token"] != second["refresh_token"]
    assert api.get("/auth/me", token=third["access_token"]).status == 200
    out = api.post("/auth/logout", token=third["access_token"])
    assert (out.status, out.data) == (200, {"status": "signed_out"})
    for token in (third["access_token"], second["access_token"]):
        check_error(api.get("/auth/me", token=token), 401, "TOKEN_REVOKED")
    check_error(refresh(api, third["refresh_token"]), 401, "TOKEN_REVOKED")


def test_the_whole_journey(server, api):
    whole_journey(server, api)


# ---- confirming the address ----

def confirm_token(server, person):
    return token_of(server.mail.wait(person.email, "Confirm"), "verify-email.html")


def test_the_address_is_confirmed_once(server):
    person = Person(server)
    token = confirm_token(server, person)
    assert person.me().data["email_verified"] is False
    answers = in_parallel(10, lambda _: once(server, "POST", "/auth/verify-email",
                                             json={"token": token}))
    assert sorted(a.status for a in answers) == [200] + [400] * 9
    assert person.me().data["email_verified"] is True
    assert len(rows(server, "audit_log", event="user_email_verified",
                    user_id=person.me().data["id"])) == 1
    check_error(person.api.post("/auth/verify-email", json={"token": token}), 400, "INVALID_TOKEN")


@pytest.mark.parametrize("token", ["nothing", "A" * 43, "../../etc/passwd", "0", "ünïcode",
                                   "' OR '1'='1", "\U0001f600"])
def test_tokens_that_are_none(api, token):
    unknown = comparable(api.post("/auth/verify-email", json={"token": "A" * 43}))
    answer = api.post("/auth/verify-email", json={"token": token})
    check_error(answer, 400, "INVALID_TOKEN")
    assert comparable(answer) == unknown
    check_error(api.post("/auth/reset-password",
                         json={"token": token, "new_password": OTHER_PASSWORD}), 400,
                "INVALID_TOKEN")


def test_a_confirmation_link_ends_after_48_hours(server):
    person = Person(server)
    token = confirm_token(server, person)
    where = {"user_id": person.me().data["id"]}
    stored = row(server, "email_verification_tokens", **where)
    assert abs(stored["expires_at"] - stored["created_at"] - 48 * HOUR) < 10_000
    change(server, "email_verification_tokens", where, expires_at=now_ms() - 1)
    check_error(person.api.post("/auth/verify-email", json={"token": token}), 400, "INVALID_TOKEN")
    change(server, "email_verification_tokens", where, expires_at=now_ms() + 60_000)
    assert person.api.post("/auth/verify-email", json={"token": token}).status == 200


def test_a_link_to_an_address_that_is_no_longer_theirs(server):
    person = Person(server)
    token = confirm_token(server, person)
    change(server, "users", {"email": person.email}, email=address("moved"))
    check_error(person.api.post("/auth/verify-email", json={"token": token}), 400, "INVALID_TOKEN")


def test_the_confirmation_is_sent_again(server):
    person = Person(server)
    first = confirm_token(server, person)
    answer = person.api.post("/auth/resend-verification", json={"email": person.email.upper()})
    assert (answer.status, answer.data) == (200, {"status": "verification_sent"})
    second = confirm_token(server, person)
    assert second != first
    assert person.api.post("/auth/verify-email", json={"token": second}).status == 200


def test_who_must_confirm_first(make_server):
    server = make_server(conf="BizApiRequireVerifiedEmail on")
    person = Person(server, sign_in=False)
    check_error(login(person.api, person.email, PASSWORD), 403, "EMAIL_NOT_VERIFIED")
    check_error(login(person.api, person.email, OTHER_PASSWORD), 401, "INVALID_CREDENTIALS")
    person.api.post("/auth/verify-email", json={"token": confirm_token(server, person)})
    assert login(person.api, person.email, PASSWORD).status == 200


# ---- the forgotten password ----

def reset_token(server, person):
    answer = person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    assert answer.status == 200
    return token_of(server.mail.wait(person.email, "new password"), "reset-password.html")


def reset(api, token, password=OTHER_PASSWORD):
    return api.post("/auth/reset-password", json={"token": token, "new_password": password})


def test_the_collection_is_the_owners(server):
    person = Person(server)
    token = reset_token(server, person)
    stored = row(server, "password_reset_tokens", email=person.email)
    assert set(stored) == {"_id", "token", "user_id", "email", "expires_at", "created_at", "used",
                           "used_at"}
    assert stored["token"] == hashlib.sha256(token.encode()).hexdigest()
    assert stored["user_id"] == person.me().data["id"]
    assert (stored["used"], stored["used_at"]) == (0, None)
    assert abs(stored["expires_at"] - now_ms() - HOUR) < 10_000
    assert len(token) == 43  # 32 bytes in base64url
    assert reset(person.api, token).status == 200
    stored = row(server, "password_reset_tokens", email=person.email)
    assert stored["used"] == 1 and abs(stored["used_at"] - now_ms()) < 10_000


def test_no_token_is_in_the_database(server):
    person = Person(server)
    token = reset_token(server, person)
    stored = everything(server)
    assert person.email.encode() in stored
    for secret in (token, person.refresh_token, person.access, PASSWORD):
        assert secret.encode() not in stored


@pytest.mark.bz_may("BZ0501")
def test_one_winner_of_50(server):
    person = Person(server)
    token = reset_token(server, person)
    answers = in_parallel(50, lambda i: once(server, "POST", "/auth/reset-password", json={
        "token": token, "new_password": f"{OTHER_PASSWORD}-{i}"}))
    won = [i for i, a in enumerate(answers) if a.status == 200]
    assert len(won) == 1
    lost = [a for a in answers if a.status != 200]
    assert {(a.status, a.code) for a in lost} <= {(400, "INVALID_TOKEN"), (503, "BUSY")}
    assert login(person.api, person.email, f"{OTHER_PASSWORD}-{won[0]}").status == 200
    server.mail.wait(person.email, "Password (changed|reset)")
    time.sleep(1.2)
    assert not server.mail.new(person.email, "Password (changed|reset)")


def test_a_link_that_was_not_marked_is_used_up_all_the_same(server):
    """The server was killed between the password and the mark."""
    person = Person(server)
    token = reset_token(server, person)
    assert reset(person.api, token).status == 200
    change(server, "password_reset_tokens", {"email": person.email}, used=0, used_at=None)
    check_error(reset(person.api, token, PASSWORD), 400, "INVALID_TOKEN")
    assert login(person.api, person.email, OTHER_PASSWORD).status == 200


def test_sixty_minutes(server):
    """59:59 and 60:00 by the stored instant: the test moves it rather than the clock."""
    person = Person(server)
    token = reset_token(server, person)
    where = {"email": person.email}
    expires = row(server, "password_reset_tokens", **where)["expires_at"]
    shown = person.api.get("/auth/verify-reset-token", params={"token": token}).data["expires_at"]
    assert shown == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires / 1000))
    unknown = comparable(reset(person.api, "A" * 43))
    change(server, "password_reset_tokens", where, expires_at=now_ms() - 1)
    check_error(person.api.get("/auth/verify-reset-token", params={"token": token}), 400,
                "INVALID_TOKEN")
    assert comparable(reset(person.api, token)) == unknown
    change(server, "password_reset_tokens", where, expires_at=now_ms() + 5_000)
    assert reset(person.api, token).status == 200
    assert comparable(reset(person.api, token)) == unknown  # used is as unknown


def test_looking_at_a_token_uses_nothing_up(server):
    person = Person(server)
    token = reset_token(server, person)
    for _ in range(50):
        answer = person.api.get("/auth/verify-reset-token", params={"token": token})
        assert answer.data["valid"] is True
        assert person.api.head("/auth/verify-reset-token", params={"token": token}).status == 200
    assert row(server, "password_reset_tokens", email=person.email)["used"] == 0
    assert reset(person.api, token).status == 200


def test_a_weak_password_does_not_use_it_up(server):
    person = Person(server)
    token = reset_token(server, person)
    check_error(reset(person.api, token, "short"), 422, "VALIDATION_FAILED", "new_password")
    check_error(reset(person.api, token, "password123"), 422, "WEAK_PASSWORD", "new_password")
    check_error(reset(person.api, token, person.email), 422, "WEAK_PASSWORD", "new_password")
    assert reset(person.api, token).status == 200


def test_a_newer_link_ends_the_older(server):
    person = Person(server)
    first = reset_token(server, person)
    second = reset_token(server, person)
    check_error(reset(person.api, first), 400, "INVALID_TOKEN")
    check_error(person.api.get("/auth/verify-reset-token", params={"token": first}), 400,
                "INVALID_TOKEN")
    assert reset(person.api, second).status == 200


def test_a_reset_ends_every_session_and_signs_nobody_in(server):
    person = Person(server)
    sessions = [login(person.api, person.email, PASSWORD).data for _ in range(3)]
    answer = reset(person.api, reset_token(server, person))
    assert "token" not in answer.text
    for session in [person.tokens, *sessions]:
        check_error(person.api.get("/auth/me", token=session["access_token"]), 401,
                    "TOKEN_REVOKED")
        check_error(refresh(person.api, session["refresh_token"]), 401, "TOKEN_REVOKED")
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    assert login(person.api, person.email, OTHER_PASSWORD).status == 200


def test_a_disabled_account_gets_no_new_password(server):
    person = Person(server)
    token = reset_token(server, person)
    server.ctl("user", "disable", person.email)
    check_error(reset(person.api, token), 400, "INVALID_TOKEN")
    server.ctl("user", "enable", person.email)
    check_error(login(person.api, person.email, OTHER_PASSWORD), 401, "INVALID_CREDENTIALS")
    assert login(person.api, person.email, PASSWORD).status == 200


def test_the_mail_of_a_reset(server):
    person = Person(server, name='Zoë "O\'Neil" <b>')
    person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    mail = server.mail.wait(person.email, "new password")
    token = token_of(mail)
    link = f"https://portal.test/app/reset-password.html#token={token}"
    plain, html = text_of(mail), html_of(mail)
    assert link in plain and link in html
    assert "60 minutes" in plain and "Salon Nora" in mail["Subject"]
    assert 'Zoë "O\'Neil" <b>' in plain and "<b>" not in html.split("Hello")[1][:80]
    assert [p.get_content_type() for p in mail.walk()] == [
        "multipart/alternative", "text/plain", "text/html"]
    assert PASSWORD not in plain and "password=" not in plain


# ---- change-password ----

def change_password(person, current=PASSWORD, new=OTHER_PASSWORD, **more):
    return person.api.post("/auth/change-password", token=person.access, json={
        "current_password": current, "new_password": new}, **more)


def test_changing_the_password(server):
    person = Person(server)
    other = login(person.api, person.email, PASSWORD).data
    check_error(change_password(person, current="wrong password"), 401, "INVALID_CREDENTIALS",
                "current_password")
    check_error(change_password(person, new="password123"), 422, "WEAK_PASSWORD", "new_password")
    answer = change_password(person)
    assert (answer.status, answer.data) == (200, {"status": "password_changed"})
    assert person.me().status == 200  # this session goes on
    assert refresh(person.api, person.refresh_token).status == 200
    check_error(person.api.get("/auth/me", token=other["access_token"]), 401, "TOKEN_REVOKED")
    check_error(refresh(person.api, other["refresh_token"]), 401, "TOKEN_REVOKED")
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    assert login(person.api, person.email, OTHER_PASSWORD).status == 200
    assert person.email in server.mail.wait(person.email, "Password (changed|reset)")["To"]


# ---- sessions ----

def test_sessions_are_listed_and_ended(server):
    person = Person(server)
    agent = "Caf\u00e9App/2.0 (Test)"
    second = person.api.post("/auth/login", ip="203.0.113.9", json={
        "email": person.email, "password": PASSWORD},
        headers={"User-Agent": agent.encode("utf-8")}).data
    listed = person.api.get("/auth/sessions", token=person.access).data
    assert len(listed) == 2
    current = [s for s in listed if s["current"]]
    other = [s for s in listed if not s["current"]][0]
    assert len(current) == 1 and other["address"] == "203.0.113.9"
    assert other["device"] == "Caf\\xc3\\xa9App"
    assert set(other) == {"id", "device", "address", "created_at", "last_seen_at", "expires_at",
                          "current"}
    ended = person.api.delete(f"/auth/sessions/{other['id']}", token=person.access)
    assert ended.data == {"status": "ended"}
    check_error(person.api.get("/auth/me", token=second["access_token"]), 401, "TOKEN_REVOKED")
    check_error(person.api.delete(f"/auth/sessions/{other['id']}", token=person.access), 404,
                "NOT_FOUND")
    assert [s["id"] for s in person.api.get("/auth/sessions", token=person.access).data] == [
        current[0]["id"]]
    person.api.delete(f"/auth/sessions/{current[0]['id']}", token=person.access)
    check_error(person.me(), 401, "TOKEN_REVOKED")


def every_worker(server, token, count=12):
    """Statuses of /auth/me on many connections at once, so that each process is asked."""
    harness.many_at_once |= count >= harness.LEAST_WORKERS
    wires = [Wire(server) for _ in range(count)]
    try:
        for wire in wires:
            wire.request("GET", "/api/v1/auth/me", {"Authorization": f"Bearer {token}"})
        return [wire.answer().status for wire in wires]
    finally:
        for wire in wires:
            wire.socket.close()


def test_logout_holds_in_every_worker_from_the_next_request_on(server):
    for _ in range(5):
        person = Person(server)
        assert set(every_worker(server, person.access)) == {200}
        assert person.api.post("/auth/logout", token=person.access).status == 200
        assert set(every_worker(server, person.access)) == {401}
        check_error(once(server, "POST", "/auth/refresh",
                         json={"refresh_token": person.refresh_token}), 401, "TOKEN_REVOKED")


def test_two_people_over_one_connection(server):
    """As behind a proxy that keeps its connections. Nothing of one request is left for the next."""
    people = [Person(server) for _ in range(2)]
    with Wire(server) as wire:
        def ask(method, path, token=None, json=None):
            headers = {**({"Authorization": f"Bearer {token}"} if token else {}),
                       **({"Content-Type": "application/json"} if json else {})}
            return wire.request(method, f"/api/v1{path}", headers,
                                jsonlib.dumps(json).encode() if json else b"").answer()

        tokens = []
        for person in people:
            wrong = ask("POST", "/auth/login", json={"email": person.email, "password": "wrong"})
            assert (wrong.status, wrong.code) == (401, "INVALID_CREDENTIALS")
            right = ask("POST", "/auth/login", json={"email": person.email, "password": PASSWORD})
            tokens.append(right.json["data"]["access_token"])
        for person, token in zip(people, tokens):
            assert ask("GET", "/auth/me", token).json["data"]["email"] == person.email
            assert ask("GET", "/auth/me").code == "UNAUTHENTICATED"
        assert ask("POST", "/auth/logout", tokens[0]).status == 200
        assert ask("GET", "/auth/me", tokens[0]).code == "TOKEN_REVOKED"
        assert ask("GET", "/auth/me", tokens[1]).json["data"]["email"] == people[1].email


def test_logout_all_ends_all_of_this_user_only(server):
    person, stranger = Person(server), Person(server)
    others = [login(person.api, person.email, PASSWORD).data for _ in range(3)]
    assert person.api.post("/auth/logout-all", token=person.access).status == 200
    for tokens in [person.tokens, *others]:
        assert set(every_worker(server, tokens["access_token"], 8)) == {401}
        check_error(refresh(person.api, tokens["refresh_token"]), 401, "TOKEN_REVOKED")
    assert stranger.me().status == 200
    assert login(person.api, person.email, PASSWORD).status == 200


def test_logging_out_twice(server):
    person = Person(server)
    answers = in_parallel(10, lambda _: once(server, "POST", "/auth/logout", token=person.access))
    assert {a.status for a in answers} <= {200, 401} and 200 in [a.status for a in answers]
    check_error(person.api.post("/auth/logout", token=person.access), 401, "TOKEN_REVOKED")


def test_the_operator_ends_sessions_too(server):
    for command in (("user", "disable"), ("user", "set-role")):
        person = Person(server)
        server.mail.wait(person.email)
        server.ctl(*command, person.email, *(["staff"] if "set-role" in command else []))
        assert person.me().status == 401
        check_error(refresh(person.api, person.refresh_token), 401, "TOKEN_REVOKED")
    check_error(person.me(), 401, "TOKEN_REVOKED")


@pytest.mark.bz_may("AH00098")  # the power cut leaves a pid file
def test_ended_sessions_stay_ended_across_restarts(make_server):
    server = make_server()
    person, alive = Person(server), Person(server)
    person.api.post("/auth/logout", token=person.access)

    def as_it_should_be():
        assert server.api().get("/auth/me", token=person.access).status == 401
        assert server.api().get("/auth/me", token=alive.access).status == 200
        assert refresh(server.api(), person.refresh_token).status == 401

    server.graceful()
    as_it_should_be()
    server.stop()
    server.start()
    as_it_should_be()
    server.kill()
    server.start()
    as_it_should_be()


# ---- the profile ----

def test_the_profile(server):
    person = Person(server, phone="+4930123456", locale="de-at", timezone="Europe/Vienna")
    before = person.me()
    assert (before.data["phone"], before.data["locale"], before.data["timezone"]) == (
        "+4930123456", "de-AT", "Europe/Vienna")
    after = person.api.patch("/auth/me", token=person.access,
                             json={"phone": None, "name": "New Name"})
    assert (after.data["phone"], after.data["name"], after.data["locale"]) == (
        None, "New Name", "de-AT")
    assert after.data["version"] == before.data["version"] + 1
    assert after.headers["etag"] != before.headers["etag"]
    assert person.me().data == after.data
    same = person.api.patch("/auth/me", token=person.access, json={})
    assert same.data == after.data


# ---- bookkeeping ----

def test_nothing_is_left_half_done(server):
    """After all of the above every row of the outbox has an end, and none was given up."""
    wait_until(lambda: not rows(server, "outbox", state="queued"), 15, "an empty queue")
    assert {r["state"] for r in rows(server, "outbox")} <= {"sent", "dropped"}
    assert not [r for r in rows(server, "outbox") if r["sealed"] or r["lease"]]
