"""The authenticator app, recovery codes, the second step of a sign-in and proofs in between. The
codes are oathtool's."""
import json
import re
import time

import pytest

from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Person, change, check_error, in_parallel, login, once,
                 row, rows)
from received import token_of
from second import (STEP, age, app_code, first_step, qr_modules, rewind, second_step, set_up, uri_parts,
                    wrong_code)

SERVER = {"conf": 'BizApiRequireMfa staff admin\nBizApiBusiness name "Salon & Söhne"'}


@pytest.fixture
def person(server):
    return Person(server)


@pytest.fixture
def guarded(server):
    """Somebody with an app."""
    someone = Person(server)
    someone.secret, someone.codes = set_up(someone)
    return someone


def user_row(person):
    return row(person.server, "users", _id=person.tokens["user"]["id"])


# ---- set-up ----

def test_set_up(person):
    api, token = person.api, person.access
    setup = api.post("/auth/2fa/setup", token=token)
    secret = setup.data["secret"]
    assert re.fullmatch(r"[A-Z2-7]{32}", secret)
    label, values = uri_parts(setup.data["otpauth_uri"])
    assert label == f"Salon & Söhne:{person.email}"
    assert values == {"secret": secret, "issuer": "Salon & Söhne", "algorithm": "SHA1",
                      "digits": "6", "period": "30"}
    dark, width = qr_modules(setup.data["qr_svg"])
    # The three finder patterns, and the quiet zone around all.
    for x, y in ((4, 4), (width - 11, 4), (4, width - 11)):
        assert {(x + i, y) for i in range(7)} <= dark
    assert all(4 <= x < width - 4 and 4 <= y < width - 4 for x, y in dark)
    # Nothing is in force yet.
    assert person.me().data["mfa_enabled"] is False
    assert login(api, person.email, PASSWORD).data["token_type"] == "Bearer"
    check_error(api.post("/auth/2fa/enable", token=token, json={"code": wrong_code(secret)}),
                401, "INVALID_CODE")
    done = api.post("/auth/2fa/enable", token=token, json={"code": app_code(secret)})
    codes = done.data["recovery_codes"]
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"[0-9a-hjkmnp-tv-z]{5}-[0-9a-hjkmnp-tv-z]{5}", c) for c in codes)
    assert person.me().data["mfa_enabled"] is True
    # Its owner gets a mail, and neither secret nor codes stand in the store as they are.
    stored = " ".join(str(r) for table in ("users", "recovery_codes", "outbox")
                      for r in rows(person.server, table))
    assert secret not in stored and not any(c in stored or c.replace("-", "") in stored
                                            for c in codes)
    assert [r["data"] for r in rows(person.server, "outbox", kind="security_notice",
                                    user_id=user_row(person)["_id"]) if "mfa_enabled" in r["data"]]
    # Once.
    check_error(api.post("/auth/2fa/setup", token=token), 409, "INVALID_STATE")
    check_error(api.post("/auth/2fa/enable", token=token, json={"code": "123456"}), 409,
                "INVALID_STATE")


def test_enable_needs_a_set_up(person):
    check_error(person.api.post("/auth/2fa/enable", token=person.access, json={"code": "123456"}),
                409, "INVALID_STATE")


def test_a_new_set_up_replaces_the_one_before(person):
    def setup():
        return person.api.post("/auth/2fa/setup", token=person.access).data["secret"]

    def enable(secret):
        return person.api.post("/auth/2fa/enable", token=person.access,
                               json={"code": app_code(secret)})
    first, second = setup(), setup()
    check_error(enable(first), 401, "INVALID_CODE")
    assert enable(second).status == 200


@pytest.mark.bz("BZ0532")
def test_a_secret_moved_to_another_user_does_not_open(guarded, server):
    """AES-256-GCM, bound to its row."""
    thief = Person(server)
    change(server, "users", {"_id": thief.tokens["user"]["id"]}, mfa_enabled=1, totp_last_step=1,
           factor_failures=0, totp_secret=user_row(guarded)["totp_secret"])
    check_error(second_step(thief, code=app_code(guarded.secret)), 401, "INVALID_CODE")


# ---- the second step ----

