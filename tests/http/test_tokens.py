"""Access and refresh tokens: what is accepted is exactly what this server gave out, as long as its
session lives. Forgeries are made with the server's own key files."""
import base64
import hashlib
import hmac
import json
import subprocess
import time
import urllib.parse

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from kit import (PASSWORD, Person, Shim, Wire, change, check_error, in_parallel, login, now_ms, once, refresh,
                 row, rows)
from patience import wait_until

ISSUER = "http://localhost:8081"  # the default of FRONTEND_URL, from which PUBLIC_URL comes


@pytest.fixture(scope="module")
def person(server):
    return Person(server)


def key_of(server):
    """(kid, private key) that signs."""
    path = sorted((server.state / "keys").glob("jwt-*.json"))[0]
    jwk = json.loads(path.read_text())
    return jwk["kid"], ECAlgorithm.from_jwk(json.dumps(jwk))


@pytest.fixture(scope="module")
def key(server):
    return key_of(server)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims_of(token):
    return json.loads(unb64(token.split(".")[1]))


def header_of(token):
    return json.loads(unb64(token.split(".")[0]))


def sign(private, header, payload):
    """A compact ES256 token of any header and payload bytes."""
    head = b64(header if isinstance(header, bytes) else json.dumps(header).encode())
    body = b64(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    signature = ECAlgorithm(ECAlgorithm.SHA256).sign(f"{head}.{body}".encode(), private)
    return f"{head}.{body}.{b64(signature)}"


def refused(api, token, code="UNAUTHENTICATED"):
    check_error(api.get("/auth/me", headers={"Authorization": f"Bearer {token}"}), 401, code)


# ---- what is good ----

def test_a_token_is_a_signed_jwt(server, person):
    token = person.access
    assert header_of(token) == {"alg": "ES256", "typ": "at+jwt",
                                "kid": header_of(token)["kid"]}
    claims = claims_of(token)
    assert set(claims) == {"iss", "aud", "sub", "sid", "iat", "exp", "jti"}
    assert claims["exp"] - claims["iat"] == 900
    assert claims["iss"] == claims["aud"] == ISSUER
    assert claims["sub"] == person.me().data["id"]
    assert person.email not in json.dumps(claims)


def test_others_can_verify_it_by_the_published_keys(server, person):
    answer = server.api().get("/auth/jwks.json")
    keys = answer.json["keys"]
    assert keys == answer.data["keys"]
    kid = header_of(person.access)["kid"]
    public = next(k for k in keys if k["kid"] == kid)
    assert set(public) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    claims = jwt.decode(person.access, ECAlgorithm.from_jwk(json.dumps(public)),
                        algorithms=["ES256"], audience=ISSUER, issuer=ISSUER)
    assert claims["sid"].startswith("ses_")


def der(raw):
    """The two numbers of a JWS as openssl wants a signature."""
    return utils.encode_dss_signature(int.from_bytes(raw[:32], "big"),
                                      int.from_bytes(raw[32:], "big"))


def test_openssl_verifies_it(server, person, tmp_path):
    kid = header_of(person.access)["kid"]
    public = next(k for k in server.api().get("/auth/jwks.json").json["keys"] if k["kid"] == kid)
    (tmp_path / "public.pem").write_bytes(ECAlgorithm.from_jwk(json.dumps(public)).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    head, body, signature = person.access.split(".")
    (tmp_path / "signature").write_bytes(der(unb64(signature)))
    for data, good in ((f"{head}.{body}", True), (f"{head}.{body}x", False)):
        (tmp_path / "data").write_text(data)
        done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", "public.pem", "-signature",
                               "signature", "data"], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode == 0) is good, done


