"""Beside the other modules of an Apache: Require, mod_headers, mod_rewrite, mod_alias, mod_proxy,
mod_deflate, files, other sites. One server, one virtual host for each case."""
import base64
import gzip
import hashlib

import pytest

from client import new_ip
from kit import Person, Wire, ask, check_error

ORIGIN = "http://localhost:3000"
PREFLIGHT = {"Access-Control-Request-Method": "POST"}
BASIC = {"Authorization": "Basic " + base64.b64encode(b"ops:open sesame").decode()}

SERVER = {
    "modules": ("alias", "rewrite", "authz_host", "auth_basic", "authn_core", "authn_file",
                "authz_user", "proxy", "proxy_http", "filter", "deflate", "allowmethods"),
    # Denied by Require; a wrong Basic password; AllowMethods.
    "may": ("AH01630", "AH01617", "AH01618", "AH01623"),
    "vhosts": {
        "require-ip.test": """
            <Location /api/v1>
                Require ip 10.9.8.0/24
            </Location>""",
        "require-user.test": """
            <Location /api/v1>
                AuthType Basic
                AuthName "Staff only"
                AuthBasicProvider file
                AuthUserFile conf/passwords
                Require valid-user
            </Location>""",
        "headers.test": """
            Header set X-Set one
            Header always set X-Always two
            Header always set Strict-Transport-Security "max-age=63072000"
            Header always set X-Frame-Options DENY
            Header unset X-Content-Type-Options
            Header always unset X-Content-Type-Options""",
        "rewrite.test": """
            RewriteEngine on
            RewriteRule ^/v1/(.*) /api/v1/$1 [PT]
            RewriteRule ^/api/v1/integrations/ - [F]
            RewriteRule ^/api/v1/gone$ - [G]
            RewriteRule ^/api/v1/old$ /api/v1/health/live [R=308,L]
            RewriteRule ^/api/v1/file$ /plain.txt [L]
            RewriteRule ^/api/v1/later$ - [R=503,L]""",
        "alias.test": """
            Alias /docs htdocs/documents
            Alias /api/v1/static htdocs/documents
            AliasMatch ^/api/v1/ready$ htdocs/plain.txt""",
        "closed.test": """
            <Directory />
                Require all denied
            </Directory>""",
        "deny-all.test": """
            <Location />
                Require all denied
            </Location>
            <Location /api/v1>
                Require all granted
            </Location>""",
        "foreign.test": """
            DocumentRoot foreign
            <Directory foreign>
                Require all granted
            </Directory>
            <Location /api/v1>
                SetHandler none
            </Location>
            ErrorDocument 404 "a foreign page\"""",
        "deflate.test": """
            SetOutputFilter DEFLATE""",
        "proxy.test": """
            ProxyPass /api/v1/other http://localhost:${PROXY_PORT}/plain.txt""",
        "methods.test": """
            <Location /api/v1>
                AllowMethods GET OPTIONS
            </Location>""",
        "directory.test": """
            DocumentRoot mixed
            <Directory mixed>
                Require all granted
                DirectoryIndex index.html
                Options +Indexes
            </Directory>""",
        "expression.test": """
            <Location /api/v1>
                SetHandler "biz%{tolower:API}"
            </Location>""",
    },
}


@pytest.fixture(scope="module")
def server(module_server):
    server = module_server(**SERVER, start=False)
    root = server.root
    for folder in ("htdocs/documents", "foreign/api/v1/auth", "foreign/api/v1/health",
                   "mixed/api/v1/health", "mixed/api/v1/docs"):
        (root / folder).mkdir(parents=True)
    (root / "htdocs/plain.txt").write_text("plain text\n")
    (root / "htdocs/index.html").write_text("<p>the front page</p>\n")
    (root / "htdocs/documents/a.txt").write_text("document a\n")
    (root / "foreign/api/v1/auth/login").write_text("their own login\n")
    (root / "foreign/api/v1/health/live").write_text("their own health\n")
    (root / "mixed/api/v1/health/live").write_text("a file of the same name\n")
    (root / "mixed/api/v1/docs/index.html").write_text("an index\n")
    (root / "conf/passwords").write_text("ops:{SHA}" + sha("open sesame") + "\n")
    server.env["PROXY_PORT"] = str(server.port)
    return server.start()


def sha(text):
    return base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()


# Sites whose answers are partly the operator's: the API's own document does not know them.
THEIRS = ("require-user.test", "methods.test", "rewrite.test", "proxy.test", "foreign.test")


def on(server, name):
    return server.api(host=name, undocumented=name in THEIRS)


# ---- Require ----

def test_require_ip(server):
    api = on(server, "require-ip.test")
    check_error(api.get("/health/live"), 403, "FORBIDDEN")
    check_error(api.post("/auth/login", json={}), 403, "FORBIDDEN")
    assert api.get("/health/live", ip="10.9.8.7").status == 200
    assert api.page("/plain.txt").status == 200


