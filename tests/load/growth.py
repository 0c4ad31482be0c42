"""What a request takes when there are a million accounts and bookings, beside what it takes when there
are a thousand: three servers of the same kind, two of them small, asked one after the other over kept
connections, in an order by chance. Called by bench; SQLite, because that is what one machine has."""
import http.client
import json
import random
import sqlite3
import statistics
import time

PASSWORD = "Nine-lemons-walk-7"


def number_id(prefix, number):
    return f"{prefix}_{number:026}"


def copies(db, table, count, **values):
    """`count` rows like p0@bench.test's account, changed by SQL in which i is the row's number."""
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    known = {row[1] for row in db.execute("PRAGMA table_info(users)")}
    texts = [values.get(c, f"u.{c}" if c in known else "NULL") for c in columns]
    db.execute(f"INSERT INTO {table} ({', '.join(columns)}) "
               "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) "
               f"SELECT {', '.join(texts)} FROM n, users u WHERE u.email = 'p0@bench.test'", (count,))


def fill(path, count):
    """`count` accounts, and one booking of each. The file is written as the server writes it."""
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    # Nothing here need outlive a power cut, and an index is filled from memory.
    for pragma in ("synchronous=OFF", "cache_size=-262144"):
        db.execute(f"PRAGMA {pragma}")
    email = "printf('g%07d@bench.test', i)"
    copies(db, "users", count, _id="printf('usr_%026d', i)", email=email, email_typed=email,
           created_at="u.created_at - i")
    copies(db, "bookings", count, _id="printf('bk_%026d', i)", number="printf('B-%07d', i)",
           customer_id="printf('cus_%026d', i)", start_at="u.created_at + i * 60000",
           end_at="u.created_at + i * 60000 + 1", status="'confirmed'")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


class Caller:
    """One kept connection to one server, signed in as the administrator."""

    def __init__(self, server, count):
        self.server, self.count, self.made = server, count, 0
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.token = None
        self.token = json.loads(self.ask("POST", "/auth/login", {
            "email": "boss@bench.test", "password": PASSWORD}))["data"]["access_token"]

    def ask(self, method, path, body=None):
        headers = {"Host": "localhost", "Content-Type": "application/json",
                   "X-Forwarded-For": f"10.{random.randrange(256)}.{random.randrange(256)}.9"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self.connection.request(method, "/api/v1" + path, body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201, 202):
            raise SystemExit(f"bench: {method} {path}: {answer.status} {text[:200]}")
        return text

    def someone(self):
        return random.randrange(self.count)

    def sign_in(self):
        self.ask("POST", "/auth/login",
                 {"email": f"g{self.someone():07}@bench.test", "password": PASSWORD})

    def register(self):
        self.made += 1
        self.ask("POST", "/auth/register", {"email": f"new{self.made}@bench.test",
                                            "password": PASSWORD, "name": "Nora Body"})

    def me(self):
        self.ask("GET", "/auth/me")

    def newest(self):
        self.ask("GET", "/admin/users?limit=20")

    def by_address(self):
        self.ask("GET", f"/admin/users?limit=20&email=g{self.someone():07}"[:-1])

    def account(self):
        self.ask("GET", f"/admin/users/{number_id('usr', self.someone())}")

    def booking(self):
        self.ask("GET", f"/portal/bookings/{number_id('bk', self.someone())}/weather")


KINDS = (("POST /auth/login", Caller.sign_in, 0.2),
         ("POST /auth/register", Caller.register, 0.2),
         ("GET /auth/me", Caller.me, 1),
         ("GET /admin/users, the newest 20", Caller.newest, 1),
         ("GET /admin/users, by the beginning of an address", Caller.by_address, 1),
         ("GET /admin/users/{id}, anyone", Caller.account, 1),
         ("GET /portal/bookings/{id}/weather, any booking", Caller.booking, 1))


def measure(callers, samples):
    """{kind: {small, again, large: medians in ms}}"""
    result = {}
    for name, ask, part in KINDS:
        took = [[] for _ in callers]
        for number in range(max(10, int(samples * part))):
            for side in random.sample(range(len(callers)), len(callers)):
                began = time.perf_counter()
                ask(callers[side])
                if number >= 3:
                    took[side].append((time.perf_counter() - began) * 1000)
        small, again, large = map(statistics.median, took)
        result[name] = {"small": small, "again": again, "large": large}
        print(f"  {name}: {small:.2f} ms, {again / small:.2f}, {large / small:.2f}", flush=True)
    return result
