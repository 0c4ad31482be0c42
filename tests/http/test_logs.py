"""What the logs have, and what they never have: the request's id in both logs, numbers on our
lines, and no value of a query of ours, whatever the format and however the request ends."""
import re

import pytest

from kit import Person, ask
from patience import wait_until
from received import token_of

FORMAT = (r'LogFormat "%h \"%r\" %q %U %>s \"%{Referer}i\" id=%{X-Request-Id}o" all'
          "\nCustomLog logs/all.log all\n"
          'ErrorLogFormat "[%t] [%-m:%l] [pid %P] %L %M"\nLogLevel debug bizapi:debug\n')
SERVER = {"conf": FORMAT}
MARK = "sEcReTmArKeR0123456789abcdefABCDEF_-xyz0123"


def all_log(server):
    return (server.root / "logs/all.log").read_text()


def get(path, *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("path,headers", [
    (f"/api/v1/auth/verify-reset-token?token={MARK}", ()),
    (f"//api//v1/auth/verify-reset-token?token={MARK}", ()),
    (f"/api/v1/auth/%76erify-reset-token?%74oken={MARK}", ()),
    (f"/x/../api/v1/auth/verify-reset-token?token={MARK}&limit=3", ()),
    (f"/api/v1/no/such/route?token={MARK}", ()),
    (f"/api/v1/auth/verify-reset-token?{MARK}", ()),
    (f"/api/v1/auth/verify-reset-token?token={MARK}&token={MARK}", ()),
    (f"/api/v1/auth/verify-reset-token?token={MARK}%zz", ()),
    (f"/api/v1/x%2Fy?token={MARK}", ()),
    (f"/api/v1/auth/verify-reset-token?token={MARK}", ("Bad Header: x",)),
    (f"/api/v1/auth/verify-reset-token?token={MARK}", ("Expect: nonsense",)),
    (f"/api/v1/auth/verify-reset-token?token={MARK}&pad=" + "a" * 9000, ()),
    ("/api/v1/auth/me", (f"Referer: https://portal.test/reset?token={MARK}",)),
])
def test_no_value_of_a_query_is_logged(server, path, headers):
    def lines():  # the harness has asked for /ready, and that line may come late
        return [line for line in all_log(server)[before:].splitlines(True) if "/ready " not in line]

    before = len(all_log(server))
    ask(server, get(path, *headers))
    wait_until(lambda: "".join(lines()).endswith("\n"), 5, "the line in the log")
    assert len(lines()) == 1, lines()
    line = lines()[0]
    assert MARK not in line
    assert "api" in line, "the line is about another request"
    assert MARK not in server.log_text()


def test_hiding_costs_no_memory(server):
    """A URI of nothing but '&' is as many values to hide, before any limit has seen the request."""
    def most():
        return max(int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])
                   for pid in server.children())

    ask(server, get("/api/v1/x?a=1"))
    before = most()
    for _ in range(4):
        ask(server, get("/api/v1/x?" + "&" * 8000))
    assert most() - before < 16 * 1024, "KiB"


def test_queries_of_other_sites_stay_as_they_are(server):
    """Nobody else's log line is ours to change."""
    before = len(all_log(server))
    ask(server, get(f"/page.html?colour={MARK}"))
    wait_until(lambda: f"?colour={MARK}" in all_log(server)[before:], 5, "the line in the log")


def test_the_status_page_has_no_value_of_a_query(server):
    for _ in range(8):
        ask(server, get(f"/api/v1/auth/verify-reset-token?token={MARK}"))
    page = server.api().page("/core-status").text
    assert "/api/v1/auth/verify-reset-token" in page
    assert MARK not in page


def test_the_request_id_is_in_both_logs(server):
    api = server.api()
    answer = api.post("/auth/login", headers={"X-Request-Id": "trace-me-42"}, json={
        "email": "nobody@people.test", "password": "not-the-one-8"})
    assert answer.headers["x-request-id"] == "trace-me-42"
    wait_until(lambda: "id=trace-me-42" in all_log(server), 5, "the line in the log")
    lines = [line for line in server.log_text().splitlines() if "trace-me-42" in line]
    assert any("BZ0505" in line for line in lines), lines


def test_lines_of_ours_have_a_number_and_no_secret(server):
    person = Person(server)
    person.api.post("/auth/forgot-password", json={"email": person.email})
    token = token_of(server.mail.wait(person.email, "new password"))
    person.api.get("/auth/verify-reset-token", params={"token": token})
    person.api.post("/auth/login", json={"email": person.email, "password": "wrong-" + MARK})
    wait_until(lambda: all_log(server).count("POST /api/v1/auth/login") >= 2, 5, "the lines")
    text = server.log_text() + server.stderr() + re.sub(r".*colour=.*", "", all_log(server))
    for secret in (person.password, person.access, person.refresh_token, token, MARK,
                   "$argon2id$"):
        assert secret not in text
    ours = [line for line in server.log_text().splitlines() if "[bizapi:" in line]
    assert ours and all(re.search(r"BZ\d{4}: ", line) for line in ours), ours
    # Addresses stand masked.
    assert person.email not in server.log_text()
