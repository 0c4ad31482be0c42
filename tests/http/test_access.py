"""AuthType BizApi: the accounts of the portal before files, CGI programs and proxied servers, by
Bearer and by the portal's cookie; and the cookie before the API itself."""
import re
import time

import pytest

from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Person, Wire, change, check_error, in_parallel, login, once, row)
from patience import wait_until
from received import token_of
from second import app_code, second_step, set_up
from test_tokens import claims_of, key, sign  # noqa: F401 (key is a fixture)

CGI = """#!/usr/bin/python3
import json, os, sys
if os.environ["REQUEST_METHOD"] == "POST":
    with open("{root}/ran", "a") as ran:
        ran.write("x")
print("Content-Type: application/json\\n")
print(json.dumps({{k: v for k, v in os.environ.items()
                  if k.startswith(("BIZAPI", "REMOTE_USER", "AUTH_TYPE", "HTTP_X"))}}))
"""
FACES = {"all": "Require valid-user", "staff": "Require bizapi-role staff",
         "several": "Require bizapi-role admin customer",
         "verified": "Require bizapi-verified", "mfa": "Require bizapi-mfa",
         "both": "<RequireAll>\nRequire bizapi-role staff\nRequire bizapi-mfa\n</RequireAll>",
         "either": "<RequireAny>\nRequire ip 10.9.8.7\nRequire bizapi-role admin\n</RequireAny>",
         "clear": "AuthzSendForbiddenOnFailure On\nRequire bizapi-role admin",
         "one": "Require user usr_nobody"}
LOCATIONS = "\n".join(f"""
<Location "/{name}">
    AuthType BizApi
    {require}
</Location>""" for name, require in FACES.items())

SERVER = {
    "modules": ("alias", "authn_core", "authz_user", "authz_host", "auth_basic", "authn_file",
                "proxy", "proxy_http", "cgi"),
    "https": True,
    # Denied by Require; not the scheme of Basic.
    "may": ("AH01631", "AH01614"),
    "conf": LOCATIONS + """
BizApiRateLimit off
ErrorDocument 401 /sign-in.html
ScriptAlias /cgi/ cgi-bin/
<Directory "${ROOT}/cgi-bin">
    AuthType BizApi
    Require valid-user
</Directory>
<Location "/proxied">
    AuthType BizApi
    Require valid-user
    RequestHeader set X-Portal-User "%{BIZAPI_USER_ID}e"
    RequestHeader set X-Portal-Role "%{BIZAPI_ROLE}e"
    ProxyPass http://127.0.0.1:${PORT}/open/env
</Location>
ScriptAlias /open/ open-bin/
<Directory "${ROOT}/open-bin">
    Require all granted
</Directory>
<Location "/basic">
    AuthType Basic
    AuthName ops
    AuthBasicProvider file
    AuthUserFile conf/passwords
    Require bizapi-role customer
</Location>
"""}


@pytest.fixture(scope="module")
def server(module_server):
    server = module_server(**SERVER, start=False)
    for folder in ("cgi-bin", "open-bin"):
        (server.root / folder).mkdir()
        script = server.root / folder / "env"
        script.write_text(CGI.format(root=server.root))
        script.chmod(0o755)
    for name in (*FACES, "basic"):
        (server.root / "htdocs" / name).mkdir()
        (server.root / "htdocs" / name / "index.html").write_text(f"the page of {name}")
    (server.root / "htdocs/sign-in.html").write_text("please sign in")
    (server.root / "conf/passwords").write_text("ops:{PLAIN}\n")
    (server.root / "ran").touch()
    (server.root / "ran").chmod(0o666)
    server.env.update(PORT=str(server.port), ROOT=str(server.root))
    return server.start()


class Visitor(Person):
    """Somebody who signed in with the portal's cookie."""

    def login(self, password=None, **more):
        self.answer = login(self.api, self.email, password or self.password, session_cookie=True,
                            **more)
        assert self.answer.status == 200, self.answer
        self.tokens = self.answer.data
        self.api.http.cookies.clear()  # none is sent unless a test says so
        self.cookie = self.answer.headers["set-cookie"].split(";")[0]
        return self.tokens


