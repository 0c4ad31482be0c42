"""Idempotency-Key on the routes marked with it: one answer for one key, and the work done once."""
from harness import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, Person, address, change, check_error, in_parallel, once,
                 now_ms, rows)


def register(server, key, email, name="Ida Key", **more):
    return once(server, "POST", "/auth/register", ip=new_ip(), headers={"Idempotency-Key": key},
                json={"email": email, "password": PASSWORD, "name": name}, **more)


def test_the_same_request_gets_the_same_answer_and_is_done_once(server):
    email = address("idem")
    first = register(server, "key-1", email)
    again = register(server, "key-1", email)
    assert first.status == again.status == 201
    assert first.body == again.body
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(rows(server, "users", email=email)) == 1
    assert len(rows(server, "outbox", recipient=email)) == 1


def test_another_body_under_the_same_key_is_refused(server):
    email = address("idem")
    assert register(server, "key-2", email).status == 201
    check_error(register(server, "key-2", email, name="Another Name"), 422,
                "IDEMPOTENCY_KEY_REUSED")


def test_without_a_key_it_is_two_requests(server):
    email = address("idem")
    for _ in range(2):
        assert server.api().post("/auth/register", json={
            "email": email, "password": PASSWORD, "name": "Ida Key"}).status == 201
    assert len(rows(server, "outbox", recipient=email)) == 2


def test_fifty_at_once_are_one(server):
    email = address("idem")
    answers = in_parallel(50, lambda i: register(server, "key-3", email))
    assert {a.status for a in answers} <= {201, 409, 503}, [a.status for a in answers]
    assert {a.code for a in answers if a.status == 409} <= {"IDEMPOTENCY_IN_PROGRESS"}
    assert sum(a.status == 201 for a in answers) >= 1
    assert register(server, "key-3", email).status == 201
    assert len(rows(server, "users", email=email)) == 1
    assert len(rows(server, "outbox", recipient=email)) == 1


def test_a_worker_that_died_is_replaced_when_its_lease_ends(server):
    email = address("idem")
    assert register(server, "key-4", email).status == 201
    newest = rows(server, "idempotency_keys")[-1]["_id"]
    change(server, "idempotency_keys", {"_id": newest}, state="running", answer=None,
           lease_until=now_ms() + 60000)
    check_error(register(server, "key-4", email), 409, "IDEMPOTENCY_IN_PROGRESS")
    change(server, "idempotency_keys", {"_id": newest}, lease_until=now_ms() - 1000)
    assert register(server, "key-4", email).status == 201
    assert len(rows(server, "users", email=email)) == 1


def test_a_refusal_of_the_moment_is_not_kept(server):
    person = Person(server)
    body = {"current_password": "not-the-one-8", "new_password": OTHER_PASSWORD}
    key = {"Idempotency-Key": "key-5"}
    wrong = person.api.post("/auth/change-password", json=body, token=person.access, headers=key)
    check_error(wrong, 401, "INVALID_CREDENTIALS")
    body["current_password"] = PASSWORD
    right = person.api.post("/auth/change-password", json=body, token=person.access, headers=key)
    assert right.status == 200, right
    replay = person.api.post("/auth/change-password", json=body, token=person.access, headers=key)
    assert (replay.status, replay.body) == (200, right.body)
    assert replay.headers["idempotent-replayed"] == "true"


def test_keys_of_two_people_are_two(server):
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    for person in (Person(server), Person(server)):
        answer = person.api.post("/auth/change-password", json=body, token=person.access,
                                 headers={"Idempotency-Key": "shared"})
        assert answer.status == 200 and "idempotent-replayed" not in answer.headers


def test_what_is_no_key(server):
    answer = server.api().post("/auth/register", headers={"Idempotency-Key": "k" * 256}, json={
        "email": address("idem"), "password": PASSWORD, "name": "Ida Key"})
    check_error(answer, 400, "INVALID_REQUEST", "Idempotency-Key")
