"""Passkeys, with an authenticator in software that can lie. What a real browser does is in
tests/browser."""
import hashlib
import os

import pytest

from client import new_ip
from kit import (PASSWORD, Person, change, check_error, database, in_parallel, login, once, row,
                 rows)
from second import (Authenticator, age, app_code, b64, cbor, first_step, second_step, set_up,
                    unb64)

SERVER = {"conf": "BizApiFrontendURL https://portal.example.org/app\n"
                  "BizApiCorsOrigins https://www.portal.example.org:8443 http://portal.example.org "
                  "https://other.example.org"}
ORIGIN, RP_ID = "https://portal.example.org", "portal.example.org"


@pytest.fixture
def person(server):
    return Person(server)


def device(algorithm=-7, origin=ORIGIN):
    return Authenticator(algorithm, origin, RP_ID)


def creation(person):
    answer = person.api.post("/auth/passkeys/register/options", token=person.access)
    assert answer.status == 200, answer
    return answer.data


def keep(person, credential, **more):
    return person.api.post("/auth/passkeys/register/verify", token=person.access,
                           json={"credential": credential, **more})


def add(person, algorithm=-7, **more):
    """(the authenticator, the answer's data)"""
    key = device(algorithm)
    answer = keep(person, key.create(creation(person)), **more)
    assert answer.status == 201, answer
    return key, answer.data


def asked(person, **body):
    answer = person.api.post("/auth/passkeys/login/options", ip=new_ip(), json=body)
    assert answer.status == 200, answer
    return answer.data


def use(person, credential, **body):
    return person.api.post("/auth/passkeys/login/verify", ip=new_ip(),
                           json={"credential": credential, **body})


@pytest.fixture
def keyed(server):
    """Somebody with a passkey."""
    someone = Person(server)
    someone.key, someone.added = add(someone)
    return someone


# ---- made ----

def test_what_the_browser_is_told(person):
    options = creation(person)
    assert options["rp"] == {"id": RP_ID, "name": "localhost"}
    assert unb64(options["user"]["id"]).decode() == person.tokens["user"]["id"]
    assert options["user"]["name"] == person.email and options["user"]["displayName"] == person.name
    assert [p["alg"] for p in options["pubKeyCredParams"]] == [-7, -8, -257]
    assert options["attestation"] == "none" and options["timeout"] == 300000
    assert options["authenticatorSelection"] == {
        "residentKey": "preferred", "requireResidentKey": False, "userVerification": "preferred"}
    assert options["excludeCredentials"] == []
    assert len(unb64(options["challenge"])) >= 32
    key, _ = add(person)
    assert creation(person)["excludeCredentials"] == [
        {"type": "public-key", "id": b64(key.id), "transports": ["hybrid", "internal"]}]
    assert creation(person)["challenge"] != options["challenge"]


@pytest.mark.parametrize("algorithm", [-7, -8, -257], ids=["ES256", "EdDSA", "RS256"])
def test_from_the_first_to_the_last(server, algorithm):
    person = Person(server)
    key, added = add(person, algorithm, name="My telephone")
    assert added["passkey"]["name"] == "My telephone" and len(added["recovery_codes"]) == 10
    assert added["passkey"]["last_used_at"] is None
    assert person.me().data["mfa_enabled"] is True
    answer = use(person, key.get(asked(person)))
    assert answer.status == 200, answer
    assert answer.data["user"]["email"] == person.email
    token = answer.data["access_token"]
    listed = person.api.get("/auth/passkeys", token=token)
    assert [p["id"] for p in listed.data] == [added["passkey"]["id"]]
    assert listed.data[0]["last_used_at"] is not None and listed.json["pagination"]["limit"] == 20
    gone = person.api.delete(f"/auth/passkeys/{added['passkey']['id']}", token=token)
    assert gone.data == {"status": "removed"}
    assert person.api.get("/auth/me", token=token).data["mfa_enabled"] is False
    check_error(use(person, key.get(asked(person))), 401, "INVALID_CREDENTIALS")
    id_ = person.tokens["user"]["id"]
    told = " ".join(r["data"] for r in rows(server, "outbox", kind="security_notice", user_id=id_))
    assert "passkey_added" in told and "passkey_removed" in told
    assert rows(server, "recovery_codes", user_id=id_) == []