def test_require_valid_user(server):
    api = on(server, "require-user.test")
    answer = api.get("/health/live")
    assert answer.status == 401 and answer.json["error"]["code"] == "UNAUTHENTICATED"
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    wrong = {"Authorization": "Basic " + base64.b64encode(b"ops:wrong").decode()}
    assert api.get("/health/live", headers=wrong).status == 401
    assert api.get("/health/live", headers=BASIC).status == 200


@pytest.mark.parametrize("name", ["require-ip.test", "require-user.test"])
def test_preflights_pass_require(server, name):
    api = on(server, name)
    answer = api.options("/auth/login", origin=ORIGIN, headers=PREFLIGHT)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    check_error(api.options("/auth/login", origin="https://evil.test", headers=PREFLIGHT), 403,
                "FORBIDDEN")


@pytest.mark.parametrize("name, status", [("require-ip.test", 403), ("require-user.test", 401)])
def test_nothing_else_passes_require(server, name, status):
    """A request that only looks like a preflight is refused as any other."""
    api = on(server, name)
    for method, headers in (("OPTIONS", {}), ("OPTIONS", {"Origin": ORIGIN}), ("OPTIONS", PREFLIGHT),
                            ("GET", {"Origin": ORIGIN, **PREFLIGHT}),
                            ("POST", {"Origin": ORIGIN, **PREFLIGHT})):
        assert api.request(method, "/health/live", headers=headers).status == status
    assert api.request("OPTIONS", "/plain.txt", raw_path=True).status == 200


def test_a_refusal_by_require_is_readable_by_listed_origins(server):
    for name in ("require-ip.test", "require-user.test"):
        answer = on(server, name).get("/health/live", origin=ORIGIN)
        assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_directory_sections_do_not_stand_in_the_way(server):
    """`Require all denied` for / is Debian's default."""
    api = on(server, "closed.test")
    assert api.get("/health/live").status == 200
    assert api.post("/auth/login", json={}, ip=new_ip()).status == 422


def test_the_location_opens_what_another_closes(server):
    api = on(server, "deny-all.test")
    assert api.get("/health/live").status == 200
    assert api.page("/plain.txt").status == 403


def test_allowmethods_is_respected(server):
    api = on(server, "methods.test")
    assert api.get("/health/live").status == 200
    answer = api.post("/auth/login", json={}, ip=new_ip())
    assert answer.status == 405 and answer.json["error"]["code"] == "METHOD_NOT_ALLOWED"


# ---- mod_headers ----

def test_headers_are_added_whatever_the_status(server):
    api, ip = on(server, "headers.test"), new_ip()
    for _ in range(10):
        api.post("/auth/login", json={}, ip=ip)
    person = Person(server)
    tag = person.me().headers["etag"]
    answers = {200: api.get("/health/live"), 404: api.get("/nowhere"),
               401: api.get("/auth/me"), 405: api.put("/health/live"),
               413: api.post("/auth/refresh", body=b" " * 65537,
                             headers={"Content-Type": "application/json"}),
               422: api.post("/auth/refresh", json={}),
               429: api.post("/auth/login", json={}, ip=ip),
               204: api.options("/auth/login", origin=ORIGIN, headers=PREFLIGHT),
               304: api.get("/auth/me", token=person.access, headers={"If-None-Match": tag})}
    for status, answer in answers.items():
        assert answer.status == status, answer
        assert answer.headers["x-always"] == "two", status
        assert answer.headers["x-set"] == "one", status
        assert answer.headers["strict-transport-security"] == "max-age=63072000", status
        assert "x-content-type-options" not in answer.headers, status
    assert answers[429].headers["retry-after"].isdigit()


def test_headers_on_an_error_of_the_core(server):
    with Wire(server) as wire:
        answer = wire.send(b"GET /api/v1/a%2Fb HTTP/1.1\r\nHost: headers.test\r\n\r\n").answer()
        assert answer.status == 404 and answer.headers["x-always"] == "two"
        assert answer.json["error"]["code"] == "NOT_FOUND"


# ---- mod_rewrite ----

def test_passed_through(server):
    api = on(server, "rewrite.test")
    answer = api.page("/v1/health/live")
    assert answer.status == 200 and answer.data == {"status": "live"}
    ip = new_ip()
    statuses = [api.request("POST", "/v1/auth/login", json={}, raw_path=True, ip=ip).status
                for _ in range(11)]
    assert statuses == [422] * 10 + [429]


def test_denied_gone_and_moved(server):
    api = on(server, "rewrite.test")
    check_error(api.get("/integrations/status"), 403, "FORBIDDEN")
    answer = api.get("/gone")
    assert answer.status == 410 and answer.json["success"] is False
    moved = api.get("/old")
    assert moved.status == 308 and moved.headers["location"].endswith("/api/v1/health/live")
    check_error(api.get("/later"), 503, "BUSY")
    assert api.get("/health/live").status == 200


def test_rewritten_to_a_file(server):
    """SetHandler is for the URI that was asked for, and stays in force: Apache's own rule."""
    check_error(on(server, "rewrite.test").get("/file"), 404, "NOT_FOUND")