def test_sign_in(guarded):
    ticket = first_step(guarded)
    assert ticket["methods"] == ["totp", "recovery_code"] and ticket["expires_in"] == 300
    assert "access_token" not in ticket
    answer = second_step(guarded, ticket["mfa_token"], code=app_code(guarded.secret))
    assert answer.status == 200 and answer.data["user"]["mfa_enabled"] is True
    assert guarded.api.get("/auth/me", token=answer.data["access_token"]).status == 200


def test_a_ticket_is_no_access_token(guarded):
    ticket = first_step(guarded)["mfa_token"]
    check_error(guarded.api.get("/auth/me", token=ticket), 401, "UNAUTHENTICATED")


def test_each_step_around_now_once_and_none_twice(guarded):
    """T-2, T-3: one step to either side and no further; what is older than the last one is gone."""
    first = app_code(guarded.secret, seconds=user_row(guarded)["totp_last_step"] * STEP)
    ticket = first_step(guarded)["mfa_token"]
    for steps in (-2, 2):
        check_error(second_step(guarded, ticket, code=app_code(guarded.secret, steps)), 401,
                    "INVALID_CODE")
    check_error(second_step(guarded, ticket, code=first), 401, "INVALID_CODE")  # it set the app up
    now = app_code(guarded.secret)
    assert second_step(guarded, ticket, code=now).status == 200
    check_error(second_step(guarded, code=now), 401, "INVALID_CODE")
    later = app_code(guarded.secret, 1)
    assert second_step(guarded, code=later).status == 200
    for code in (first, now, later):
        check_error(second_step(guarded, code=code), 401, "INVALID_CODE")


def test_one_code_in_fifty_posts_at_once(guarded, server):
    """T-1."""
    tickets = [first_step(guarded)["mfa_token"] for _ in range(50)]
    code = app_code(guarded.secret)

    def post(i):
        return once(server, "POST", "/auth/login/mfa", ip=new_ip(),
                    json={"mfa_token": tickets[i], "code": code})
    answers = in_parallel(50, post)
    assert sorted(a.status for a in answers) == [200] + [401] * 49
    assert {a.code for a in answers if a.status == 401} == {"INVALID_CODE"}
    check_error(second_step(guarded, code=code), 401, "INVALID_CODE")
    # A code that was used is no guess: nobody is locked out by it.
    assert second_step(guarded, code=app_code(guarded.secret, 1)).status == 200


def test_one_ticket_in_many_posts_at_once(guarded, server):
    rewind(guarded)
    ticket = first_step(guarded)["mfa_token"]
    proofs = [{"code": app_code(guarded.secret, n)} for n in (-1, 0, 1)] + [
        {"recovery_code": c} for c in guarded.codes[:9]]
    answers = in_parallel(len(proofs), lambda i: once(
        server, "POST", "/auth/login/mfa", ip=new_ip(), json={"mfa_token": ticket, **proofs[i]}))
    assert [a.status for a in answers].count(200) == 1
    assert {a.code for a in answers if a.status != 200} <= {"TOKEN_REVOKED", "INVALID_CODE"}


def test_how_codes_are_typed(guarded):
    """T-4."""
    code = app_code(guarded.secret)
    ticket = first_step(guarded)["mfa_token"]
    full_width = "".join(chr(ord(c) + 0xfee0) for c in code)
    check_error(second_step(guarded, ticket, code=full_width), 401, "INVALID_CODE")
    check_error(second_step(guarded, ticket, code=code[:5]), 422, "VALIDATION_FAILED", "code")
    check_error(second_step(guarded, ticket, code=code + "0"), 422, "VALIDATION_FAILED", "code")
    check_error(second_step(guarded, ticket, code=int(code)), 422, "VALIDATION_FAILED", "code")
    check_error(second_step(guarded, ticket), 422, "VALIDATION_FAILED", "code")
    check_error(second_step(guarded, ticket, code=code, recovery_code=guarded.codes[0]), 422,
                "VALIDATION_FAILED", "code")
    # None of these used the ticket or the code up.
    assert second_step(guarded, ticket, code=f" {code[:3]} {code[3:]} ").status == 200


