"""The code that a verification mail has beside its link: six digits, ten minutes, few tries."""
import re

import pytest

from client import new_ip
from kit import Person, address, change, check_error, comparable, row, rows
from received import text_of

MINUTE_MS = 60_000


@pytest.fixture
def person(server):
    return Person(server, sign_in=False)


def mailed_code(server, email):
    return re.search(r"\b\d{6}\b", re.sub(r"https?://\S+", "", text_of(server.mail.wait(email))))[0]


def verify(person, email, code):
    return person.api.post("/auth/verify-email", ip=new_ip(), json={"email": email, "code": code})


def other(code, n=1):
    return f"{(int(code) + n) % 1_000_000:06}"


def test_the_code_confirms_the_address_once(server, person):
    code = mailed_code(server, person.email)
    check_error(verify(person, person.email, other(code)), 401, "INVALID_CODE")
    assert verify(person, person.email.upper(), f"{code[:3]} {code[3:]}").data == {
        "status": "verified"}
    assert person.document()["email_verified"] == 1
    check_error(verify(person, person.email, code), 401, "INVALID_CODE")
    assert row(server, "audit_log", event="user_email_verified",
               user_id=person.document()["_id"])
    # Beside the link, which went with it.
    assert row(server, "email_verification_tokens", email=person.email)["used"] == 1


def test_five_tries(server, person):
    code = mailed_code(server, person.email)
    for n in range(5):
        check_error(verify(person, person.email, other(code, n + 1)), 401, "INVALID_CODE")
    told = len(rows(server, "audit_log", event="user_email_verify_fail"))
    check_error(verify(person, person.email, code), 401, "INVALID_CODE")
    assert len(rows(server, "audit_log", event="user_email_verify_fail")) == told
    # A new mail brings no new tries; the wait does, or somebody of the business.
    person.api.post("/auth/resend-verification", ip=new_ip(), json={"email": person.email})
    newer = mailed_code(server, person.email)
    check_error(verify(person, person.email, newer), 401, "INVALID_CODE")
    server.ctl("user", "unlock", person.email)
    assert verify(person, person.email, newer).status == 200


def test_ten_minutes(server, person):
    code = mailed_code(server, person.email)
    made = row(server, "email_verification_tokens", email=person.email)["created_at"]
    change(server, "email_verification_tokens", {"email": person.email},
           created_at=made - 10 * MINUTE_MS)
    check_error(verify(person, person.email, code), 401, "INVALID_CODE")
    change(server, "email_verification_tokens", {"email": person.email},
           created_at=made - 9 * MINUTE_MS)
    assert verify(person, person.email, code).status == 200


def test_nobody_learns_whether_there_is_an_account(server, person):
    wrong = other(mailed_code(server, person.email))
    unknown, known = verify(person, address(), wrong), verify(person, person.email, wrong)
    check_error(known, 401, "INVALID_CODE")
    assert comparable(unknown) == comparable(known)
    assert len(rows(server, "audit_log", event="user_email_verify_fail")) >= 2


@pytest.mark.parametrize("body", [{}, {"code": "123456"}, {"email": "a@b.test"}])
def test_one_of_the_two_ways(server, api, body):
    check_error(api.post("/auth/verify-email", ip=new_ip(), json=body), 422, "VALIDATION_FAILED",
                "token")