@pytest.fixture(scope="module")
def visitor(server):
    return Visitor(server)


def page(server, path, token=None, cookie=None, method="GET", **headers):
    api = server.api()
    sent = {k.replace("_", "-"): v for k, v in headers.items()}
    if cookie:
        sent["Cookie"] = cookie
    try:
        return api.request(method, path, token=token, headers={**sent, "Connection": "close"},
                           raw_path=True)
    finally:
        api.http.close()


# ---- who gets in ----

def test_nobody_else_gets_in(server):
    answer = page(server, "/all/")
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="bizapi"'
    assert answer.text == "please sign in"  # Apache's own answer: here the operator's page
    assert page(server, "/all/", token="x.y.z").status == 401
    assert page(server, "/all/", cookie="bizapi=x").status == 401
    assert page(server, "/all/", Authorization="Basic b3BzOm9wcw==").status == 401


def test_a_token_and_a_cookie_open_it(server, visitor):
    for way in ({"token": visitor.access}, {"cookie": visitor.cookie}):
        answer = page(server, "/all/", **way)
        assert (answer.status, answer.text) == (200, "the page of all")
        assert answer.headers["cache-control"] == "private"


def test_a_bad_token_is_not_made_good_by_a_cookie(server, visitor):
    assert page(server, "/all/", token="x.y.z", cookie=visitor.cookie).status == 401
    assert page(server, "/all/", cookie=visitor.cookie,
                Authorization="Basic b3BzOm9wcw==").status == 200


def test_what_a_program_is_told(server, visitor):
    me = visitor.me().data
    told = page(server, "/cgi/env", cookie=visitor.cookie).json
    assert told == {
        "REMOTE_USER": me["id"], "AUTH_TYPE": "BizApi", "BIZAPI_USER_ID": me["id"],
        "BIZAPI_EMAIL": visitor.email, "BIZAPI_EMAIL_VERIFIED": "0", "BIZAPI_NAME": visitor.name,
        "BIZAPI_ROLE": "customer", "BIZAPI_MFA": "0",
        "BIZAPI_SESSION_ID": claims_of(visitor.access)["sid"],
        **{k: v for k, v in told.items() if k.startswith("HTTP_X")}}
    assert page(server, "/cgi/env", token=visitor.access).json["REMOTE_USER"] == me["id"]
    assert page(server, "/cgi/env").status == 401
    assert not [k for k in page(server, "/open/env", token=visitor.access).json
                if k.startswith(("BIZAPI", "REMOTE_USER"))]


def test_what_a_server_behind_is_told(server, visitor):
    """By headers that the operator writes; what the client sends in their place is gone."""
    answer = page(server, "/proxied", cookie=visitor.cookie, X_Portal_User="usr_forged",
                  X_Portal_Role="admin")
    assert answer.headers["cache-control"] == "private"
    told = answer.json
    assert told["HTTP_X_PORTAL_USER"] == visitor.me().data["id"]
    assert told["HTTP_X_PORTAL_ROLE"] == "customer"
    assert page(server, "/proxied").status == 401


def test_roles(server):
    people = {role: Visitor(server) for role in ("customer", "staff", "admin")}
    for role, person in people.items():
        if role != "customer":
            server.ctl("user", "set-role", person.email, role)
            person.login()
    expected = {"staff": (401, 200, 200), "several": (200, 200, 200), "clear": (403, 403, 200),
                "either": (401, 401, 200), "both": (401, 401, 401), "one": (401, 401, 401)}
    for name, statuses in expected.items():
        for person, status in zip(people.values(), statuses):
            for way in ({"token": person.access}, {"cookie": person.cookie}):
                answer = page(server, f"/{name}/", **way)
                assert answer.status == status, (name, person.email)
                if status == 401:
                    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert page(server, "/either/", X_Forwarded_For="10.9.8.7").status == 200
    assert page(server, "/clear/").status == 401


def test_confirmed_addresses(server):
    person = Visitor(server)
    assert page(server, "/verified/", cookie=person.cookie).status == 401
    change(server, "users", {"email": person.email}, email_verified=1)
    assert page(server, "/verified/", cookie=person.cookie).status == 200
    assert page(server, "/cgi/env", cookie=person.cookie).json["BIZAPI_EMAIL_VERIFIED"] == "1"


