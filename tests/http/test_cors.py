"""Which foreign pages may read the answers: origins by directive and by variable, preflights, and
the headers on every kind of answer (WHATWG Fetch, CORS protocol)."""
import pytest

from client import new_ip
from kit import PATHS, Person, Wire, allow_of, ask, check_error

SERVER = {"conf": """
BizApiCorsOrigins https://app.example.test https://b.example.test:8443
BizApiPortalDomain portal.example.test
"""}
APP = "https://app.example.test"
LISTED = [APP, "https://b.example.test:8443", "http://portal.example.test",
          "https://portal.example.test"]
DEFAULTS = ["http://localhost:3000", "http://localhost:19006", "http://localhost:8081"]
UNLISTED = ["https://evil.test", "https://app.example.test.evil.test",
            "https://evilapp.example.test", "https://sub.app.example.test",
            "https://sub.portal.example.test", "https://example.test", "http://app.example.test",
            "https://app.example.test:443", "https://app.example.test:8443",
            "https://b.example.test", "https://app.example.test.", "https://APP.example.test",
            "HTTPS://app.example.test", "https://app.example.test/", "https://app.example.test/x",
            " https://evil.test", "null", "", "*", "file://", "app.example.test",
            "https://app.example.test, https://evil.test", "https://" + "a" * 4000 + ".test"]
PREFLIGHT = {"Access-Control-Request-Method": "POST"}


def names(header):
    return {name.strip() for name in header.split(",")}


def no_cors(answer):
    return not [name for name in answer.headers if name.startswith("access-control-")]


# ---- simple requests ----

@pytest.mark.parametrize("origin", LISTED)
def test_listed_origins_may_read(api, origin):
    answer = api.get("/health/live", origin=origin)
    assert answer.headers["access-control-allow-origin"] == origin
    assert "Origin" in names(answer.headers["vary"])
    assert "access-control-allow-credentials" not in answer.headers
    assert {"Retry-After", "X-Request-Id", "ETag", "Location", "Idempotent-Replayed"} <= \
        names(answer.headers["access-control-expose-headers"])


@pytest.mark.parametrize("origin", UNLISTED, ids=lambda o: repr(o)[:50])
def test_others_may_not(server, origin):
    with Wire(server) as wire:
        answer = wire.request("GET", "/api/v1/health/live", {"Origin": origin}).answer()
        assert answer.status == 200
        assert no_cors(answer), answer
        assert "Origin" in names(answer.headers["vary"])


def test_without_an_origin(api):
    answer = api.get("/health/live")
    assert no_cors(answer) and "Origin" in names(answer.headers["vary"])


def test_two_origin_headers(server):
    with Wire(server) as wire:
        wire.send(f"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\nOrigin: {APP}\r\n"
                  f"Origin: {APP}\r\n\r\n".encode())
        assert no_cors(wire.answer())


# ---- on every kind of answer ----

def test_every_answer_has_the_headers(server):
    person = Person(server)
    api, ip = person.api, new_ip()
    for _ in range(10):
        api.post("/auth/login", json={}, ip=ip)
    tag = person.me().headers["etag"]
    answers = {
        200: api.get("/auth/me", token=person.access, origin=APP),
        304: api.get("/auth/me", token=person.access, origin=APP, headers={"If-None-Match": tag}),
        400: api.post("/auth/login", body=b"{", origin=APP, ip=new_ip(),
                      headers={"Content-Type": "application/json"}),
        401: api.get("/auth/me", origin=APP),
        404: api.get("/nowhere", origin=APP),
        405: api.put("/auth/login", origin=APP, ip=new_ip()),
        412: api.patch("/auth/me", token=person.access, json={"name": "x"}, origin=APP,
                       headers={"If-Match": '"0"'}),
        413: api.post("/auth/login", body=b" " * 65537, origin=APP, ip=new_ip(),
                      headers={"Content-Type": "application/json"}),
        415: api.post("/auth/login", body=b"x", origin=APP, ip=new_ip(),
                      headers={"Content-Type": "text/plain"}),
        422: api.post("/auth/login", json={}, origin=APP, ip=new_ip()),
        429: api.post("/auth/login", json={}, origin=APP, ip=ip),
    }
    for status, answer in answers.items():
        assert answer.status == status, answer
        assert answer.headers["access-control-allow-origin"] == APP, status
        assert "Retry-After" in names(answer.headers["access-control-expose-headers"]), status
        assert "Origin" in names(answer.headers["vary"]), status


