"""A store that cannot be opened, or goes away: a clear answer, and recovery by itself."""
import os
import shutil
import time

import pytest

from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Person, check_error, database, in_parallel, login, once,
                 refusing)
from patience import wait_until
from received import token_of


def test_the_server_starts_without_its_store_and_finds_it_later(make_server):
    server = make_server(start=False)
    missing = server.root / "later"
    server.write_conf(f"BizApiStore sqlite:{missing}/bizapi.db")
    server.may = (*server.may, "BZ02")
    server.start()
    api = server.api()
    check_error(login(api, "a@people.test", "Nine-lemons-walk-7"), 503, "STORE_UNAVAILABLE")
    check_error(api.get("/health/ready"), 503, "STORE_UNAVAILABLE")
    # What needs no store goes on.
    assert api.get("/health/live").status == 200
    assert api.get("/integrations/status").status == 200
    for _ in range(5):
        check_error(login(api, "a@people.test", "Nine-lemons-walk-7"), 503, "STORE_UNAVAILABLE")
    lines = [line for line in server.log_text().splitlines() if "BZ02" in line]
    assert lines and str(missing) in lines[0], lines
    assert len(lines) <= 2 * len(server.children()), "more than one line a minute and worker"

    missing.mkdir()
    if os.geteuid() == 0:
        shutil.chown(missing, "www-data", "www-data")
    wait_until(lambda: api.get("/health/ready").status == 200, 10, "the store's return")
    person = Person(server)
    assert person.me().status == 200


def test_refusals_of_the_limiter_ask_no_store(make_server):
    server = make_server(start=False)
    server.write_conf(f"BizApiStore sqlite:{server.root}/nowhere/bizapi.db")
    server.may = (*server.may, "BZ02")
    server.start()
    api = server.api()
    statuses = [api.post("/auth/forgot-password", json={"email": "a@people.test"}).status
                for _ in range(12)]
    assert statuses == [503] * 10 + [429] * 2


@pytest.mark.sqlite
def test_a_password_that_is_set_is_answered_as_set(make_server):
    """What the store does not take any more is for show: the list of sessions, the look at a link."""
    server = make_server(may=("BZ02",))
    person, other = Person(server), Person(server)
    with refusing(server, "UPDATE ON sessions"):
        answer = person.api.post("/auth/change-password", token=person.access, json={
            "current_password": PASSWORD, "new_password": OTHER_PASSWORD})
    assert answer.status == 200, answer
    assert person.me().status == 200
    person.login(OTHER_PASSWORD)
    other.api.post("/auth/forgot-password", ip=new_ip(), json={"email": other.email})
    body = {"token": token_of(server.mail.wait(other.email, "new password")),
            "new_password": OTHER_PASSWORD}
    with refusing(server, "UPDATE ON password_reset_tokens"):
        answer = other.api.post("/auth/reset-password", ip=new_ip(), json=body)
    assert answer.status == 200, answer
    other.login(OTHER_PASSWORD)
    check_error(other.api.post("/auth/reset-password", ip=new_ip(), json=body), 400,
                "INVALID_TOKEN")


@pytest.mark.sqlite
def test_readiness_is_looked_at_once_a_second(make_server):
    """By one of all who ask a worker: they cannot pile up on a database that does not answer."""
    server = make_server(may=("BZ02",))
    db = database(server)
    db.execute("BEGIN IMMEDIATE")  # a look waits for two seconds

    def ask(number=0):
        time.sleep(1.3 * (number % 2))
        return once(server, "GET", "/health/ready").status

    def answered():
        """As the server measures it: on prefork a client may wait for a worker first."""
        rows = [row for row in server.access() if row["path"] == "/api/v1/health/ready"]
        return rows if len(rows) == 14 else None

    try:
        in_parallel(14, ask)
        slow = [row["status"] for row in wait_until(answered) if row["us"] > 1600000]
        assert 1 <= len(slow) <= len(server.children()) and set(slow) == {503}
    finally:
        db.execute("ROLLBACK")
        db.close()
    wait_until(lambda: {ask() for _ in range(8)} == {200}, 10, "the readiness")


@pytest.mark.bz_may("BZ02")
def test_a_database_that_vanishes_is_noticed(make_server):
    server = make_server(may=("BZ02",))
    person = Person(server)
    server.stop()
    for name in ("bizapi.db", "bizapi.db-wal", "bizapi.db-shm"):
        (server.state / name).unlink(missing_ok=True)
    server.start()
    check_error(person.me(), 401, "TOKEN_REVOKED")
    assert Person(server).me().status == 200


@pytest.mark.bz_may("BZ02")
def test_a_database_that_vanishes_in_use_is_not_replaced_by_an_empty_one(make_server):
    server = make_server(may=("BZ02",))
    person, away = Person(server), server.root / "away"
    away.mkdir()
    files = [server.state / name for name in ("bizapi.db", "bizapi.db-wal", "bizapi.db-shm")]
    for file in files:
        if file.exists():
            file.rename(away / file.name)
    check_error(login(server.api(), person.email, person.password), 503, "STORE_UNAVAILABLE")
    check_error(server.api().get("/health/ready"), 503, "STORE_UNAVAILABLE")
    assert not files[0].exists()
    for file in away.iterdir():
        file.rename(server.state / file.name)
    wait_until(lambda: login(server.api(), person.email, person.password).status == 200, 10,
               "the database's return")
    for file in files:
        file.unlink(missing_ok=True)
    server.graceful()
    assert Person(server).me().status == 200