def lies_at_making():
    """(what is wrong, keyword arguments of create())"""
    other = Authenticator(-7)
    bad_point = {1: 2, 3: -7, -1: 1, -2: bytes([7] * 32), -3: bytes([7] * 32)}
    yield "another page", {"client": {"origin": "https://evil.example.org"}}
    yield "a page that is only listed", {"client": {"origin": "https://other.example.org"}}
    yield "plain http", {"client": {"origin": "http://portal.example.org"}}
    yield "a page whose name ends like ours", {"client": {
        "origin": "https://evilportal.example.org"}}
    yield "our page and more", {"client": {"origin": ORIGIN + "/"}}
    yield "no page", {"client": {"origin": None}}
    yield "inside another page", {"client": {"crossOrigin": True}}
    yield "another purpose", {"client": {"type": "webauthn.get"}}
    yield "no challenge", {"client": {"challenge": None}}
    yield "a challenge of its own", {"client": {"challenge": b64(os.urandom(32))}}
    yield "another site", {"rp_id": "evil.example.org"}
    yield "nobody present", {"flags": 0x44}
    yield "no key", {"flags": 0x05}
    yield "another key's id", {"credential_id": other.id}
    yield "a point that is not on the curve", {"cose": bad_point}
    yield "an algorithm that was not asked for", {"cose": {**other.cose(), 3: -35}}
    yield "a key without a curve", {"cose": {1: 2, 3: -7}}
    yield "an attestation that was not asked for", {"fmt": "fido-u2f", "statement": {"sig": b"x"}}
    yield "none with a statement", {"statement": {"sig": b"x"}}
    yield "a statement that is not signed", {"fmt": "packed", "statement": {"alg": -7,
                                                                            "sig": b"x" * 70}}
    yield "a statement with certificates", {"fmt": "packed", "statement": {
        "alg": -7, "sig": b"x" * 70, "x5c": b"x"}}
    yield "no CBOR", {"attestation": b"\xff" * 40}
    yield "CBOR and more", {"attestation": cbor({"fmt": "none", "attStmt": {}, "authData": b""}) +
                            b"\0"}
    yield "an endless map", {"attestation": b"\xbf" + b"\x63fmt\x64none" * 3}


@pytest.mark.parametrize("lie", [pytest.param(lie, id=name) for name, lie in lies_at_making()])
def test_lies_at_making(person, lie):
    key = device()
    answer = keep(person, key.create(creation(person), **lie))
    error = check_error(answer, 422, "VALIDATION_FAILED", "credential")
    assert error["message"].startswith("The passkey was not accepted: ")
    assert person.api.get("/auth/passkeys", token=person.access).data == []
    assert person.me().data["mfa_enabled"] is False


@pytest.mark.parametrize("origin", ["https://www.portal.example.org:8443", ORIGIN])
def test_pages_that_may_ask(person, origin):
    key = device(origin=origin)
    assert keep(person, key.create(creation(person))).status == 201
    assert use(person, key.get(asked(person))).status == 200


@pytest.mark.parametrize("algorithm", [-7, -8, -257])
def test_a_statement_that_the_key_signed_itself(person, algorithm):
    key = device(algorithm)
    made = key.create(creation(person), fmt="packed", statement="self")
    assert keep(person, made).status == 201


