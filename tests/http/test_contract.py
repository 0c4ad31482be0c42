"""Section 1 of the contract: envelopes, codes, request ids, lists, versions, and the errors that
Apache's core makes by itself, which are the same JSON whatever ErrorDocument the operator has."""
import json
import re
import time

import pytest

from client import new_ip
from kit import (PATHS, ROUTES, SIGNED_IN_ROUTES, Person, Wire, allow_of, ask, check_error,
                 check_headers, comparable, in_parallel, once, routes_of_source)
from patience import wait_until

SERVER = {"conf": """
RequestReadTimeout header=1 body=3
LogFormat "%{X-Request-Id}o %s %U" ids
CustomLog logs/ids.log ids
ErrorLogFormat "[%{cu}t] [%-m:%l] [pid %P:tid %T] %{c}L %L %M"
"""}


@pytest.fixture(scope="module")
def person(server):
    return Person(server)


# ---- the table of routes ----

def test_this_level_knows_every_route():
    mine = {(r.method, r.path, r.who, r.idempotent) for r in ROUTES}
    assert mine == routes_of_source()


@pytest.mark.parametrize("route", ROUTES, ids=repr)
def test_a_route_stands_where_the_contract_has_it(api, route):
    answer = api.request(route.method, route.url, ip=new_ip())
    assert answer.status not in (404, 405, 500, 501), answer
    check_headers(answer)
    if route.path != "/openapi.json":  # a document of another standard
        assert isinstance(answer.json["success"], bool)


@pytest.mark.parametrize("route", SIGNED_IN_ROUTES, ids=repr)
def test_without_a_token_nothing_happens(api, route):
    body = route.good_body()
    more = {"json": body} if body else {}
    check_error(api.request(route.method, route.url, **more), 401, "UNAUTHENTICATED")


# ---- shapes ----

@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/integrations/status",
                                  "/auth/jwks.json"])
def test_success_has_one_shape(api, path):
    answer = api.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json["success"] is True and isinstance(answer.json["data"], dict)
    check_headers(answer)


def test_health_tells_no_detail(api):
    assert api.get("/health/live").data == {"status": "live"}
    assert api.get("/health/ready").data == {"status": "ready"}


def test_user_has_the_fields_of_the_contract(person):
    user = person.me().data
    assert {"id", "email", "name", "phone", "role", "email_verified", "mfa_enabled", "locale",
            "timezone", "created_at", "version"} == set(user)
    assert re.fullmatch(r"usr_[0-9a-z]{26}", user["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", user["created_at"])
    assert user["role"] == "customer" and user["email_verified"] is False
    assert person.tokens["user"] == user


def test_ids_sort_by_time(server):
    first = Person(server).me().data["id"]
    time.sleep(0.002)
    assert first < Person(server).me().data["id"]


def test_personal_answers_are_not_stored_and_public_ones_may_be(api, person):
    assert person.me().headers["cache-control"] == "no-store"
    assert api.post("/auth/login", json={}).headers["cache-control"] == "no-store"
    assert "cache-control" not in api.get("/integrations/status").headers


# ---- not found, not allowed ----

@pytest.mark.parametrize("path", [
    "", "/", "/nowhere", "/auth", "/auth/", "/auth/login/", "/auth/login/x", "/auth//x",
    "/auth/logi", "/auth/loginn", "/AUTH/login", "/auth/sessions/", "/auth/sessions/a/b",
    "/auth/login%2F", "/auth%2Flogin", "/auth/login;x=1", "/%2e%2e%2f", "/_error", "/portal/none",
    "/admin/none", "/auth/login.html", "/auth/%C3%A4", "/%7Bid%7D"])
def test_unknown_paths(api, path):
    check_error(api.get(path, ip=new_ip()), 404, "NOT_FOUND")


def test_a_zero_byte_in_the_path(server):
    answer = ask(server, b"GET /api/v1/auth/%00login HTTP/1.1\r\nHost: localhost\r\n"
                         b"Connection: close\r\n\r\n")
    assert (answer.status, answer.code) in ((404, "NOT_FOUND"), (400, "INVALID_REQUEST"))


@pytest.mark.parametrize("path", PATHS)
def test_wrong_methods_name_the_right_ones(api, path):
    allow = allow_of(path)
    url = path.replace("{id}", "x")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "MKCOL"):
        if method not in allow:
            answer = api.request(method, url, ip=new_ip())
            check_error(answer, 405, "METHOD_NOT_ALLOWED")
            assert answer.headers["allow"] == allow


