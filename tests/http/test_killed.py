"""A worker that is killed, and a store that goes away, in the middle of a sign-in, a renewal, a new
password, a sign-out: what the store has is what counts, and trying again leads on.

tests/lib/shim.c kills the worker when everything is committed and not a byte of the answer is out;
the last test kills at any instruction."""
import contextlib
import itertools
import os
import signal
import threading
import time

import httpx
import pytest

from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Person, Shim, check_error, database, in_parallel, login,
                 once, refresh, row, rows)
from patience import wait_until
from received import token_of
from test_tokens import claims_of

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 Safari/604.1"

LEASE = 75  # a row whose worker was killed comes due again after a minute

# The parent reports each killed child.
pytestmark = pytest.mark.bz_may("AH00052")


@pytest.fixture(scope="module")
def server(module_server):
    server = module_server(conf="BizApiRateLimit off", start=False)
    server.shim = Shim(server)
    return server.start()


def killed(server, method, path, **more):
    """The request is worked, and the worker killed before it answers."""
    server.shim.kill.touch()
    with pytest.raises(httpx.HTTPError):
        once(server, method, path, ip=new_ip(), **more)
    assert not server.shim.kill.exists()
    wait_until(lambda: not server.shim.killed().intersection(server.children()), 10,
               "the worker's end")


def events(server, person):
    return [r["event"] for r in rows(server, "audit_log", user_id=person.document()["_id"])]


# ---- between commit and answer ----

def test_a_sign_in(server):
    person = Person(server, sign_in=False)
    killed(server, "POST", "/auth/login", json={"email": person.email, "password": PASSWORD})
    assert events(server, person).count("authn_login_success") == 1
    tokens = person.login()
    listed = person.api.get("/auth/sessions", token=tokens["access_token"]).data
    assert len(listed) == 2  # the one that nobody got the tokens of can be seen, and ended
    other = next(s["id"] for s in listed if not s["current"])
    assert person.api.delete(f"/auth/sessions/{other}", token=person.access).status == 200


def test_a_sign_in_from_a_new_device(server):
    """Its owner is told once: not for each try, and not never."""
    person = Person(server)
    body = {"email": person.email, "password": PASSWORD}
    killed(server, "POST", "/auth/login", json=body, headers={"User-Agent": IPHONE})
    person.api.post("/auth/login", json=body, headers={"User-Agent": IPHONE})
    notices = rows(server, "outbox", kind="security_notice", user_id=person.document()["_id"])
    assert len(notices) == 1 and "new_device" in notices[0]["data"]


def test_a_renewal(server):
    """The client has the old token only, sends it again and gets what it would have got."""
    person = Person(server)
    killed(server, "POST", "/auth/refresh", json={"refresh_token": person.refresh_token})
    where = {"_id": claims_of(person.access)["sid"]}
    assert row(server, "sessions", **where)["generation"] == 2
    second = refresh(person.api, person.refresh_token)
    assert second.status == 200
    assert row(server, "sessions", **where)["generation"] == 2
    third = refresh(person.api, second.data["refresh_token"])
    assert third.status == 200
    assert person.api.get("/auth/me", token=third.data["access_token"]).status == 200
    assert row(server, "sessions", **where)["revoked_at"] is None


def test_a_new_password_by_a_link(server):
    person = Person(server)
    person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    token = token_of(server.mail.wait(person.email, "new password", LEASE))
    body = {"token": token, "new_password": OTHER_PASSWORD}
    killed(server, "POST", "/auth/reset-password", json=body)
    check_error(person.me(), 401, "TOKEN_REVOKED")
    check_error(refresh(person.api, person.refresh_token), 401, "TOKEN_REVOKED")
    check_error(person.api.post("/auth/reset-password", json=body), 400, "INVALID_TOKEN")
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    assert login(person.api, person.email, OTHER_PASSWORD).status == 200
    told = [r["data"] for r in rows(server, "outbox", kind="security_notice",
                                    user_id=person.document()["_id"])]
    assert len(told) == 1 and "password_reset" in told[0]


def test_a_changed_password(server):
    person = Person(server)
    killed(server, "POST", "/auth/change-password", token=person.access, json={
        "current_password": PASSWORD, "new_password": OTHER_PASSWORD})
    assert person.me().status == 200  # this session goes on
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    assert login(person.api, person.email, OTHER_PASSWORD).status == 200


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/logout-all"])
def test_a_sign_out(server, path):
    person = Person(server)
    killed(server, "POST", path, token=person.access)
    check_error(person.me(), 401, "TOKEN_REVOKED")
    check_error(refresh(person.api, person.refresh_token), 401, "TOKEN_REVOKED")
    check_error(person.api.post(path, token=person.access), 401, "TOKEN_REVOKED")


