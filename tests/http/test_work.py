"""The proof of work: off unless it is asked for, on by itself in a flood, good for one use, and done by
the pages (tests/browser/test_pages.py). The solver here is not the one of the pages."""
import hashlib
import itertools

import pytest

from client import new_ip
from kit import PASSWORD, Person, address, check_error, in_parallel, once

WRONG = "wrong-wrong"


def solve(challenge, bits, start=0):
    for number in itertools.count(start):
        text = f"{challenge}.{number}"
        if int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> (32 - bits) == 0:
            return text


def work(api):
    asked = api.get("/auth/work").data
    assert asked["required"] is True and asked["bits"] >= 16
    return solve(asked["challenge"], asked["bits"])


def bodies(**more):
    email = address()
    return [("/auth/register", {"email": email, "password": PASSWORD, "name": "N", **more}),
            ("/auth/login", {"email": email, "password": WRONG, **more}),
            ("/auth/forgot-password", {"email": email, **more}),
            ("/auth/resend-verification", {"email": email, **more})]


@pytest.fixture(scope="module")
def strict(module_server):
    return module_server(conf="BizApiProofOfWork on")


def test_nobody_is_asked_without_the_directive(server, api):
    assert api.get("/auth/work").data["required"] is False
    for path, body in bodies(work="nonsense"):
        assert api.post(path, ip=new_ip(), json=body).status in (200, 201, 401)


def test_no_answer_without_work(strict):
    api = strict.api()
    for path, body in bodies():
        check_error(api.post(path, ip=new_ip(), json=body), 428, "WORK_REQUIRED")
    for path, body in bodies(work=None):
        check_error(api.post(path, ip=new_ip(), json=body), 428, "WORK_REQUIRED")
    for (path, body), status in zip(bodies(), (201, 401, 200, 200)):
        answer = api.post(path, ip=new_ip(), json={**body, "work": work(api)})
        assert answer.status == status, answer


def test_work_that_is_none(strict):
    api = strict.api()
    asked = api.get("/auth/work").data
    good = solve(asked["challenge"], asked["bits"])
    lazy = next(f"{asked['challenge']}.{n}" for n in itertools.count() if hashlib.sha256(
        f"{asked['challenge']}.{n}".encode()).digest()[0])
    own = solve("A" * 120, asked["bits"])
    changed = solve(asked["challenge"][:-4] + "AAAA", asked["bits"])
    for wrong in (lazy, own, changed, asked["challenge"], ".", good.partition(".")[2], "x" * 512):
        check_error(api.post("/auth/forgot-password", ip=new_ip(), json={
            "email": address(), "work": wrong}), 428, "WORK_REQUIRED")
    # A body that is wrong costs no work, and the good one is still good.
    check_error(api.post("/auth/forgot-password", ip=new_ip(), json={
        "email": "nobody", "work": good}), 422, "VALIDATION_FAILED", "email")
    assert api.post("/auth/forgot-password", ip=new_ip(), json={
        "email": address(), "work": good}).status == 200


def test_work_is_good_for_one_use(strict):
    done = work(strict.api())
    answers = in_parallel(8, lambda _: once(strict, "POST", "/auth/forgot-password", ip=new_ip(),
                                            json={"email": address(), "work": done}))
    assert sorted(a.status for a in answers) == [200] + [428] * 7
    # Another number to the same challenge is the same work.
    challenge, _, number = done.partition(".")
    again = solve(challenge, 16, int(number) + 1)
    check_error(strict.api().post("/auth/forgot-password", ip=new_ip(), json={
        "email": address(), "work": again}), 428, "WORK_REQUIRED")


def test_a_repeat_under_a_key_needs_no_second_work(strict):
    api, headers = strict.api(), {"Idempotency-Key": "k-work"}

    def register(**more):
        return api.post("/auth/register", ip=new_ip(), headers=headers, json={
            "email": email, "password": PASSWORD, "name": "N", **more})

    email = address()
    check_error(register(), 428, "WORK_REQUIRED")  # leaves the key free
    done = work(api)
    first, again = register(work=done), register(work=done)
    assert (first.status, again.status) == (201, 201), again
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.bz("BZ0571")
def test_a_flood_switches_it_on(make_server):
    server = make_server(conf="BizApiProofOfWork auto")
    person, api = Person(server), server.api()
    for _ in range(5):
        assert person.login()  # who signs in is no flood
    for _ in range(70):
        answer = api.post("/auth/forgot-password", ip=new_ip(), json={"email": address()})
        if answer.status == 428:
            break
    check_error(answer, 428, "WORK_REQUIRED")
    check_error(api.post("/auth/login", ip=new_ip(), json={
        "email": person.email, "password": PASSWORD}), 428, "WORK_REQUIRED")
    assert api.post("/auth/login", ip=new_ip(), json={
        "email": person.email, "password": PASSWORD, "work": work(api)}).status == 200
    assert person.me().status == 200