@pytest.mark.bz("BZ0531")
def test_ten_wrong_codes_lock_the_second_factor_alone(guarded, server):
    """T-5."""
    wrong = wrong_code(guarded.secret)
    for _ in range(10):
        check_error(second_step(guarded, code=wrong), 401, "INVALID_CODE")
    locked = second_step(guarded, code=app_code(guarded.secret))
    check_error(locked, 429, "RATE_LIMITED")
    assert 14 * 60 < int(locked.headers["retry-after"]) <= 15 * 60
    check_error(second_step(guarded, recovery_code=guarded.codes[0]), 429, "RATE_LIMITED")
    # The password and the session that is there do not mind.
    assert first_step(guarded)["mfa_required"] is True and guarded.me().status == 200
    id_ = user_row(guarded)["_id"]
    assert len([r for r in rows(server, "outbox", kind="security_notice", user_id=id_)
                if "factor_locked" in r["data"]]) == 1
    # A quarter of an hour later.
    change(server, "users", {"_id": id_}, factor_failed_at=int((time.time() - 15 * 60 - 1) * 1000))
    check_error(second_step(guarded, code=wrong), 401, "INVALID_CODE")
    assert second_step(guarded, code=app_code(guarded.secret)).status == 200
    assert user_row(guarded)["factor_failures"] == 0


@pytest.mark.bz("BZ0531")
def test_many_wrong_codes_at_once_count_ten(guarded, server):
    """However many are on their way: after ten the right one is refused, too."""
    wrong = wrong_code(guarded.secret)
    answers = in_parallel(30, lambda i: once(
        server, "POST", "/auth/reauthenticate", ip=new_ip(), token=guarded.access,
        json={"code": wrong}))
    assert {a.status for a in answers} <= {401, 429}
    assert user_row(guarded)["factor_failures"] == 10
    check_error(second_step(guarded, code=app_code(guarded.secret)), 429, "RATE_LIMITED")


@pytest.mark.bz("BZ0531")
def test_every_way_to_try_a_code_counts_together(guarded):
    """Sign-in, proofs in between, new recovery codes, removal; the app's codes and the others."""
    def ask(path, **body):
        return guarded.api.post(path, token=guarded.access, ip=new_ip(), json=body)
    wrong = wrong_code(guarded.secret)
    ways = [lambda **proof: second_step(guarded, ticket, **proof),
            lambda **proof: ask("/auth/reauthenticate", **proof),
            lambda **proof: ask("/auth/2fa/recovery-codes", **proof),
            lambda **proof: ask("/auth/2fa/disable", password=PASSWORD, **proof)]
    ticket = first_step(guarded)["mfa_token"]
    for number in range(10):
        proof = {"code": wrong} if number % 2 else {"recovery_code": "00000-00000"}
        check_error(ways[number % 4](**proof), 401, "INVALID_CODE")
    for way in ways:
        check_error(way(code=app_code(guarded.secret)), 429, "RATE_LIMITED")
        check_error(way(recovery_code=guarded.codes[0]), 429, "RATE_LIMITED")
    assert guarded.me().data["mfa_enabled"] is True


def test_a_new_password_by_mail_leaves_the_second_factor(guarded, server):
    """A-13: who reads the mailbox has one factor, not both."""
    change(server, "users", {"_id": user_row(guarded)["_id"]}, email_verified=1)
    guarded.api.post("/auth/forgot-password", ip=new_ip(), json={"email": guarded.email})
    token = token_of(server.mail.wait(guarded.email, "new password"))
    done = guarded.api.post("/auth/reset-password", ip=new_ip(), json={
        "token": token, "new_password": OTHER_PASSWORD})
    assert done.data == {"status": "password_changed"}
    answer = login(guarded.api, guarded.email, OTHER_PASSWORD)
    assert answer.data["mfa_required"] is True and "access_token" not in answer.data
    assert second_step(guarded, answer.data["mfa_token"],
                       code=app_code(guarded.secret)).status == 200


def test_whoever_made_the_account_before_keeps_no_way_in(guarded, server):
    """An address that nobody had confirmed: its owner's first link takes a stranger's factors away."""
    guarded.api.post("/auth/forgot-password", ip=new_ip(), json={"email": guarded.email})
    token = token_of(server.mail.wait(guarded.email, "new password"))
    assert guarded.api.post("/auth/reset-password", ip=new_ip(), json={
        "token": token, "new_password": OTHER_PASSWORD}).status == 200
    answer = login(guarded.api, guarded.email, OTHER_PASSWORD)
    assert answer.status == 200 and answer.data["access_token"]
    stored = user_row(guarded)
    assert stored["email_verified"] == 1 and stored["mfa_enabled"] == 0
    assert stored["totp_secret"] is stored["totp_pending"] is stored["recovery_set"] is None
    assert not rows(server, "recovery_codes", user_id=stored["_id"])


