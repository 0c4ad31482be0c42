"""The list of leaked passwords that BizApiBreachedPasswords asks: a stand-in of its range API, which
learns five digits and nothing else; and that nobody waits for it when it hangs or is gone."""
import hashlib
import http.server
import threading
import time

import pytest

from client import new_ip
from kit import OTHER_PASSWORD, PASSWORD, Person, address, check_error
from ports import free_port

LEAKED = "Correct-horse-battery-9"


def digest(password):
    return hashlib.sha1(password.encode()).hexdigest().upper()


class List(http.server.ThreadingHTTPServer):
    """Answers as the real one: the rest of each digest with its count, and padding with 0."""
    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.seen, self.delay, self.body = [], 0, None
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Add-Padding")))
        time.sleep(self.server.delay)
        prefix = self.path.removeprefix("/range/")
        lines = [f"{digest(str(n))[5:]}:{n % 3}" for n in range(800)]
        lines += [f"{digest(p)[5:]}:{count}" for p, count in ((LEAKED, 7), (OTHER_PASSWORD, 0))
                  if digest(p).startswith(prefix)]
        body = self.server.body or "\r\n".join(sorted(lines)).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # the caller did not wait

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def leaked():
    stand_in = List()
    yield stand_in
    stand_in.shutdown()
    stand_in.server_close()


@pytest.fixture(scope="module")
def server(module_server, leaked):
    return module_server(conf=f"BizApiBreachedPasswords {leaked.url}")


def register(api, password):
    return api.post("/auth/register", ip=new_ip(), json={
        "email": address(), "password": password, "name": "N"})


def test_a_leaked_password_is_refused(server, leaked, api):
    leaked.seen.clear()
    error = check_error(register(api, LEAKED), 422, "WEAK_PASSWORD", "password")
    assert "leak" in error["message"]
    assert leaked.seen == [(f"/range/{digest(LEAKED)[:5].lower()}", "true")]
    # What is only padding is no leak, and what is not in the list is not either.
    for good in (OTHER_PASSWORD, PASSWORD):
        assert register(api, good).status == 201
    assert all(len(path) == len("/range/12345") for path, _ in leaked.seen)


def test_it_is_asked_for_every_new_password(server, leaked):
    person = Person(server)
    check_error(person.api.post("/auth/change-password", token=person.access, json={
        "current_password": PASSWORD, "new_password": LEAKED}), 422, "WEAK_PASSWORD",
        "new_password")
    leaked.seen.clear()
    person.login()
    check_error(register(person.api, "short77"), 422, "VALIDATION_FAILED", "password")
    check_error(register(person.api, "password1"), 422, "WEAK_PASSWORD", "password")
    assert not leaked.seen, "only what passes our own list is asked about"


@pytest.mark.bz_may("BZ0801", "BZ0802", "BZ0803")
def test_nobody_waits_for_a_list_that_hangs_or_talks_nonsense(server, leaked, api):
    leaked.delay = 5
    try:
        began = time.monotonic()
        assert register(api, LEAKED).status == 201
        assert time.monotonic() - began < 3.5
    finally:
        leaked.delay = 0
    for nonsense in (b"\0" * 100, b"<html>", b"A" * 3_000_000, digest(LEAKED)[5:].encode()):
        leaked.body = nonsense
        assert register(api, LEAKED).status == 201
    leaked.body = None


@pytest.mark.bz_may("BZ0801", "BZ0802", "BZ0803")
def test_a_list_that_is_gone_costs_nothing(make_server):
    server = make_server(conf=f"BizApiBreachedPasswords http://127.0.0.1:{free_port()}")
    api = server.api()
    for _ in range(8):
        began = time.monotonic()
        assert register(api, LEAKED).status == 201
        assert time.monotonic() - began < 2
