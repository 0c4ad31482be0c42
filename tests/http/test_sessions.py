"""Where an account is signed in: devices, their names, the mail about a new one, and "last seen"
without a write for each request."""
import json
import threading
import time

import pytest

from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Person, change, check_error, database, in_parallel, login,
                 now_ms, once, refresh, row, rows)
from received import token_of
from test_tokens import claims_of

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
FIREFOX_LATER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
          "Gecko) Version/17.5 Mobile/15E148 Safari/604.1")
DAY = 24 * 3600 * 1000


def sign_in(person, agent=FIREFOX, ip="203.0.113.7", **fields):
    # Addresses are reused here on purpose; the limit of sign-ins is off in this module.
    answer = person.api.post("/auth/login", ip=ip, headers={"User-Agent": agent}, json={
        "email": person.email, "password": PASSWORD, **fields})
    assert answer.status == 200, answer
    return answer.data


def sid_of(access):
    return claims_of(access)["sid"]


def notices(server, person):
    """The data of the notices about new devices that were queued for somebody."""
    data = [json.loads(r["data"]) for r in rows(server, "outbox", kind="security_notice",
                                                user_id=person.document()["_id"])]
    return [d for d in data if d["event"] == "new_device"]


SERVER = {"conf": "BizApiRateLimit off"}


# ---- new devices ----

def test_a_new_device_is_told_by_mail(server):
    person = Person(server, sign_in=False)
    sign_in(person)
    assert notices(server, person) == []  # the first sign-in of a new account
    sign_in(person, IPHONE, "192.0.2.44")
    told, = notices(server, person)
    signed_in = rows(server, "sessions", user_id=person.document()["_id"])[-1]["created_at"]
    assert abs(told.pop("at") / 1000 - signed_in) < 30000
    assert told == {"event": "new_device", "ip": "192.0.2.44", "detail": "Safari on iPhone"}
    mail = server.mail.wait(person.email, "New sign-in")
    text = mail.get_body(("plain",)).get_content()
    assert "Safari on iPhone" in text and "192.0.2.44" in text
    assert "Safari on iPhone" in mail.get_body(("html",)).get_content()


def test_what_was_seen_before_is_not_new(server):
    person = Person(server, sign_in=False)
    sign_in(person)
    sign_in(person, FIREFOX_LATER, "203.0.200.1")  # a newer version, the same provider
    person.api.post("/auth/logout-all", token=sign_in(person)["access_token"])
    sign_in(person)
    assert notices(server, person) == []
    sign_in(person, IPHONE, "192.0.2.44")
    sign_in(person, IPHONE, "192.0.2.45")
    assert len(notices(server, person)) == 1


@pytest.mark.parametrize("agent, ip", [(IPHONE, "203.0.113.7"), (FIREFOX, "192.0.2.1"),
                                       (FIREFOX, "2001:db8::1"), ("", "203.0.113.7")])
def test_another_program_or_network_is(server, agent, ip):
    person = Person(server, sign_in=False)
    sign_in(person)
    sign_in(person, agent, ip)
    assert [d["ip"] for d in notices(server, person)] == [ip]


def test_networks_of_ipv6(server):
    person = Person(server, sign_in=False)
    sign_in(person, ip="2001:db8::1")
    sign_in(person, ip="2001:db8:ffff:1::9")
    assert notices(server, person) == []
    sign_in(person, ip="2001:db9::1")
    assert len(notices(server, person)) == 1


def test_the_device_token_says_it_better(server):
    person, stranger = Person(server, sign_in=False), Person(server, sign_in=False)
    token = sign_in(person)["device_token"]
    again = sign_in(person, IPHONE, "192.0.2.50", device_token=token)["device_token"]
    assert again == token
    assert notices(server, person) == []
    # Another account's first sign-in there, and then on a device of its own: it is known on both.
    both = sign_in(stranger, device_token=token)["device_token"]
    assert both != token and both.startswith(token.split(".")[0])
    for who in (person, stranger):
        sign_in(who, IPHONE, new_ip(), device_token=both)
        assert notices(server, who) == []
    # Without a tag of one's own it says nothing.
    sign_in(stranger, "curl/8", "192.0.2.51", device_token=token)
    assert len(notices(server, stranger)) == 1


