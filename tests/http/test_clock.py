"""Clocks that jump: the server's, by libfaketime, forwards, backwards and past 2038; and those of two
machines that differ a little."""
import json
import os
import pathlib
import re
import time

import jwt
import pytest
from jwt.algorithms import ECAlgorithm

from client import new_ip
from kit import OTHER_PASSWORD, PASSWORD, Person, Shim, check_error, login, refresh, row
from patience import wait_until
from received import text_of, token_of
from second import STEP, Authenticator, app_code, first_step, second_step, set_up
from test_tokens import claims_of, header_of, key_of, refused, sign

MINUTE, DAY = 60, 24 * 3600
LIBRARY = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


class Clock:
    """The server's."""

    def __init__(self, server):
        self.file = server.root / "clock"
        self.set(0)
        Shim(server)
        server.env.update(FAKETIME_TIMESTAMP_FILE=str(self.file), FAKETIME_NO_CACHE="1",
                          FAKETIME_DONT_FAKE_MONOTONIC="1",
                          LD_PRELOAD=f"{server.env['LD_PRELOAD']}:{LIBRARY}")

    def set(self, seconds):
        """So far from the true time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        os.chmod(new, 0o644)
        new.rename(self.file)
        self.offset = seconds

    def now(self):
        return time.time() + self.offset


# A worker may need more than one signal to end while its clock is another.
pytestmark = [
    pytest.mark.bz_may("AH00045"),
    pytest.mark.skipif("BIZ_PRELOAD" in os.environ,
                       reason="a server under libfaketime and a sanitizer does not come up")]


def link_of(server, person):
    person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    return token_of(server.mail.wait(person.email, "new password", 30))


@pytest.fixture
def server(make_server):
    assert LIBRARY, "libfaketime is not installed"
    server = make_server(conf="BizApiRateLimit off", start=False)
    server.clock = Clock(server)
    return server.start()


def over(answer):
    """Of a session whose last day is past, and which the sweep may have taken away by now."""
    check_error(answer, 401, answer.code)
    assert answer.code in ("TOKEN_EXPIRED", "TOKEN_REVOKED"), answer


def test_tokens_end_in_time(server):
    person = Person(server)
    server.clock.set(15 * MINUTE - 20)
    assert person.me().status == 200
    server.clock.set(15 * MINUTE + 1)
    refused(person.api, person.access, "TOKEN_EXPIRED")
    # The session goes on, 30 days of idle time at a time, 90 in all.
    token = person.refresh_token
    for days in (29, 58, 87):
        server.clock.set(days * DAY)
        answer = refresh(server.api(), token)  # an idle connection has had its time, too
        assert answer.status == 200
        token = answer.data["refresh_token"]
    assert person.api.get("/auth/me", token=answer.data["access_token"]).status == 200
    server.clock.set(90 * DAY + 1)
    over(refresh(server.api(), token))
    refused(server.api(), answer.data["access_token"], "TOKEN_EXPIRED")


def test_a_session_that_is_not_used(server):
    person = Person(server)
    server.clock.set(30 * DAY + 1)
    check_error(refresh(person.api, person.refresh_token), 401, "TOKEN_EXPIRED")


def test_a_link_lives_sixty_minutes(server):
    people = [Person(server) for _ in range(2)]
    links = [link_of(server, person) for person in people]
    server.clock.set(60 * MINUTE - 30)
    assert people[0].api.post("/auth/reset-password", json={
        "token": links[0], "new_password": "Quiet-Harbour-22-boats"}).status == 200
    server.clock.set(60 * MINUTE + 1)
    check_error(people[1].api.post("/auth/reset-password", json={
        "token": links[1], "new_password": "Quiet-Harbour-22-boats"}), 400, "INVALID_TOKEN")


@pytest.mark.bz("BZ0504")
def test_a_clock_that_is_set_back_revives_nothing(server):
    person, out = Person(server), Person(server)
    server.clock.set(2 * DAY)
    second = refresh(person.api, person.refresh_token).data
    out.api.post("/auth/logout-all", token=login(out.api, out.email, PASSWORD).data["access_token"])
    ended = login(out.api, out.email, PASSWORD).data
    out.api.post("/auth/logout", token=ended["access_token"])
    server.clock.set(0)
    # What was ended stays so.
    check_error(refresh(out.api, ended["refresh_token"]), 401, "TOKEN_REVOKED")
    check_error(refresh(out.api, out.refresh_token), 401, "TOKEN_REVOKED")
    # The current one goes on; a token from the future is none, once its signature is looked at.
    third = refresh(person.api, second["refresh_token"])
    assert third.status == 200
    assert person.api.get("/auth/me", token=third.data["access_token"]).status == 200
    # The grace of 30 s is over two days "before" it began.
    server.clock.set(2 * DAY)
    fourth = refresh(person.api, third.data["refresh_token"])
    assert fourth.status == 200
    server.clock.set(0)
    check_error(refresh(person.api, third.data["refresh_token"]), 401, "TOKEN_REVOKED")
    check_error(refresh(person.api, fourth.data["refresh_token"]), 401, "TOKEN_REVOKED")


def test_after_2038(server):
    """4500 days on: signed in to, renewed, listed, rotated, verified by others, and mailed."""
    before = Person(server)
    server.clock.set(4500 * DAY)
    assert server.clock.now() > 2 ** 31
    over(refresh(before.api, before.refresh_token))
    person = Person(server)
    assert claims_of(person.access)["exp"] > 2 ** 31
    assert person.me().data["created_at"] > "2038-02"
    second = refresh(person.api, person.refresh_token).data
    listed = person.api.get("/auth/sessions", token=second["access_token"]).data
    assert len(listed) == 1 and listed[0]["expires_at"] > listed[0]["last_seen_at"] > "2038-02"
    keys = server.api().get("/auth/jwks.json").json["keys"]
    kid = header_of(person.access)["kid"]
    public = ECAlgorithm.from_jwk(json.dumps(next(k for k in keys if k["kid"] == kid)))
    jwt.decode(person.access, public, algorithms=["ES256"], audience=claims_of(person.access)["aud"],
               options={"verify_iat": False})
    link = link_of(server, person)
    assert server.api().get("/auth/verify-reset-token", params={"token": link}).data[
        "expires_at"] > "2038-02"
    server.clock.set(4500 * DAY + 15 * MINUTE)
    refused(person.api, second["access_token"], "TOKEN_EXPIRED")
    server.graceful()
    assert refresh(server.api(), second["refresh_token"]).status == 200


def test_the_second_step_and_a_challenge_live_five_minutes(server):
    """T-8: tickets of a sign-in, a passkey's challenges."""
    person = Person(server)
    secret, _ = set_up(person)
    tickets = [first_step(person)["mfa_token"] for _ in range(2)]
    made = [person.api.post("/auth/passkeys/register/options", token=person.access).data
            for _ in range(2)]
    key, late = [Authenticator(origin="http://localhost:8081", rp_id=options["rp"]["id"])
                 for options in made]
    asked = [person.api.post("/auth/passkeys/login/options", ip=new_ip(), json={}).data
             for _ in range(2)]

    def add(authenticator, options):
        return person.api.post("/auth/passkeys/register/verify", token=person.access,
                               json={"credential": authenticator.create(options)})

    def use(options):
        return person.api.post("/auth/passkeys/login/verify", ip=new_ip(),
                               json={"credential": key.get(options)})

    def code():
        return app_code(secret, server.clock.offset // STEP)

    server.clock.set(5 * MINUTE - 30)
    assert add(key, made[0]).status == 201
    assert use(asked[0]).status == 200
    assert second_step(person, tickets[0], code=code()).status == 200
    server.clock.set(5 * MINUTE + 30)
    check_error(second_step(person, tickets[1], code=code()), 401, "TOKEN_EXPIRED")
    check_error(use(asked[1]), 401, "INVALID_CREDENTIALS")
    check_error(add(late, made[1]), 422, "VALIDATION_FAILED", "credential")
    assert len(person.api.get("/auth/passkeys", token=person.access).data) == 1


@pytest.mark.bz("BZ0531")
def test_accounts_after_2038(server):
    """The authenticator app, its lock, the lock of an account, a reset, a confirmation: all of
    them count past 2^31 seconds, and end when their time is over."""
    after = 4500 * DAY
    server.clock.set(after)
    person = Person(server)
    text = text_of(server.mail.wait(person.email, "Confirm", 30))
    code = re.search(r"\b\d{6}\b", re.sub(r"https?://\S+", "", text))[0]
    assert person.api.post("/auth/verify-email", json={"email": person.email,
                                                       "code": code}).status == 200
    secret = person.api.post("/auth/2fa/setup", token=person.access).data["secret"]

    def app():
        return app_code(secret, seconds=server.clock.now())
    assert person.api.post("/auth/2fa/enable", token=person.access,
                           json={"code": app()}).status == 200
    ticket = first_step(person)["mfa_token"]
    for _ in range(10):
        wrong = f"{(int(app()) + 500_000) % 1_000_000:06}"
        check_error(second_step(person, ticket, code=wrong), 401, "INVALID_CODE")
    locked = second_step(person, ticket, code=app())
    check_error(locked, 429, "RATE_LIMITED")
    assert 14 * 60 < int(locked.headers["retry-after"]) <= 15 * 60
    server.clock.set(after + 15 * MINUTE + 2)
    assert second_step(person, code=app()).status == 200
    # A lock of the account lasts a minute, and no longer.
    for _ in range(5):
        check_error(login(person.api, person.email, "wrong-wrong"), 401, "INVALID_CREDENTIALS")
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    server.clock.set(after + 16 * MINUTE + 4)
    assert login(person.api, person.email, PASSWORD).status == 200
    link = link_of(server, person)
    server.clock.set(after + 76 * MINUTE)
    assert person.api.post("/auth/reset-password", json={
        "token": link, "new_password": OTHER_PASSWORD}).status == 200
    late = link_of(server, person)
    server.clock.set(after + 137 * MINUTE)
    check_error(person.api.post("/auth/reset-password", json={
        "token": late, "new_password": PASSWORD}), 400, "INVALID_TOKEN")


def test_old_keys_go_when_their_tokens_have_ended(server):
    """The pair before is published and taken for as long as a token of it can live, then no more,
    however long a token says that it lives."""
    kid, private = key_of(server)
    person = Person(server)
    forever = sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid},
                   {**claims_of(person.access), "exp": int(time.time()) + 30 * DAY})
    server.ctl("--state-dir", str(server.state), "keys", "rotate")
    server.graceful()

    def published():
        return [k["kid"] for k in server.api().get("/auth/jwks.json").json["keys"]]

    assert len(published()) == 2 and published()[1] == kid
    assert server.api().get("/auth/me", token=person.access).status == 200
    server.clock.set(14 * MINUTE)
    server.graceful()
    assert kid in published()
    assert server.api().get("/auth/me", token=person.access).status == 200
    assert server.api().get("/auth/me", token=forever).status == 200
    server.clock.set(17 * MINUTE)
    # Without a restart, and with one.
    assert len(published()) == 1 and kid not in published()
    server.graceful()
    assert len(published()) == 1 and kid not in published()
    check_error(server.api().get("/auth/me", token=forever), 401, "UNAUTHENTICATED")
    assert refresh(server.api(), person.refresh_token).status == 200


