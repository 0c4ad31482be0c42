"""Faults of MongoDB and of the network before it, at the level of store.h.

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
import sys
import threading
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import mongod  # noqa: E402
from driver import build, environment  # noqa: E402
from mongo_proxy import Proxy  # noqa: E402

WAITS = "for servers that are frozen, dead or slow"
BOUND_MS = 5000      # mongo_link.c: of one call
AT_ONCE_MS = 100     # a call that does not ask the server
BACK_S = 1.0         # after the server is back
WARN = 1             # BIZ_LOG_WARN: this and below is what an operator sees by default

pytestmark = pytest.mark.skipif(mongod.LEFT_OUT, reason="left out: BIZAPI_NO_MONGO=1")
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


def retries(mongo):
    return not mongo.standalone


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


# ---- the server ----


def test_down_at_start(replica_set, drive):
    replica_set.kill()
    driver = drive(replica_set.uri)
    first = driver.ask("ping")
    assert first.answer == "eunavail" and first.ms < 2500
    for _ in range(20):
        again = driver.ask("insert", "a@b.test")
        assert again.answer == "eunavail" and again.ms < AT_ONCE_MS
    replica_set.start()
    up = time.monotonic()
    while driver.ask("ping").answer != "ok":
        assert time.monotonic() - up < BACK_S
        time.sleep(0.02)
    driver.ok("insert", "a@b.test")
    assert [text for _, text in driver.log if "BZ0240" in text]
    assert [text for _, text in driver.log if "BZ0241" in text]


def test_one_worker_waits_for_a_dead_store(replica_set, drive):
    """All but the one that tries are refused at once."""
    driver = drive(replica_set.uri)
    driver.ok("ping")
    replica_set.kill()
    assert driver.ask("ping").answer == "eunavail"
    driver.load("insert", 8, 4, "x")
    slow = [d for d in driver.loaded() if d.ms > AT_ONCE_MS]
    for d in slow:
        assert sum(e.at < d.at + d.ms and d.at < e.at + e.ms for e in slow) == 1, slow
    assert sum(d.ms for d in slow) < 5000


def test_killed_under_load(mongo, drive):
    drivers = load_all(drive, mongo.uri, 7)
    time.sleep(1.5)
    mongo.kill()
    # The server of the tests forgets which writes it knows again; a mongod would not. So it is not
    # back before the last second try has given up.
    time.sleep(1.7)
    mongo.start()
    up = time.monotonic()
    done = [driver.loaded() for driver in drivers]
    for driver, one in zip(drivers, done):
        assert driver.back_after(up, one) < BACK_S
    audit(mongo, sum(done, []))


def test_restarted_between_two_calls(mongo, drive):
    """Connections that died in the pool are not met by a request."""
    driver = drive(mongo.uri)
    driver.ok("insert", "a@b.test")
    mongo.restart()
    time.sleep(BACK_S)
    driver.ok("insert", "c@d.test")
    assert driver.ok("counter", "n") == "1"


def test_frozen_under_load(mongo, drive):
    drivers = load_all(drive, mongo.uri, 8)
    time.sleep(1)
    mongo.freeze()
    time.sleep(4)
    mongo.resume()
    up = time.monotonic()
    done = [driver.loaded() for driver in drivers]
    for driver, one in zip(drivers, done):
        assert driver.back_after(up, one) < BACK_S
    audit(mongo, sum(done, []))


def test_not_primary_for_a_while(replica_set, drive):
    drivers = load_all(drive, replica_set.uri, 7)
    time.sleep(1)
    replica_set.step_down(3)
    up = time.monotonic() + 3
    done = [driver.loaded() for driver in drivers]
    for driver, one in zip(drivers, done):
        # A secondary tells no one when it becomes primary: the next heartbeat finds out.
        assert driver.back_after(up, one) < BACK_S + 1
    audit(replica_set, sum(done, []))


@pytest.fixture
def no_member(replica_set):
    """Starts the server anew, as no member of its replica set or as one."""
    def start(standalone):
        replica_set.kill()
        replica_set.standalone = standalone
        replica_set.start()
    yield functools.partial(start, True), functools.partial(start, False)
    if replica_set.standalone:
        replica_set.kill()
        replica_set.standalone = False


def test_no_member_of_its_set_for_a_while(no_member, replica_set, drive):
    """libmongoc looks no more at such a server. Who did not ask meanwhile does not notice."""
    leave, rejoin = no_member
    busy, idle = drive(replica_set.uri), drive(replica_set.uri)
    for driver in (busy, idle):
        driver.ok("ping")
    leave()
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert busy.ask("insert", "a@b.test").answer == "eunavail"
        time.sleep(0.1)
    assert "BZ0240" in busy.visible()[0] and "member of the replica set" in busy.visible()[0]
    rejoin()
    time.sleep(BACK_S)
    for driver in (busy, idle):
        done = driver.ask("insert", f"{driver.process.pid}@b.test")
        assert done.answer == "ok" and done.ms < 1000, done
        assert driver.close() < 2.5


def test_no_member_of_its_set_under_load(no_member, replica_set, drive):
    leave, rejoin = no_member
    drivers = load_all(drive, replica_set.uri, 11)
    time.sleep(1)
    leave()
    time.sleep(3)
    rejoin()
    up = time.monotonic()
    done = [driver.loaded() for driver in drivers]
    for driver, one in zip(drivers, done):
        # Who tries when it joins waits for its 1.5 s, and the next tries half a second later.
        assert driver.back_after(up, one) < BACK_S + 2
    audit(replica_set, sum(done, []))


@pytest.mark.parametrize("code", [91, 189, 10107, 11600, 11602])
def test_state_change_is_retried_unseen(replica_set, drive, code):
    driver = drive(replica_set.uri)
    driver.ok("ping")
    for command, words in (("insert", ("insert", "a@b.test")), ("findAndModify", ("counter", "n"))):
        replica_set.fail([command], errorCode=code, errorLabels=["RetryableWriteError"])
        assert driver.ask(*words).answer == "ok"
    assert replica_set.database().users.count_documents({}) == 1
    assert replica_set.database().counters.find_one()["value"] == 1


def test_state_change_twice(replica_set, drive):
    driver = drive(replica_set.uri)
    driver.ok("ping")
    replica_set.fail(["insert"], times=2, errorCode=91, errorLabels=["RetryableWriteError"])
    assert driver.ask("insert", "a@b.test").answer == "eunavail"
    driver.ok("insert", "a@b.test")


@pytest.mark.parametrize("code, number", [(50, "BZ0251"), (13, "BZ0248")])
def test_a_command_that_is_not_done(replica_set, drive, code, number):
    """Too slow for what the call allowed it, or not allowed: told apart, and neither opens the
    breaker."""
    driver = drive(replica_set.uri)
    driver.ok("ping")
    replica_set.fail(["insert"], times=4, errorCode=code)
    for _ in range(4):
        assert driver.ask("insert", "a@b.test").answer == "eunavail"
    driver.ok("insert", "a@b.test")
    assert [text[:6] for text in driver.visible()] == [number]


def test_no_majority(replica_set, drive):
    """Applied by the primary, not confirmed by the others: that is no success."""
    driver = drive(replica_set.uri)
    driver.ok("ping")
    error = {"code": 64, "errmsg": "waiting for replication timed out"}
    for command, words in (("insert", ("insert", "a@b.test")), ("findAndModify", ("counter", "n"))):
        replica_set.fail([command], writeConcernError=error)
        assert driver.ask(*words).answer == "eunavail"
    driver.ok("ping")


def test_more_callers_than_clients(replica_set, drive):
    """Whoever gets no client is told so soon; a slow store is not taken for a dead one."""
    driver = drive(replica_set.uri + "&maxPoolSize=2")
    driver.ok("ping")
    replica_set.fail(["insert"], times=None, blockConnection=True, blockTimeMS=600)
    driver.load("insert", 8, 3, "x")
    done = driver.loaded()
    refused = [d for d in done if d.answer == "eunavail"]
    assert refused and max(d.ms for d in refused) < 500
    assert sum(d.answer == "ok" for d in done) >= 6
    replica_set.calm()
    driver.ok("ping")
    assert "BZ0243" in driver.visible()[0]


def test_stops_soon_while_the_server_is_dead(mongo, drive):
    driver = drive(mongo.uri)
    driver.ok("insert", "a@b.test")
    mongo.kill()
    driver.ask("ping")
    assert driver.close() < 2.5


# ---- the network ----


@pytest.mark.parametrize("fault", ["lose", "half", "garbage"])
def test_answer_lost_after_an_insert(mongo, proxy, drive, fault):
    driver = drive(mongo.uri_at(proxy.port))
    driver.ok("ping")
    for words in (("insert", "a@b.test"), ("chosen", "key-1", "running"), ("queue", "once")):
        proxy.once(fault, ["insert"])
        driver.ok(*words)
    assert len(proxy.hits) == 3
    db = mongo.database()
    assert [db.users.count_documents({}), db.idempotency_keys.count_documents({}),
            db.outbox.count_documents({})] == [1, 1, 1]
    assert driver.ask("insert", "a@b.test")[::2] == ("eexist", "users_email")


def test_connection_cut_before_an_insert(mongo, proxy, drive):
    driver = drive(mongo.uri_at(proxy.port))
    driver.ok("ping")
    proxy.once("cut", ["insert"])
    driver.ok("insert", "a@b.test")
    assert mongo.database().users.count_documents({}) == 1


@pytest.mark.parametrize("fault", ["lose", "cut"])
def test_an_id_of_somebody_else_is_not_ours(mongo, proxy, drive, fault):
    """Equal in all that the caller chose, and yet another's: only one may win."""
    driver, other = drive(mongo.uri_at(proxy.port)), drive(mongo.uri)
    driver.ok("ping")
    other.ok("chosen", "key-1", "running")
    stored = mongo.database().idempotency_keys.find_one()
    proxy.once(fault, ["insert"])
    done = driver.ask("chosen", "key-1", "running")
    assert done[::2] == ("eexist", "_id")
    assert mongo.database().idempotency_keys.find_one() == stored