def test_a_signature_is_checked_once(make_server):
    """By whatever worker, before and after a graceful restart; what is refused, each time."""
    server = make_server(conf="BizApiRateLimit off", start=False)
    shim = Shim(server)
    server.start()
    person = Person(server)
    before = shim.checked()
    assert person.me().status == 200
    assert shim.checked() == before + 1
    before += 1

    def ask(_):
        return once(server, "GET", "/auth/me", token=person.access).status

    assert set(in_parallel(100, ask)) == {200}
    assert shim.checked() == before
    server.graceful()
    before = shim.checked()  # the start tries its keys
    assert set(in_parallel(50, ask)) == {200}
    assert shim.checked() == before
    data = refresh(server.api(), person.refresh_token).data
    for _ in range(3):
        assert once(server, "GET", "/auth/me", token=data["access_token"]).status == 200
    assert shim.checked() == before + 1
    head, body, _ = person.access.split(".")
    forged = f"{head}.{body}.{data['access_token'].split('.')[2]}"
    for _ in range(3):
        refused(server.api(), forged)
    assert shim.checked() == before + 4


def test_our_forger_can_sign_what_is_accepted(person, key):
    """Else every refusal below would mean nothing."""
    kid, private = key
    claims = {**claims_of(person.access), "jti": "another"}
    token = sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid}, claims)
    assert person.api.get("/auth/me", token=token).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_of_any_case(person, scheme):
    answer = person.api.get("/auth/me", headers={"Authorization": f"{scheme} {person.access}"})
    assert answer.status == 200


# ---- headers of tokens ----

HEADERS = {
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg empty": {"alg": ""},
    "alg null": {"alg": None},
    "alg es256": {"alg": "es256"},
    "alg ES384": {"alg": "ES384"},
    "alg HS256": {"alg": "HS256"},
    "alg RS256": {"alg": "RS256"},
    "alg PS256": {"alg": "PS256"},
    "alg EdDSA": {"alg": "EdDSA"},
    "alg a number": {"alg": 256},
    "alg a list": {"alg": ["ES256"]},
    "no alg": {"alg": ...},
    "typ JWT": {"typ": "JWT"},
    "typ rt+jwt": {"typ": "rt+jwt"},
    "no typ": {"typ": ...},
    "no kid": {"kid": ...},
    "kid empty": {"kid": ""},
    "kid unknown": {"kid": "key_" + "0" * 26},
    "kid a path": {"kid": "../../../../../../dev/null"},
    "kid a file": {"kid": "/proc/self/environ"},
    "kid SQL": {"kid": "x' UNION SELECT 'AAAA' --"},
    "kid a command": {"kid": "x|sleep 5"},
    "kid NUL": {"kid": "key\u0000"},
    "kid a number": {"kid": 7},
    "kid a list": {"kid": []},
    "jku": {"jku": "http://127.0.0.1:9/jwks.json"},
    "x5u": {"x5u": "http://127.0.0.1:9/cert.pem"},
    "x5c": {"x5c": ["MII="]},
    "crit": {"crit": ["exp"]},
    "crit b64": {"crit": ["b64"], "b64": False},
    "zip": {"zip": "DEF"},
    "cty": {"cty": "JWT"},
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_are_not_ours(person, key, name):
    kid, private = key
    header = {"alg": "ES256", "typ": "at+jwt", "kid": kid}
    for member, value in HEADERS[name].items():
        if value is ...:
            del header[member]
        else:
            header[member] = value
    refused(person.api, sign(private, header, claims_of(person.access)))


def test_unsigned(person):
    head, body, _ = person.access.split(".")
    for alg in ("none", "ES256"):
        header = b64(json.dumps({**header_of(person.access), "alg": alg}).encode())
        refused(person.api, f"{header}.{body}.")
        refused(person.api, f"{header}.{body}")
    refused(person.api, f"{head}.{body}.")


def test_the_public_key_is_no_secret_to_sign_with(server, person):
    """RS/HS confusion: HMAC with whatever form of the public key."""
    public = server.api().get("/auth/jwks.json").json["keys"][0]
    pem = ECAlgorithm.from_jwk(json.dumps(public)).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = ECAlgorithm.from_jwk(json.dumps(public)).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, der, json.dumps(public).encode(), public["x"].encode(),
                   unb64(public["x"]), b"", b"\0" * 32, public["kid"].encode()):
        for alg in ("HS256", "ES256"):
            head = b64(json.dumps({**header_of(person.access), "alg": alg}).encode())
            data = f"{head}.{person.access.split('.')[1]}"
            refused(person.api,
                    f"{data}.{b64(hmac.new(secret, data.encode(), hashlib.sha256).digest())}")


