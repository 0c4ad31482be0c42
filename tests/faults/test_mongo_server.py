"""MongoDB is dead, frozen, no primary or slow, and comes back; the rules are in mongo_kit.py."""
import functools
import time

import pytest

import mongod
from mongo_kit import (BACK_S, audit, check_load, drive, load_all, mongo, needs_mongo,  # noqa: F401
                       program, replica_set, servers)

WAITS = "for servers that are frozen, dead or slow"
AT_ONCE_MS = 100     # a call that does not ask the server

pytestmark = needs_mongo


def test_down_at_start(replica_set, drive):
    replica_set.kill()
    driver = drive(replica_set.uri)
    first = driver.ask("ping")
    assert first.answer == "eunavail" and first.ms < 2500
    again = [driver.ask("insert", "a@b.test") for _ in range(20)]
    assert {done.answer for done in again} == {"eunavail"}
    assert sorted(done.ms for done in again)[-2] < AT_ONCE_MS  # one may be the next that tries
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
    check_load(mongo, drivers, time.monotonic())


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
    check_load(mongo, drivers, time.monotonic())


def test_not_primary_for_a_while(replica_set, drive):
    drivers = load_all(drive, replica_set.uri, 7)
    time.sleep(1)
    replica_set.step_down(3)
    # A secondary tells no one when it becomes primary: the next heartbeat finds out.
    check_load(replica_set, drivers, time.monotonic() + 3, BACK_S + 1)


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
    # Who tries when it joins waits for its 1.5 s, and the next tries half a second later.
    check_load(replica_set, drivers, time.monotonic(), BACK_S + 2)


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
    refused = sorted(d.ms for d in done if d.answer == "eunavail")
    assert refused and refused[len(refused) // 2] < 500 and refused[-1] < 500 + 2000
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