def test_clocks_of_two_machines(server):
    """A token made on a machine whose clock is a little ahead is good at once; an end is never
    stretched."""
    kid, private = key_of(server)
    person = Person(server)

    def made(ahead, left=900):
        now = int(time.time())
        return sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid}, {
            **claims_of(person.access), "iat": now + ahead, "exp": now + left, "jti": f"{ahead}"})

    assert person.api.get("/auth/me", token=made(5)).status == 200
    assert person.api.get("/auth/me", token=made(25)).status == 200
    refused(person.api, made(45), "UNAUTHENTICATED")
    refused(person.api, made(0, left=-1), "TOKEN_EXPIRED")
    # A rotation "25 s from now" by the other machine is a race as any other.
    server.clock.set(25)
    second = refresh(person.api, person.refresh_token).data["refresh_token"]
    server.clock.set(0)
    assert refresh(person.api, person.refresh_token).data["refresh_token"] == second


def test_a_jump_does_not_end_last_seen(server):
    """Set back, the clock does not make each request write; later it goes on."""
    person = Person(server)
    where = {"_id": claims_of(person.access)["sid"]}
    server.clock.set(6 * MINUTE)
    assert person.me().status == 200
    version = row(server, "sessions", **where)["version"]
    assert version == 2
    server.clock.set(0)
    for _ in range(3):
        assert person.me().status == 200
    assert row(server, "sessions", **where)["version"] == version
    server.clock.set(12 * MINUTE)
    assert person.me().status == 200
    wait_until(lambda: row(server, "sessions", **where)["version"] == version + 1, 2, "one write")