def test_a_key_brought_along_is_not_used(person, key):
    kid, _ = key
    own = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(ECAlgorithm.to_jwk(own.public_key())) if hasattr(ECAlgorithm, "to_jwk") else {
        "kty": "EC", "crv": "P-256",
        "x": b64(own.public_key().public_numbers().x.to_bytes(32, "big")),
        "y": b64(own.public_key().public_numbers().y.to_bytes(32, "big"))}
    base = {"alg": "ES256", "typ": "at+jwt", "kid": kid}
    for header in (base, {**base, "jwk": jwk}, {**base, "kid": "own", "jwk": jwk}):
        refused(person.api, sign(own, header, claims_of(person.access)))


def test_an_rsa_key_is_not_ours(person):
    private = rsa.generate_private_key(65537, 2048)
    head = b64(json.dumps({**header_of(person.access), "alg": "RS256"}).encode())
    data = f"{head}.{person.access.split('.')[1]}"
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(data.encode(), private)
    refused(person.api, f"{data}.{b64(signature)}")


@pytest.mark.parametrize("r, s", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_psychic_signatures(person, r, s):
    """r or s of zero verified everything in a known library (CVE-2022-21449)."""
    data = person.access.rsplit(".", 1)[0]
    refused(person.api, f"{data}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}")


# ---- claims ----

NOW = int(time.time())
CLAIMS = {
    "iss other": {"iss": "http://evil.test"},
    "iss with slash": {"iss": ISSUER + "/"},
    "iss a list": {"iss": [ISSUER]},
    "no iss": {"iss": ...},
    "aud other": {"aud": "http://evil.test"},
    "aud a list": {"aud": [ISSUER]},
    "no aud": {"aud": ...},
    "sub other": {"sub": "usr_" + "0" * 26},
    "sub malformed": {"sub": "' OR 1=1 --"},
    "sub a number": {"sub": 1},
    "sub null": {"sub": None},
    "no sub": {"sub": ...},
    "sid unknown": {"sid": "ses_" + "0" * 26},
    "sid malformed": {"sid": "../x"},
    "sid a user": {"sid": "usr_" + "0" * 26},
    "no sid": {"sid": ...},
    "exp a string": {"exp": str(NOW + 900)},
    "exp a real": {"exp": NOW + 900.5},
    "exp huge": {"exp": 10 ** 30},
    "exp beyond reason": {"exp": 2 ** 53},
    "exp negative": {"exp": -1},
    "exp null": {"exp": None},
    "exp true": {"exp": True},
    "no exp": {"exp": ...},
    "exp past": {"exp": NOW - 1},
    "exp long past": {"exp": 1},
    "iat ahead": {"iat": NOW + 3600},
    "iat a string": {"iat": str(NOW)},
    "no iat": {"iat": ...},
    "nbf ahead": {"nbf": NOW + 3600},
    "nbf a string": {"nbf": "0"},
}
EXPIRED = {"exp past", "exp long past"}
UNKNOWN_SESSION = {"sub other", "sid unknown"}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_that_are_not_ours(person, key, name):
    kid, private = key
    claims = {**claims_of(person.access), "jti": name}
    for member, value in CLAIMS[name].items():
        if value is ...:
            del claims[member]
        else:
            claims[member] = value
    token = sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid}, claims)
    refused(person.api, token, "TOKEN_EXPIRED" if name in EXPIRED else
            "TOKEN_REVOKED" if name in UNKNOWN_SESSION else "UNAUTHENTICATED")


def test_somebody_elses_session_in_my_token(server, person, key):
    kid, private = key
    other = Person(server)
    claims = {**claims_of(person.access), "sid": claims_of(other.access)["sid"]}
    refused(person.api, sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid}, claims),
            "TOKEN_REVOKED")


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'"x"', b"{", b"{}",
                                     b'{"sub":"a","sub":"b"}', b"\xff", b"[" * 9 + b"]" * 9])
