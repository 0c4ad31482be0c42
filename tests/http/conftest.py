"""The fixtures that harness.py describes."""
import time

import pytest

import harness
import stored
from bizapictl import Ctl
from kit import MailServer


def pytest_configure(config):
    config.addinivalue_line("markers", "bz(*numbers): these must appear in the error log")
    config.addinivalue_line("markers", "bz_may(*numbers): these may appear in the error log")
    config.addinivalue_line("markers", "sqlite: of the SQLite file, or not of the store at all")
    if stored.ON_MONGO:
        try:
            stored.shared_mongo()
        except stored.mongod.Missing as e:
            pytest.exit(str(e), 1)


def pytest_collection_modifyitems(config, items):
    """With BIZ_STORE=mongodb: what looks into the store. The rest asks it the same questions."""
    def wanted(item):
        return not item.get_closest_marker("sqlite") and any(
            getattr(item.module, name, None) is getattr(stored, name)
            for name in ("change", "row", "rows"))

    if stored.ON_MONGO:
        config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
        items[:] = [item for item in items if wanted(item)]


def pytest_unconfigure(config):
    stored.end()


# All workers are busy, as event, worker and prefork put it.
ALL_BUSY = ["AH00484", "AH00286", "AH00161"]


def numbers_of(item, name):
    return [n for mark in item.iter_markers(name) for n in mark.args]


def may_of(node):
    """Announced are also the lines of busy workers, by who asks more at once than a server has of
    them, and by who asks for an MPM on which each kept connection holds one."""
    busy = harness.many_at_once or any(server.mpm != "event" for server in harness.Server.live)
    return numbers_of(node, "bz_may") + (ALL_BUSY if busy else [])


@pytest.fixture(autouse=True)
def log_guard(request):
    """No test ends with a line of level warn or worse that nobody announced."""
    harness.many_at_once = False
    yield
    must, may = numbers_of(request.node, "bz"), may_of(request.node)
    bad, missing = [], set(must)
    end = time.monotonic() + 5
    while True:
        for server in harness.Server.live:
            new, seen = server.log_problems(must + may)
            bad += new
            missing -= seen
        if not missing or time.monotonic() > end:
            break
        time.sleep(0.05)
    for server in [s for s in harness.Server.live if s.only_for == request.node]:
        server.close()
    assert not bad, "unexpected lines in the error log:\n" + "\n".join(bad)
    assert not missing, f"announced, but not in the error log: {sorted(missing)}"
    harness.check_leaks()


def started(node, arguments):
    server = harness.Server(**{**arguments, "start": False})
    server.only_for = node
    if arguments.get("start", True):
        server.start()
    return server


@pytest.fixture
def make_server(request, log_guard):
    """Servers of one test. log_guard reads their logs after the stop, and removes them."""
    yield lambda **arguments: started(request.node, arguments)
    stop_those_of(request.node)


def stop_those_of(node):
    for server in harness.Server.live:
        if server.only_for == node:
            server.stop()


@pytest.fixture(scope="module")
def module_server(request):
    yield lambda **arguments: started(request.node, arguments)
    may = numbers_of(request.node, "bz") + may_of(request.node)
    bad = []
    for server in [s for s in harness.Server.live if s.only_for == request.node]:
        server.stop()
        bad += server.log_problems(may)[0]
        server.close()
    assert not bad, "unexpected lines in the error log at the stop:\n" + "\n".join(bad)
    harness.check_leaks()


@pytest.fixture(scope="module")
def server(request, module_server):
    """The server of the module: Server(**SERVER)."""
    return module_server(**getattr(request.module, "SERVER", {}))


@pytest.fixture
def api(server):
    client = server.api()
    yield client
    client.http.close()


@pytest.fixture
def smtp(request, tmp_path):
    """It outlasts who sends: a mail may still be on its way when the test has ended."""
    server = MailServer(tmp_path)
    yield server
    stop_those_of(request.node)
    server.process.terminate()
    server.process.wait(10)


@pytest.fixture
def ctl(tmp_path):
    """bizapictl on a database that is not there yet."""
    return Ctl(tmp_path)


@pytest.fixture
def ready(ctl):
    """bizapictl on an empty database."""
    ctl("migrate")
    return ctl
