"""Accounts as admins manage them: list, search, make, change, delete, unlock; and that the business is
never left without an admin."""
import json
import time

import pytest

from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Admin, Person, address, change, check_error, in_parallel,
                 insert, login, once, row, rows)
from patience import wait_until
from received import text_of, token_of
from second import age, set_up

WRONG = "wrong-wrong"


@pytest.fixture(scope="module")
def admin(server):
    return Admin(server)


def call(admin, method, path, **more):
    return admin.api.request(method, path, token=admin.access, **more)


def user_id(person):
    return person.tokens["user"]["id"]


def notices(server, **where):
    """The data of the security mails that were queued, oldest first."""
    return [json.loads(r["data"]) for r in rows(server, "outbox", kind="security_notice", **where)]


def test_only_admins(server):
    for person in (Person(server), Admin(server, "staff")):
        for method, path, body in (("GET", "/admin/users", None), ("GET", "/admin/users/x", None),
                                   ("POST", "/admin/users", {"email": address(), "name": "N"}),
                                   ("PATCH", f"/admin/users/{user_id(person)}", {"role": "admin"}),
                                   ("DELETE", f"/admin/users/{user_id(person)}", None),
                                   ("POST", f"/admin/users/{user_id(person)}/unlock", None)):
            more = {"json": body} if body else {}
            check_error(call(person, method, path, **more), 403, "FORBIDDEN")


def test_list_and_search(server, admin):
    word = address("findme").partition("@")[0]
    people = [Person(server, email=f"{word}{n}@people.test", sign_in=False) for n in range(3)]
    found = call(admin, "GET", "/admin/users", params={"email": word.upper()}).data
    assert [u["email"] for u in found] == [p.email for p in people]
    assert found[0]["has_password"] is True and found[0]["disabled"] is False
    page = call(admin, "GET", "/admin/users", params={"email": word, "limit": 2})
    rest = call(admin, "GET", "/admin/users", params={
        "email": word, "limit": 2, "cursor": page.json["pagination"]["next_cursor"]})
    assert [u["email"] for u in page.data + rest.data] == [p.email for p in people]
    assert call(admin, "GET", "/admin/users", params={"email": word, "role": "staff"}).data == []
    newest = call(admin, "GET", "/admin/users", params={"limit": 1}).data
    assert newest[0]["email"] == people[-1].email
    admins = call(admin, "GET", "/admin/users", params={"role": "admin"}).data
    assert admin.email in [u["email"] for u in admins]
    assert {u["role"] for u in admins} == {"admin"}


def test_an_invited_person_sets_a_password_by_the_link(server, admin):
    email = address("invited")
    answer = call(admin, "POST", "/admin/users", json={
        "email": email, "name": "In Vited", "role": "staff", "password": "Not-for-admins-1",
        "email_verified": True})
    assert answer.status == 201 and answer.data["role"] == "staff", answer
    assert answer.data["has_password"] is False and answer.data["email_verified"] is False
    check_error(call(admin, "POST", "/admin/users", json={"email": email, "name": "N"}), 409,
                "CONFLICT", "email")
    check_error(login(admin.api, email, "Not-for-admins-1"), 401, "INVALID_CREDENTIALS")
    mail = server.mail.wait(to=email)
    assert mail["Subject"].endswith(": link for 24 hours"), mail["Subject"]
    token = token_of(mail, "reset")
    assert admin.api.post("/auth/reset-password", ip=new_ip(), json={
        "token": token, "new_password": PASSWORD}).status == 200
    tokens = login(admin.api, email, PASSWORD).data
    # Who has used the link has the mailbox.
    assert tokens["user"]["email_verified"] is True and tokens["user"]["role"] == "staff"


def test_a_new_role_or_state_ends_the_sessions(server, admin):
    person = Person(server)
    path = f"/admin/users/{user_id(person)}"
    assert call(admin, "PATCH", path, json={"name": "Other", "phone": None}).data["name"] == "Other"
    assert person.me().status == 200
    assert call(admin, "PATCH", path, json={"role": "customer", "disabled": False}).status == 200
    assert person.me().status == 200, "nothing has changed"
    assert call(admin, "PATCH", path, json={"role": "staff"}).data["role"] == "staff"
    check_error(person.me(), 401, "TOKEN_REVOKED")
    person.login()
    assert call(admin, "PATCH", path, json={"disabled": True}).data["disabled"] is True
    check_error(person.me(), 401, "TOKEN_REVOKED")
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    assert call(admin, "PATCH", path, json={"disabled": False}).status == 200
    person.login()
    events = [r["event"] for r in rows(server, "audit_log", user_id=user_id(person))]
    assert events[2:6] == ["user_updated", "authz_change", "authn_login_success", "user_disabled"]
    assert row(server, "audit_log", user_id=user_id(person), event="authz_change")[
        "actor_id"] == user_id(admin)
    told = [d for d in notices(server, user_id=user_id(person)) if d["event"] == "role_changed"]
    assert [d["detail"] for d in told] == ["staff"]
    assert "staff" in text_of(server.mail.wait(person.email, "Role changed"))