def test_payloads_that_are_no_claims(person, key, payload):
    kid, private = key
    refused(person.api, sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid}, payload))


def test_a_claim_twice(person, key):
    kid, private = key
    good = json.dumps(claims_of(person.access))
    refused(person.api, sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid},
                             f'{good[:-1]}, "exp": {NOW + 900}}}'.encode()))
    header = f'{{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"{kid}"}}'.encode()
    refused(person.api, sign(private, header, claims_of(person.access)))


# ---- the text of a token ----

def test_any_changed_byte(person):
    """Each character of a good token in turn, its cached form included."""
    token = person.access
    assert person.me().status == 200
    for i in range(0, len(token), 3):
        other = "A" if token[i] != "A" else "B"
        if token[i] == ".":
            other = "x"
        refused(person.api, token[:i] + other + token[i + 1:])
    assert person.me().status == 200


def variants(token):
    head, body, signature = token.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    same_bytes = signature[:-1] + last[last.index(signature[-1]) ^ 1]
    yield from (f"{head}.{body}.{same_bytes}", f"{token}=", f"{token}==", f"{head}=.{body}.{signature}",
                f"{token}.", f".{token}", f"{head}..{signature}", f"{head}.{body}", head, ".", "..",
                "...", f"{token}.{signature}", f"{token} x", f"{token},{token}", f"{token}\u00e9",
                token.upper(), token[::-1], token.replace("_", "/").replace("-", "+") + "=",
                f"{head}.{body}.{signature}{signature}", f"{head}.{body}.{signature[:-4]}",
                "A" * 5000, f"{head}.{'A' * 5000}.{signature}", "null", "undefined", "[object Object]",
                "%00", "a.b.c", f'"{token}"', urllib.parse.quote(token + "\n"))


def test_other_texts_of_the_same_token(server, person):
    for token in variants(person.access):
        with Wire(server) as wire:
            answer = wire.request("GET", "/api/v1/auth/me",
                                  {"Authorization": f"Bearer {token}"}).answer()
            assert answer.status in (401, 400, 431), (token, answer)
            if answer.status == 401:
                assert answer.code == "UNAUTHENTICATED"
                assert answer.headers["www-authenticate"].startswith("Bearer")


def test_only_the_header_counts(server, person):
    token = person.access
    api = server.api()
    for name in ("token", "access_token", "Authorization"):
        check_error(api.get(f"/auth/me?{name}={token}"), 401, "UNAUTHENTICATED")
    check_error(api.get("/auth/me", headers={"Cookie": f"access_token={token}"}), 401,
                "UNAUTHENTICATED")
    check_error(api.get("/auth/me", headers={"X-Access-Token": token}), 401, "UNAUTHENTICATED")
    for value in ("", "Bearer", token, f"Token {token}", f"Basic {token}",
                  f"Bearer{token}", f"Bearer: {token}"):
        check_error(api.get("/auth/me", headers={"Authorization": value}), 401, "UNAUTHENTICATED")


def test_two_authorization_headers(server, person):
    with Wire(server) as wire:
        wire.send(f"GET /api/v1/auth/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
                  f"{person.access}\r\nAuthorization: Bearer {person.access}\r\n\r\n".encode())
        answer = wire.answer()
        assert (answer.status, answer.code) == (401, "UNAUTHENTICATED")


def test_other_tokens_of_ours_are_no_access_tokens(server, person):
    refused(person.api, person.refresh_token)
    refused(person.api, row(server, "sessions", _id=claims_of(person.access)["sid"])["refresh_hash"])


def test_an_expired_token(server, key):
    """Remembered as good a moment ago, refused from its end on."""
    person = Person(server)
    kid, private = key
    claims = {**claims_of(person.access), "exp": int(time.time()) + 6}
    token = sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid}, claims)
    assert person.api.get("/auth/me", token=token).status == 200
    wait_until(lambda: time.time() > claims["exp"], 15)
    refused(person.api, token, "TOKEN_EXPIRED")
    assert person.me().status == 200