@pytest.mark.bz("BZ0204")
def test_also_503(make_server):
    server = make_server(start=False, mail=False, may=("BZ06",))
    server.write_conf(f"BizApiStore sqlite:{server.root}/none/bizapi.db")
    answer = server.start().api().get("/health/ready", origin=DEFAULTS[0])
    check_error(answer, 503, "STORE_UNAVAILABLE")
    assert answer.headers["access-control-allow-origin"] == DEFAULTS[0]


def test_also_errors_of_the_core(server):
    """Those that come after the headers were read; before, nobody knows an origin."""
    data = (b"GET /api/v1/auth%2Flogin HTTP/1.1\r\nHost: localhost\r\nOrigin: " + APP.encode() +
            b"\r\nConnection: close\r\n\r\n")
    answer = ask(server, data)
    assert answer.status == 404 and answer.headers["access-control-allow-origin"] == APP
    unread = ask(server, data.replace(b"GET", b"FOO"))
    assert unread.status == 501 and "Origin" in names(unread.headers["vary"])


# ---- preflights ----

@pytest.mark.parametrize("path", PATHS)
def test_preflight(api, path):
    url = path.replace("{id}", "x")
    answer = api.options(url, origin=APP, headers={
        **PREFLIGHT, "Access-Control-Request-Headers":
        "authorization,content-type,Idempotency-Key, X-Request-Id,if-match"})
    assert answer.status == 204 and answer.body == b""
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-methods"] == allow_of(path)
    assert names(answer.headers["access-control-allow-headers"]) == {
        "Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id", "If-Match"}
    assert answer.headers["access-control-max-age"] == "600"
    assert names(answer.headers["vary"]) >= {"Origin", "Access-Control-Request-Method",
                                             "Access-Control-Request-Headers"}
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [o for o in UNLISTED if o.strip()], ids=lambda o: repr(o)[:50])
def test_preflight_of_others(server, origin):
    with Wire(server) as wire:
        answer = wire.request("OPTIONS", "/api/v1/auth/login",
                              {"Origin": origin, **PREFLIGHT}).answer()
        assert (answer.status, answer.code) == (403, "FORBIDDEN")
        assert no_cors(answer)


def test_a_method_that_is_not_there_is_not_allowed(api):
    answer = api.options("/auth/login", origin=APP,
                         headers={"Access-Control-Request-Method": "DELETE"})
    assert answer.status == 204
    assert "DELETE" not in names(answer.headers["access-control-allow-methods"])


def test_a_header_that_is_not_known_is_not_allowed(api):
    answer = api.options("/auth/login", origin=APP, headers={
        **PREFLIGHT, "Access-Control-Request-Headers": "x-evil, content-type, cookie"})
    assert answer.status == 204
    assert names(answer.headers["access-control-allow-headers"]) == {"Content-Type"}


def test_a_preflight_of_nothing(api):
    answer = api.options("/nowhere", origin=APP, headers=PREFLIGHT)
    assert answer.status == 204 and "access-control-allow-methods" not in answer.headers


def test_options_without_a_request_method_is_no_preflight(api):
    answer = api.options("/auth/login", origin=APP, ip=new_ip())
    assert answer.status == 204 and answer.headers["allow"] == "POST, OPTIONS"
    assert answer.headers["access-control-allow-origin"] == APP


def test_a_thousand_preflights_cost_no_login(api):
    ip = new_ip()
    statuses = {api.options("/auth/login", origin=APP, headers=PREFLIGHT, ip=ip).status
                for _ in range(1000)}
    assert statuses == {204}
    assert api.post("/auth/login", json={}, ip=ip).status == 422


# ---- what a foreign page cannot do ----

@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded",
                                  "multipart/form-data; boundary=b"])
