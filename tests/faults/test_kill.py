"""kill -9, of workers and of everything, over and over: what was answered 2xx is in the database, and
what was ended stays ended. The client keeps a journal of answers; it is held against the rows."""
import base64
import json
import os
import random
import signal
import threading
import time

import httpx
import pytest

import signed
from client import new_ip
from kit import PASSWORD, Person, address, change, once, rows
from patience import wait_until

# BZ1003: of Stripe there is a secret for its events alone.
MAY = ("AH00098", "AH00052", "AH00051", "exit signal", "BZ02", "BZ06", "AH00546", "BZ1003")
WHSEC = "whsec_Marker-of-stripe-41"


def session_of(pair):
    payload = pair["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sid"]


class Writers:
    """Threads that write without end and note what they were told."""

    def __init__(self, server, people):
        self.server, self.stop = server, threading.Event()
        self.registered, self.names, self.begun, self.ended, self.told = [], {}, [], [], []
        self.threads = [threading.Thread(target=self.run, args=(work,)) for work in (
            self.register, lambda: self.rename(people[0]), lambda: self.rename(people[1]),
            self.sign_out, self.tell)]
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
            self.begun.append(session_of(pair.data))
            answer = once(self.server, "POST", "/auth/logout", token=pair.data["access_token"])
            if answer.status == 200:
                self.ended.append(pair.data)

    def tell(self):
        """As Stripe does."""
        event = f"evt_{time.monotonic_ns()}"
        body = json.dumps({"id": event, "object": "event", "type": "account.updated"}).encode()
        answer = once(self.server, "POST", "/webhooks/stripe", ip=new_ip(), body=body,
                      headers=signed.stripe(WHSEC, body))
        if answer.status == 200:
            self.told.append(event)
        time.sleep(0.05)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


def check_journal(server, writers):
    kept = {row["email"]: row for row in rows(server, "users")}
    missing = [email for email in writers.registered if email not in kept]
    assert not missing, f"answered 201, but not there: {missing}"
    for what, table, name in ((writers.registered, "outbox", "recipient"),
                              (writers.begun, "sessions", "_id"),
                              (writers.told, "webhook_events", "event_id")):
        missing = set(what) - {row[name] for row in rows(server, table)}
        assert not missing, f"answered 2xx, but not in {table}: {missing}"
    for email, (name, version) in writers.names.items():
        # A change whose answer was lost may have come after the last one that was told.
        assert kept[email]["version"] >= version, (email, name)
        assert kept[email]["version"] > version or kept[email]["name"] == name
    for pair in writers.ended[-20:]:
        answer = once(server, "GET", "/auth/me", token=pair["access_token"])
        assert answer.status == 401, answer
    return len(writers.registered), len(writers.names), len(writers.ended)


def check_events(server, writers):
    """What was stored is worked, whoever died over it."""
    def worked():
        # A lease that a killed worker held ends after a minute: the clock is helped along.
        change(server, "webhook_events", {"status": "received"}, due_at=0)
        return not rows(server, "webhook_events", status="received")
    wait_until(worked, 30, "the work on all events")
    found = rows(server, "webhook_events")
    assert {event["status"] for event in found} == {"ignored"}
    assert len(found) >= len(writers.told) >= 5


@pytest.mark.parametrize("what, rounds", [("workers", 8), ("everything", 6)])
def test_what_was_answered_survives(make_server, what, rounds):
    server = make_server(may=MAY, env={"STRIPE_WEBHOOK_SECRET": WHSEC})
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
    check_events(server, writers)
    assert registered >= rounds and renamed == 2 and ended >= 2, (registered, renamed, ended)