def test_answer_lost_twice(mongo, proxy, drive):
    driver = drive(mongo.uri_at(proxy.port))
    driver.ok("ping")
    proxy.once("lose", ["insert"], times=2)
    assert driver.ask("insert", "a@b.test").answer == "eunavail"
    assert mongo.database().users.count_documents({}) <= 1
    driver.ok("insert", "c@d.test")


@pytest.mark.parametrize("fault", ["lose", "half", "garbage"])
def test_answer_lost_after_a_change(mongo, proxy, drive, fault):
    """A server with retryable writes knows the second try; else the caller is told that nobody
    knows."""
    driver = drive(mongo.uri_at(proxy.port))
    user = driver.ok("insert", "a@b.test")
    driver.ok("counter", "n")
    proxy.once(fault, ["findAndModify"])
    counted = driver.ask("counter", "n")
    proxy.once(fault, ["findAndModify"])
    updated = driver.ask("update", user, "-", "x")
    proxy.once(fault, ["delete"])
    deleted = driver.ask("delete", user)
    assert len(proxy.hits) == 3
    wanted = "ok" if retries(mongo) else "eunavail"
    assert [counted.answer, updated.answer, deleted.answer] == [wanted] * 3
    db = mongo.database()
    assert db.counters.find_one({"_id": "n"})["value"] == 2
    assert db.users.count_documents({}) == 0
    if retries(mongo):
        assert (counted.value, updated.value) == ("2", "2")


