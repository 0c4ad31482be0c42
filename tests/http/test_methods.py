"""Methods and the framing of requests: HEAD, OPTIONS, unknown methods, hosts, lengths, codings and
hidden requests (RFC 9110, RFC 9112), over HTTP/1.1 and HTTP/2."""
import pytest

from client import new_ip
from harness import REPO
from kit import H2, PATHS, ROUTES, Person, Wire, allow_of, ask, check_error, check_headers

SERVER = {"http2": True, "https": True}
GET_ROUTES = [r for r in ROUTES if r.method == "GET"]
JSON = "Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def person(server):
    return Person(server)


@pytest.mark.parametrize("route", GET_ROUTES, ids=repr)
@pytest.mark.parametrize("h2", [False, True], ids=["h1", "h2"])
def test_head_is_get_without_the_body(server, person, route, h2):
    api = server.api(http2=h2)
    get = api.get(route.url, token=person.access)
    head = api.head(route.url, token=person.access)
    assert head.status == get.status and head.body == b""
    for name in ("content-type", "etag", "cache-control", "vary", "x-content-type-options",
                 "content-security-policy", "www-authenticate"):
        assert head.headers.get(name) == get.headers.get(name), name
    assert head.headers.get("content-length", get.headers["content-length"]) == \
        get.headers["content-length"]
    check_headers(head)


@pytest.mark.parametrize("path", [r.url for r in ROUTES if r.method == "POST" and
                                  "HEAD" not in allow_of(r.path)])
def test_head_on_an_action_does_nothing(api, path):
    answer = api.head(path, ip=new_ip())
    assert answer.status == 405 and answer.body == b""
    assert "POST" in answer.headers["allow"]


def test_a_connection_goes_on_after_head(server):
    with Wire(server) as wire:
        for _ in range(3):
            assert wire.request("HEAD", "/api/v1/health/live").answer(head=True).status == 200
            assert wire.request("HEAD", "/api/v1/nowhere").answer(head=True).status == 404
            assert wire.request("GET", "/api/v1/health/live").answer().status == 200


@pytest.mark.parametrize("path", PATHS)
def test_options_names_the_methods(api, path):
    answer = api.options(path.replace("{id}", "x"), ip=new_ip())
    assert answer.status == 204 and answer.body == b""
    assert answer.headers["allow"] == allow_of(path)
    check_headers(answer)


def test_options_of_nothing(api):
    check_error(api.options("/nowhere"), 404, "NOT_FOUND")


