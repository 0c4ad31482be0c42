"""bizapictl and the stores that it takes over into one another: what the tests of copy and of import
share. What the program says is compared with what the two databases hold."""
import collections
import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import time
import urllib.parse

import pytest

import driver
import mongod
import schema

REPO = pathlib.Path(__file__).resolve().parents[2]
CTL = pathlib.Path(os.environ.get("BIZ_BUILD") or REPO / "build") / "bizapictl"
OK, FAILED, USAGE, MISSING, CONFLICT = range(5)
COLLECTIONS = list(schema.FIELDS)
# Published test cases: of crypt_blowfish, and of the argon2 program.
BCRYPT = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
ARGON2 = ("$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA"
          "$7YbYS2w24dSTBgFeLZ/Pp5pFxLjWTXyOMrr1Ld8BcEI")
MD5 = "5f4dcc3b5aa765d61d8327deb882cf99"
SECRETS = (BCRYPT, BCRYPT[7:], ARGON2, MD5, "hunter2-in-the-clear")
Result = collections.namedtuple("Result", "code out err")
needs_mongo = pytest.mark.skipif(mongod.LEFT_OUT, reason="left out: BIZAPI_NO_MONGO=1")


def environment(env=None):
    clean = {k: v for k, v in driver.environment().items() if not k.startswith("BIZAPI")}
    return {**clean, **(env or {})}


def ctl(*args, expect=OK, env=None):
    done = subprocess.run([CTL, *map(str, args)], capture_output=True, text=True, timeout=120,
                          env=environment(env), stdin=subprocess.DEVNULL)
    result = Result(done.returncode, done.stdout, done.stderr)
    assert result.code == expect, result
    for secret in SECRETS:
        assert secret not in result.out + result.err
    assert "\x1b" not in result.out + result.err and "\r" not in result.err  # no bar: no terminal
    return result


def answer(*args, **more):
    return json.loads(ctl(*args, "--json", **more).out)


def killed(args, enough):
    """SIGKILL as soon as enough() holds."""
    process = subprocess.Popen([CTL, *args], env=environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not enough():
        assert process.poll() is None, "it was over before it could be killed"
        assert time.monotonic() < end
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


# ---- stores ----

@pytest.fixture(scope="session")
def mongo():
    with mongod.Mongo() as server:
        yield server


class MongoStore:
    """A database of its own on the server of all tests."""

    def __init__(self, server, name):
        self.name = name
        parts = urllib.parse.urlsplit(server.uri)
        self.url = urllib.parse.urlunsplit(parts._replace(path="/" + name))
        self.db = server.client()[name]

    def rows(self):
        found = {}
        for coll in COLLECTIONS:
            for doc in self.db[coll].find():
                doc.pop("_w", None)
                found[coll, doc["_id"]] = doc
        return found


class SqliteStore:
    def __init__(self, path):
        self.path, self.url = path, f"sqlite:{path}"

    def sql(self, text, *values):
        with sqlite3.connect(self.path, timeout=20) as db:
            db.row_factory = sqlite3.Row
            rows = [dict(row) for row in db.execute(text, values)]
        db.close()
        return rows

    def rows(self):
        return {(coll, row["_id"]): row
                for coll in COLLECTIONS for row in self.sql(f'SELECT * FROM "{coll}"')}

    def put(self, coll, **row):
        names = ", ".join(f'"{name}"' for name in row)
        self.sql(f'INSERT INTO "{coll}"({names}) VALUES({", ".join("?" * len(row))})',
                 *row.values())

    def users(self):
        return {row["email"]: row for row in self.sql("SELECT * FROM users")}


@pytest.fixture
def sqlite(tmp_path):
    return lambda name: SqliteStore(tmp_path / f"{name}.db")


@pytest.fixture
def database(mongo, request):
    """A name nobody else has, removed afterwards."""
    made = []

    def make(name):
        made.append(MongoStore(mongo, f"{name}_{os.getpid()}_{random.randrange(10 ** 9)}"))
        return made[-1]
    yield make
    for store in made:
        store.db.client.drop_database(store.name)


def snapshot(store):
    """Whatever is in a MongoDB database, indexes too."""
    return {name: (sorted(store.db[name].index_information()),
                   sorted(map(repr, store.db[name].find())))
            for name in store.db.list_collection_names()}