def test_not_found_and_not_yours_are_the_same(server, person):
    other = Person(server)
    theirs = other.api.get("/auth/sessions", token=other.access).data[0]["id"]
    foreign = person.api.delete(f"/auth/sessions/{theirs}", token=person.access)
    unknown = person.api.delete("/auth/sessions/ses_" + "0" * 26, token=person.access)
    malformed = person.api.delete("/auth/sessions/whatever", token=person.access)
    check_error(foreign, 404, "NOT_FOUND")
    assert comparable(foreign) == comparable(unknown) == comparable(malformed)
    assert other.me().status == 200


# ---- request ids ----

@pytest.mark.parametrize("sent", ["a", "req-1", "Trace_7.x", "0" * 64])
def test_a_good_request_id_is_echoed(api, sent):
    for path in ("/health/live", "/nowhere", "/auth/me"):
        assert api.get(path, headers={"X-Request-Id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", " ", "a b", "a\tb", "0" * 65, "x" * 1024, "a;b", "<b>", "é",
                                  'a"b', "a,b", "${jndi:x}", "%n%s", "a/../b"])
def test_a_bad_request_id_is_replaced(server, sent):
    answer = ask(server, b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: "
                 + sent.encode() + b"\r\nConnection: close\r\n\r\n")
    assert answer.status == 200
    given = answer.headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-z]{26}", given), given


def test_two_request_ids_are_none(server):
    answer = ask(server, b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n"
                         b"X-Request-Id: one\r\nX-Request-Id: two\r\nConnection: close\r\n\r\n")
    assert answer.headers["x-request-id"].startswith("req_")


def test_ids_do_not_repeat(api):
    ids = {api.get("/health/live").headers["x-request-id"] for _ in range(50)}
    assert len(ids) == 50


def test_the_id_stands_in_the_access_log(server, api):
    for path, status in (("/health/live", 200), ("/nowhere", 404)):
        given = api.get(path).headers["x-request-id"]
        line = f"{given} {status} /api/v1{path}"
        wait_until(lambda: line in (server.root / "logs/ids.log").read_text(), 5, line)


def test_the_id_stands_in_the_error_log(server, api):
    """The line of a refused sign-in carries the id of its request (ErrorLogFormat %L)."""
    api.post("/auth/login", json={"email": "no@people.test", "password": "wrong password"},
             headers={"X-Request-Id": "trace-me-42"})
    wait_until(lambda: "trace-me-42" in server.log_text(), 5, "the id in the error log")
    line = next(line for line in server.log_text().splitlines() if "trace-me-42" in line)
    assert "BZ0505" in line


# ---- lists ----

@pytest.fixture(scope="module")
def many_sessions(server):
    someone = Person(server)
    for _ in range(6):
        someone.login()
    return someone


def test_a_list_has_pages_in_one_order(many_sessions):
    def page(**params):
        return many_sessions.api.get("/auth/sessions", token=many_sessions.access, params=params)

    whole = page()
    assert len(whole.data) == 7
    assert whole.json["pagination"] == {"has_more": False, "next_cursor": None, "limit": 20}
    got, cursor = [], None
    while True:
        answer = page(limit=3, **({"cursor": cursor} if cursor else {}))
        got += [s["id"] for s in answer.data]
        pagination = answer.json["pagination"]
        assert pagination["limit"] == 3
        assert pagination["has_more"] is (pagination["next_cursor"] is not None)
        cursor = pagination["next_cursor"]
        if not cursor:
            break
        assert len(answer.data) == 3
    assert got == [s["id"] for s in whole.data] == sorted(got, reverse=True)


@pytest.mark.parametrize("limit", ["0", "-1", "101", "abc", "", "1.0", "1e1", " 5", "05",
                                   "99999999999999999999"])
def test_bad_limits(person, limit):
    answer = person.api.get("/auth/sessions", token=person.access, params={"limit": limit})
    check_error(answer, 422, "VALIDATION_FAILED", "limit")


@pytest.mark.parametrize("cursor", ["x", "A" * 40, "%", "ses_" + "0" * 26, "' OR 1=1"])
def test_forged_cursors(person, cursor):
    answer = person.api.get("/auth/sessions", token=person.access, params={"cursor": cursor})
    check_error(answer, 422, "VALIDATION_FAILED", "cursor")


def test_a_cursor_of_somebody_else_shows_nothing_of_theirs(server, many_sessions):
    other = Person(server)
    cursor = many_sessions.api.get("/auth/sessions", token=many_sessions.access,
                                   params={"limit": 2}).json["pagination"]["next_cursor"]
    theirs = {s["id"] for s in many_sessions.api.get("/auth/sessions",
                                                     token=many_sessions.access).data}
    answer = other.api.get("/auth/sessions", token=other.access, params={"cursor": cursor})
    assert answer.status in (200, 422)
    assert not theirs & {s["id"] for s in (answer.data if answer.status == 200 else [])}


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=1&limit=1", "cursor=a&cursor=b"])
def test_a_parameter_twice(person, query):
    answer = person.api.get(f"/auth/sessions?{query}", token=person.access)
    check_error(answer, 400, "INVALID_REQUEST", query.split("=")[0])