@pytest.mark.parametrize("token", ["x", "dev_" + "0" * 26 + "." + "A" * 22, None])
def test_texts_that_are_no_device_token(server, token):
    """They count as none; the next one is good."""
    person = Person(server, sign_in=False)
    sign_in(person)
    data = sign_in(person, IPHONE, "192.0.2.52", device_token=token)
    assert len(notices(server, person)) == 1
    sign_in(person, "curl/8", "198.51.100.3", device_token=data["device_token"])
    assert len(notices(server, person)) == 1


def test_an_old_account_whose_sessions_are_gone(server):
    person = Person(server, sign_in=False)
    change(server, "users", {"email": person.email}, created_at=now_ms() - 91 * DAY)
    sign_in(person)
    assert len(notices(server, person)) == 1
    sign_in(person)
    assert len(notices(server, person)) == 1


def test_a_wrong_password_tells_nobody(server):
    person = Person(server)
    for token in (None, person.tokens["device_token"]):
        assert login(person.api, person.email, "wrong-password").status == 401
        answer = person.api.post("/auth/login", json={
            "email": person.email, "password": "wrong-password", "device_token": token})
        assert answer.status == 401 and "device_token" not in answer.text
    assert notices(server, person) == []


# ---- the end ----

def test_ends_are_in_the_audit_log(server):
    def ended(person):
        return [json.loads(r["details"]) for r in rows(
            server, "audit_log", user_id=person.document()["_id"], event="session_ended")]

    person = Person(server)
    first, second = person.tokens, sign_in(person)
    ids = [sid_of(t["access_token"]) for t in (first, second)]
    person.api.delete(f"/auth/sessions/{ids[1]}", token=first["access_token"])
    person.api.post("/auth/logout", token=first["access_token"])
    person.api.post("/auth/logout-all", token=sign_in(person)["access_token"])
    assert ended(person) == [{"session_id": ids[1]}, {"session_id": ids[0]}, {"which": "all"}]


# ---- the list ----

def test_the_list_names_devices(server):
    person = Person(server, sign_in=False)
    current = sign_in(person)
    sign_in(person, IPHONE)
    sign_in(person, "curl/7.88.1")
    listed = person.api.get("/auth/sessions", token=current["access_token"]).data
    assert [(s["device"], s["current"]) for s in listed] == [
        ("curl", False), ("Safari on iPhone", False), ("Firefox on Linux", True)]
    assert {s["address"] for s in listed} == {"203.0.113.7"}


# ---- last seen ----

def session_of(server, person):
    return row(server, "sessions", user_id=person.document()["_id"])


def aged(server, person, minutes, **more):
    """The session was last written that long ago."""
    change(server, "sessions", {"_id": session_of(server, person)["_id"]},
           last_seen_at=now_ms() - minutes * 60_000, **more)
    return session_of(server, person)


def test_requests_do_not_write(server):
    person = Person(server)
    before = aged(server, person, 4)
    for _ in range(20):
        assert person.me().status == 200
    assert session_of(server, person) == before


def test_of_all_requests_in_five_minutes_one_writes(server):
    person = Person(server)
    before = aged(server, person, 6, idle_expires_at=now_ms() + 20 * DAY)
    answers = in_parallel(40, lambda _: once(server, "GET", "/auth/me", token=person.access,
                                             ip="203.0.113.77"))
    assert {a.status for a in answers} == {200}
    after = session_of(server, person)
    assert after["version"] == before["version"] + 1
    assert now_ms() - after["last_seen_at"] < 30_000
    assert abs(after["idle_expires_at"] - now_ms() - 30 * DAY) < 60_000
    listed = person.api.get("/auth/sessions", token=person.access).data[0]
    assert listed["address"] == "203.0.113.77"
    assert session_of(server, person)["version"] == after["version"]