def test_sessions_end_by_themselves(server):
    person = Person(server)
    where = {"_id": claims_of(person.access)["sid"]}
    session = row(server, "sessions", **where)
    day = 24 * 3600 * 1000
    assert abs(session["idle_expires_at"] - now_ms() - 30 * day) < 60_000
    assert abs(session["expires_at"] - now_ms() - 90 * day) < 60_000
    for member in ("idle_expires_at", "expires_at"):
        change(server, "sessions", where, **{member: now_ms() - 1})
        refused(person.api, person.access, "TOKEN_REVOKED")
        check_error(refresh(person.api, person.refresh_token), 401, "TOKEN_EXPIRED")
        change(server, "sessions", where, **{member: session[member]})
        assert person.me().status == 200


def test_a_session_that_was_kept_ends_by_itself_too(server):
    person = Person(server)
    where = {"_id": claims_of(person.access)["sid"]}
    epoch = row(server, "sessions", **where)["epoch"]
    done = person.api.post("/auth/change-password", token=person.access, json={
        "current_password": PASSWORD, "new_password": "Seven-otters-sing-41"})
    assert done.status == 200
    # As a worker leaves it that dies before the session has its new epoch, too.
    change(server, "sessions", where, epoch=epoch)
    assert person.me().status == 200
    change(server, "sessions", where, expires_at=now_ms() - 1)
    check_error(refresh(person.api, person.refresh_token), 401, "TOKEN_EXPIRED")


# ---- keys ----

def test_keys_are_rotated_without_signing_anybody_out(make_server):
    server = make_server()
    person = Person(server)
    first = header_of(person.access)["kid"]
    server.ctl("--state-dir", str(server.state), "keys", "rotate")
    assert header_of(person.login()["access_token"])["kid"] == first
    old = person.access
    server.graceful()
    wait_until(lambda: not server.old & set(server.children()), 20, "the end of the old workers")
    assert person.server.api().get("/auth/me", token=old).status == 200
    person.api = server.api()
    second = header_of(person.login()["access_token"])["kid"]
    assert second != first
    keys = server.api().get("/auth/jwks.json").json["keys"]
    assert [k["kid"] for k in keys] == [second, first]
    for token in (old, person.access):
        assert server.api().get("/auth/me", token=token).status == 200
    assert refresh(server.api(), person.refresh_token).status == 200


@pytest.mark.bz("BZ0551")
def test_another_servers_tokens(make_server, person):
    """Two servers of the same issuer have keys of their own: neither takes the other's tokens."""
    other = make_server()
    stranger = Person(other)
    refused(person.api, stranger.access)
    check_error(refresh(person.api, stranger.refresh_token), 401, "UNAUTHENTICATED")
    refused(other.api(), person.access)
    other.stop()
    (other.state / "keys/master.key").unlink()
    other.start()
    assert other.api().get("/auth/me", token=stranger.access).status == 200
    check_error(refresh(other.api(), stranger.refresh_token), 401, "UNAUTHENTICATED")


def test_businesses_of_one_server_are_walled(make_server):
    """Two virtual hosts with the same addresses and keys of their own: a token that the first can
    vouch for, made for a session of the second, is worth nothing there."""
    server = make_server(mail=False, may=("BZ0601",), vhosts={
        "one.test": "BizApiStateDir one\nBizApiMail off",
        "two.test": "BizApiStateDir two\nBizApiMail off"})
    one, two = server.api(host="one.test"), server.api(host="two.test")
    victim = Person(server, api=two)
    jwk = json.loads(next((server.root / "one/keys").glob("jwt-*.json")).read_text())
    forged = sign(ECAlgorithm.from_jwk(json.dumps(jwk)),
                  {"alg": "ES256", "typ": "at+jwt", "kid": jwk["kid"]}, claims_of(victim.access))
    refused(two, forged)
    refused(one, forged, "TOKEN_REVOKED")  # well signed there, and remembered as such
    refused(two, forged)
    assert victim.me().status == 200