@pytest.mark.parametrize("fault", ["lose", "cut", "half", "garbage"])
def test_answer_lost_to_a_read(mongo, proxy, drive, fault):
    driver = drive(mongo.uri_at(proxy.port))
    user = driver.ok("insert", "a@b.test")
    proxy.once(fault, ["find"])
    assert driver.ok("get", user) == "a@b.test"
    assert proxy.hits == [(fault, "find")]


@pytest.mark.parametrize("command, words", [("find", ("get", "usr_1")), ("insert", ("insert", "a")),
                                            ("findAndModify", ("counter", "n"))])
def test_half_an_answer_and_then_nothing(mongo, proxy, drive, command, words):
    driver = drive(mongo.uri_at(proxy.port))
    driver.ok("ping")
    proxy.once("stall", [command], times=2)
    assert driver.ask(*words).answer == "eunavail"
    driver.ok("ping")


def test_nothing_passes_for_a_while(mongo, proxy, drive):
    drivers = load_all(drive, mongo.uri_at(proxy.port), 10)
    time.sleep(1)
    proxy.black_hole()
    time.sleep(4)
    proxy.heal()
    up = time.monotonic()
    done = [driver.loaded() for driver in drivers]
    for driver, one in zip(drivers, done):
        assert driver.back_after(up, one) < BACK_S
    audit(mongo, sum(done, []))