@pytest.mark.bz("BZ0531")
def test_the_first_code_is_not_guessed(person):
    """Counted and locked as all others; and not by a stale session."""
    def enable(code):
        return person.api.post("/auth/2fa/enable", token=person.access, json={"code": code})

    secret = person.api.post("/auth/2fa/setup", token=person.access).data["secret"]
    age(person)
    check_error(enable(app_code(secret)), 403, "REAUTH_REQUIRED")
    person.login()
    for _ in range(10):
        check_error(enable(wrong_code(secret)), 401, "INVALID_CODE")
    check_error(enable(app_code(secret)), 429, "RATE_LIMITED")
    # A lock from before the clock was set back lasts no longer for it.
    change(person.server, "users", {"_id": user_row(person)["_id"]},
           factor_failed_at=int((time.time() + 24 * 3600) * 1000))
    assert enable(app_code(secret)).status == 200


def test_tickets(guarded, server):
    """T-6: of another user, used, old, ended with the sessions, changed."""
    other = Person(server)
    secret, _ = set_up(other)
    ticket = first_step(guarded)["mfa_token"]
    check_error(second_step(guarded, ticket, code=app_code(secret)), 401, "INVALID_CODE")
    for bad in ("x", ticket[:-1], ticket[:-1] + ("A" if ticket[-1] != "A" else "B"),
                guarded.access, guarded.refresh_token):
        check_error(second_step(guarded, bad, code="123456"), 401, "UNAUTHENTICATED")
    assert second_step(guarded, ticket, code=app_code(guarded.secret)).status == 200
    check_error(second_step(guarded, ticket, code=app_code(guarded.secret, 1)), 401,
                "TOKEN_REVOKED")
    before = first_step(guarded)["mfa_token"]
    assert guarded.api.post("/auth/logout-all", token=guarded.access).status == 200
    check_error(second_step(guarded, before, code=app_code(guarded.secret, 1)), 401,
                "TOKEN_REVOKED")


def test_an_account_that_was_disabled_meanwhile(guarded, server):
    ticket = first_step(guarded)["mfa_token"]
    change(server, "users", {"_id": guarded.tokens["user"]["id"]}, disabled=1)
    check_error(second_step(guarded, ticket, code=app_code(guarded.secret)), 401, "TOKEN_REVOKED")


# ---- recovery codes ----

def test_recovery_codes_work_once_each(guarded, server):
    """T-7."""
    first, second = guarded.codes[:2]
    id_ = user_row(guarded)["_id"]

    def notices():
        return len([r for r in rows(server, "outbox", kind="security_notice", user_id=id_)
                    if "recovery_code_used" in r["data"]])
    assert second_step(guarded, recovery_code=first).status == 200
    assert notices() == 1
    check_error(second_step(guarded, recovery_code=first), 401, "INVALID_CODE")
    # As it is read back from paper.
    typed = " " + second.upper().replace("0", "O").replace("1", "l").replace("-", " ")
    assert second_step(guarded, recovery_code=typed).status == 200
    assert notices() == 2
    check_error(second_step(guarded, recovery_code="00000-00000"), 401, "INVALID_CODE")


def test_one_recovery_code_in_many_posts_at_once(guarded, server):
    tickets = [first_step(guarded)["mfa_token"] for _ in range(12)]
    answers = in_parallel(12, lambda i: once(server, "POST", "/auth/login/mfa", ip=new_ip(), json={
        "mfa_token": tickets[i], "recovery_code": guarded.codes[0]}))
    assert sorted(a.status for a in answers) == [200] + [401] * 11


