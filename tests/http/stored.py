"""The store of a server of the tests, looked into and changed behind the server's back. The harness
asks it for a store, kit.py gives rows(), row() and change() to the tests.

BIZ_STORE=mongodb: every server that names no store of its own gets a database of its own on one
MongoDB (tests/lib/mongod.py), else a SQLite file. Rows look the same from either: each declared
field, TIME as milliseconds since 1970, BOOL as 0 or 1, null as None.
"""
import calendar
import contextlib
import datetime
import itertools
import os
import pathlib
import re
import sqlite3
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests/lib"))
import mongod  # noqa: E402
import schema  # noqa: E402

ON_MONGO = os.environ.get("BIZ_STORE") == "mongodb"

_numbers = itertools.count(1)
_ours = []
_mongo = None


def url_for(state):
    """Of a new store; `state` is the server's state directory."""
    if not ON_MONGO:
        return f"sqlite:{state}/bizapi.db"
    _ours.append(shared_mongo().uri_of(f"{mongod.DATABASE}_http{next(_numbers)}"))
    return _ours[-1]


def shared_mongo():
    global _mongo
    if _mongo is None:
        _mongo = mongod.Mongo().__enter__()
    return _mongo


def end():
    """At the end of the run."""
    global _mongo
    if _mongo is not None:
        _mongo.__exit__()
        _mongo = None


def is_mongo(url):
    return url.startswith("mongodb")


def drop(url):
    """The database of a server that is gone."""
    if url in _ours:
        mongo_of(url).client.drop_database(mongo_of(url).name)


# ---- SQLite ----

def database(server):
    path = server.store.removeprefix("sqlite:")
    db = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=10, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def next_to(table):
    """What tells the older of two rows that were made in one millisecond; of ids none knows."""
    return "seq" if table == "audit_log" else "_id"


def sqlite_rows(server, table, where):
    db = database(server)
    try:
        condition = " AND ".join(f"{name} IS ?" for name in where) or "1"
        return [dict(r) for r in db.execute(
            f"SELECT * FROM {table} WHERE {condition} ORDER BY created_at, {next_to(table)}",
            tuple(where.values()))]
    finally:
        db.close()


def sqlite_change(server, table, where, values):
    db = database(server)
    try:
        sets = ", ".join(f"{name} = ?" for name in values)
        condition = " AND ".join(f"{name} IS ?" for name in where)
        return db.execute(f"UPDATE {table} SET {sets} WHERE {condition}",
                          (*values.values(), *where.values())).rowcount
    finally:
        db.close()


@contextlib.contextmanager
def refusing(server, what):
    """Whatever else the store takes, it does not take this: "INSERT ON audit_log"."""
    db = database(server)
    db.execute(f"CREATE TRIGGER refused BEFORE {what} BEGIN SELECT RAISE(ABORT, 'disk trouble'); END")
    try:
        yield
    finally:
        db.execute("DROP TRIGGER refused")
        db.close()


# ---- MongoDB ----

_clients = {}


def mongo_of(url):
    if url not in _clients:
        _clients[url] = mongod.pymongo().MongoClient(url, serverSelectionTimeoutMS=5000)
    return _clients[url].get_default_database()


def to_mongo(table, name, value):
    kind = schema.FIELDS[table][name]
    if value is None:
        return None
    if kind == "TIME":
        return datetime.datetime.fromtimestamp(value / 1000, datetime.timezone.utc)
    return bool(value) if kind == "BOOL" else value


def from_mongo(value):
    if isinstance(value, datetime.datetime):
        return calendar.timegm(value.timetuple()) * 1000 + value.microsecond // 1000
    return int(value) if isinstance(value, bool) else value


def mongo_rows(server, table, where):
    query = {name: to_mongo(table, name, value) for name, value in where.items()}
    nulls = dict.fromkeys(schema.FIELDS[table])
    return [{**nulls, **{name: from_mongo(value) for name, value in document.items()}}
            for document in mongo_of(server.store)[table].find(query).sort(
                [("created_at", 1), (next_to(table), 1)])]


def mongo_change(server, table, where, values):
    query = {name: to_mongo(table, name, value) for name, value in where.items()}
    change = {"$set": {}, "$unset": {}}
    for name, value in values.items():
        change["$unset" if value is None else "$set"][name] = to_mongo(table, name, value)
    return mongo_of(server.store)[table].update_many(
        query, {how: what for how, what in change.items() if what}).matched_count


# ---- either ----

def rows(server, table, **where):
    """What is stored, oldest first."""
    return (mongo_rows if is_mongo(server.store) else sqlite_rows)(server, table, where)


def row(server, table, **where):
    found = rows(server, table, **where)
    assert len(found) == 1, f"{len(found)} rows in {table} with {where}"
    return found[0]


def change(server, table, where, **values):
    """Changes rows behind the server's back; gives their number."""
    return (mongo_change if is_mongo(server.store) else sqlite_change)(server, table, where, values)


_inserted = itertools.count(1)


def insert(server, table, **values):
    """A row behind the server's back; gives its id. Prefix and number make one that the store takes
    for its own."""
    prefix = re.search(rf'"{table}",\s*"(\w+)"', (REPO / "src/store/schema.h").read_text()).group(1)
    now = int(time.time() * 1000)
    row_ = {"_id": f"{prefix}_{next(_inserted):026d}", "version": 1, "created_at": now,
            "updated_at": now, **values}
    if is_mongo(server.store):
        mongo_of(server.store)[table].insert_one(
            {name: to_mongo(table, name, value) for name, value in row_.items()})
    else:
        db = database(server)
        try:
            db.execute(f"INSERT INTO {table} ({', '.join(row_)}) "
                       f"VALUES ({', '.join('?' * len(row_))})", tuple(row_.values()))
        finally:
            db.close()
    return row_["_id"]


def everything(server):
    """All that is stored, as bytes to search in."""
    if not is_mongo(server.store):
        return b"".join(path.read_bytes() for path in pathlib.Path(server.state).glob("bizapi.db*"))
    db = mongo_of(server.store)
    return "".join(str(document) for name in db.list_collection_names()
                   for document in db[name].find()).encode()
