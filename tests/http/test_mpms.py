"""The same on event, worker and prefork: the journey, exact limits over the processes, mail, restarts,
a stop. `make test MPM=worker` runs all of this folder on another MPM; this file runs on all three
each time."""
import contextlib
import threading

import httpx
import pytest

from client import new_ip
from kit import Person, Shim, in_parallel, once, refresh, row, rows
from patience import wait_until
from test_journey import whole_journey

pytestmark = pytest.mark.sqlite  # what the store is makes no difference to an MPM
MPMS = ("event", "worker", "prefork")


@pytest.fixture(scope="module", params=MPMS)
def server(request, module_server):
    # mod_http2 does not work with prefork.
    return module_server(mpm=request.param, https=True, http2=request.param != "prefork",
                         conf='BizApiBusiness name "Salon Nora"\n'
                              "BizApiFrontendURL https://portal.test/app")


@pytest.mark.parametrize("mpm", MPMS)
def test_a_stop_cuts_nothing_in_two(make_server, mpm):
    """Apache ends a child that is not up yet, and on prefork any child, by exit() in a signal
    handler. The shim aborts where that interrupts a look-up of users, or the check of a token."""
    server = make_server(mpm=mpm, start=False)
    server.shim = Shim(server)
    server.env["SHIM_BUSY"] = "200"
    server.start(wait=False)
    wait_until(server.children, 20, "the first child")
    assert server.stop() < 3
    server.start()
    person = Person(server)

    def ask():
        with contextlib.suppress(httpx.HTTPError):  # where it is not answered any more
            once(server, "GET", "/auth/me", token=person.access)

    asker = threading.Thread(target=ask)
    mark = server.shim.count.stat().st_size
    asker.start()
    wait_until(lambda: server.shim.count.stat().st_size > mark, 10, "the check of the token")
    assert server.stop() < 3
    asker.join()
    assert "SIGTERM" in server.log_text() and "the middle of work" not in server.log_text()


def test_the_mpm_is_the_one_that_was_asked_for(server):
    wait_until(lambda: f"[mpm_{server.mpm}:" in server.log_text(), 10, "the MPM's own line")
    assert len(server.children()) >= 2


@pytest.mark.parametrize("https, http2", [(False, False), (True, False), (True, True)])
def test_the_whole_journey(server, https, http2):
    if http2 and not server.http2:
        with pytest.raises(httpx.RemoteProtocolError):
            server.api(https=True, http2=True).get("/health/live")
        return
    api = server.api(https=https, http2=http2)
    whole_journey(server, api)
    assert api.get("/health/live").http_version == ("HTTP/2" if http2 else "HTTP/1.1")


def test_exactly_ten_of_sixty_over_all_processes(server):
    ip = new_ip()
    answers = in_parallel(60, lambda _: once(server, "POST", "/auth/login", json={}, ip=ip))
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [422] * 10 + [429] * 50
    assert all(1 <= int(a.headers["retry-after"]) <= 60 for a in answers if a.status == 429)


def test_a_graceful_restart_forgets_nothing(server):
    """Sessions, counts, ended sessions; and each mail once."""
    person, gone, ip = Person(server), Person(server), new_ip()
    once(server, "POST", "/auth/logout", token=gone.access)
    for _ in range(10):
        assert once(server, "POST", "/auth/login", json={}, ip=ip).status == 422
    once(server, "POST", "/auth/forgot-password", json={"email": person.email}, ip=new_ip())
    server.graceful()
    assert once(server, "POST", "/auth/login", json={}, ip=ip).status == 429
    assert once(server, "GET", "/auth/me", token=person.access).status == 200
    assert once(server, "GET", "/auth/me", token=gone.access).status == 401
    assert refresh(server.api(), gone.refresh_token).status == 401
    assert refresh(server.api(), person.refresh_token).status == 200
    server.mail.wait(person.email, "new password", timeout=70)
    wait_until(lambda: not rows(server, "outbox", state="queued"), 70, "the end of the queue")
    assert len(server.mail.all(person.email, "new password")) == 1


def test_every_process_serves_the_store(server):
    """Whoever answers: a session that one process made is known to the others."""
    person = Person(server)
    in_parallel(12, lambda _: once(server, "GET", "/auth/me", token=person.access).data)
    session = row(server, "sessions", user_id=person.document()["_id"])
    assert session["generation"] == 1


def test_the_stop_is_quick(server):
    """The last test of each server: within what Apache waits for before it kills."""
    assert server.stop() < 9
    assert "AH00046" not in server.log_text()
    assert "AH00045" not in server.log_text()
