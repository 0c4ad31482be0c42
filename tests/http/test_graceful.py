"""Restarts under light load, on whatever MPM is chosen: no request fails, no mail is doubled, nobody
is signed out and nobody comes back who was."""
import threading
import time

import pytest

from client import new_ip
from kit import PASSWORD, Person, Wire, address, in_parallel, once, refresh, row, rows
from patience import wait_until

SECONDS = 20


class Load:
    """Threads that ask over and over, a connection for each request, until the end of the block."""

    def __init__(self, *works):
        self.stop, self.failures, self.done = threading.Event(), [], [0] * len(works)
        self.threads = [threading.Thread(target=self._run, args=(i, work))
                        for i, work in enumerate(works)]

    def _run(self, number, work):
        while not self.stop.is_set():
            try:
                work(self.done[number])
                self.done[number] += 1
            except Exception as e:  # pylint: disable=broad-except
                self.failures.append(f"{number}: {e!r}")
            time.sleep(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


@pytest.mark.sqlite
def in_one_minute(passes, limit):
    """1 where certainly more than `limit` of them were let through within a minute; each pass is
    (when it was asked, when it was answered)."""
    return any(late[1] - early[0] < 60 for early, late in zip(passes, passes[limit:]))


def restarts_under_load(server, seconds):
    """(requests by kind, restarts); asserts what must hold. tests/load/graceful asks for minutes."""
    mails = int(seconds * 2)
    person, gone, knocker = Person(server), Person(server), new_ip()
    once(server, "POST", "/auth/logout", token=gone.access)
    tokens, askers, asked, passes = [person.refresh_token], [], [], []
    for _ in range(mails):
        askers.append(Person(server, email=address("asker"), sign_in=False).email)

    def expect(status, method, path, **more):
        answer = once(server, method, path, ip=new_ip(), **more)
        assert answer.status == status, answer
        return answer

    def me(_):
        expect(200, "GET", "/auth/me", token=person.access)

    def ended(_):
        expect(401, "GET", "/auth/me", token=gone.access)

    def turn(_):
        tokens.append(expect(200, "POST", "/auth/refresh", json={
            "refresh_token": tokens[-1]}).data["refresh_token"])
        time.sleep(0.1)

    def forgot(i):
        if i < mails:
            expect(200, "POST", "/auth/forgot-password", json={"email": askers[i]})
            asked.append(askers[i])
        time.sleep(0.4)

    def sign_in(_):
        expect(200, "POST", "/auth/login", json={"email": person.email, "password": PASSWORD})
        time.sleep(0.3)

    def knock(_):
        begin = time.monotonic()
        answer = once(server, "POST", "/auth/login", ip=knocker, json={})
        assert answer.status in (422, 429), answer
        if answer.status == 422:
            passes.append((begin, time.monotonic()))
        time.sleep(0.1)

    begin, restarts = time.monotonic(), 0
    with Load(me, ended, turn, forgot, sign_in, knock) as load:
        while time.monotonic() - begin < seconds:
            mark = time.monotonic()
            server.graceful()
            restarts += 1
            time.sleep(max(0, mark + 2 - time.monotonic()))
    assert load.failures == []
    assert restarts >= seconds / 4 and min(load.done) >= seconds / 2, (restarts, load.done)
    wait_until(lambda: not rows(server, "outbox", state="queued"), 90, "the end of the queue")
    assert {email: len(server.mail.all(email, "new password")) for email in asked} == {
        email: 1 for email in asked}
    assert len(asked) >= seconds / 2
    assert len(set(tokens)) == len(tokens)
    generation = row(server, "sessions", user_id=gone.document()["_id"])["generation"]
    assert generation == 1
    assert len(passes) >= 10 and not in_one_minute(passes, 10), passes
    return load.done, restarts


def test_twenty_seconds_of_restarts(make_server):
    done, restarts = restarts_under_load(make_server(), SECONDS)
    assert restarts >= 5 and min(done) >= 10


def test_eleven_in_a_minute_would_be_seen():
    slow = [(i * 6.1, i * 6.1 + 0.1) for i in range(30)]
    assert not in_one_minute(slow, 10)
    assert in_one_minute([(i * 5.0, i * 5.0 + 0.1) for i in range(30)], 10)


def test_requests_in_flight_are_finished(make_server):
    """Bodies that come slowly while the server restarts are still read and answered."""
    server = make_server()
    body = b'{"email":"nobody@people.test","password":"wrong password"}'
    wires = [Wire(server) for _ in range(6)]
    for wire in wires:
        wire.send(b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: "
                  + new_ip().encode() + b"\r\nContent-Type: application/json\r\nContent-Length: "
                  + str(len(body)).encode() + b"\r\n\r\n" + body[:10])
    time.sleep(0.3)
    server.graceful()
    for wire in wires:
        wire.send(body[10:])
    assert {wire.answer().status for wire in wires} == {401}


def test_many_racers_across_a_restart_get_one_successor(make_server):
    """Old and new workers compute the same next refresh token."""
    server = make_server()
    person = Person(server)
    results = []
    racers = threading.Thread(target=lambda: results.extend(in_parallel(
        30, lambda i: (time.sleep(i * 0.05), once(server, "POST", "/auth/refresh", json={
            "refresh_token": person.refresh_token}))[1])))
    racers.start()
    time.sleep(0.3)
    server.graceful()
    racers.join(60)
    assert {a.status for a in results} == {200} and len(results) == 30
    successors = {a.data["refresh_token"] for a in results}
    assert len(successors) == 1
    assert refresh(server.api(), successors.pop()).status == 200
