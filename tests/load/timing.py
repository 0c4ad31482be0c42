#!/usr/bin/python3
"""tests/load/timing.py [SAMPLES] [NAME...]: whether an answer, or the time it takes, tells if an
address is known.

Asks a server of its own, again and again and in an order by chance, for two things that a stranger
must not be able to tell apart, and prints the medians, their ratio and its 95 % confidence band (by
bootstrap). Status, body and headers must be the same, byte by byte. Ends with 1 where they are not,
or where the band lies outside of 0.98 to 1.02 as a whole.

Nothing else should run on the machine. BIZ_BUILD and BIZ_REPO as for tests/run; 500 samples of each
side take about four minutes.
"""
import hashlib
import json
import os
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve()
os.environ.setdefault("BIZ_REPO", str(HERE.parents[2]))
os.environ.setdefault("BIZ_BUILD", str(HERE.parents[2] / "build"))
sys.path[:0] = [str(HERE.parents[1] / "http")]

import numpy  # noqa: E402 pylint: disable=wrong-import-position

import harness  # noqa: E402 pylint: disable=wrong-import-position
from kit import PASSWORD, Person, Wire, database, row  # noqa: E402 pylint: disable=wrong-import-position

WRONG = "wrong-wrong"
PER_ACCOUNT = 4  # tries before a lock
LIMIT = 0.02
BOOTSTRAPS = 2000


def accounts(server, word, count, **fields):
    """Accounts made behind the server's back, all with the same password. Their addresses."""
    model = row(server, "users", email=server.model.email)
    db = database(server)
    columns = list(model)
    emails = []
    db.execute("BEGIN")
    for number in range(count):
        email = address_of(word, number)
        person = {**model, "untold": None, **fields, "email": email, "email_typed": email,
                  "_id": f"usr_{word[:6]:0<6}{number:020}"}
        db.execute(f"INSERT INTO users ({', '.join(columns)}) VALUES "
                   f"({', '.join('?' * len(columns))})", [person[c] for c in columns])
        emails.append(email)
    db.execute("COMMIT")
    db.close()
    return emails


def locked(server, emails):
    """The same, as five wrong passwords and more leave them."""
    db = database(server)
    now = int(time.time() * 1000)
    db.executemany("INSERT INTO lockouts (_id, version, created_at, updated_at, tries, until, "
                   "expires_at) VALUES (?, 1, ?, ?, 9, ?, ?)", [
                       (hashlib.sha256(f"account {email}".encode()).hexdigest(), now, now,
                        now + 3_600_000, now + 86_400_000) for email in emails])
    db.close()
    return emails


def address_of(word, number):
    """In no order: an index takes what comes at its end sooner than what comes between."""
    return hashlib.sha256(f"{word} {number}".encode()).hexdigest()[:16] + "@people.test"


def strangers(word, count):
    return [address_of(word, number) for number in range(count)]


def login(email):
    return "/api/v1/auth/login", {"email": email, "password": WRONG}


def register(email):
    return "/api/v1/auth/register", {"email": email, "password": PASSWORD, "name": "Nora Body"}


def forgot(email):
    return "/api/v1/auth/forgot-password", {"email": email}


def resend(email):
    return "/api/v1/auth/resend-verification", {"email": email}


def repeated(emails, samples):
    """Each address for a few samples in a row, so that it is never locked."""
    return [emails[n // PER_ACCOUNT] for n in range(samples)]


def pairs(server, samples):
    """{name: (request, addresses of the one side, addresses of the other)}"""
    few = samples // PER_ACCOUNT + 1
    unknown = [repeated(strangers(f"un{n}", few), samples) for n in range(4)]
    return {
        "login: wrong password, unknown": (
            login, repeated(accounts(server, "known", few), samples), unknown[0]),
        "login: disabled, unknown": (
            login, repeated(accounts(server, "disab", few, disabled=1), samples), unknown[1]),
        "login: no password, unknown": (
            login, repeated(accounts(server, "nopas", few, password_hash=None), samples),
            unknown[2]),
        "login: unverified, unknown": (
            login, repeated(accounts(server, "unver", few, email_verified=0), samples), unknown[3]),
        "login: locked, wrong password": (
            login, repeated(locked(server, accounts(server, "lockd", few)), samples),
            repeated(accounts(server, "wrong", few), samples)),
        "register: taken, fresh": (
            register, accounts(server, "taken", samples), strangers("fresh", samples)),
        "forgot: known, unknown": (
            forgot, accounts(server, "forgo", samples), strangers("nobod", samples)),
        "resend: known, unknown": (
            resend, accounts(server, "resen", samples, email_verified=0),
            strangers("noone", samples)),
    }


def ask(wire, path, body):
    data = json.dumps(body).encode()
    began = time.perf_counter_ns()
    wire.request("POST", path, {"Content-Type": "application/json"}, data)
    answer = wire.answer()
    took = (time.perf_counter_ns() - began) / 1e6
    seen = (answer.status, answer.body,
            tuple(sorted((k, v) for k, v in answer.headers.items()
                         if k not in ("date", "x-request-id", "keep-alive"))))
    return took, seen


def measure(server, request, one, other):
    """([milliseconds], [milliseconds], {answers of the one}, {answers of the other})"""
    took, seen = ([], []), (set(), set())
    with Wire(server) as wire:
        for warm in range(5):
            ask(wire, *request(f"warm{random.random()}{warm}@people.test"))
        for number in range(len(one)):
            for side in random.sample((0, 1), 2):
                ms, answer = ask(wire, *request((one, other)[side][number]))
                took[side].append(ms)
                seen[side].add(answer)
    return *map(numpy.array, took), *seen


def band(one, other):
    chance = numpy.random.default_rng()
    ratios = [numpy.median(chance.choice(one, len(one))) / numpy.median(chance.choice(
        other, len(other))) for _ in range(BOOTSTRAPS)]
    return numpy.percentile(ratios, (2.5, 97.5))


def main():
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    wanted = sys.argv[2:]
    server = harness.Server(conf="BizApiRateLimit off\nMaxKeepAliveRequests 0\nKeepAliveTimeout 60")
    told = False
    try:
        server.model = Person(server, sign_in=False)
        print(f"{'':34} {'median ms':>18} {'ratio':>7}  95 % band")
        for name, (request, one, other) in pairs(server, samples).items():
            if wanted and not any(w in name for w in wanted):
                continue
            first, second, seen, unseen = measure(server, request, one, other)
            low, high = band(first, second)
            ratio = numpy.median(first) / numpy.median(second)
            verdict = ""
            if seen != unseen or len(seen) != 1:
                verdict = f"  ANSWERS DIFFER: {seen ^ unseen or seen}"
            elif high < 1 - LIMIT or low > 1 + LIMIT:
                verdict = "  IT TELLS"
            told |= bool(verdict)
            print(f"{name:34} {numpy.median(first):8.3f} {numpy.median(second):8.3f} "
                  f"{ratio:8.4f}  {low:.4f} to {high:.4f}{verdict}", flush=True)
    finally:
        server.stop()
        server.close()
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