def test_connections_are_cut_again_and_again(mongo, proxy, drive):
    drivers = load_all(drive, mongo.uri_at(proxy.port), 6)
    for _ in range(8):
        time.sleep(0.5)
        proxy.cut()
    done = [driver.loaded() for driver in drivers]
    up = time.monotonic()
    for driver in drivers:
        assert driver.ask("ping").answer in ("ok", "eunavail")
        while driver.ask("ping").answer != "ok":
            assert time.monotonic() - up < BACK_S
    audit(mongo, sum(done, []))


def test_refused_and_back(mongo, proxy, drive):
    driver = drive(mongo.uri_at(proxy.port))
    driver.ok("ping")
    proxy.refuse()
    assert driver.ask("insert", "a@b.test").answer == "eunavail"
    time.sleep(1)
    proxy.heal()
    time.sleep(BACK_S)
    driver.ok("insert", "c@d.test")


def test_a_slow_network_is_no_fault(mongo, proxy, drive):
    proxy.delay(0.2)
    driver = drive(mongo.uri_at(proxy.port))
    # All indexes take longer than one call may.
    assert driver.ask("ping").answer == "eunavail"
    assert [text[:6] for _, text in driver.log] == ["BZ0252"]
    time.sleep(1)
    user = driver.ok("insert", "a@b.test")
    assert driver.ok("get", user) == "a@b.test"
    assert driver.ok("counter", "n") == "1"
    assert driver.ok("update", user, "-", "x") == "2"
    assert len(driver.log) == 1


# ---- the data ----


def test_reset_tokens_have_the_agreed_fields(mongo, drive):
    driver = drive(mongo.uri)
    token = driver.ok("reset", "sha256-of-it")
    tokens = mongo.database().password_reset_tokens
    fresh = {"_id": str, "token": str, "user_id": str, "email": str, "expires_at": "date",
             "used": bool, "created_at": "date"}
    for wanted in (fresh, {**fresh, "used_at": "date"}):
        stored = tokens.find_one({"_id": token})
        assert set(stored) == set(wanted)
        for name, kind in wanted.items():
            is_date = type(stored[name]).__name__ == "datetime"
            assert is_date if kind == "date" else isinstance(stored[name], kind), (name, stored)
        driver.ok("used", token) if wanted is fresh else None
    assert tokens.find_one({"_id": token})["used"] is True
    assert driver.ask("used", token).answer == "econd"
    assert driver.ask("reset", "sha256-of-it").answer == "eexist"


def test_a_sum_beyond_64_bits_changes_nothing(mongo, drive):
    driver = drive(mongo.uri)
    most = 2**63 - 1
    assert driver.ok("counter", "n", most) == str(most)
    assert driver.ask("counter", "n", most).answer == "einval"
    assert driver.ok("counter", "n", -1) == str(most - 1)