def test_two_factors(server):
    """It is the sign-in that counts: an account that has a second factor since is not enough."""
    person = Visitor(server)
    assert page(server, "/mfa/", cookie=person.cookie).status == 401
    change(server, "sessions", {"_id": claims_of(person.access)["sid"]}, mfa=1)
    assert page(server, "/mfa/", cookie=person.cookie).status == 200
    assert page(server, "/mfa/", token=person.access).status == 200
    assert page(server, "/cgi/env", cookie=person.cookie).json["BIZAPI_MFA"] == "1"
    assert page(server, "/both/", cookie=person.cookie).status == 401


def test_who_has_yet_to_set_up_a_factor(make_server):
    """BizApiRequireMfa holds here as it does in the API."""
    server = make_server(modules=("authn_core", "authz_user"), may=SERVER["may"],
                         conf=f"BizApiRequireMfa staff\n{LOCATIONS_ALL}")
    (server.root / "htdocs/all").mkdir()
    (server.root / "htdocs/all/index.html").write_text("x")
    customer, person = Visitor(server), Visitor(server)
    server.ctl("user", "set-role", person.email, "staff")
    person.login()
    assert page(server, "/all/", cookie=customer.cookie).status == 200
    answer = page(server, "/all/", cookie=person.cookie)
    assert answer.status == 403 and "BZ1012" in server.log_text()
    set_up(person)
    assert page(server, "/all/", cookie=person.cookie).status == 200


def test_a_sign_in_with_an_app(server):
    """A new password does not go round the second factor (the reset signs nobody in), and
    Require bizapi-mfa takes whoever came by it."""
    person = Visitor(server)
    change(server, "users", {"email": person.email}, email_verified=1)
    secret, _ = set_up(person)
    assert page(server, "/mfa/", cookie=person.cookie).status == 401  # came before
    person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    done = person.api.post("/auth/reset-password", json={
        "token": token_of(server.mail.wait(person.email, "new password", 30)),
        "new_password": OTHER_PASSWORD})
    assert done.status == 200 and "set-cookie" not in done.headers
    assert page(server, "/all/", cookie=person.cookie).status == 401
    first = login(person.api, person.email, OTHER_PASSWORD, session_cookie=True)
    assert first.data["mfa_required"] is True and "set-cookie" not in first.headers
    answer = second_step(person, first.data["mfa_token"], code=app_code(secret), session_cookie=True)
    assert answer.status == 200
    person.api.http.cookies.clear()
    cookie = answer.headers["set-cookie"].split(";")[0]
    assert page(server, "/mfa/", cookie=cookie).status == 200
    assert page(server, "/cgi/env", cookie=cookie).json["BIZAPI_MFA"] == "1"


def test_another_authtype_lets_nobody_in_by_our_words(server, visitor):
    assert page(server, "/basic/", token=visitor.access, cookie=visitor.cookie).status == 401


def test_requires_that_cannot_be(make_server):
    for line, word in (("bizapi-role boss", "boss"), ("bizapi-role", "name a role"),
                       ("bizapi-verified yes", "yes"), ("bizapi-mfa 2", "2")):
        server = make_server(start=False, modules=("authn_core",), conf=f"""
            <Location /x>
                AuthType BizApi
                Require {line}
            </Location>""")
        code, output = server.configtest()
        assert code != 0 and word in output, output


# ---- who does not any more ----

def test_the_next_request_after_the_end_is_refused(server):
    """In every worker, by token and by cookie, whatever ended the session."""
    def logout(person):
        assert person.api.post("/auth/logout", token=person.access).status == 200

    def logout_all(person):
        assert person.api.post("/auth/logout-all", token=person.access).status == 200

    def end(person):
        session = claims_of(person.access)["sid"]
        assert person.api.delete(f"/auth/sessions/{session}", token=person.access).status == 200

    def disable(person):
        server.ctl("user", "disable", person.email)

    def role(person):
        server.ctl("user", "set-role", person.email, "staff")

    for finish in (logout, logout_all, end, disable, role):
        person = Visitor(server)
        ways = ({"Authorization": f"Bearer {person.access}"}, {"Cookie": person.cookie})
        for wanted in (200, 401):
            wires = [Wire(server) for _ in range(8)]
            for i, wire in enumerate(wires):
                wire.request("GET", "/all/", ways[i % 2])
            assert {wire.answer().status for wire in wires} == {wanted}, finish
            for wire in wires:
                wire.socket.close()
            if wanted == 200:
                finish(person)


