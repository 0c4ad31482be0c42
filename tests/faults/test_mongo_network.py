"""The network before MongoDB loses, cuts, spoils and delays; the rules are in mongo_kit.py."""
import time

import pytest

from mongo_kit import (BACK_S, audit, check_load, drive, load_all, mongo, needs_mongo,  # noqa: F401
                       program, proxy, servers)

WAITS = "for a network that is cut or slow"

pytestmark = needs_mongo


def retries(mongo):
    return not mongo.standalone


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
    check_load(mongo, drivers, time.monotonic())


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