def test_options_of_the_server(server):
    answer = ask(server, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.status == 200 and answer.body == b""


@pytest.mark.parametrize("method", ["PROPFIND", "MKCOL", "LOCK", "PUT", "DELETE", "PATCH",
                                    "MERGE", "REPORT"])
def test_known_methods_that_the_route_has_not(api, method):
    answer = api.request(method, "/auth/login", ip=new_ip())
    check_error(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("method", ["FOO", "get", "Post", "QUERY", "X" * 500, "G-E-T", "BREW"])
@pytest.mark.parametrize("path", ["/api/v1/health/live", "/api/v1/nowhere"])
def test_unknown_methods(server, method, path):
    answer = ask(server, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
                         "Connection: close\r\n\r\n".encode())
    assert (answer.status, answer.code) == (501, "NOT_IMPLEMENTED")


@pytest.fixture(scope="module")
def lenient(module_server):
    """An Apache without the strict settings: what its core lets through is ours to refuse."""
    server = module_server(start=False, conf="StrictHostCheck OFF\nTraceEnable on\n")
    conf = server.root / "conf/httpd.conf"
    hard = (REPO / "conf/quickstart/hard.conf").read_text()
    (server.root / "conf/lenient.conf").write_text(hard.replace(
        "HttpProtocolOptions Strict RegisteredMethods Require1.0",
        "HttpProtocolOptions Strict LenientMethods Require1.0"))
    conf.write_text(conf.read_text().replace(f"{REPO}/conf/quickstart/hard.conf",
                                             "conf/lenient.conf"))
    return server.start()


@pytest.mark.parametrize("method", ["FOO", "get", "QUERY", "X-Y"])
def test_unknown_methods_without_the_strict_settings(lenient, method):
    answer = ask(lenient, f"{method} /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n"
                          "Connection: close\r\n\r\n".encode())
    assert (answer.status, answer.code) == (501, "NOT_IMPLEMENTED")


def test_any_host_is_served_the_same_business_without_the_strict_settings(lenient):
    answer = ask(lenient, b"GET /api/v1/health/live HTTP/1.1\r\nHost: whoever.test\r\n"
                          b"Connection: close\r\n\r\n")
    assert answer.status == 200


def test_trace_and_connect(server):
    trace = ask(server, b"TRACE /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n"
                        b"Authorization: Bearer secret-mark\r\nConnection: close\r\n\r\n")
    assert (trace.status, trace.code) == (405, "METHOD_NOT_ALLOWED")
    assert b"secret-mark" not in trace.body
    connect = ask(server, b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n"
                          b"Connection: close\r\n\r\n")
    assert connect.status in (400, 405)


# ---- hosts ----

BAD_HOSTS = ['a b"<>', "evil@localhost", "localhost:notaport", "local host", "[::1", "a/b", "a\\b",
             "localhost:80:80"]


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_malformed_hosts(server, host):
    answer = ask(server, f"GET /api/v1/health/live HTTP/1.1\r\nHost: {host}\r\n"
                         "Connection: close\r\n\r\n".encode())
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


@pytest.mark.bz_may("AH10157")
@pytest.mark.parametrize("data", [
    b"GET /api/v1/health/live HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n",
    b"GET http://evil.test/api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: close\r\n\r\n",
    b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n"
    b"Connection: close\r\n\r\n",
    b"GET /api/v1/health/live HTTP/1.1\r\nConnection: close\r\n\r\n"],
    ids=["unknown", "in the line", "two", "none"])
def test_hosts_that_are_not_ours(server, data):
    answer = ask(server, data)
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


# ---- framing ----

def post(headers, body=b"{}"):
    return (f"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {new_ip()}"
            f"\r\n{JSON}{headers}\r\n").encode("latin-1") + body


@pytest.mark.parametrize("headers", [
    "Content-Length: 2\r\nContent-Length: 2\r\n", "Content-Length: 2\r\nContent-Length: 3\r\n",
    "Content-Length: +2\r\n", "Content-Length: 2, 2\r\n", "Content-Length: -1\r\n",
    "Content-Length: 0x2\r\n", "Content-Length: 2 2\r\n", "Content-Length: \r\n",
    "Content-Length: 99999999999999999999999\r\n", "Content-Length : 2\r\n",
    "X-A: b\x00c\r\nContent-Length: 2\r\n", "X-A: b\rc\r\nContent-Length: 2\r\n",
    "X(y): 1\r\nContent-Length: 2\r\n",
    ": none\r\nContent-Length: 2\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"
    "\r\n", "Transfer-Encoding: chunked, gzip\r\n"],
    ids=lambda h: ascii(h)[1:40])
def test_bad_framing_ends_the_connection(server, headers):
    hidden = b"GET /api/v1/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Wire(server) as wire:
        wire.send(post(headers, b"{}" + hidden))
        answer = wire.answer()
        assert answer.status in (400, 413, 501), answer
        assert answer.json["success"] is False
        assert wire.is_closed()
    assert not [a for a in server.access() if "hidden" in a["path"]]


def test_a_length_and_chunks_hide_no_request(server):
    """Chunks win over Content-Length (RFC 9112 section 6.3), and the connection ends after it."""
    body = b"2\r\n{}\r\n0\r\n\r\nGET /api/v1/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Wire(server) as wire:
        wire.send(post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", body))
        answer = wire.answer()
        assert answer.status in (400, 422), answer
        assert wire.is_closed()
    assert not [a for a in server.access() if "hidden" in a["path"]]


@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"2\n{}\n0\n\n",
                                  b"2\r\n{}X0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n",
                                  b" 2\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffff1\r\n"])
def test_bad_chunks(server, body):
    with Wire(server) as wire:
        wire.send(post("Transfer-Encoding: chunked\r\n", body))
        answer = wire.answer()
        assert answer.status in (400, 413, 422), answer
        assert answer.json["success"] is False
        assert answer.status == 422 or answer.headers["connection"] == "close"


def test_requests_one_after_the_other_without_waiting(server):
    """Ten requests in one write, bodies among them: ten answers in order."""
    data = b"".join(
        (f"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: n{i}\r\n"
         f"X-Forwarded-For: {new_ip()}\r\n{JSON}Content-Length: 2\r\n\r\n{{}}").encode()
        for i in range(10))
    with Wire(server) as wire:
        wire.send(data)
        answers = [wire.answer() for _ in range(10)]
    assert [a.headers["x-request-id"] for a in answers] == [f"n{i}" for i in range(10)]
    assert {a.status for a in answers} == {422}


def test_an_unread_body_does_not_become_a_request(server):
    """401, 404, 405 and 415 are said without reading the body; the next request is still right."""
    hidden = b"GET /api/v1/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Wire(server) as wire:
        for method, path, status in (("POST", "/nowhere", 404), ("PUT", "/auth/login", 405),
                                     ("DELETE", "/auth/sessions/x", 415),
                                     ("POST", "/auth/login", 415)):
            wire.request(method, f"/api/v1{path}", {"Content-Type": "text/plain"}, hidden * 3)
            assert wire.answer().status == status
    assert not [a for a in server.access() if "hidden" in a["path"]]


def test_continue_is_said_only_for_a_body_that_is_wanted(server):
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/auth/login", {"Content-Type": "application/json",
                                                    "Content-Length": 2, "Expect": "100-continue"})
        assert wire._until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        wire.send(b"{}")
        assert wire.answer().status == 422
        wire.request("POST", "/api/v1/nowhere", {"Content-Type": "application/json",
                                                 "Content-Length": 2, "Expect": "100-continue"})
        answer = wire.answer()
        assert answer.status == 404 and answer.interim == []