def test_expired_tokens(server, key):  # noqa: F811
    person = Visitor(server)
    kid, private = key
    claims = {**claims_of(person.access), "exp": int(time.time()) - 1}
    old = sign(private, {"alg": "ES256", "typ": "at+jwt", "kid": kid}, claims)
    assert page(server, "/all/", token=old).status == 401
    change(server, "sessions", {"_id": claims["sid"]}, idle_expires_at=1)
    assert page(server, "/all/", cookie=person.cookie).status == 401


# ---- the cookie ----

def test_the_cookie_of_https(server):
    person = Person(server, sign_in=False)
    api = server.api(https=True)
    answer = login(api, person.email, PASSWORD, session_cookie=True)
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert re.fullmatch(r"__Host-bizapi=ses_\w{26}\.[\w-]{43}", name)
    assert sorted(attributes) == ["HttpOnly", "Max-Age=7776000", "Path=/", "SameSite=Strict", "Secure"]
    value = name.partition("=")[2]
    assert value not in answer.text and value.partition(".")[2] not in answer.text
    # httpx sends it by itself now.
    assert api.get("/auth/me").data["email"] == person.email
    assert len(answer.headers["set-cookie"]) < 4096
    plain = page(server, "/all/", cookie=name.replace("__Host-", ""))
    assert plain.status == 200  # the same value, under the name of plain http here
    assert page(server, "/all/", cookie=name).status == 401  # and not under the other's


def test_the_cookie_of_plain_http_on_this_machine(server, visitor):
    name, *attributes = visitor.answer.headers["set-cookie"].split("; ")
    assert re.fullmatch(r"bizapi=ses_\w{26}\.[\w-]{43}", name)
    assert sorted(attributes) == ["HttpOnly", "Max-Age=7776000", "Path=/", "SameSite=Strict"]


def test_no_cookie_without_being_asked(server):
    person = Person(server)
    for field in ({}, {"session_cookie": False}):
        assert "set-cookie" not in login(person.api, person.email, PASSWORD, **field).headers
    check_error(login(person.api, person.email, PASSWORD, session_cookie="true"), 422,
                "VALIDATION_FAILED")
    assert "set-cookie" not in login(person.api, person.email, "wrong-password",
                                     session_cookie=True).headers


def test_no_cookie_over_plain_http_elsewhere(make_server):
    server = make_server(vhosts={"portal.test": "", "tls.test": "BizApiStateDir tls\n"
                                 "BizApiPublicURL https://tls.test"})
    person = Person(server)
    check_error(login(server.api(host="portal.test"), person.email, PASSWORD, session_cookie=True),
                400, "INVALID_REQUEST", "session_cookie")
    # Behind a proxy that ends TLS the browser speaks https.
    other = server.api(host="tls.test")
    person = Person(server, api=other)
    answer = login(other, person.email, PASSWORD, session_cookie=True)
    assert answer.headers["set-cookie"].startswith("__Host-bizapi=")
    assert "; Secure" in answer.headers["set-cookie"]
    # A page that came by http may be anybody's on the way, though it is of this host.
    cookie = answer.headers["set-cookie"].partition(";")[0]
    other.http.cookies.clear()
    for origin, good in (("http://tls.test", False), (f"http://tls.test:{server.port}", False),
                         ("https://tls.test", True)):
        answer = other.patch("/auth/me", json={"name": "Nora B."},
                             headers={"Cookie": cookie, "Origin": origin})
        assert (answer.status, good) in ((200, True), (403, False)), (origin, answer)
        if not good:
            check_error(answer, 403, "ORIGIN_NOT_ALLOWED")
            check_error(other.post("/auth/login", ip=new_ip(), headers={"Origin": origin}, json={
                "email": person.email, "password": PASSWORD, "session_cookie": True}),
                403, "ORIGIN_NOT_ALLOWED")