def test_declared_indexes(mongo, drive):
    driver = drive(mongo.uri)
    driver.ok("ping")
    db = mongo.database()
    indexes = {i["name"]: i for name in db.list_collection_names() for i in db[name].list_indexes()}
    assert indexes["users_email"]["unique"] and indexes["reset_token"]["unique"]
    assert dict(indexes["users_email"]["partialFilterExpression"]["email"]) == {"$gte": ""}
    assert list(indexes["outbox_due"]["key"]) == ["state", "due_at", "_id"]
    for name, field in (("sessions_expiry", "expires_at"), ("reset_expiry", "expires_at")):
        assert indexes[name]["expireAfterSeconds"] == 0
        assert list(indexes[name]["key"]) == [field]
    plan = db.users.find({"email": "a"}).explain()["queryPlanner"]["winningPlan"]
    assert "IXSCAN" in str(plan) or "EXPRESS" in str(plan), plan


def test_our_own_sweep(mongo, drive):
    """Expiry does not wait for the server's TTL monitor."""
    driver = drive(mongo.uri)
    live, dead = driver.ok("session", "60"), driver.ok("session", "-1")
    removed = driver.ok("sweep")
    sessions = mongo.database().sessions
    assert removed == "1" or sessions.count_documents({"_id": dead}) == 0
    assert [s["_id"] for s in sessions.find({})] == [live]


def test_an_index_that_differs(replica_set, drive):
    db = replica_set.database()
    db.users.create_index("email", name="users_email")
    driver = drive(replica_set.uri)
    done = driver.ask("insert", "a@b.test")
    assert done.answer == "eunavail" and "BZ0244" in driver.visible()[0]
    driver.ok("migrate")
    assert db.users.index_information()["users_email"]["unique"]
    time.sleep(1.1)
    driver.ok("insert", "a@b.test")


def test_an_index_of_another_name(replica_set, drive):
    """The same keys under a name of somebody else, which a mongod refuses to have twice."""
    users = replica_set.database().users
    users.create_index("email", name="by_hand")
    driver = drive(replica_set.uri)
    replica_set.fail(["createIndexes"], times=3, errorCode=85)
    driver.ok("migrate")
    assert "users_email" in users.index_information()
    assert "by_hand" not in users.index_information()


def test_indexes_that_take_long_are_made_by_several_calls(replica_set, drive):
    """Each call, of those too that wait for the one that makes them, is under the bound; one line; what
    is made stays, and at the end none is missing."""
    def made():
        db = replica_set.database()
        return {(name, index) for name in db.list_collection_names()
                for index in db[name].index_information()}

    replica_set.fail(["createIndexes"], times=None, blockConnection=True, blockTimeMS=300)
    driver = drive(replica_set.uri)
    driver.load("ping", 4, 1, "x")
    assert {d.answer for d in driver.loaded()} == {"eunavail"}
    first, end = made(), time.monotonic() + 30
    while driver.ask("ping").answer != "ok":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert [text[:6] for _, text in driver.log] == ["BZ0252"]
    all_of_them = made()
    assert first and first < all_of_them
    replica_set.calm()
    driver.ok("migrate")
    assert made() == all_of_them


def test_data_that_breaks_a_unique_index(replica_set, drive):
    db = replica_set.database()
    db.users.insert_many([{"_id": n, "email": "secret@b.test"} for n in ("1", "2")])
    driver = drive(replica_set.uri)
    assert driver.ask("ping").answer == "eunavail"
    assert "BZ0250" in driver.visible()[0] and "users_email" in driver.visible()[0]
    assert "secret@" not in str(driver.log)
    db.users.delete_one({"_id": "2"})
    time.sleep(1.1)
    driver.ok("ping")


def test_a_newer_schema_is_left_alone(replica_set, drive):
    db = replica_set.database()
    db.schema_info.insert_one({"_id": "schema", "version": 99})
    driver = drive(replica_set.uri)
    for words in (("insert", "a@b.test"), ("ping",), ("migrate",), ("check",)):
        assert driver.ask(*words).answer == "eschema"
    assert "BZ0245" in driver.visible()[0]
    assert db.list_collection_names() == ["schema_info"]


@pytest.mark.parametrize("option", ["retryWrites=true", "retryWrites=false", "w=0", "journal=false",
                                    "readPreference=secondary", "maxPoolSize=1"])