def test_use_does_not_outlast_the_90_days(server):
    person = Person(server)
    end = now_ms() + 2 * DAY
    aged(server, person, 6, expires_at=end, idle_expires_at=end)
    assert person.me().status == 200
    assert session_of(server, person)["idle_expires_at"] == end


def test_an_ended_session_is_not_seen_again(server):
    person = Person(server)
    person.api.post("/auth/logout", token=person.access)
    before = aged(server, person, 60)
    assert person.me().status == 401
    assert session_of(server, person) == before


@pytest.mark.sqlite
@pytest.mark.bz("BZ0201")
@pytest.mark.bz_may("BZ0210")  # the background's writer stands before it
def test_a_store_that_takes_no_writes_costs_one_request_once(make_server):
    server = make_server(conf="BizApiRateLimit off")
    person = Person(server)
    aged(server, person, 60)
    db = database(server)
    db.execute("BEGIN IMMEDIATE")
    try:
        assert person.me().status == 200  # waits for the lock, and goes on
        begin = time.monotonic()
        for _ in range(20):
            assert once(server, "GET", "/auth/me", token=person.access).status == 200
        assert time.monotonic() - begin < 1.5
    finally:
        db.execute("ROLLBACK")
        db.close()


def test_a_new_password_revives_no_session(server):
    """All sessions are ended while the new password is hashed: the one that asked stays ended."""
    person = Person(server)

    def change_password():
        return once(server, "POST", "/auth/change-password", token=person.access, json={
            "current_password": PASSWORD, "new_password": OTHER_PASSWORD})

    def end_all():
        time.sleep(0.03)
        return once(server, "POST", "/auth/logout-all", token=person.access)

    changed, ended = in_parallel(2, lambda i: (change_password, end_all)[i]())
    assert changed.status == 200 or (changed.status, changed.code) in (
        (409, "CONFLICT"), (401, "TOKEN_REVOKED"))
    if ended.status == 200:
        check_error(person.me(), 401, "TOKEN_REVOKED")
    else:
        check_error(ended, 401, "TOKEN_REVOKED")


# ---- under load ----

def reset_password(server, person, _):
    person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    token = token_of(server.mail.wait(person.email, "new password", 30))
    return once(server, "POST", "/auth/reset-password", json={
        "token": token, "new_password": OTHER_PASSWORD})


def by_api(method, path, **json_of):
    def end(server, person, other):
        body = {"json": json_of} if json_of else {}
        return once(server, method, path.replace("{sid}", sid_of(person.access)),
                    token=other["access_token"], **body)
    return end


def by_operator(*command):
    def end(server, person, _):
        return server.ctl("user", command[0], person.email, *command[1:])
    return end


ENDS = {"logout-all": by_api("POST", "/auth/logout-all"),
        "end of one": by_api("DELETE", "/auth/sessions/{sid}"),
        "new password": by_api("POST", "/auth/change-password", current_password=PASSWORD,
                               new_password=OTHER_PASSWORD),
        "reset": reset_password,
        "disabling": by_operator("disable"), "role": by_operator("set-role", "staff")}


@pytest.mark.parametrize("name", ENDS)
def test_an_end_holds_from_the_next_request_on(server, name):
    """Eight clients ask all the time, in every worker; whatever is asked after the answer that says
    so is refused."""
    person = Person(server)
    other = login(person.api, person.email, PASSWORD).data
    ended = threading.Event()

    def ask(_):
        seen = []
        while len([over for over, _ in seen if over]) < 10:
            over = ended.is_set()
            seen.append((over, once(server, "GET", "/auth/me", token=person.access).status))
        return seen

    def finish(i):
        if i:
            return ask(i)
        time.sleep(0.3)
        try:
            answer = ENDS[name](server, person, other)
        finally:
            ended.set()
        assert getattr(answer, "status", 200) == 200, answer
        return []

    seen = [each for list_of_one in in_parallel(9, finish) for each in list_of_one]
    assert {status for over, status in seen if over} == {401}
    assert {status for over, status in seen if not over} in ({200}, {200, 401})
    check_error(refresh(person.api, person.refresh_token), 401, "TOKEN_REVOKED")