def test_any_changed_byte_of_the_cookie(server, visitor):
    name, _, value = visitor.cookie.partition("=")
    for i in range(0, len(value), 2):
        changed = value[:i] + ("A" if value[i] != "A" else "B") + value[i + 1:]
        answer = once(server, "GET", "/auth/me", headers={"Cookie": f"{name}={changed}"})
        check_error(answer, 401, "UNAUTHENTICATED")
    session, tag = value.split(".")
    other = claims_of(Person(server).access)["sid"]
    for text in (session, f"{session}.", tag, f"{other}.{tag}", f"{value}.{tag}", f"{value}x", ""):
        answer = once(server, "GET", "/auth/me", headers={"Cookie": f"{name}={text}"})
        check_error(answer, 401, "UNAUTHENTICATED")


def test_the_cookie_among_others(server, visitor):
    for header, status in ((f"a=1; {visitor.cookie}; b=2", 200), (f"a=1;{visitor.cookie}", 200),
                           (f"x{visitor.cookie}", 401), (f"a={visitor.cookie}", 401),
                           (f"bizapi=x; {visitor.cookie}", 401)):
        assert once(server, "GET", "/auth/me", headers={"Cookie": header}).status == status, header


def test_signing_out_by_the_cookie(server):
    person = Visitor(server)
    own = {"Cookie": person.cookie, "Origin": server.url}
    answer = person.api.post("/auth/logout", headers=own)
    assert answer.status == 200
    assert answer.headers["set-cookie"].startswith("bizapi=; Max-Age=0; Path=/")
    check_error(once(server, "GET", "/auth/me", headers=own), 401, "TOKEN_REVOKED")
    check_error(person.me(), 401, "TOKEN_REVOKED")
    assert "set-cookie" not in Person(server).api.post(
        "/auth/logout", token=Person(server).access).headers


# ---- from whose pages ----

def origins(server):
    port = server.port
    return {
        "own": ({"Origin": server.url}, True),
        "listed": ({"Origin": "http://localhost:3000"}, True),
        "the frontend": ({"Origin": "http://localhost:8081"}, True),
        "none": ({}, False),
        "null": ({"Origin": "null"}, False),
        "empty": ({"Origin": ""}, False),
        "other": ({"Origin": "https://evil.test"}, False),
        "own, other scheme": ({"Origin": f"https://127.0.0.1:{port}"}, False),
        "own, other port": ({"Origin": "http://127.0.0.1:9"}, False),
        "own and more": ({"Origin": f"{server.url}.evil.test"}, False),
        "a part of it": ({"Origin": "http://127.0.0.1"}, False),
        "own in capitals": ({"Origin": server.url.replace("http", "HTTP")}, False),
        "cross-site": ({"Origin": server.url, "Sec-Fetch-Site": "cross-site"}, False),
        "same-origin": ({"Origin": server.url, "Sec-Fetch-Site": "same-origin"}, True),
    }


@pytest.mark.parametrize("name", origins(type("S", (), {"url": "http://127.0.0.1:1", "port": 1})))
def test_changes_by_the_cookie_come_from_our_pages(server, visitor, name):
    headers, good = origins(server)[name]
    sent = {**headers, "Cookie": visitor.cookie}
    changed = f"Name {name}"
    answer = once(server, "PATCH", "/auth/me", headers=sent, json={"name": changed})
    if good:
        assert answer.status == 200
    else:
        check_error(answer, 403, "ORIGIN_NOT_ALLOWED")
    assert (visitor.me().data["name"] == changed) is good
    # Reading is free, and so is everything by Bearer.
    assert once(server, "GET", "/auth/me", headers=sent).status == 200
    assert once(server, "PATCH", "/auth/me", headers=headers, token=visitor.access,
                json={"name": "By Bearer"}).status == 200
    # The same before pages.
    before = (server.root / "ran").read_text()
    answer = page(server, "/cgi/env", cookie=visitor.cookie, method="POST",
                  **{k.replace("-", "_"): v for k, v in headers.items()})
    assert answer.status == (200 if good else 403)
    assert ((server.root / "ran").read_text() != before) is good
    assert "access-control-allow-credentials" not in answer.headers