# ---- versions ----

def test_etag_and_if_none_match(person):
    first = person.me()
    tag = first.headers["etag"]
    assert re.fullmatch(r'"\d+"', tag)
    for known in (tag, f"W/{tag}", f'"0", {tag}', "*", tag[:-1] + '-gzip"'):
        again = person.me(headers={"If-None-Match": known})
        assert again.status == 304 and again.body == b"", known
        assert again.headers["etag"] == tag and "Origin" in again.headers["vary"]
    for unknown in ('"0"', "x", '"', '""', tag[:-1], tag[:-1] + '0"'):
        assert person.me(headers={"If-None-Match": unknown}).status == 200, unknown


def test_if_match(server):
    person = Person(server)
    tag = person.me().headers["etag"]

    def patch(name, if_match):
        return person.api.patch("/auth/me", token=person.access, json={"name": name},
                                headers={"If-Match": if_match} if if_match else {})

    changed = patch("First", tag)
    assert changed.status == 200 and changed.data["name"] == "First"
    assert changed.headers["etag"] != tag
    check_error(patch("Second", tag), 412, "STALE")
    check_error(patch("Second", '"nonsense"'), 412, "STALE")
    assert person.me().data["name"] == "First"
    assert patch("Third", "*").data["name"] == "Third"
    assert patch("Fourth", None).data["name"] == "Fourth"


def test_of_parallel_changes_with_one_version_one_wins(server):
    person = Person(server)
    tag = person.me().headers["etag"]
    answers = in_parallel(8, lambda i: once(
        server, "PATCH", "/auth/me", token=person.access, json={"name": f"Name {i}"},
        headers={"If-Match": tag}))
    assert sorted(a.status for a in answers) == [200] + [412] * 7


# ---- errors that Apache's core makes ----

# What the operator may have configured for them.
DOCUMENTS = {
    "none": "",
    "text": '"They broke it"',
    "page": "/error.html",
    "missing": "/nothing-here.html",
}
# Client denied by Require, unknown host name, a path above the root.
EXPECTED_LINES = ("AH01630", "AH10157", "AH10244")
CODES = (400, 403, 404, 405, 408, 413, 414, 417, 431, 500, 501, 503)


def documents(value):
    if not value:
        return ""
    lines = "\n".join(f"ErrorDocument {code} {value}" for code in CODES)
    return f"{lines}\n<Location /api/v1>\n{lines}\n</Location>\n"


@pytest.fixture(scope="module", params=DOCUMENTS, ids=DOCUMENTS)
def core_server(request, module_server):
    value = documents(DOCUMENTS[request.param])
    server = module_server(modules=("authz_host",), may=EXPECTED_LINES, conf=f"""
RequestReadTimeout header=1 body=1
LimitRequestBody 200000
<Location /api/v1/auth/me>
    Require ip 10.9.8.7
</Location>
{value}
""")
    (server.root / "htdocs/error.html").write_text("<html>their page</html>")
    return server


def api_request(line, headers="", body=b"", path="/api/v1/auth/login"):
    return (f"{line.format(path)} HTTP/1.1\r\nHost: localhost\r\n{headers}"
            "Connection: close\r\n\r\n").encode() + body