def test_a_stale_session_of_an_admin_changes_nobodys_rights(server):
    """Step-up: who finds a browser that is still signed in makes no admins."""
    admin, person = Admin(server), Person(server)
    path = f"/admin/users/{user_id(person)}"
    age(admin)
    for method, where, body in (
            ("PATCH", path, {"role": "admin"}), ("PATCH", path, {"disabled": True}),
            ("PATCH", path, {"phone": "+4930123457"}),
            ("DELETE", path, None),
            ("POST", "/admin/users", {"email": address("new"), "name": "N", "role": "admin"})):
        check_error(call(admin, method, where, **({"json": body} if body else {})), 403,
                    "REAUTH_REQUIRED")
    stored = person.document()
    assert stored["role"] == "customer" and not stored["disabled"] and not stored["deleted_at"]
    assert person.me().status == 200
    # What is no right goes on, and a proof opens the rest.
    assert call(admin, "PATCH", path, json={"name": "Other", "role": "customer"}).status == 200
    assert call(admin, "POST", "/admin/users",
                json={"email": address("new"), "name": "N"}).status == 201
    assert admin.api.post("/auth/reauthenticate", token=admin.access,
                          json={"password": PASSWORD}).status == 200
    assert call(admin, "PATCH", path, json={"role": "staff"}).status == 200


def test_a_change_of_what_was_changed_meanwhile_is_refused(server, admin):
    person = Person(server)
    path = f"/admin/users/{user_id(person)}"
    seen = call(admin, "GET", path)
    assert call(admin, "PATCH", path, json={"name": "One"},
                headers={"If-Match": seen.headers["etag"]}).status == 200
    for method, more in (("PATCH", {"json": {"name": "Two"}}), ("DELETE", {})):
        check_error(call(admin, method, path, headers={"If-Match": seen.headers["etag"]}, **more),
                    412, "STALE")
    assert call(admin, "GET", path).data["name"] == "One"
    assert call(admin, "GET", path, headers={
        "If-None-Match": call(admin, "GET", path).headers["etag"]}).status == 304


def test_deleting_leaves_nothing_of_the_person(server, admin):
    person = Person(server, phone="+4930123456", name="Gone Person")
    path = f"/admin/users/{user_id(person)}"
    set_up(person)  # and with it recovery codes
    insert(server, "passkeys", user_id=user_id(person), credential_id="A" * 43, name="Key")
    assert person.api.post("/portal/push-devices", token=person.access, json={
        "token": "d" * 150, "platform": "web"}).status == 200
    person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    server.mail.wait(person.email, "new password")
    assert call(admin, "DELETE", path).data == {"status": "deleted"}
    check_error(person.me(), 401, "TOKEN_REVOKED")
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    for method in ("GET", "DELETE"):
        check_error(call(admin, method, path), 404, "NOT_FOUND")
    text = str(row(server, "users", _id=user_id(person)))
    for gone in (person.email, "Gone", "+4930", "argon2"):
        assert gone not in text
    for table in ("sessions", "passkeys", "recovery_codes", "password_reset_tokens",
                  "email_verification_tokens", "push_devices", "lockouts"):
        assert rows(server, table, user_id=user_id(person)) == [], table
    assert rows(server, "outbox", recipient=person.email) == []
    assert call(admin, "GET", "/admin/users", params={"email": user_id(person)}).data == []
    # The address is free again, for another account.
    again = Person(server, email=person.email)
    assert user_id(again) != user_id(person)


def test_what_a_deleted_account_has_to_tell_yet_is_told(server, admin):
    """The worker that ended the session was killed just now, on a machine whose clock is ahead."""
    person = Person(server)
    user, now = person.tokens["user"]["id"], int(time.time() * 1000)
    word = {"id": "act_" + "7" * 26, "at": now * 1000, "user_id": user, "event": "session_ended"}
    assert change(server, "sessions", {"user_id": user}, untold=json.dumps([word]),
                  updated_at=now + 30000) == 1
    answer = admin.api.delete(f"/admin/users/{user}", token=admin.access)
    assert answer.status == 200, answer
    assert rows(server, "sessions", user_id=user) == []
    wait_until(lambda: len(rows(server, "audit_log", user_id=user, event="session_ended")) == 1)
    wait_until(lambda: not [s for s in rows(server, "sessions") if s["user_id"] is None])