def test_a_websocket_by_the_cookie_comes_from_our_pages(server, visitor):
    upgrade = {"Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    assert page(server, "/all/", cookie=visitor.cookie, **upgrade).status == 403
    assert page(server, "/all/", cookie=visitor.cookie, Origin="https://evil.test",
                **upgrade).status == 403
    assert page(server, "/all/", cookie=visitor.cookie, Origin=server.url, **upgrade).status == 200
    assert page(server, "/all/", token=visitor.access, **upgrade).status == 200


def test_a_sign_in_with_the_cookie_comes_from_our_pages_too(server):
    """Else a page elsewhere could sign its visitor in to an account of its own."""
    person = Person(server)
    for name, (headers, good) in origins(server).items():
        answer = person.api.post("/auth/login", ip=new_ip(), headers=headers, json={
            "email": person.email, "password": PASSWORD, "session_cookie": True})
        person.api.http.cookies.clear()
        if good or name == "none":  # no browser
            assert answer.status == 200 and "set-cookie" in answer.headers
        else:
            check_error(answer, 403, "ORIGIN_NOT_ALLOWED")
            assert "set-cookie" not in answer.headers
        answer = person.api.post("/auth/login", ip=new_ip(), headers=headers, json={
            "email": person.email, "password": PASSWORD})
        assert answer.status == 200


def test_no_answer_lets_another_origin_send_the_cookie(server, visitor):
    answer = once(server, "GET", "/auth/me", headers={"Cookie": visitor.cookie},
                  origin="http://localhost:3000")
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "access-control-allow-credentials" not in answer.headers


# ---- the store ----

@pytest.mark.sqlite
@pytest.mark.bz_may("BZ02")
def test_without_the_store_nobody_is_let_in(make_server):
    server = make_server(modules=("authn_core", "authz_user"), conf=LOCATIONS_ALL)
    (server.root / "htdocs/all").mkdir()
    (server.root / "htdocs/all/index.html").write_text("x")
    person = Visitor(server)
    assert page(server, "/all/", cookie=person.cookie).status == 200
    server.stop()
    # Beside it lies what is not in it yet, where two processes closed it at the same moment.
    kept = {path: path.read_bytes() for path in server.state.glob("bizapi.db*")}
    for path in kept:
        path.unlink()
    (server.state / "bizapi.db").write_bytes(b"no database" * 500)
    server.start()
    for way in ({"token": person.access}, {"cookie": person.cookie}):
        answer = page(server, "/all/", **way)
        assert answer.status == 503 and answer.headers["retry-after"] == "1"
    assert page(server, "/all/").status == 401
    server.stop()
    for path in server.state.glob("bizapi.db*"):
        path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    server.start()
    assert page(server, "/all/", cookie=person.cookie).status == 200


LOCATIONS_ALL = """
<Location "/all">
    AuthType BizApi
    Require valid-user
</Location>"""


# ---- many at once ----

def test_a_sign_out_under_load(server):
    """From the answer to the sign-out on, no request in any worker is let in."""
    person = Visitor(server)
    done, asked = [], []

    def ask(i):
        seen = []
        while len([over for over, _ in seen if over]) < 5:
            over = bool(done)
            way = {"cookie": person.cookie} if i % 2 else {"token": person.access}
            seen.append((over, page(server, "/all/", **way).status))
            asked.append(i)
        return seen

    def finish(i):
        if i:
            return ask(i)
        wait_until(lambda: len(asked) > 16, 20, "the load")
        try:
            answer = once(server, "POST", "/auth/logout", token=person.access)
        finally:
            done.append(answer.status)
        return []

    seen = [pair for each in in_parallel(9, finish) for pair in each]
    assert done == [200]
    assert {status for over, status in seen if over} == {401}
    assert 200 in {status for over, status in seen if not over}
    assert row(server, "sessions", _id=claims_of(person.access)["sid"])["revoked_at"]