def test_recovery_codes_of_others_and_of_before(guarded, server):
    other = Person(server)
    _, codes = set_up(other)
    check_error(second_step(guarded, recovery_code=codes[0]), 401, "INVALID_CODE")
    check_error(guarded.api.post("/auth/2fa/recovery-codes", token=guarded.access,
                                 json={"code": wrong_code(guarded.secret)}), 401, "INVALID_CODE")
    fresh = guarded.api.post("/auth/2fa/recovery-codes", token=guarded.access,
                             json={"code": app_code(guarded.secret)})
    assert fresh.status == 200 and not set(fresh.data["recovery_codes"]) & set(guarded.codes)
    check_error(second_step(guarded, recovery_code=guarded.codes[0]), 401, "INVALID_CODE")
    assert second_step(guarded, recovery_code=fresh.data["recovery_codes"][9]).status == 200
    assert len(rows(server, "recovery_codes", user_id=user_row(guarded)["_id"])) == 10


def test_recovery_codes_need_a_factor(person):
    check_error(person.api.post("/auth/2fa/recovery-codes", token=person.access,
                                json={"code": "123456"}), 409, "INVALID_STATE")


def test_without_codes_left_the_client_is_not_sent_to_them(guarded, server):
    change(server, "recovery_codes", {"user_id": user_row(guarded)["_id"]}, used_at=1)
    assert first_step(guarded)["methods"] == ["totp"]


# ---- the end of it ----

def test_disable(guarded, server):
    def disable(**body):
        return guarded.api.post("/auth/2fa/disable", token=guarded.access, json=body)
    code = app_code(guarded.secret)
    for body in ({}, {"password": PASSWORD}, {"code": code}):  # T-8
        check_error(disable(**body), 403, "REAUTH_REQUIRED")
    check_error(disable(password=OTHER_PASSWORD, code=code), 401, "INVALID_CREDENTIALS")
    check_error(disable(password=PASSWORD, code=wrong_code(guarded.secret)), 401, "INVALID_CODE")
    assert disable(password=PASSWORD, code=code).data == {"status": "disabled"}
    assert guarded.me().data["mfa_enabled"] is False
    assert login(guarded.api, guarded.email, PASSWORD).data["token_type"] == "Bearer"
    stored = user_row(guarded)
    assert stored["totp_secret"] is None and stored["recovery_set"] is None
    assert rows(server, "recovery_codes", user_id=stored["_id"]) == []
    check_error(disable(password=PASSWORD, code="123456"), 409, "INVALID_STATE")


def test_disable_with_a_recovery_code(guarded):
    """For the day the telephone is lost."""
    answer = guarded.api.post("/auth/2fa/disable", token=guarded.access, json={
        "password": PASSWORD, "recovery_code": guarded.codes[3]})
    assert answer.status == 200 and guarded.me().data["mfa_enabled"] is False


# ---- proofs in between ----

def test_a_session_gets_stale_and_fresh_again(person):
    def setup():
        return person.api.post("/auth/2fa/setup", token=person.access)

    def prove(**body):
        return person.api.post("/auth/reauthenticate", token=person.access, json=body)
    age(person)
    check_error(setup(), 403, "REAUTH_REQUIRED")
    check_error(prove(), 422, "VALIDATION_FAILED", "password")
    check_error(prove(password=OTHER_PASSWORD), 401, "INVALID_CREDENTIALS")
    check_error(setup(), 403, "REAUTH_REQUIRED")
    assert prove(password=PASSWORD).data == {"status": "confirmed"}
    assert setup().status == 200


def test_with_a_factor_the_password_does_not_make_fresh(guarded):
    def prove(**body):
        return guarded.api.post("/auth/reauthenticate", token=guarded.access, json=body)
    age(guarded)
    check_error(prove(password=PASSWORD), 422, "VALIDATION_FAILED", "code")
    check_error(prove(code=wrong_code(guarded.secret)), 401, "INVALID_CODE")
    assert prove(code=app_code(guarded.secret)).status == 200
    assert prove(recovery_code=guarded.codes[0]).status == 200


