"""A store on a MongoDB that is hurt: what the tests of its faults share, at the level of store.h.

Rules for all: no success that was answered is lost, nothing is done twice, no call takes longer than
the bound, the store comes back by itself, and the operator reads one line a minute, not a thousand.
The store runs in store_driver.c, a program of its own; what it says is compared with what a second
client (pymongo) then finds in the database.
"""
import collections
import contextlib
import functools
import pathlib
import queue
import subprocess
import threading
import time

import pytest

import mongod
from driver import build, environment
from mongo_proxy import Proxy

HERE = pathlib.Path(__file__).resolve().parent
BOUND_MS = 5000      # mongo_link.c: of one call
BACK_S = 1.0         # after the server is back
WARN = 1             # BIZ_LOG_WARN: this and below is what an operator sees by default

needs_mongo = pytest.mark.skipif(mongod.LEFT_OUT, reason="left out: BIZAPI_NO_MONGO=1")
Done = collections.namedtuple("Done", "answer ms value")
Did = collections.namedtuple("Did", "kind answer ms at key value")


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    return build(HERE / "store_driver.c", tmp_path_factory.mktemp("driver") / "store_driver")


class Driver:
    def __init__(self, program, uri):
        self.process = subprocess.Popen([program, uri], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, env=environment())
        self.lines, self.log = queue.Queue(), []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("log "):
                _, level, text = line.rstrip("\n").split(" ", 2)
                self.log.append((int(level), text))
            else:
                self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self):
        line = self.lines.get(timeout=60)
        assert line is not None, f"the driver ended with {self.process.wait()}"
        return line

    def send(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def ask(self, *words):
        self.send(*words)
        answer, ms, value = self.line().split(" ", 2)
        done = Done(answer, float(ms), value)
        assert done.ms < BOUND_MS, done
        return done

    def ok(self, *words):
        done = self.ask(*words)
        assert done.answer == "ok", (words, done, self.log)
        return done.value

    def load(self, kind, threads, seconds, name):
        self.send("load", kind, threads, int(seconds * 1000), name)
        self.begun = time.monotonic()

    def loaded(self):
        """What the load did; every call of it was under the bound."""
        all_done = []
        while (line := self.line()) != "done":
            _, kind, answer, ms, at, key, *value = line.split(" ")
            all_done.append(Did(kind, answer, float(ms), float(at), key, (value or [""])[0]))
        assert all_done
        assert max(d.ms for d in all_done) < BOUND_MS, max(all_done, key=lambda d: d.ms)
        return all_done

    def back_after(self, moment, done):
        """Seconds from `moment` to the end of the first success that began after it."""
        at = (moment - self.begun) * 1000
        later = [d.at + d.ms for d in done if d.answer == "ok" and d.at + d.ms > at]
        assert later, "it did not come back"
        return (min(later) - at) / 1000

    def visible(self):
        return [text for level, text in self.log if level <= WARN]

    def close(self):
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(20)
        self.reader.join()
        return time.monotonic() - began


@pytest.fixture
def drive(program):
    drivers = []

    def start(uri):
        drivers.append(Driver(program, uri))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()
        assert driver.process.returncode == 0
        lines = [text for _, text in driver.log if text.startswith("BZ02")]
        assert all(n == 1 for n in collections.Counter(t[:6] for t in lines).values()), lines
        assert len(driver.visible()) <= 1, driver.visible()


@pytest.fixture(scope="module")
def servers():
    """One of each kind, started where a test asks for it first; each test empties it behind itself."""
    with contextlib.ExitStack() as stack:
        @functools.cache
        def of(kind):
            return stack.enter_context(mongod.Mongo(standalone=kind == "stand-alone"))
        yield of


@pytest.fixture(params=["replica set", "stand-alone"])
def mongo(request, servers):
    yield servers(request.param)
    servers(request.param).empty()


@pytest.fixture
def replica_set(servers):
    yield servers("replica set")
    servers("replica set").empty()


@pytest.fixture
def proxy(mongo):
    mongo.controlled()
    with Proxy(mongo.port) as between:
        yield between


def audit(mongo, done):
    """What was answered against what is stored. Only a call that was answered "unavailable" may
    have happened or not."""
    db = mongo.database()
    assert {d.answer for d in done} <= {"ok", "eunavail", "enoent"}
    by_kind = collections.defaultdict(list)
    for d in done:
        by_kind[d.kind].append(d)
    if inserts := by_kind["insert"]:
        stored = collections.Counter(u["email"] for u in db.users.find({}, {"email": 1}))
        assert not [d for d in inserts if d.answer == "ok" and stored[d.key] != 1]
        assert set(stored.values()) <= {1} and set(stored) <= {d.key for d in inserts}
    if counts := by_kind["counter"]:
        given = [int(d.value) for d in counts if d.answer == "ok"]
        unknown = sum(d.answer == "eunavail" for d in counts)
        value = db.counters.find_one({"_id": counts[0].key})["value"]
        assert len(set(given)) == len(given), "a number was given twice"
        assert max(given) <= value and len(given) <= value <= len(given) + unknown
    if queued := by_kind["queue"]:
        stored = collections.Counter(o["unique_key"] for o in db.outbox.find({}))
        assert not [d for d in queued if d.answer == "ok" and stored[d.key] != 1]
    if claims := [d for d in by_kind["claim"] if d.answer == "ok"]:
        stored = {o["_id"]: o for o in db.outbox.find({})}
        assert len({d.value for d in claims}) == len(claims), "a document was claimed twice"
        for d in claims:
            assert stored[d.value]["lease"] == d.key and stored[d.value]["tries"] == 1


def load_all(drive, uri, seconds):
    """Writers of each kind, each in a process of its own."""
    kinds = [("insert", 3), ("counter", 3), ("queue", 1), ("claim", 3)]
    drivers = [drive(uri) for _ in kinds]
    for driver in drivers:
        driver.ok("ping")
    for driver, (kind, threads) in zip(drivers, kinds):
        driver.load(kind, threads, seconds, kind)
    return drivers


class Stalls:
    """Seconds for which the machine gave us no processor, the longest time."""

    def __enter__(self):
        self.longest, self.over = 0, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        while not self.over.is_set():
            began = time.monotonic()
            self.over.wait(0.01)
            self.longest = max(self.longest, time.monotonic() - began - 0.01)

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def check_load(mongo, drivers, up, within=BACK_S):
    """What load_all() began goes through again within that many seconds of the time `up`, besides those
    that the machine stands still, and all that was answered is stored."""
    with Stalls() as stalls:
        done = [driver.loaded() for driver in drivers]
    for driver, one in zip(drivers, done):
        assert driver.back_after(up, one) < within + stalls.longest
    audit(mongo, sum(done, []))