def test_an_admin_unlocks(server, admin):
    person = Person(server)
    for _ in range(6):
        check_error(login(person.api, person.email, WRONG), 401, "INVALID_CREDENTIALS")
    locked = login(person.api, person.email, PASSWORD)
    check_error(locked, 401, "INVALID_CREDENTIALS")
    assert call(admin, "POST", f"/admin/users/{user_id(person)}/unlock").data == {
        "status": "unlocked"}
    person.login()
    for _ in range(6):
        login(person.api, person.email, WRONG)
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    # The owner's own device stays welcome.
    assert login(person.api, person.email, PASSWORD).status == 401
    known = person.api.post("/auth/login", ip=new_ip(), json={
        "email": person.email, "password": PASSWORD,
        "device_token": person.tokens["device_token"]})
    assert known.status == 200
    server.ctl("user", "unlock", person.email)
    person.login()
    told = [d["event"] for d in notices(server, user_id=user_id(person))]
    assert told.count("account_unlocked") == 2
    # Once for each of the two locks, though tries went on; found by the address.
    assert [d["event"] for d in notices(server, recipient=person.email)] == ["account_locked"] * 2
    assert "unlocked" in server.ctl("user", "unlock", "192.0.2.200").stdout
    check_error(call(admin, "POST", "/admin/users/usr_none/unlock"), 404, "NOT_FOUND")


def test_the_current_password_cannot_be_guessed_either(server):
    person = Person(server)
    for number in range(10):
        if number % 2:
            check_error(person.api.post("/auth/change-password", token=person.access, json={
                "current_password": WRONG, "new_password": OTHER_PASSWORD}), 401,
                "INVALID_CREDENTIALS", "current_password")
        else:  # the other place that asks for it counts with it
            check_error(person.api.post("/auth/reauthenticate", token=person.access, json={
                "password": WRONG}), 401, "INVALID_CREDENTIALS", "password")
    check_error(person.api.post("/auth/reauthenticate", token=person.access, json={
        "password": PASSWORD}), 401, "INVALID_CREDENTIALS", "password")
    told = [d["event"] for d in notices(server, recipient=person.email)]
    assert told == ["account_locked"]
    check_error(person.api.post("/auth/change-password", token=person.access, json={
        "current_password": PASSWORD, "new_password": OTHER_PASSWORD}), 401,
        "INVALID_CREDENTIALS", "current_password")
    server.ctl("user", "unlock", person.email)
    assert person.api.post("/auth/change-password", token=person.access, json={
        "current_password": PASSWORD, "new_password": OTHER_PASSWORD}).status == 200


def test_the_last_admin_stays(make_server):
    server = make_server()
    first = Admin(server)
    path = f"/admin/users/{user_id(first)}"
    # Who was invited and has set no password cannot sign in yet.
    assert call(first, "POST", "/admin/users", json={
        "email": address("invited"), "name": "N", "role": "admin"}).status == 201
    for method, more in (("PATCH", {"json": {"role": "staff"}}),
                         ("PATCH", {"json": {"disabled": True}}), ("DELETE", {})):
        # What it has to tell of an earlier change, its worker having been killed, stays.
        word = {"id": "act_" + "7" * 26, "at": int(time.time() * 1e6), "user_id": user_id(first),
                "event": "session_ended"}
        change(server, "users", {"_id": user_id(first)}, untold=json.dumps([word]),
               updated_at=int((time.time() + 60) * 1000))
        check_error(call(first, method, path, **more), 409, "INVALID_STATE")
        assert first.me().status == 200 and row(
            server, "users", _id=user_id(first))["untold"] == json.dumps([word])
    assert call(first, "PATCH", path, json={"name": "New Name"}).status == 200
    assert len(rows(server, "audit_log", user_id=user_id(first), event="session_ended")) == 1
    second = Admin(server)
    pairs = [(first, second), (second, first)]
    for _ in range(4):
        answers = in_parallel(2, lambda i: once(
            server, "PATCH", f"/admin/users/{user_id(pairs[i][1])}", token=pairs[i][0].access,
            json={"role": "staff"}))
        left = [u for u in rows(server, "users", role="admin") if not u["disabled"]]
        assert left, answers
        for person in (first, second):
            server.ctl("user", "set-role", person.email, "admin")
            person.login()
    assert call(second, "DELETE", path).status == 200