def test_a_sign_in_after_wrong_passwords_and_codes_is_told(guarded, server):
    def told():
        return [r["data"] for r in rows(server, "outbox", kind="security_notice",
                                        user_id=user_row(guarded)["_id"])
                if "signed_in_after_failures" in r["data"]]
    check_error(login(guarded.api, guarded.email, OTHER_PASSWORD), 401, "INVALID_CREDENTIALS")
    second_step(guarded, code=wrong_code(guarded.secret))
    assert second_step(guarded, code=app_code(guarded.secret)).status == 200
    assert told() == []  # everybody may be wrong once or twice
    for _ in range(2):
        check_error(login(guarded.api, guarded.email, OTHER_PASSWORD), 401, "INVALID_CREDENTIALS")
    ticket = first_step(guarded)["mfa_token"]
    check_error(second_step(guarded, ticket, code=wrong_code(guarded.secret)), 401, "INVALID_CODE")
    rewind(guarded)
    assert second_step(guarded, ticket, code=app_code(guarded.secret)).status == 200
    assert len(told()) == 1
    server.mail.wait(guarded.email, "Failed sign-ins")
    rewind(guarded)
    assert second_step(guarded, code=app_code(guarded.secret)).status == 200
    assert len(told()) == 1


def test_what_there_is(person):
    def factors():
        return person.api.get("/auth/2fa", token=person.access).data
    assert factors() == {"enabled": False, "totp": False, "passkeys": 0, "recovery_codes_left": 0,
                         "fresh": True}
    _, codes = set_up(person)
    second_step(person, recovery_code=codes[0])
    age(person)
    assert factors() == {"enabled": True, "totp": True, "passkeys": 0, "recovery_codes_left": 9,
                         "fresh": False}


def test_a_stale_session_does_not_change_the_telephone_number(person):
    def patch(**body):
        return person.api.patch("/auth/me", token=person.access, json=body)
    assert patch(phone="+4930123456").status == 200
    age(person)
    check_error(patch(phone="+4930999999"), 403, "REAUTH_REQUIRED")
    check_error(patch(phone=None), 403, "REAUTH_REQUIRED")
    assert patch(name="Other Name", phone="+4930123456").status == 200
    assert person.me().data["phone"] == "+4930123456"


# ---- who must have one ----

FREE = [("POST", "/auth/2fa/setup", None), ("GET", "/auth/2fa", None),
        ("POST", "/auth/passkeys/register/options", None),
        ("GET", "/auth/passkeys", None), ("GET", "/auth/me", None),
        ("POST", "/auth/reauthenticate", {"password": PASSWORD})]
CLOSED = [("PATCH", "/auth/me", {"name": "X"}), ("GET", "/auth/sessions", None),
          ("POST", "/auth/change-password", {"current_password": PASSWORD,
                                             "new_password": OTHER_PASSWORD})]


@pytest.mark.parametrize("role", ["staff", "admin"])
def test_staff_without_a_factor_can_only_get_one(server, role):
    someone = Person(server)
    change(server, "users", {"_id": someone.tokens["user"]["id"]}, role=role)

    def ask(method, path, body):
        more = {} if body is None else {"json": body}
        return someone.api.request(method, path, token=someone.access, **more)
    for each in FREE:
        assert ask(*each).status == 200, each
    for each in CLOSED:
        check_error(ask(*each), 403, "MFA_REQUIRED")
    set_up(someone)
    assert ask(*CLOSED[1]).status == 200
    assert ask("POST", "/auth/logout", None).status == 200


def test_customers_need_none(person):
    assert person.api.get("/auth/sessions", token=person.access).status == 200


def test_what_happens_is_in_the_audit(guarded, server):
    second_step(guarded, code=wrong_code(guarded.secret))
    second_step(guarded, code=app_code(guarded.secret))
    second_step(guarded, recovery_code=guarded.codes[0])
    names = [r["event"] if "event" in r else r["name"]
             for r in rows(server, "audit_log", user_id=user_row(guarded)["_id"])]
    for name in ("authn_mfa_enabled", "authn_factor_fail", "authn_factor_success", "authn_login_success",
                 "authn_recovery_code_used"):
        assert name in names, names


def test_an_operator_takes_it_all_away(guarded, server):
    said = json.loads(server.ctl("user", "reset-mfa", guarded.email, "--json").stdout)
    assert said["mfa_enabled"] is False and said["version"] == user_row(guarded)["version"]
    assert "no second factor" in server.ctl("user", "reset-mfa", guarded.email).stdout
    check_error(guarded.me(), 401, "TOKEN_REVOKED")
    assert login(guarded.api, guarded.email, PASSWORD).data["user"]["mfa_enabled"] is False
    assert rows(server, "recovery_codes", user_id=guarded.tokens["user"]["id"]) == []