def test_what_the_uri_may_say(mongo, drive, option):
    """A server without retryable writes is not asked for them; what was written is there, and is
    read from where it was written, whatever the URI prefers."""
    driver = drive(mongo.uri + ("&" if "?" in mongo.uri else "?") + option)
    user = driver.ok("insert", "a@b.test")
    assert driver.ok("get", user) == "a@b.test"
    assert driver.ok("counter", "n") == "1"
    assert driver.ask("insert", "a@b.test").answer == "eexist"
    assert not driver.visible()


def test_sign_in(drive):
    with mongod.Mongo(standalone=True) as server:
        server.database().command("createUser", "biz", pwd="s3cret/pw",
                                  roles=[{"role": "readWrite", "db": mongod.DATABASE}])
        server.more = ["--auth"]
        server.restart()
        at = f"127.0.0.1:{server.port}/{mongod.DATABASE}"
        right, wrong = (drive(f"mongodb://biz:{word}@{at}") for word in ("s3cret%2Fpw", "wr0ng"))
        right.ok("insert", "a@b.test")
        right.ok("migrate")
        right.ok("check")
        assert wrong.ask("insert", "c@d.test").answer == "eunavail"
        assert "BZ0240" in wrong.visible()[0]
        assert "wr0ng" not in str(wrong.log) and "biz:" not in str(wrong.log)
        assert right.close() < 2.5


def test_tls(drive, tmp_path):
    """As the URI says, and only to whom the certificate names."""
    pem = tmp_path / "server.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key",
                    "-out", pem], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "key").read_text())
    with mongod.Mongo(standalone=True, certificate=str(pem)) as server:
        server.controlled()
        assert server.uri.startswith("mongodb://localhost:")
        right = drive(server.uri)
        right.ok("insert", "a@b.test")
        for uri in (server.uri.replace("localhost", "127.0.0.1"),
                    server.uri.replace(f"&tlsCAFile={pem}", "")):
            wrong = drive(uri)
            assert wrong.ask("insert", "c@d.test").answer == "eunavail"
            assert "BZ0240" in wrong.visible()[0] and "certificate" in wrong.visible()[0]


# ---- elections ----


@pytest.fixture
def three():
    try:
        kind = mongod.find()[0]
    except mongod.Missing as e:
        pytest.fail(str(e))
    if kind != "mongod":
        pytest.skip("elections need a mongod on PATH, three of them are started")
    with mongod.MongoSet() as members:
        yield members


@pytest.mark.parametrize("how", ["killed", "frozen", "steps down"])
def test_another_primary_is_elected(three, drive, how):
    old = three.primary()
    drivers = load_all(drive, three.uri, 12)
    time.sleep(2)
    if how == "killed":
        old.kill()
    elif how == "frozen":
        old.freeze()
    else:
        old.step_down(20)
    three.primary(other_than=old)
    elected = time.monotonic()
    done = [(driver, driver.loaded()) for driver in drivers]
    for driver, did in done:
        assert driver.back_after(elected, did) < 3
        audit(three, did)
    old.resume()


def test_two_of_three_are_gone(three, drive):
    """Without a majority nothing is confirmed, and all goes on when there is one again."""
    driver = drive(three.uri)
    driver.ok("insert", "a@b.test")
    gone = [member for member in three.members if member is not three.primary()]
    for member in gone:
        member.kill()
    assert driver.ask("insert", "b@b.test").answer == "eunavail"
    for member in gone:
        member.start()
    three.primary()
    end = time.monotonic() + 10
    while driver.ask("insert", "c@b.test").answer not in ("ok", "eexist"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_wrong_uri_shows_no_password(program):
    for uri in ("mongodb://user:s3cr/et@@host/db", "mongodb://user:s3cret@host:99999/",
                "mongodb://user:s3cret@host/?socketTimeoutMS=s3cret", "mongodb://h/s3cret$db"):
        done = subprocess.run([program, uri], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=environment())
        text = done.stdout + done.stderr
        assert "s3cr" not in text
        assert done.returncode == 1 and "mongodb://" in text or "database" in text, text