CORE_ERRORS = {
    "bad header": (b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\nNo colon\r\n\r\n",
                   400, "INVALID_REQUEST"),
    "space before the colon": (b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n"
                               b"A : b\r\n\r\n", 400, "INVALID_REQUEST"),
    "no host": (b"GET /api/v1/health/live HTTP/1.1\r\n\r\n", 400, "INVALID_REQUEST"),
    "unknown version": (b"GET /api/v1/health/live HTTP/x.y\r\nHost: localhost\r\n\r\n",
                        400, "INVALID_REQUEST"),
    "bad host": (b'GET /api/v1/health/live HTTP/1.1\r\nHost: a b"<>\r\n\r\n',
                 400, "INVALID_REQUEST"),
    "unknown host": (b"GET /api/v1/health/live HTTP/1.1\r\nHost: evil.test\r\n\r\n",
                     400, "INVALID_REQUEST"),
    "two lengths": (api_request("POST {}", "Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
                    400, "INVALID_REQUEST"),
    "length with a sign": (api_request("POST {}", "Content-Length: +2\r\n", b"{}"),
                           400, "INVALID_REQUEST"),
    "length out of range": (api_request("POST {}", "Content-Length: 1" + "0" * 23 + "\r\n"),
                            (400, 413), None),
    "bad chunk": (api_request("POST {}", "Content-Type: application/json\r\n"
                              "Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
                  400, "INVALID_REQUEST"),
    "huge chunk": (api_request("POST {}", "Content-Type: application/json\r\n"
                               "Transfer-Encoding: chunked\r\n", b"f" * 17 + b"\r\n"),
                   (400, 413), None),
    "not allowed": (api_request("GET {}", path="/api/v1/auth/me"), 403, "FORBIDDEN"),
    "escaped slash": (api_request("GET {}", path="/api/v1/auth%2Flogin"), 404, "NOT_FOUND"),
    "above the root": (api_request("GET {}", path="/api/v1/../../../x"), (400, 404), None),
    "trace": (api_request("TRACE {}"), 405, "METHOD_NOT_ALLOWED"),
    "slow body": (api_request("POST {}", "Content-Type: application/json\r\n"
                              "Content-Length: 20\r\n", b"{"), 408, "REQUEST_TIMEOUT"),
    "slow chunk": (api_request("POST {}", "Content-Type: application/json\r\n"
                               "Transfer-Encoding: chunked\r\n", b"5\r\n{"),
                   408, "REQUEST_TIMEOUT"),
    "slow header": (b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
                    408, "REQUEST_TIMEOUT"),
    "expectation": (api_request("POST {}", "Expect: a-miracle\r\nContent-Length: 2\r\n", b"{}"),
                    417, "EXPECTATION_FAILED"),
    "long line": (api_request("GET {}", path="/api/v1/" + "a" * 9000), 414, "URI_TOO_LONG"),
    "long header": (api_request("GET {}", "X-Long: " + "a" * 9000 + "\r\n"),
                    (400, 431), None),
    "many headers": (api_request("GET {}", "".join(f"X-{i}: 1\r\n" for i in range(60))),
                     (400, 431), None),
    "unknown method": (api_request("FOO {}"), 501, "NOT_IMPLEMENTED"),
    "lower-case method": (api_request("get {}"), 501, "NOT_IMPLEMENTED"),
}


@pytest.mark.parametrize("name", CORE_ERRORS)
def test_errors_of_the_core_are_json(core_server, name):
    data, statuses, code = CORE_ERRORS[name]
    answer = ask(core_server, data)
    assert answer.status in (statuses if isinstance(statuses, tuple) else (statuses,)), answer
    assert answer.headers.get("content-type") == "application/json; charset=utf-8", answer
    body = answer.json
    assert body["success"] is False and set(body) == {"success", "error"}
    assert body["error"]["message"] and "path" not in body["error"]
    if code:
        assert body["error"]["code"] == code
    assert re.fullmatch(r"req_[0-9a-z]{26}", answer.headers["x-request-id"])
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "their page" not in json.dumps(body) and "broke" not in json.dumps(body)


def test_an_error_of_the_core_names_its_id_and_its_origin(core_server):
    answer = ask(core_server, b"GET /api/v1/auth/me HTTP/1.1\r\nHost: localhost\r\n"
                              b"X-Request-Id: core-7\r\nOrigin: http://localhost:3000\r\n"
                              b"Connection: close\r\n\r\n")
    assert answer.status == 403 and answer.headers["x-request-id"] == "core-7"
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"


def test_errors_elsewhere_stay_the_operators(core_server, request):
    """A page that is missing outside of the API: what ErrorDocument says, or Apache's own page."""
    answer = ask(core_server, b"GET /elsewhere HTTP/1.1\r\nHost: localhost\r\n"
                              b"Connection: close\r\n\r\n")
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    style = request.node.callspec.params["core_server"]
    expected = {"text": b"They broke it", "page": b"their page"}.get(style, b"Not Found")
    assert expected in answer.body


def test_a_head_request_to_a_refused_path_has_no_body(core_server):
    with Wire(core_server) as wire:
        answer = wire.send(b"HEAD /api/v1/auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n").answer(True)
        assert answer.status == 403
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert wire.request("GET", "/api/v1/health/live").answer().status == 200


def test_a_redirecting_error_document_is_the_operators_word(make_server):
    """An ErrorDocument that is a whole URL turns the error into a redirect, by Apache's own rule:
    whoever writes that for the API gets it."""
    server = make_server(modules=("authz_host",), may=EXPECTED_LINES, conf="""
ErrorDocument 403 http://localhost:9/why
<Location /api/v1/auth/me>
    Require ip 10.9.8.7
</Location>
""")
    answer = server.api().get("/auth/me", undocumented=True)
    assert answer.status == 302 and answer.headers["location"] == "http://localhost:9/why"


@pytest.mark.parametrize("path", ["/api/v10/health/live", "/api/v1x", "/api/v", "/api/V1/health"])
def test_a_neighbouring_path_is_not_ours(api, path):
    answer = api.page(path)
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "x-request-id" not in answer.headers
