"""With everything an operator has beside us, at once: mod_deflate, mod_headers, mod_remoteip,
mod_rewrite, mod_security2 (which reads bodies before us and answers after us) and mod_evasive; over
HTTP/1.1, TLS and HTTP/2. test_phases.py has the same modules one by one."""
import gzip

import pytest

from client import new_ip
from foreign import module
from kit import PASSWORD, Person, Wire, address, check_error, rows
from test_journey import whole_journey

pytestmark = pytest.mark.sqlite  # what the store is makes no difference to other modules
MODULES = ("unique_id", "rewrite", "filter", "deflate", "proxy", "proxy_http", "alias", "expires",
           "setenvif", "status", "auth_basic", "authn_core", "authz_user", "authz_host")
SECURITY = """
    SecRuleEngine On
    SecRequestBodyAccess On
    SecRequestBodyLimit 131072
    SecRequestBodyNoFilesLimit 131072
    SecRequestBodyLimitAction Reject
    SecResponseBodyAccess On
    SecResponseBodyMimeType application/json text/html
    SecResponseBodyLimit 1048576
    SecTmpDir run
    SecDataDir run
    SecAuditEngine Off
    SecRule REQUEST_HEADERS:Content-Type "^application/json" \\
        "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
    SecRule ARGS "@contains jndi:ldap" "id:2,phase:2,deny,status:403,nolog"
    SecRule REQUEST_URI "@contains ..%2f" "id:3,phase:1,deny,status:400,nolog"
    SecRule RESPONSE_BODY "@rx never-to-be-sai[d]" "id:4,phase:4,deny,status:500,nolog"
"""
EVASIVE = """
    DOSHashTableSize 3097
    DOSPageCount {0}
    DOSSiteCount {0}
    DOSPageInterval 1
    DOSSiteInterval 1
    DOSBlockingPeriod 2
    DOSLogDir run
"""
OTHERS = """
    AddOutputFilterByType DEFLATE application/json text/html
    Header always set Strict-Transport-Security "max-age=63072000"
    Header set X-Frame-Options DENY
    RequestHeader set X-Seen-By proxy
    ExtendedStatus On
"""


REWRITTEN = {"rewritten.test": """
    RewriteEngine on
    RewriteRule ^/old-api/(.*)$ /api/v1/$1 [PT]
"""}


def load(security=True, evasive=None):
    text = OTHERS
    if security:
        path = module("libapache2-mod-security2", "mod_security2.so")
        text += f'LoadModule security2_module "{path}"\n{SECURITY}'
    if evasive:
        path = module("libapache2-mod-evasive", "mod_evasive20.so")
        text += f'LoadModule evasive20_module "{path}"\n{EVASIVE.format(evasive)}'
    return text


# ModSecurity tells of itself at the start.
MAY = (":notice] [pid", "ModSecurity")


@pytest.fixture(scope="module")
def server(module_server):
    return module_server(https=True, http2=True, modules=MODULES, may=MAY, vhosts=REWRITTEN,
                         conf=load(evasive=100000) + 'BizApiBusiness name "Salon Nora"\n'
                         "BizApiFrontendURL https://portal.test/app\n")


def test_they_are_all_there(server):
    assert "ModSecurity for Apache" in server.log_text()
    assert server.api().get("/health/live").headers["strict-transport-security"]


@pytest.mark.parametrize("https, http2", [(False, False), (True, False), (True, True)])
def test_the_whole_journey(server, https, http2):
    api = server.api(https=https, http2=http2)
    whole_journey(server, api)
    assert api.get("/health/live").http_version == ("HTTP/2" if http2 else "HTTP/1.1")


@pytest.mark.parametrize("https, http2", [(False, False), (True, True)])
def test_limits_and_answers_over(server, https, http2):
    api = server.api(https=https, http2=http2)
    statuses = [api.post("/auth/login", json={}).status for _ in range(12)]
    assert statuses == [422] * 10 + [429] * 2
    refused = api.post("/auth/login", json={})
    assert refused.headers["retry-after"].isdigit() and refused.code == "RATE_LIMITED"
    assert refused.headers["x-frame-options"] == "DENY"


def test_cors_goes_through_all_of_them(server, api):
    headers = {"Access-Control-Request-Method": "POST"}
    answer = api.options("/auth/login", origin="http://localhost:3000", headers=headers)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"


def test_public_answers_are_compressed_and_personal_ones_are_not(server, api):
    person = Person(server)
    accept = {"Accept-Encoding": "gzip"}
    with Wire(server) as wire:
        wire.send(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n"
                  b"Accept-Encoding: gzip\r\n\r\n")
        answer = wire.answer()
    assert answer.headers["content-encoding"] == "gzip"
    assert b'"openapi"' in gzip.decompress(answer.body)
    assert "content-encoding" not in person.me(headers=accept).headers


def test_a_rewritten_path_is_served_and_counted(server):
    api = server.api(host="rewritten.test")
    answer = api.request("GET", "/old-api/health/live", raw_path=True)
    assert answer.status == 200 and answer.data == {"status": "live"}
    statuses = [api.request("POST", "/old-api/auth/login", raw_path=True, json={}).status
                for _ in range(11)]
    assert statuses == [422] * 10 + [429]


def test_a_body_that_was_read_before_us_is_whole(server, api):
    """60 KiB in chunks, through ModSecurity's own buffer."""
    body = b'{"email":"' + b" " * 60000 + b'nobody@people.test","password":"' + b"x" * 20 + b'"}'
    assert len(body) < 65536
    with Wire(server) as wire:
        head = (f"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: "
                f"{new_ip()}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(head.encode())
        for i in range(0, len(body), 7000):
            part = body[i:i + 7000]
            wire.send(b"%x\r\n" % len(part) + part + b"\r\n")
        wire.send(b"0\r\n\r\n")
        assert wire.answer().status == 401
    assert api.post("/auth/login", body=b"{" + b" " * 70000 + b"}", headers={
        "Content-Type": "application/json"}).status == 413


def test_what_it_refuses_never_reaches_us_and_is_worded_as_ours(server, api):
    email = address("hostile")
    answer = api.post("/auth/register", undocumented=True, json={
        "email": email, "password": PASSWORD, "name": "${jndi:ldap://x.test/a}"})
    check_error(answer, 403, "FORBIDDEN")
    assert rows(server, "users", email=email) == []
    answer = api.get("/auth/sessions/..%2f..%2fetc", undocumented=True)
    assert answer.status in (400, 404) and answer.error["code"] in ("INVALID_REQUEST", "NOT_FOUND")


def test_restarts_and_the_stop(server):
    person = Person(server)
    server.graceful()
    assert person.me().status == 200
    assert server.stop() < 9


def test_who_is_blocked_by_mod_evasive_reads_json(make_server):
    """It counts connections' addresses, a process for itself, and answers 403 before us."""
    server = make_server(modules=MODULES, conf=load(security=False, evasive=5), may=(
        "AH01630", "client denied", *MAY))
    server.core_pages = False
    api = server.api()
    answers = [api.get("/health/live", undocumented=True) for _ in range(60)]
    blocked = [a for a in answers if a.status == 403]
    assert answers[0].status == 200 and blocked
    check_error(blocked[0], 403, "FORBIDDEN")