@pytest.mark.parametrize("credential", [
    {}, {"id": "x"}, {"type": "public-key"}, {"type": "public-key", "id": "!"},
    {"type": "public-key", "id": b64(b"x" * 1024), "response": {}},
    {"type": "public-key", "id": "eA", "rawId": "eQ", "response": {}},
    {"type": "public-key", "id": "eA", "response": {"clientDataJSON": "e30"}},
    {"type": "public-key", "id": "eA", "response": {"clientDataJSON": "e30",
                                                    "attestationObject": 7}},
    {"type": "public-key", "id": "eA", "response": []},
    {"type": "public-key", "id": "eA", "response": {"clientDataJSON": b64(b"[" * 40),
                                                    "attestationObject": "e30",
                                                    "authenticatorData": "e30",
                                                    "signature": "e30"}}])
def test_what_is_no_credential(person, credential):
    check_error(keep(person, credential), 422, "VALIDATION_FAILED", "credential")
    check_error(use(person, credential), 401, "INVALID_CREDENTIALS", "credential")


def test_a_challenge_is_for_one_user_one_purpose_and_one_use(server, person):
    other, key = Person(server), device()
    check_error(keep(other, key.create(creation(person))), 422, "VALIDATION_FAILED")
    to_use = {"challenge": asked(person)["challenge"], "user": creation(person)["user"]}
    check_error(keep(person, key.create(to_use)), 422, "VALIDATION_FAILED")
    made = key.create(creation(person))
    answers = in_parallel(8, lambda _: once(
        server, "POST", "/auth/passkeys/register/verify", ip=new_ip(), token=person.access,
        json={"credential": made}))
    assert sorted(a.status for a in answers) == [201] + [422] * 7
    check_error(use(person, key.get(creation(person))), 401, "INVALID_CREDENTIALS")


def test_a_credential_belongs_to_one_account(server, keyed):
    other = Person(server)
    check_error(keep(other, keyed.key.create(creation(other))), 409, "CONFLICT")


def test_a_stale_session_changes_nothing(keyed):
    age(keyed)
    api, token = keyed.api, keyed.access
    check_error(api.post("/auth/passkeys/register/options", token=token), 403, "REAUTH_REQUIRED")
    path = f"/auth/passkeys/{keyed.added['passkey']['id']}"
    check_error(api.delete(path, token=token), 403, "REAUTH_REQUIRED")
    # The passkey itself makes it fresh; another's does not.
    other, _ = add(Person(keyed.server))
    check_error(api.post("/auth/reauthenticate", token=token, json={
        "credential": other.get(asked(keyed))}), 401, "INVALID_CREDENTIALS")
    answer = api.post("/auth/reauthenticate", token=token, json={
        "credential": keyed.key.get(asked(keyed), flags=0x01)})
    assert answer.data == {"status": "confirmed"}
    assert api.delete(path, token=token).status == 200


def test_others_passkeys_are_not_there(server, keyed):
    other = Person(server)
    path = f"/auth/passkeys/{keyed.added['passkey']['id']}"
    theirs = other.api.delete(path, token=other.access)
    none = other.api.delete("/auth/passkeys/pky_" + "0" * 26, token=other.access)
    check_error(theirs, 404, "NOT_FOUND")
    assert theirs.body == none.body
    assert use(keyed, keyed.key.get(asked(keyed))).status == 200


def test_twenty_are_enough(keyed, server):
    template = row(server, "passkeys", user_id=keyed.tokens["user"]["id"])
    assert creation(keyed)["excludeCredentials"]
    late = device().create(creation(keyed))
    for _ in range(19):
        add(keyed)
    check_error(keyed.api.post("/auth/passkeys/register/options", token=keyed.access), 409,
                "INVALID_STATE")
    check_error(keep(keyed, late), 409, "INVALID_STATE")
    page = keyed.api.get("/auth/passkeys", token=keyed.access, params={"limit": 15})
    assert len(page.data) == 15 and page.json["pagination"]["has_more"] is True
    assert page.data[0]["id"] == template["_id"]


# ---- used ----