def test_what_a_form_can_send_does_nothing(server, kind):
    person = Person(server)
    body = b'{"email":"' + person.email.encode() + b'"}'
    answer = person.api.post("/auth/forgot-password", body=body, origin="https://evil.test",
                             headers={"Content-Type": kind}, ip=new_ip())
    check_error(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    check_error(person.api.get("/auth/logout", token=person.access, origin="https://evil.test"),
                405, "METHOD_NOT_ALLOWED")
    assert person.me().status == 200


def test_a_token_works_from_an_unlisted_origin_but_its_page_cannot_read(server):
    """There are no cookies: who holds the token may use it; CORS only guards what a page sees."""
    person = Person(server)
    answer = person.me(origin="https://evil.test")
    assert answer.status == 200 and no_cors(answer)


def test_no_cookie_is_ever_set(server):
    person = Person(server)
    for answer in (person.me(), person.api.get("/health/live"),
                   person.api.post("/auth/logout", token=person.access)):
        assert "set-cookie" not in answer.headers


# ---- configuration ----

def allowed(api, origin):
    return "access-control-allow-origin" in api.get("/health/live", origin=origin).headers


@pytest.mark.parametrize("conf, env, yes, no", [
    ("", {}, DEFAULTS, [APP, "http://localhost:3001", "https://localhost:3000",
                        "http://127.0.0.1:3000"]),
    (f"BizApiCorsOrigins {APP}", {}, [APP], DEFAULTS),
    (f"BizApiCorsOrigins {APP}\nBizApiCorsOrigins https://two.test", {},
     [APP, "https://two.test"], DEFAULTS),
    ("BizApiCorsOrigins https://App.Example.TEST:443/", {}, [APP],
     ["https://App.Example.TEST:443", "https://app.example.test:443"]),
    ("", {"CORS_ORIGINS": "https://myapp.com,https://admin.myapp.com"},
     [*DEFAULTS, "https://myapp.com", "https://admin.myapp.com"], ["http://myapp.com"]),
    ("", {"CORS_ORIGINS": " https://myapp.com , https://admin.myapp.com/ ,"},
     ["https://myapp.com", "https://admin.myapp.com"], ["https://x.myapp.com"]),
    ("", {"CORS_ORIGINS": ""}, DEFAULTS, [APP]),
    (f"BizApiCorsOrigins {APP}", {"CORS_ORIGINS": "https://myapp.com"},
     [APP, "https://myapp.com"], DEFAULTS),
    ("", {"PORTAL_DOMAIN": "portal.mybusiness.com"},
     [*DEFAULTS, "http://portal.mybusiness.com", "https://portal.mybusiness.com"],
     ["https://mybusiness.com", "https://x.portal.mybusiness.com",
      "https://portal.mybusiness.com.evil.test", "https://portal.mybusiness.com:8443"]),
    ("BizApiPortalDomain own.test", {"PORTAL_DOMAIN": "portal.mybusiness.com"},
     ["http://own.test", "https://own.test"], ["https://portal.mybusiness.com"]),
    ("", {"PORTAL_DOMAIN": "portal.test:8443"},
     ["http://portal.test:8443", "https://portal.test:8443"], ["https://portal.test"]),
])
def test_origins_by_directive_and_variable(make_server, conf, env, yes, no):
    api = make_server(conf=conf, env=env, mail=False).api()
    assert [o for o in yes if not allowed(api, o)] == []
    assert [o for o in no if allowed(api, o)] == []


def test_virtual_hosts_have_their_own_origins(make_server):
    server = make_server(mail=False, vhosts={
        "one.test": f"BizApiStateDir one\nBizApiMail off\nBizApiCorsOrigins {APP}",
        "two.test": "BizApiStateDir two\nBizApiMail off\nBizApiPortalDomain two.test"})
    one, two, main = (server.api(host=h) for h in ("one.test", "two.test", None))
    assert [allowed(a, APP) for a in (one, two, main)] == [True, False, False]
    assert [allowed(a, "https://two.test") for a in (one, two, main)] == [False, True, False]
    assert [allowed(a, DEFAULTS[0]) for a in (one, two, main)] == [False, True, True]