def test_two_issuers(make_server):
    server = make_server(mail=False, may=("BZ0601",), vhosts={
        "one.test": "BizApiStateDir one\nBizApiMail off\nBizApiPublicURL https://one.test",
        "two.test": "BizApiStateDir two\nBizApiMail off\nBizApiPublicURL https://two.test"})
    one = Person(server, api=server.api(host="one.test"))
    assert claims_of(one.access)["iss"] == "https://one.test"
    refused(server.api(host="two.test"), one.access)
    check_error(refresh(server.api(host="two.test"), one.refresh_token), 401, "UNAUTHENTICATED")
    assert one.me().status == 200


# ---- refresh tokens ----

def test_rotation_and_the_grace_for_racers(server):
    person = Person(server)
    first = person.refresh_token
    second = refresh(person.api, first).data["refresh_token"]
    assert second != first
    again = refresh(person.api, first)  # within 30 s: the same successor
    assert again.data["refresh_token"] == second
    third = refresh(person.api, second).data["refresh_token"]
    assert len({first, second, third}) == 3
    assert person.api.get("/auth/me", token=again.data["access_token"]).status == 200


@pytest.mark.bz("BZ0504")
def test_a_token_of_two_turns_ago_ends_the_session(server):
    person = Person(server)
    first = person.refresh_token
    second = refresh(person.api, first).data["refresh_token"]
    third = refresh(person.api, second).data
    check_error(refresh(person.api, first), 401, "TOKEN_REVOKED")
    check_error(refresh(person.api, third["refresh_token"]), 401, "TOKEN_REVOKED")
    refused(person.api, third["access_token"], "TOKEN_REVOKED")
    server.mail.wait(person.email, "Session ended")
    told = row(server, "audit_log", user_id=person.document()["_id"], event="authn_token_reuse")
    assert json.loads(told["details"]) == {"session_id": claims_of(person.access)["sid"]}
    assert login(person.api, person.email, PASSWORD).status == 200


@pytest.mark.bz("BZ0504")
def test_after_the_grace_a_used_token_ends_the_session(server):
    person = Person(server)
    other = login(person.api, person.email, PASSWORD).data
    first = person.refresh_token
    second = refresh(person.api, first).data
    where = {"_id": claims_of(person.access)["sid"]}
    change(server, "sessions", where, rotated_at=now_ms() - 31_000)
    check_error(refresh(person.api, first), 401, "TOKEN_REVOKED")
    refused(person.api, second["access_token"], "TOKEN_REVOKED")
    assert person.api.get("/auth/me", token=other["access_token"]).status == 200
    server.mail.wait(person.email, "Session ended")


def test_a_hundred_racers_get_one_successor(server):
    person = Person(server)
    answers = in_parallel(100, lambda _: once(server, "POST", "/auth/refresh", json={
        "refresh_token": person.refresh_token}))
    assert {a.status for a in answers} == {200}
    assert len({a.data["refresh_token"] for a in answers}) == 1
    assert len({a.data["access_token"] for a in answers}) == 100
    assert row(server, "sessions", _id=claims_of(person.access)["sid"])["generation"] == 2
    assert not [s for s in rows(server, "sessions", user_id=person.me().data["id"])
                if s["revoked_at"]]


def test_forged_refresh_tokens(server, person):
    token = person.refresh_token
    session, generation, secret, tag = token.split(".")
    assert len(unb64(secret)) == 32 and generation == "1"
    another, mark = (("B" if text[0] == "A" else "A") + text[1:] for text in (secret, tag))
    for forged in (f"{session}.2.{secret}.{tag}", f"{session}.1.{another}.{tag}",
                   f"{session}.1.{secret}.{mark}", f"{session}.1.{secret}", session, token + ".",
                   f"ses_{'0' * 26}.1.{secret}.{tag}", f"{session}.1.{secret}.{tag}.{tag}",
                   person.access, "...", ".", "a.b.c.d", f"{session}.99999999999999999999.{secret}.{tag}"):
        check_error(refresh(person.api, forged), 401, "UNAUTHENTICATED")
    assert person.me().status == 200
    assert refresh(person.api, token).status == 200
