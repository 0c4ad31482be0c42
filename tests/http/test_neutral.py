"""No answer tells whether an address is known: the same status, body, headers and work for all."""
import statistics
import time

import pytest

from client import new_ip
from kit import (BCRYPT, OTHER_PASSWORD, PASSWORD, Person, address, change, check_error, comparable,
                 login, processor_time, row, rows)
from patience import wait_until
from received import token_of

SERVER = {}


@pytest.fixture(scope="module")
def people(server):
    """One address of each kind."""
    kinds = {"known": Person(server), "disabled": Person(server), "verified": Person(server),
             "imported": Person(server)}
    server.mail.wait(kinds["disabled"].email)
    server.ctl("user", "disable", kinds["disabled"].email)
    token = server.mail.wait(kinds["verified"].email, "Confirm")
    kinds["verified"].api.post("/auth/verify-email", json={"token": token_of(token)})
    change(server, "users", {"email": kinds["imported"].email}, password_hash=BCRYPT.format("b"))
    return {**{kind: p.email for kind, p in kinds.items()}, "unknown": address("nobody")}


KINDS = ["known", "disabled", "verified", "imported", "unknown"]


@pytest.mark.parametrize("path", ["/auth/forgot-password", "/auth/resend-verification"])
@pytest.mark.parametrize("kind", KINDS)
def test_asking_for_a_mail(server, people, path, kind):
    api = server.api()
    reference = api.post(path, ip=new_ip(), json={"email": address("reference")})
    assert reference.status == 200
    answer = api.post(path, ip=new_ip(), json={"email": people[kind]})
    assert comparable(answer) == comparable(reference)


@pytest.mark.parametrize("kind", KINDS)
def test_signing_in_with_a_wrong_password(server, people, kind):
    api = server.api()
    reference = login(api, address("reference"), "wrong password")
    check_error(reference, 401, "INVALID_CREDENTIALS")
    for password in ("wrong password", "x", PASSWORD + "x", PASSWORD.upper(), " " + PASSWORD):
        assert comparable(login(api, people[kind], password)) == comparable(reference)


def test_a_disabled_account_with_its_right_password(server, people):
    api = server.api()
    reference = comparable(login(api, address("reference"), PASSWORD))
    assert comparable(login(api, people["disabled"], PASSWORD)) == reference
    server.ctl("user", "unlock", people["known"])  # other tests have guessed
    assert login(api, people["known"], PASSWORD).status == 200


def test_a_locked_account(server):
    """With its right password too, and an address that is nobody's."""
    person, nobody = Person(server, sign_in=False), address("nobody")
    reference = comparable(login(person.api, address("reference"), "wrong password"))
    for email in (person.email, nobody):
        for password in ["wrong password"] * 6 + [PASSWORD]:
            assert comparable(login(person.api, email, password)) == reference
    events = [r["event"] for r in rows(server, "audit_log", user_id=person.document()["_id"])]
    assert events.count("authn_login_lock") == 1


def register(api, email, name="Somebody Else", password=OTHER_PASSWORD):
    return api.post("/auth/register", ip=new_ip(), json={
        "email": email, "password": password, "name": name})


@pytest.mark.parametrize("kind", ["known", "disabled", "verified"])
def test_registering_an_address_that_is_taken(server, people, kind):
    api, email = server.api(), people[kind]
    before = row(server, "users", email=email)
    reference = register(api, address("new"))
    assert reference.status == 201 and reference.data == {"status": "verification_sent"}
    for spelling in (email, email.upper(), f" {email} "):
        assert comparable(register(api, spelling)) == comparable(reference)
    assert row(server, "users", email=email) == before
    assert login(api, email, OTHER_PASSWORD).status == 401


def test_the_owner_of_a_taken_address_is_told(server):
    person = Person(server)
    server.mail.wait(person.email, "Confirm")
    register(person.api, person.email.upper(), name="Mallory <script>")
    mail = server.mail.wait(person.email, "Sign-up attempt")
    text = mail.get_body(("plain",)).get_content()
    assert "#token=" not in text and "Mallory" not in text and person.name in text
    html = mail.get_body(("html",)).get_content()
    assert "Mallory" not in html
    time.sleep(1.2)
    assert not server.mail.new(person.email)  # no confirmation, nothing else


def test_weak_passwords_are_refused_for_all_alike(server, people):
    api = server.api()
    reference = comparable(register(api, address("new"), password="password123"))
    assert reference[0] == 422
    assert comparable(register(api, people["known"], password="password123")) == reference


def test_unknown_addresses_get_no_mail_and_leave_no_token(server, people):
    api = server.api()
    for path in ("/auth/forgot-password", "/auth/resend-verification"):
        api.post(path, ip=new_ip(), json={"email": people["unknown"]})
        api.post(path, ip=new_ip(), json={"email": people["disabled"]})
    wait_until(lambda: {r["state"] for who in ("unknown", "disabled") for kind in (
        "forgot_password", "resend_verification") for r in rows(
            server, "outbox", recipient=people[who], kind=kind)} == {"dropped"}, 20, "their end")
    assert not server.mail.all(people["unknown"])
    assert not server.mail.all(people["disabled"], "new password")
    assert not rows(server, "password_reset_tokens", email=people["unknown"])
    assert not rows(server, "password_reset_tokens", email=people["disabled"])
    states = {r["state"] for r in rows(server, "outbox", recipient=people["unknown"])}
    assert states == {"dropped"}


@pytest.mark.sqlite
def test_unknown_accounts_cost_as_many_hashes(server, people):
    """A hash is 20 ms and more of a processor, everything else less than one: computed time tells
    how many were made, on a loaded machine too."""
    api, cost = server.api(), {}
    for _ in range(6):
        for kind in ("unknown", "known", "disabled"):
            email = people[kind] if kind != "unknown" else address("unknown")
            if kind != "unknown":
                server.ctl("user", "unlock", email)
            before = processor_time(server)
            for _ in range(4):  # the fifth would lock it
                login(api, email, "wrong password")
            cost.setdefault(kind, []).append(processor_time(server) - before)
    typical = {kind: statistics.median(values) for kind, values in cost.items()}
    assert min(typical.values()) > 4 * 0.010, typical
    assert max(typical.values()) < 1.5 * min(typical.values()), typical


@pytest.mark.sqlite
def test_registrations_cost_as_many_hashes(server, people):
    api, cost = server.api(), {"new": [], "taken": []}
    for _ in range(3):
        for kind in cost:
            before = processor_time(server)
            for _ in range(6):
                register(api, people["known"] if kind == "taken" else address("cost"))
            cost[kind].append(processor_time(server) - before)
    typical = {kind: statistics.median(values) for kind, values in cost.items()}
    assert min(typical.values()) > 6 * 0.010, typical
    assert max(typical.values()) < 1.6 * min(typical.values()), typical


def test_forgot_password_makes_no_hash_and_no_mail_in_the_request(server, people):
    api = server.api()
    before = processor_time(server)
    for i in range(20):
        api.post("/auth/forgot-password", ip=new_ip(), json={
            "email": people["known"] if i % 2 else address("none")})
    assert processor_time(server) - before < 20 * 0.010