def test_http_10(server):
    got = server.raw(b"GET /api/v1/health/live HTTP/1.0\r\nHost: localhost\r\n\r\n", 5)
    assert got.startswith(b"HTTP/1.1 200") and got.endswith(b'{"status":"live"}}')


# ---- HTTP/2 ----

def test_everything_over_http2(server, person):
    api = server.api(https=True, http2=True)
    answer = api.get("/auth/me", token=person.access)
    assert (answer.status, answer.http_version) == (200, "HTTP/2")
    check_error(api.get("/nowhere"), 404, "NOT_FOUND")
    wrong = api.put("/auth/login", ip=new_ip())
    check_error(wrong, 405, "METHOD_NOT_ALLOWED")
    check_error(api.request("FOO", "/auth/login", ip=new_ip()), 501, "NOT_IMPLEMENTED")
    check_error(api.post("/auth/login", json={}, ip=new_ip()), 422, "VALIDATION_FAILED", "email")
    assert api.get("/health/live").status == 200


@pytest.mark.parametrize("size", [65536, 65537, 1_000_000])
def test_a_large_body_over_http2(server, size):
    """The refusal ends its stream only: the next request on the connection is served."""
    connection = H2(server)
    json_type = [("content-type", "application/json")]
    body = b'{"email":"a@b.test"' + b" " * (size - 20) + b"}"
    for headers in (json_type, [*json_type, ("content-length", str(size))]):
        answer = connection.request("POST", "/auth/login", body, headers)
        if size == 65536:
            assert (answer.status, answer.end) == (422, "ended")
        else:
            assert (answer.status, answer.code) == (413, "BODY_TOO_LARGE")
            assert answer.headers["content-type"] == "application/json; charset=utf-8"
            assert answer.end in ("ended", 0)
        assert connection.request("GET", "/health/live").status == 200


@pytest.mark.parametrize("headers, body", [
    ([("content-length", "5")], b"{}"), ([("connection", "close")], b""),
    ([("transfer-encoding", "chunked")], b"{}"), ([("x-a", "b\r\nx-c: d")], b"")],
    ids=["wrong length", "connection", "transfer-encoding", "line break"])
def test_malformed_streams_are_reset(server, headers, body):
    connection = H2(server)
    connection.h2.config.validate_outbound_headers = False
    connection.h2.config.normalize_outbound_headers = False
    answer = connection.request("POST", "/auth/login", body,
                                [("content-type", "application/json"), *headers])
    assert answer.status in (None, 400) and (answer.status or answer.end != "ended")
    assert H2(server).request("GET", "/health/live").status == 200


def test_many_streams_of_one_connection(server, person):
    """A hundred requests at once on one connection, each with its own answer."""
    answers = H2(server).flood([("GET", "/auth/me", b"", [
        ("authorization", f"Bearer {person.access}"), ("x-request-id", f"s{i}")])
        for i in range(100)])
    assert {a.status for a in answers} == {200}
    assert [a.headers["x-request-id"] for a in answers] == [f"s{i}" for i in range(100)]
    assert len({a.body for a in answers}) == 1
