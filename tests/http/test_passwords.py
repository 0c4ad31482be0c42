"""Passwords: what may be one, that nothing of it is changed or cut, imported hashes, and a flood of
sign-ins."""
import time

import pytest

from client import new_ip
from kit import (BCRYPT, OTHER_PASSWORD, PASSWORD, Person, address, change, check_error, in_parallel,
                 login, once, processor_time, row)

SERVER = {"conf": "BizApiBusiness name \"Salon Aurelia\""}


def register(api, password, email=None, name="Nora Body"):
    return api.post("/auth/register", ip=new_ip(), json={
        "email": email or address(), "password": password, "name": name})


GOOD = {
    "8 letters": "quvzmarp",
    "8 code points of 4 bytes": "\U0001f600\U0001f680\U0001f525\U0001f4a7\U0001f34b\U0001f9ca"
                                "\U0001f3b2\U0001f9f6",
    "8 of two bytes": "äöüßéèêë",
    "spaces at the ends": "  kept as it is  ",
    "only spaces inside": "a b c d e f g h",
    "all lower case": "correcthorsebatterystaple",
    "256 code points": "ab1-" * 64,
    "256 code points of 4 bytes": "\U0001f600\U0001f680" * 128,
    "control characters": "tab\tnew\nline\x01\x7f",
    "bidi and zero width": "pass\u202eword\u200bphrase",
    "a NUL's neighbours": "\x01\x02\x03\x04\x05\x06\x07\x08",
    "looks like a hash": "$2b$10$abcdefghijklmnopqrstuv",
    "looks like a template": "{{password}}%s%n${jndi}",
    "looks like SQL": "' OR '1'='1' --",
    "digits": "7350921846",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_passwords_are_kept_exactly(api, name):
    email, password = address(), GOOD[name]
    assert register(api, password, email).status == 201
    assert login(api, email, password).status == 200
    wrong = {password + " ", " " + password, password[:-1], password + "x", password.strip(),
             password.swapcase(), password.replace(" ", "")} - {password}
    for other in wrong:
        if 1 <= len(other) <= 256:
            assert login(api, email, other).status == 401, repr(other)


@pytest.mark.parametrize("password, code", [
    ("a" * 7, "VALIDATION_FAILED"), ("\U0001f600" * 7, "VALIDATION_FAILED"),
    ("äöüßéèê", "VALIDATION_FAILED"), ("", "VALIDATION_FAILED"),
    ("xy7-" * 64 + "z", "VALIDATION_FAILED"), ("\U0001f600" * 257, "VALIDATION_FAILED")])
def test_length_is_counted_in_code_points(api, password, code):
    check_error(register(api, password), 422, code, "password")


def test_only_the_last_byte_differs(api):
    email, front = address(), "k3-" * 85
    assert register(api, front + "a", email).status == 201
    assert login(api, email, front + "a").status == 200
    assert login(api, email, front + "b").status == 401
    assert login(api, email, front).status == 401


def test_normal_forms_are_different_texts(api):
    email = address()
    assert register(api, "cafe\u0301-und-kuchen", email).status == 201
    assert login(api, email, "caf\u00e9-und-kuchen").status == 401
    assert login(api, email, "cafe\u0301-und-kuchen").status == 200


@pytest.mark.parametrize("password", [
    "Password1", "PASSWORD12", "password123", "12345678", "qwertyuiop", "iloveyou1",
    "letmein1", "1q2w3e4r5t", "sunshine1", "football1"])
def test_what_is_guessed_first_is_refused(api, password):
    error = check_error(register(api, password), 422, "WEAK_PASSWORD", "password")
    assert password not in error["message"]


@pytest.mark.parametrize("password", ["leonora.brandt@people.test", "leonora.brandt",
                                      "Leonora.Brandt1985", "salon aurelia", "SalonAurelia1",
                                      "aurelia2026!", "Ottilie Fuchs", "ottilie1990", "bizapi2026"])
def test_what_an_acquaintance_would_try_is_refused(api, password):
    answer = register(api, password, "leonora.brandt@people.test", "Ottilie Fuchs")
    check_error(answer, 422, "WEAK_PASSWORD", "password")


def test_a_long_one_with_the_name_in_it_passes(api):
    assert register(api, "ottilie walks seven lemons home", name="Ottilie Fuchs").status == 201


def test_every_way_to_a_password_has_the_same_rules(server):
    person = Person(server)
    for new, status, code in (("short77", 422, "VALIDATION_FAILED"),
                              ("password123", 422, "WEAK_PASSWORD"),
                              (person.email, 422, "WEAK_PASSWORD"),
                              ("x" * 257, 422, "VALIDATION_FAILED")):
        answer = person.api.post("/auth/change-password", token=person.access, json={
            "current_password": PASSWORD, "new_password": new})
        check_error(answer, status, code, "new_password")
    assert person.me().status == 200
    done = server.ctl("user", "set-password", person.email, "--password-stdin", stdin="password\n",
                      check=False)
    assert done.returncode != 0
    assert login(person.api, person.email, PASSWORD).status == 200


@pytest.mark.parametrize("current", ["wrong password", PASSWORD + " ", PASSWORD.lower(), "x"])
def test_the_current_password_must_be_right(server, current):
    person = Person(server)
    answer = person.api.post("/auth/change-password", token=person.access, json={
        "current_password": current, "new_password": OTHER_PASSWORD})
    check_error(answer, 401, "INVALID_CREDENTIALS", "current_password")
    assert login(person.api, person.email, PASSWORD).status == 200


def test_a_megabyte_is_no_password(server):
    took = []
    for _ in range(3):
        before = processor_time(server)
        answer = server.api().post("/auth/login", ip=new_ip(), json={
            "email": "a@b.test", "password": "x" * 1_000_000})
        check_error(answer, 413, "BODY_TOO_LARGE")
        took.append(processor_time(server) - before)
    assert min(took) < 0.020  # a hash takes more


# ---- imported accounts ----

@pytest.mark.parametrize("letter", "aby")
def test_imported_hashes_verify_and_are_renewed(server, letter):
    person = Person(server, sign_in=False)
    where = {"email": person.email}
    assert change(server, "users", where, password_hash=BCRYPT.format(letter)) == 1
    assert login(person.api, person.email, OTHER_PASSWORD).status == 401
    assert login(person.api, person.email, PASSWORD + "x").status == 401
    assert person.document()["password_hash"] == BCRYPT.format(letter)
    assert login(person.api, person.email, PASSWORD).status == 200
    renewed = person.document()["password_hash"]
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    person.login()
    assert person.document()["password_hash"] == renewed
    assert person.me().status == 200


def test_renewing_ends_no_session(server):
    person = Person(server)
    change(server, "users", {"email": person.email}, password_hash=BCRYPT.format("b"))
    assert person.me().status == 200
    login(person.api, person.email, PASSWORD)
    assert person.me().status == 200


@pytest.mark.parametrize("stored", [None, "", "x", PASSWORD, "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
                                    "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", BCRYPT.format("b")[:-1],
                                    BCRYPT.format("c"), "$2b$31$" + "a" * 53, "$argon2id$broken",
                                    "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"])
def test_other_stored_forms_never_match(server, stored):
    person = Person(server, sign_in=False)
    change(server, "users", {"email": person.email}, password_hash=stored)
    for password in (PASSWORD, stored or "x", "x"):
        begin = time.monotonic()
        check_error(login(person.api, person.email, password), 401, "INVALID_CREDENTIALS")
        assert time.monotonic() - begin < 5
    assert person.document()["password_hash"] == stored


def test_a_hash_of_other_cost_is_renewed(server):
    """64 KiB and three passes, by libsodium: it verifies, and is made anew."""
    person = Person(server, sign_in=False)
    cheap = ("$argon2id$v=19$m=64,t=3,p=1$Hf4A1hd9zYCQT/4tVz9lCA$"
             "5s71w7zXTYc03YzCgtRUIrVkW5X5BHkQPSP6S1D6A20")
    change(server, "users", {"email": person.email}, password_hash=cheap)
    assert login(person.api, person.email, OTHER_PASSWORD).status == 401
    assert person.document()["password_hash"] == cheap
    assert login(person.api, person.email, PASSWORD).status == 200
    assert "m=19456,t=2,p=1" in person.document()["password_hash"]


# ---- a flood ----

@pytest.mark.bz_may("BZ0501")
def test_a_flood_of_sign_ins(make_server):
    """200 at once on a few processors: each gets an answer, 401 or BUSY with Retry-After, others are
    served meanwhile, and afterwards all is as before."""
    server = make_server()
    person = Person(server)
    others = []

    def sign_in(i):
        if i % 20 == 0:
            others.append(server.api().get("/health/live").status)
        return once(server, "POST", "/auth/login", json={
            "email": person.email if i % 2 else address("none"), "password": "wrong password"})

    answers = in_parallel(200, sign_in)
    for answer in answers:
        if answer.status == 503:
            check_error(answer, 503, "BUSY")
        else:
            check_error(answer, 401, "INVALID_CREDENTIALS")
    assert others == [200] * 10
    # Strangers are locked out by then, the owner's device is not.
    assert login(person.api, person.email, PASSWORD,
                 device_token=person.tokens["device_token"]).status == 200
    assert row(server, "users", email=person.email)["disabled"] == 0