def lies_at_use():
    yield "another page", {"client": {"origin": "https://evil.example.org"}}
    yield "inside another page", {"client": {"crossOrigin": True}}
    yield "another purpose", {"client": {"type": "webauthn.create"}}
    yield "a challenge of its own", {"client": {"challenge": b64(os.urandom(32))}}
    yield "another site", {"rp_id": "evil.example.org"}
    yield "nobody present", {"flags": 0x04}
    yield "nobody verified", {"flags": 0x01}
    yield "another key", {"key": Authenticator(-7)}
    yield "no signature", {"signature": b"\0" * 70}


@pytest.mark.parametrize("lie", [pytest.param(lie, id=name) for name, lie in lies_at_use()])
def test_lies_at_use(keyed, lie):
    check_error(use(keyed, keyed.key.get(asked(keyed), **lie)), 401, "INVALID_CREDENTIALS")
    assert use(keyed, keyed.key.get(asked(keyed))).status == 200


def test_nonsense_of_anybody_leaves_no_row(server, keyed):
    def seen():
        return len(rows(server, "audit_log", event="authn_factor_fail")), server.log_text().count(
            "BZ0505")

    before = seen()
    check_error(use(keyed, {}), 401, "INVALID_CREDENTIALS")
    unknown = device()
    unknown.create(creation(keyed))
    check_error(use(keyed, unknown.get(asked(keyed))), 401, "INVALID_CREDENTIALS")
    assert seen() == before
    # A key of ours that signs wrongly is one to tell of.
    check_error(use(keyed, keyed.key.get(asked(keyed), signature=b"\0" * 70)), 401,
                "INVALID_CREDENTIALS")
    assert seen() == (before[0] + 1, before[1] + 1)


def test_another_users_handle(server, keyed):
    other = Person(server)
    keyed.key.user = other.tokens["user"]["id"].encode()
    check_error(use(keyed, keyed.key.get(asked(keyed))), 401, "INVALID_CREDENTIALS")
    assert use(keyed, keyed.key.get(asked(keyed), handle=False)).status == 200


def test_an_answer_is_good_once(server, keyed):
    answer = keyed.key.get(asked(keyed))
    answers = in_parallel(8, lambda _: once(server, "POST", "/auth/passkeys/login/verify",
                                            ip=new_ip(), json={"credential": answer}))
    assert sorted(a.status for a in answers) == [200] + [401] * 7


@pytest.mark.bz("BZ0533")
def test_a_counter_must_grow(keyed):
    assert use(keyed, keyed.key.get(asked(keyed), count=7)).status == 200
    for count in (7, 6, 0):
        check_error(use(keyed, keyed.key.get(asked(keyed), count=count)), 401,
                    "INVALID_CREDENTIALS")
    assert use(keyed, keyed.key.get(asked(keyed), count=8)).status == 200


@pytest.mark.sqlite
def test_one_that_is_removed_while_it_is_used_is_not_known(keyed, server):
    """Between the look for it and its use; what it has to tell of its end is not told yet."""
    db = database(server)
    db.execute("CREATE TRIGGER removed BEFORE INSERT ON revoked_tokens BEGIN UPDATE passkeys SET "
               "user_id = NULL, credential_id = NULL, untold = '[]', version = version + 1; END")
    try:
        answer = use(keyed, keyed.key.get(asked(keyed), count=7))
    finally:
        db.execute("DROP TRIGGER removed")
        db.close()
    check_error(answer, 401, "INVALID_CREDENTIALS")
    assert "not known here" in answer.json["error"]["message"]


def test_a_passkey_that_does_not_count(keyed):
    for _ in range(2):
        assert use(keyed, keyed.key.get(asked(keyed), count=0)).status == 200


def test_who_may_not_sign_in_may_not_by_passkey(server, keyed):
    change(server, "users", {"_id": keyed.tokens["user"]["id"]}, disabled=1)
    check_error(use(keyed, keyed.key.get(asked(keyed))), 401, "INVALID_CREDENTIALS")


