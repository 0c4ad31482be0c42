"""MongoDB goes away, or loses an answer, in the middle of a sign-in, a renewal, a sign-out: what was
answered holds, asking again leads on, nobody is signed out and nothing is done twice."""
import json
import pathlib
import subprocess
import sys
import threading
import time

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
# pylint: disable=wrong-import-position
import stored  # noqa: E402
from harness import BUILD  # noqa: E402
from kit import BCRYPT, PASSWORD, Person, check_error, login, once, refresh, row, rows  # noqa: E402
from mongo_proxy import Proxy  # noqa: E402

mongod = stored.mongod
pytestmark = [pytest.mark.skipif(mongod.LEFT_OUT, reason="left out: BIZAPI_NO_MONGO=1"),
              pytest.mark.bz_may("BZ02", "BZ0534", "BZ0570", "BZ06")]
WRITES = ["insert", "update", "findAndModify", "delete"]
BOUND_S = 12  # of one answer: some calls of the store, each with a bound of its own


@pytest.fixture(scope="module")
def proxy():
    with mongod.Mongo() as mongo:
        mongo.controlled()
        with Proxy(mongo.port) as between:
            between.uri = mongo.uri_at(between.port)
            yield between


@pytest.fixture(scope="module")
def server(proxy, module_server):
    # The outbox would meet the faults that are meant for requests.
    server = module_server(conf="BizApiRateLimit off", store=proxy.uri, mail=False)
    yield server
    server.stop()  # before its store goes


def until_done(ask, *answers):
    """Asks again while the store is away; every answer comes in time."""
    for _ in range(8):
        began = time.monotonic()
        answer = ask()
        assert time.monotonic() - began < BOUND_S
        if answer.status in answers:
            return answer
        check_error(answer, 503, "STORE_UNAVAILABLE")
        time.sleep(0.3)
    raise AssertionError("the store did not come back")


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize("fault", ["lose", "cut", "half"])
def test_an_answer_is_lost_in_the_middle(server, proxy, fault, times):
    """Once: the driver asks again, unseen. Twice: one clear answer, and the client asks again."""
    def strike():
        proxy.once(fault, WRITES, times)
    proxy.hits.clear()

    person = Person(server)
    user = person.document()["_id"]
    strike()
    second = until_done(lambda: refresh(person.api, person.refresh_token), 200).data
    third = refresh(person.api, second["refresh_token"])
    assert third.status == 200
    assert row(server, "sessions", user_id=user)["generation"] == 3
    strike()
    until_done(lambda: login(person.api, person.email, PASSWORD), 200)
    strike()
    access = third.data["access_token"]
    until_done(lambda: person.api.post("/auth/logout", token=access), 200, 401)
    check_error(person.api.get("/auth/me", token=access), 401, "TOKEN_REVOKED")
    check_error(refresh(person.api, third.data["refresh_token"]), 401, "TOKEN_REVOKED")
    events = [r["event"] for r in rows(server, "audit_log", user_id=user)]
    assert "authn_token_reuse" not in events
    assert (fault, "update") in proxy.hits or (fault, "findAndModify") in proxy.hits
    sequence = [r["seq"] for r in rows(server, "audit_log")]
    assert sorted(sequence) == list(range(1, len(sequence) + 1)), "the chain has a gap, or two ends"


def test_nothing_passes_in_the_middle(server, proxy):
    """While sessions are used: answers in time, and all of them are alive after it."""
    people = [Person(server) for _ in range(4)]
    over, seen = threading.Event(), []

    def live(person):
        token = person.refresh_token
        while not over.is_set():
            began = time.monotonic()
            answer = once(server, "POST", "/auth/refresh", json={"refresh_token": token})
            seen.append(answer.status)
            assert time.monotonic() - began < BOUND_S and answer.status in (200, 503), answer
            if answer.status == 200:
                token = answer.data["refresh_token"]
        person.last = token

    threads = [threading.Thread(target=live, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    proxy.black_hole()
    time.sleep(3.5)
    proxy.heal()
    time.sleep(2)
    over.set()
    for thread in threads:
        thread.join(60)
    assert 503 in seen and 200 in seen
    for person in people:
        answer = until_done(lambda p=person: refresh(p.api, p.last), 200)
        assert person.api.get("/auth/me", token=answer.data["access_token"]).status == 200


def test_an_import_whose_store_goes_away(server, proxy, tmp_path):
    """It waits for the store and goes on where it was; everybody is there, and nobody twice."""
    file, count = tmp_path / "many.csv", 200
    file.write_text("email,password_hash\n" + "".join(
        f"import{n}@people.test,{BCRYPT.format('b')}\n" for n in range(count)))
    command = [str(BUILD / "bizapictl"), "-s", server.store, "--state-dir", str(server.state),
               "--json", "import", "csv", str(file)]

    def there():
        return sum(u["email"].startswith("import") for u in rows(server, "users"))

    proxy.delay(0.002)
    process = subprocess.Popen(command, env=server.env, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    while there() < 20 and process.poll() is None:
        time.sleep(0.01)
    proxy.refuse()
    proxy.delay(0)
    time.sleep(2)
    assert process.poll() is None
    proxy.heal()
    told, said = process.communicate(timeout=60)
    report = json.loads(told)
    assert process.returncode == 0, said
    assert report["brought"] + report["there_already"] == count and report["there_already"] <= 1
    assert there() == count
    again = subprocess.run(command, env=server.env, text=True, capture_output=True)
    assert json.loads(again.stdout)["there_already"] == there() == count


@pytest.mark.parametrize("fault", ["lose", "cut"])
def test_a_lock_is_exact_over_lost_answers(server, proxy, fault):
    """Whatever is lost: five wrong passwords lock, a sixth is not looked at, and nobody waits for
    more than the lock."""
    person = Person(server, sign_in=False)
    for _ in range(6):
        proxy.once(fault, WRITES, 2)
        until_done(lambda: login(person.api, person.email, "wrong-wrong"), 401)
    check_error(login(person.api, person.email, PASSWORD), 401, "INVALID_CREDENTIALS")
    tries = [r["tries"] for r in rows(server, "lockouts", user_id=person.document()["_id"])]
    assert tries == [5]
    assert len(rows(server, "outbox", recipient=person.email, kind="security_notice")) == 1