# ---- mod_alias, mod_proxy ----

def test_aliases_elsewhere_are_served(server):
    api = on(server, "alias.test")
    assert api.page("/docs/a.txt").text == "document a\n"
    assert api.page("/plain.txt").text == "plain text\n"
    assert api.get("/health/live").status == 200


def test_the_handler_wins_over_an_alias_below_it(server):
    api = on(server, "alias.test")
    check_error(api.get("/static/a.txt"), 404, "NOT_FOUND")
    check_error(api.get("/ready"), 404, "NOT_FOUND")


def test_a_proxied_path_goes_where_the_operator_sends_it(server):
    api = on(server, "proxy.test")
    assert api.get("/other").text == "plain text\n"
    assert api.get("/health/live").status == 200


# ---- files and other sites ----

def test_files_are_served_as_before(server):
    api = server.api()
    for path, text in (("/plain.txt", "plain text\n"), ("/", "<p>the front page</p>\n"),
                       ("/index.html", "<p>the front page</p>\n")):
        answer = api.page(path)
        assert (answer.status, answer.text) == (200, text)
        assert "x-request-id" not in answer.headers and "vary" not in answer.headers
        assert "etag" in answer.headers
    assert api.page("/missing").status == 404
    assert api.page("/missing").headers["content-type"].startswith("text/html")


def test_a_foreign_site_is_untouched(server):
    api = on(server, "foreign.test")
    assert api.get("/auth/login").text == "their own login\n"
    assert api.get("/health/live").text == "their own health\n"
    for path in ("/auth/register", "/portal/x", "/nowhere", "/auth%2Flogin"):
        answer = api.get(path)
        assert answer.status == 404 and answer.text == "a foreign page", path
        assert "x-request-id" not in answer.headers and "access-control-allow-origin" not in \
            api.get(path, origin=ORIGIN).headers
    statuses = {api.get("/auth/login").status for _ in range(15)}
    assert statuses == {200}


def test_before_the_host_is_known_the_first_host_answers(server):
    """A header that cannot be read ends the request before Apache looks which site was meant; the
    first site of the port is asked, as for its ErrorDocument."""
    answer = ask(server, b"GET /api/v1/x HTTP/1.1\r\nHost: foreign.test\r\nNo colon\r\n\r\n")
    assert answer.status == 400 and answer.code == "INVALID_REQUEST"
    elsewhere = ask(server, b"GET /x HTTP/1.1\r\nHost: foreign.test\r\nNo colon\r\n\r\n")
    assert elsewhere.status == 400 and elsewhere.headers["content-type"].startswith("text/html")


def test_files_of_the_same_name_do_not_matter(server):
    api = on(server, "directory.test")
    assert api.get("/health/live").data == {"status": "live"}
    check_error(api.get("/docs/"), 404, "NOT_FOUND")
    check_error(api.get("/docs"), 404, "NOT_FOUND")
    check_error(api.get("/"), 404, "NOT_FOUND")


def test_a_handler_by_expression(server):
    api = on(server, "expression.test")
    assert api.get("/health/live").data == {"status": "live"}
    assert api.post("/auth/login", json={}, ip=new_ip()).status == 422


# ---- mod_deflate ----

def test_public_answers_may_be_compressed_and_personal_ones_never(server):
    person = Person(server)
    api = on(server, "deflate.test")

    def encoding(path, **more):
        with api.http.stream("GET", f"/api/v1{path}", headers={
                "Accept-Encoding": "gzip", "Host": f"deflate.test:{server.port}",
                **more}) as response:
            raw = b"".join(response.iter_raw())
            return response.headers.get("content-encoding"), raw

    kind, raw = encoding("/integrations/status")
    assert kind == "gzip" and b'"success":true' in gzip.decompress(raw)
    kind, raw = encoding("/auth/me", Authorization=f"Bearer {person.access}")
    assert kind is None and b'"success":true' in raw
    answer = api.post("/auth/login", ip=new_ip(), headers={"Accept-Encoding": "gzip"}, json={
        "email": person.email, "password": person.password})
    assert answer.status == 200 and "content-encoding" not in answer.headers
    # A tag with the suffix of the filter is still that version.
    tag = person.me().headers["etag"]
    assert person.me(headers={"If-None-Match": tag[:-1] + '-gzip"'}).status == 304


# ---- the order of Require and of limits ----

def test_who_may_not_come_in_is_not_counted(server):
    api, ip = on(server, "require-ip.test"), new_ip()
    assert {api.post("/auth/login", json={}, ip=ip).status for _ in range(15)} == {403}


def test_basic_credentials_of_the_operator_do_not_sign_in(server):
    """Authorization belongs to Basic there: our routes take no Bearer beside it, and never Basic."""
    api = on(server, "require-user.test")
    check = api.get("/auth/me", headers=BASIC)
    assert check.status == 401 and check.json["error"]["code"] == "UNAUTHENTICATED"