def test_unconfirmed_addresses(make_server):
    server = make_server(conf=SERVER["conf"])
    person = Person(server)
    key, _ = add(person)
    server.write_conf(SERVER["conf"] + "\nBizApiRequireVerifiedEmail on")
    server.graceful()
    check_error(use(person, key.get(asked(person))), 403, "EMAIL_NOT_VERIFIED")


# ---- after the password ----

def test_as_second_factor(keyed):
    """The password alone opens nothing any more; there, nobody needs to be verified."""
    ticket = first_step(keyed)
    assert ticket["methods"] == ["passkey", "recovery_code"]
    options = asked(keyed, mfa_token=ticket["mfa_token"])
    assert [c["id"] for c in options["allowCredentials"]] == [b64(keyed.key.id)]
    assert options["userVerification"] == "preferred"
    answer = keyed.key.get(options, flags=0x01)
    # Its challenge is no good without the password.
    check_error(use(keyed, answer), 401, "INVALID_CREDENTIALS")
    done = use(keyed, keyed.key.get(options, flags=0x01), mfa_token=ticket["mfa_token"])
    assert done.status == 200 and done.data["user"]["email"] == keyed.email
    check_error(use(keyed, keyed.key.get(options), mfa_token=ticket["mfa_token"]), 401,
                "TOKEN_REVOKED")
    check_error(keyed.api.post("/auth/passkeys/login/options", ip=new_ip(), json={
        "mfa_token": ticket["mfa_token"]}), 401, "TOKEN_REVOKED")


def test_anothers_passkey_is_no_second_factor(server, keyed):
    other, _ = add(Person(server))
    ticket = first_step(keyed)["mfa_token"]
    for options in (asked(keyed, mfa_token=ticket), asked(keyed)):
        check_error(use(keyed, other.get(options), mfa_token=ticket), 401, "INVALID_CREDENTIALS")


def test_recovery_codes_stand_in(keyed):
    assert second_step(keyed, recovery_code=keyed.added["recovery_codes"][0]).status == 200
    # They are made once more without a code, for there is no app.
    fresh = keyed.api.post("/auth/2fa/recovery-codes", token=keyed.access, json={})
    assert len(fresh.data["recovery_codes"]) == 10
    age(keyed)
    check_error(keyed.api.post("/auth/2fa/recovery-codes", token=keyed.access, json={}), 403,
                "REAUTH_REQUIRED")


def test_an_app_beside_passkeys(keyed):
    secret, _ = set_up(keyed)
    assert first_step(keyed)["methods"] == ["totp", "passkey", "recovery_code"]
    assert "recovery_codes" not in add(keyed)[1]
    done = keyed.api.post("/auth/2fa/disable", token=keyed.access, json={
        "password": PASSWORD, "code": app_code(secret)})
    assert done.status == 200 and keyed.me().data["mfa_enabled"] is True
    assert first_step(keyed)["methods"] == ["passkey", "recovery_code"]


def test_a_kill_between_a_passkey_and_the_word_that_it_is_there(keyed, server):
    """The flag follows at the next use, whichever way it was left behind."""
    id_ = keyed.tokens["user"]["id"]
    change(server, "users", {"_id": id_}, mfa_enabled=0)
    assert use(keyed, keyed.key.get(asked(keyed))).data["user"]["mfa_enabled"] is True
    bare = Person(server)
    change(server, "users", {"_id": bare.tokens["user"]["id"]}, mfa_enabled=1)
    assert login(bare.api, bare.email, PASSWORD).data["user"]["mfa_enabled"] is False


def test_what_is_stored(keyed, server):
    stored = row(server, "passkeys", user_id=keyed.tokens["user"]["id"])
    assert stored["credential_id"] == b64(keyed.key.id) and stored["algorithm"] == -7
    assert hashlib.sha256(unb64(stored["public_key"])).digest() == hashlib.sha256(
        b"".join(keyed.key.cose()[n] for n in (-2, -3))).digest()
    assert stored["transports"] == '["hybrid","internal"]'