@pytest.mark.bz("BZ0504")
def test_the_end_of_a_copied_token(server):
    person = Person(server)
    second = refresh(person.api, person.refresh_token).data["refresh_token"]
    third = refresh(person.api, second).data
    killed(server, "POST", "/auth/refresh", json={"refresh_token": person.refresh_token})
    check_error(refresh(person.api, third["refresh_token"]), 401, "TOKEN_REVOKED")
    assert events(server, person).count("authn_token_reuse") == 1
    told = rows(server, "outbox", kind="security_notice", user_id=person.document()["_id"])
    assert ["token_reused" in r["data"] for r in told] == [True]


# ---- anywhere ----

def test_kills_at_any_instruction(server):
    """Workers die while people sign in, renew and sign out. Who tries again is never signed out, and
    who was told to be out stays out."""
    over, out, chains = threading.Event(), [], []

    def insist(method, path, **more):
        while True:
            try:
                return once(server, method, path, ip=new_ip(), **more)
            except httpx.HTTPError:
                time.sleep(0.02)

    def live(number):
        person = people[number]
        token, turns = person.refresh_token, 0
        while not over.is_set():
            answer = insist("POST", "/auth/refresh", json={"refresh_token": token})
            assert answer.status == 200, answer
            token, turns = answer.data["refresh_token"], turns + 1
            assert insist("GET", "/auth/me", token=answer.data["access_token"]).status == 200
        chains.append((person, token, turns))

    def come_and_go(number):
        # By turns: a try whose worker was killed counts as wrong, and five lock an account.
        for person in itertools.cycle(people[number::2]):
            if over.is_set():
                return
            answer = insist("POST", "/auth/login", json={"email": person.email,
                                                         "password": PASSWORD})
            if answer.status == 401:
                continue  # five were killed in a row: locked for a minute
            data = answer.data
            answer = insist("POST", "/auth/logout", token=data["access_token"])
            # Killed after its commit and asked again, it is out already.
            assert answer.status in (200, 401), answer
            out.append(data["access_token"])

    def kill(_):
        end = time.monotonic() + 6
        while time.monotonic() < end:
            time.sleep(0.4)
            for pid in server.children()[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        over.set()

    people = [Person(server) for _ in range(20)]
    in_parallel(7, lambda i: kill(i) if i == 6 else live(i) if i < 4 else come_and_go(i))
    assert len(chains) == 4 and min(turns for _, _, turns in chains) >= 5
    assert len(out) >= 5
    for person, token, turns in chains:
        answer = refresh(person.api, token)
        assert answer.status == 200
        session = row(server, "sessions", _id=claims_of(person.access)["sid"])
        assert session["revoked_at"] is None and session["generation"] == turns + 2
    for access in out:
        assert once(server, "GET", "/auth/me", token=access).status == 401
    assert not [p for p in people if "authn_token_reuse" in events(server, p)]


# ---- the store ----

@pytest.mark.sqlite
@pytest.mark.bz("BZ0201")
@pytest.mark.bz_may("BZ0210")  # where many wait at once
def test_a_store_that_takes_no_writes(server):
    """Nothing is half done, and the same request does it later."""
    person = Person(server)
    person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    link = token_of(server.mail.wait(person.email, "new password", LEASE))
    steps = [("/auth/login", {"email": person.email, "password": PASSWORD}, None),
             ("/auth/refresh", {"refresh_token": person.refresh_token}, None),
             ("/auth/logout", None, person.access),
             ("/auth/reset-password", {"token": link, "new_password": OTHER_PASSWORD}, None)]
    db = database(server)
    db.execute("BEGIN IMMEDIATE")
    try:
        answers = in_parallel(len(steps), lambda i: once(
            server, "POST", steps[i][0], token=steps[i][2],
            **({"json": steps[i][1]} if steps[i][1] else {})))
        for answer in answers:
            check_error(answer, 503, "STORE_UNAVAILABLE")
        assert person.me().status == 200
    finally:
        db.execute("ROLLBACK")
        db.close()
    for path, body, token in steps:
        more = {"json": body} if body else {}
        if path == "/auth/logout":
            token = renewed["access_token"]
        answer = once(server, "POST", path, token=token, **more)
        assert answer.status == 200, answer
        renewed = answer.data if path == "/auth/refresh" else {}
    assert login(person.api, person.email, OTHER_PASSWORD).status == 200
