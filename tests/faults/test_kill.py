"""kill -9, of workers and of everything, over and over: what was answered 2xx is in the database, and
what was ended stays ended. The client keeps a journal of answers; it is held against the rows."""
import os
import random
import signal
import threading
import time

import httpx
import pytest

from harness import new_ip, wait_until
from kit import PASSWORD, Person, address, once, rows

MAY = ("AH00098", "AH00052", "AH00051", "exit signal", "BZ02", "BZ06", "AH00546")


class Writers:
    """Threads that write without end and note what they were told."""

    def __init__(self, server, people):
        self.server, self.stop = server, threading.Event()
        self.registered, self.names, self.ended = [], {}, []
        self.threads = [threading.Thread(target=self.run, args=(work,)) for work in (
            self.register, lambda: self.rename(people[0]), lambda: self.rename(people[1]),
            self.sign_out)]
        for thread in self.threads:
            thread.start()

    def run(self, work):
        while not self.stop.is_set():
            try:
                work()
            except (httpx.HTTPError, OSError):
                time.sleep(0.05)  # killed while it was asked, or not there yet

    def register(self):
        email = address("journal")
        answer = once(self.server, "POST", "/auth/register", ip=new_ip(), json={
            "email": email, "password": PASSWORD, "name": "Nora Body"})
        if answer.status == 201:
            self.registered.append(email)

    def rename(self, person):
        name = f"Nora {time.monotonic_ns()}"
        answer = once(self.server, "PATCH", "/auth/me", token=person.access, json={"name": name})
        if answer.status == 200:
            self.names[person.email] = (name, answer.data["version"])

    def sign_out(self):
        pair = once(self.server, "POST", "/auth/login", ip=new_ip(), json={
            "email": "ender@people.test", "password": PASSWORD})
        if pair.status == 200:
            answer = once(self.server, "POST", "/auth/logout", token=pair.data["access_token"])
            if answer.status == 200:
                self.ended.append(pair.data)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


def check_journal(server, writers):
    kept = {row["email"]: row for row in rows(server, "users")}
    missing = [email for email in writers.registered if email not in kept]
    assert not missing, f"answered 201, but not there: {missing}"
    for email, (name, version) in writers.names.items():
        # A change whose answer was lost may have come after the last one that was told.
        assert kept[email]["version"] >= version, (email, name)
        assert kept[email]["version"] > version or kept[email]["name"] == name
    for pair in writers.ended[-20:]:
        answer = once(server, "GET", "/auth/me", token=pair["access_token"])
        assert answer.status == 401, answer
    return len(writers.registered), len(writers.names), len(writers.ended)


@pytest.mark.parametrize("what, rounds", [("workers", 8), ("everything", 6)])
def test_what_was_answered_survives(make_server, what, rounds):
    server = make_server(may=MAY)
    people = [Person(server), Person(server)]
    Person(server, email="ender@people.test", sign_in=False)
    writers, chance = Writers(server, people), random.Random(7)
    for _ in range(rounds):
        time.sleep(0.3 + chance.random())
        if what == "everything":
            server.kill()
            server.start()
        else:
            for pid in server.children():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            wait_until(server.answers, 20, "new workers")
    writers.end()
    wait_until(lambda: once(server, "GET", "/health/ready").status == 200, 10, "the database")
    registered, renamed, ended = check_journal(server, writers)
    assert registered >= rounds and renamed == 2 and ended >= 2, (registered, renamed, ended)
