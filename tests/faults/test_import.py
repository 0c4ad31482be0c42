"""bizapictl import mongo and bizapictl copy: what comes over, what does not and why, and what an end
in the middle leaves behind. What the program says is compared with what the two databases hold."""
import collections
import datetime
import json
import os
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib")]
import driver  # noqa: E402
import mongod  # noqa: E402
import schema  # noqa: E402
import terminal  # noqa: E402

REPO = HERE.parents[1]
CTL = pathlib.Path(os.environ.get("BIZ_BUILD") or REPO / "build") / "bizapictl"
OK, FAILED, USAGE, MISSING, CONFLICT = range(5)
COLLECTIONS = list(schema.FIELDS)
ALL = len(COLLECTIONS)
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


# ---- a store with everything in it ----

NOW_MS = int(time.time() * 1000)
TEXTS = ["", "a", "Zoë O'Brien", "日本語 テキスト", "🦊", "a\nb\tc", '{"a":[1,2.50,null],"b":"\\u00e9"}',
         "x" * 5000, "$set", "a.b", "\x7f", "ß" * 100]
NUMBERS = [0, 1, -1, 2 ** 31, -2 ** 63, 2 ** 63 - 1, 86_400_000]
VALUES = {"STR": TEXTS, "JSON": TEXTS, "INT": NUMBERS, "BOOL": [0, 1], "TIME": [0, NOW_MS]}


def fill(store, n):
    """n rows a collection, over all fields: null, odd and plain values."""
    ctl("-s", store.url, "migrate")
    rnd = random.Random(7)
    with sqlite3.connect(store.path) as db:
        for coll in COLLECTIONS:
            for i in range(n):
                row = {name: None if rnd.random() < 0.2 else rnd.choice(VALUES[kind])
                       for name, kind in schema.FIELDS[coll].items()}
                row["_id"] = rnd.choice(["id", "ünï", "Z", "🦊-", "a b "]) + f"{i:05d}"
                row["created_at"] = NOW_MS - i
                for name, value in (("version", 1 + i % 3), ("updated_at", NOW_MS)):
                    if name in row:
                        row[name] = value
                for name in schema.UNIQUE[coll]:
                    if row[name] is not None:
                        text = schema.FIELDS[coll][name] == "STR"
                        row[name] = f"{i}-{row[name]}" if text else i
                if "expires_at" in row:
                    row["expires_at"] = rnd.choice([None, NOW_MS + 10 ** 8])
                if coll == "idempotency_keys":
                    row["state"] = "done"
                db.execute(f'INSERT INTO "{coll}"({",".join(row)}) VALUES({",".join("?" * len(row))})',
                           list(row.values()))
    db.close()


EXPIRED = NOW_MS - 1000


def total(report, member):
    return sum(coll[member] for coll in report["collections"])


def test_copy_between_sqlite_files(sqlite):
    a, b = sqlite("a"), sqlite("b")
    fill(a, 100)
    report = answer("copy", a.url, b.url, "--verify")
    assert report["complete"] and total(report, "copied") == total(report, "target") == 100 * ALL
    assert all(coll["verified"] for coll in report["collections"])
    assert a.rows() == b.rows() and len(b.rows()) == 100 * ALL
    assert report["left_out"]["total"] == report["problems"]["total"] == 0
    shown = ctl("copy", a.url, b.url, "--resume")
    assert "their numbers were compared" in shown.out and "stop the server" in shown.err
    assert re.search(r"^users +100 +0 +100 +0 +100$", shown.out, re.M), shown.out
    quiet = ctl("copy", a.url, b.url, "--resume", "-q")
    assert quiet.out == quiet.err == ""


@needs_mongo
def test_copy_to_mongodb_and_back_changes_nothing(sqlite, database):
    a, b, m = sqlite("a"), sqlite("b"), database("copy")
    fill(a, 25)
    there = answer("copy", a.url, m.url, "--verify")
    assert there["complete"] and total(there, "copied") == 25 * ALL
    assert len(m.rows()) == 25 * ALL
    # A second client reads the same, as MongoDB's own types.
    rows = m.rows()
    for key, row in a.rows().items():
        made = rows[key]["created_at"].replace(tzinfo=datetime.timezone.utc)
        assert round(made.timestamp() * 1000) == row["created_at"]
        for text in ("email", "data", "answer", "password_hash"):
            if text in row:
                assert rows[key].get(text) == row[text]
    back = answer("copy", m.url, b.url, "--verify")
    assert back["complete"] and total(back, "copied") == 25 * ALL
    assert a.rows() == b.rows()
    # And the program agrees that nothing differs, in both directions.
    assert total(answer("copy", m.url, a.url, "--verify", "--resume"), "there_already") == 25 * ALL
    assert total(answer("copy", a.url, m.url, "--verify", "--resume"), "there_already") == 25 * ALL


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


def has_rows(store, n):
    def look():
        try:
            return store.sql("SELECT count(*) AS n FROM sessions")[0]["n"] >= n
        except sqlite3.OperationalError:
            return False
    return look


def test_an_interrupted_copy_goes_on(sqlite):
    a, b = sqlite("a"), sqlite("b")
    fill(a, 500)
    killed(["copy", a.url, b.url], has_rows(b, 100))
    half = len(b.rows())
    assert 600 <= half < 500 * ALL
    refused = ctl("copy", a.url, b.url, expect=CONFLICT)
    assert "not empty" in refused.err and len(b.rows()) == half
    planned = answer("copy", a.url, b.url, "--resume", "--dry-run")
    assert total(planned, "there_already") == half and total(planned, "copied") == 500 * ALL - half
    assert len(b.rows()) == half
    report = answer("copy", a.url, b.url, "--resume", "--verify")
    assert report["complete"] and total(report, "there_already") == half
    assert total(report, "copied") == 500 * ALL - half
    assert a.rows() == b.rows()


@needs_mongo
def test_an_interrupted_copy_into_mongodb_goes_on(sqlite, database):
    a, b, m = sqlite("a"), sqlite("b"), database("copy")
    fill(a, 160)
    killed(["copy", a.url, m.url], lambda: m.db.sessions.estimated_document_count() >= 50)
    half = len(m.rows())
    assert 210 <= half < 160 * ALL
    assert "not empty" in ctl("copy", a.url, m.url, expect=CONFLICT).err
    report = answer("copy", a.url, m.url, "--resume")
    assert report["complete"] and total(report, "there_already") == half
    ctl("copy", m.url, b.url)
    assert a.rows() == b.rows()


@needs_mongo
def test_the_server_goes_away_in_the_middle(sqlite, tmp_path):
    """For longer than one operation waits: the copy waits longer. Nothing is lost or double."""
    if mongod.find()[0] == "uri":
        pytest.skip("the server of BIZAPI_TEST_MONGO_URI is not ours to hurt")
    a, b = sqlite("a"), sqlite("b")
    fill(a, 40)
    with mongod.Mongo() as server:
        m = MongoStore(server, "away")
        process = subprocess.Popen([CTL, "copy", a.url, m.url, "--json"], env=environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while m.db.sessions.estimated_document_count() < 20:
            assert process.poll() is None, process.communicate()
        server.kill()
        time.sleep(6)
        server.start()
        out, err = process.communicate(timeout=60)
        assert process.returncode == OK, err
        report = json.loads(out)
        assert report["complete"] and total(report, "copied") == 40 * ALL
        ctl("copy", m.url, b.url, "--verify")
    assert a.rows() == b.rows()


def test_a_dry_run_changes_nothing(sqlite, tmp_path):
    a, b = sqlite("a"), sqlite("b")
    fill(a, 10)
    report = answer("copy", a.url, b.url, "--dry-run")
    assert report["dry_run"] and total(report, "copied") == 10 * ALL and total(report, "target") == 0
    assert not b.path.exists()
    shown = ctl("copy", a.url, b.url, "--dry-run")
    assert shown.out.startswith("A dry run") and shown.err == ""
    ctl("-s", b.url, "migrate")
    assert total(answer("copy", a.url, b.url, "--dry-run"), "copied") == 10 * ALL
    assert b.rows() == {}


@needs_mongo
def test_a_dry_run_makes_nothing_in_mongodb(sqlite, database):
    a, m = sqlite("a"), database("dry")
    fill(a, 10)
    assert total(answer("copy", a.url, m.url, "--dry-run"), "copied") == 10 * ALL
    assert m.db.list_collection_names() == []


def test_conflicts_are_told_and_touch_nothing(sqlite):
    a, b = sqlite("a"), sqlite("b")
    fill(a, 20)
    ctl("copy", a.url, b.url)
    rows = sorted(name for coll, name in a.rows() if coll == "users")
    b.sql("UPDATE users SET name = 'another' WHERE _id = ?", rows[0])
    b.sql("DELETE FROM users WHERE _id IN (?, ?)", rows[1], rows[2])
    a.sql("UPDATE users SET email = 'taken' WHERE _id = ?", rows[1])
    b.put("users", _id="zz", created_at=1000, version=1, updated_at=1000, email="taken")
    before = b.rows()
    report = answer("copy", a.url, b.url, "--resume", expect=FAILED)
    assert not report["complete"]
    assert report["problems"]["reasons"] == {"differs": 1, "unique": 1, "extra": 1}
    assert {(p["id"], p["reason"]) for p in report["problems"]["listed"]} == {
        (rows[0], "differs"), (rows[1], "unique"), ("zz", "extra")}
    users = next(c for c in report["collections"] if c["collection"] == "users")
    assert not users["verified"] and users["copied"] == 1 and users["there_already"] == 17
    assert all(c["verified"] for c in report["collections"] if c is not users)
    after = b.rows()
    assert after.pop(("users", rows[2])) == a.rows()["users", rows[2]]
    assert after == before
    shown = ctl("copy", a.url, b.url, "--resume", expect=FAILED)
    assert "not the same: 3 problems" in shown.err and "Problems:" in shown.out
    assert ctl("copy", a.url, b.url, "--resume", "-q", expect=FAILED).out == ""


def test_what_is_over_is_left_out(sqlite):
    a, b = sqlite("a"), sqlite("b")
    ctl("-s", a.url, "migrate")
    base = {"created_at": 1000, "version": 1, "updated_at": 1000}
    later = NOW_MS + 10 ** 7
    for i in range(30):
        a.put("sessions", _id=f"old{i:02d}", expires_at=EXPIRED, **base)
    a.put("sessions", _id="new", expires_at=later, **base)
    a.put("sessions", _id="never", expires_at=None, **base)
    a.put("outbox", _id="leased", state="queued", lease="worker", due_at=EXPIRED, **base)
    a.put("idempotency_keys", _id="r", state="running", lease_until=later, expires_at=later, **base)
    a.put("idempotency_keys", _id="d", state="done", expires_at=later, **base)
    shown = ctl("copy", a.url, b.url)
    assert {name for _, name in b.rows()} == {"new", "never", "leased", "d"}
    assert b.rows()["outbox", "leased"] == a.rows()["outbox", "leased"]
    assert re.search(r"^ +30  its time is over", shown.out, re.M)
    assert "sessions old00: its time" in shown.out and "... and 11 more" in shown.out
    assert shown.out.count("sessions old") == 20
    everything = ctl("copy", a.url, b.url, "--resume", "--all", "--verify")
    assert everything.out.count("sessions old") == 30 and "idempotency_keys r: the lease" in everything.out
    report = answer("copy", a.url, b.url, "--resume")
    assert report["left_out"]["reasons"] == {"expired": 30, "running": 1}


def test_every_field_counts(sqlite):
    """One document a kind of field, changed in TO."""
    a, b = sqlite("a"), sqlite("b")
    ctl("-s", a.url, "migrate")
    base = {"created_at": 1000, "version": 1, "updated_at": 1000}
    changes = {"name": "b", "email_typed": None, "phone": "", "session_epoch": 2 ** 62, "disabled": 1,
               "email_verified": None, "password_changed_at": 2000, "created_at": 2000,
               "updated_at": 2000, "version": 2}
    for field in changes:
        a.put("users", _id=field, name="a", email_typed="a", session_epoch=2 ** 62 + 1, disabled=0,
              email_verified=0, password_changed_at=1000, **base)
    a.put("outbox", _id="data", data='{"a":1}', **base)
    a.put("password_reset_tokens", _id="token", created_at=1000, token="a")
    ctl("copy", a.url, b.url)
    for field, value in changes.items():
        b.sql(f"UPDATE users SET {field} = ? WHERE _id = ?", value, field)
    b.sql("UPDATE outbox SET data = '{\"a\": 1}'")
    b.sql("UPDATE password_reset_tokens SET token = 'b'")
    report = answer("copy", a.url, b.url, "--resume", expect=FAILED)
    assert {p["id"] for p in report["problems"]["listed"]} == {*changes, "data", "token"}
    assert report["problems"]["reasons"] == {"differs": len(changes) + 2}


@pytest.mark.parametrize("verify", [True, False])
def test_a_document_changed_meanwhile_is_found_by_verify(sqlite, verify):
    a, b = sqlite("a"), sqlite("b")
    fill(a, 350)
    process = subprocess.Popen([CTL, "copy", a.url, b.url, "--json", *["--verify"] * verify], text=True,
                               env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # Once it has come to the sessions, it has the users behind it.
    while not has_rows(b, 1)():
        assert process.poll() is None, process.communicate()
    changed = a.sql("SELECT _id FROM users ORDER BY _id LIMIT 1")[0]["_id"]
    a.sql("UPDATE users SET name = 'changed' WHERE _id = ?", changed)
    out, err = process.communicate(timeout=120)
    listed = json.loads(out)["problems"]["listed"]
    if verify:
        assert process.returncode == FAILED and "not the same: 1 problem" in err
        assert listed == [{"collection": "users", "id": changed, "reason": "differs"}]
    else:
        assert process.returncode == OK and listed == []


def test_a_number_that_is_wrong_is_looked_into(sqlite):
    """Without --verify: the count says that something came, the walk says what."""
    a, b = sqlite("a"), sqlite("b")
    fill(a, 350)
    process = subprocess.Popen([CTL, "copy", a.url, b.url, "--json"], text=True,
                               env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not has_rows(b, 1)():
        assert process.poll() is None, process.communicate()
    a.put("users", _id="!first", created_at=1000, version=1, updated_at=1000)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == FAILED
    assert json.loads(out)["problems"]["listed"] == [
        {"collection": "users", "id": "!first", "reason": "missing"}]
    assert answer("copy", a.url, b.url, "--resume", "--verify")["complete"]
    assert a.rows() == b.rows()


def test_copy_refuses_what_makes_no_sense(sqlite, tmp_path):
    a, b = sqlite("a"), sqlite("b")
    fill(a, 1)
    (tmp_path / "link.db").symlink_to(a.path)
    for to in (a.url, f"sqlite:{tmp_path}/./a.db", f"sqlite:{tmp_path}/link.db"):
        assert "one and the same" in ctl("copy", a.url, to, "--resume", expect=USAGE).err
    assert "no store" in ctl("copy", a.url, "ftp://x", expect=USAGE).err
    assert "missing" in ctl("copy", a.url, expect=USAGE).err
    assert "-s" in ctl("-s", a.url, "copy", a.url, b.url, expect=USAGE).err
    assert "no database" in ctl("copy", b.url, a.url, "--resume", expect=FAILED).err
    assert "no folder" in ctl("copy", a.url, "sqlite:/no/such/folder/x.db", expect=FAILED).err
    assert "no HERE" in ctl("copy", "env:HERE", b.url, expect=USAGE).err
    assert not b.path.exists()
    ctl("copy", "env:HERE", "env:THERE", env={"HERE": a.url, "THERE": b.url})
    assert a.rows() == b.rows()


@needs_mongo
def test_copy_leaves_the_databases_of_others_alone(sqlite, database):
    a, m, empty = sqlite("a"), database("shop"), database("empty")
    fill(a, 2)
    m.db.users.insert_one({"email": "Ada@example.com", "hashed_password": BCRYPT})
    before = snapshot(m)
    for more in ([], ["--resume"], ["--dry-run"]):
        assert "another program" in ctl("copy", a.url, m.url, *more, expect=FAILED).err
        assert "another program" in ctl("copy", m.url, a.url, "--resume", *more, expect=FAILED).err
    assert snapshot(m) == before
    assert "no store" in ctl("copy", empty.url, a.url, "--resume", expect=FAILED).err
    assert empty.db.list_collection_names() == []
    assert "one and the same" in ctl("copy", m.url, m.url.replace("127.0.0.1", "localhost"),
                                     expect=USAGE).err


# ---- import ----

def accounts(n=1000):
    """The users of some other program: n of them, and who of them must come over with what."""
    when = datetime.datetime(2021, 3, 4, 5, 6, 7, 891000)
    docs, good = [], {}
    for i in range(n):
        doc = {"email": f"User{i}@Example.com", "hashed_password": BCRYPT, "name": f"User {i}",
               "is_verified": i % 2 == 0, "created_at": when + datetime.timedelta(days=i % 1500),
               "card": "4111 1111 1111 1111"}
        docs.append(doc)
    odd = {
        10: dict(email="no at sign"), 11: dict(email="a@b"), 12: dict(email=None),
        13: dict(email=42), 14: dict(email=""), 15: dict(email="ada@bücher.example"),
        16: dict(email="x" * 300 + "@example.com"), 17: dict(email="a\r\nBcc: b@example.com"),
        20: dict(email="USER1@EXAMPLE.COM"), 21: dict(email="  user2@example.com "),
        30: dict(hashed_password=None), 31: dict(hashed_password=""),
        32: dict(hashed_password=MD5), 33: dict(hashed_password="hunter2-in-the-clear"),
        34: dict(hashed_password=BCRYPT[:-1]), 35: dict(hashed_password="$2b$31$" + BCRYPT[7:]),
        36: dict(hashed_password=ARGON2.replace("argon2id", "argon2i")), 37: dict(hashed_password=7),
    }
    for i, change in odd.items():
        docs[i].update(change)
    docs[40].update(hashed_password=ARGON2)
    docs[41].update(hashed_password=BCRYPT.encode())  # as pymongo keeps Python's bytes
    docs[42].update(hashed_password="$2y$" + BCRYPT[4:])
    docs[43].update(hashed_password="$2a$" + BCRYPT[4:])
    docs[44].update(name="Ñandú " * 50)
    docs[45].update(name="日本 太郎 🦊")
    docs[46].update(name="line one\nline two\x1b[31m")
    docs[47].update(name="  Zoë  ")
    docs[48].update(name=None, first_name="Grace", last_name="Hopper")
    docs[49].update(name=None)
    docs[50].update(phone="+49 (30) 123-456")
    docs[51].update(phone="0049 30 123456")
    docs[52].update(phone="030/123456")
    docs[53].update(is_active=False)
    docs[54].update(disabled=True)
    docs[55].update(created_at="2021-03-04T05:06:07Z")
    docs[56].pop("created_at")
    docs[57].update(created_at=datetime.datetime(2999, 1, 1))
    docs[58].update(role="admin")
    docs[59].update(password_hash=ARGON2)  # before hashed_password
    docs[60].update(email="  Sixty@Example.Com  ")
    return docs, set(odd)


@pytest.fixture
def shop(database):
    source = database("shop")
    docs, source.odd = accounts()
    source.db.users.insert_many(docs)
    source.docs = docs
    source.before = snapshot(source)
    return source


@needs_mongo
def test_a_thousand_accounts(shop, sqlite):
    a = sqlite("a")
    report = answer("-s", a.url, "import", "mongo", shop.url)
    assert report["left_out"]["reasons"] == {"bad_email": 5, "no_email": 3, "twice": 2,
                                             "no_password": 3, "bad_hash": 5}
    assert report["changed"]["reasons"] == {"name_changed": 2, "phone_dropped": 1}
    assert report["complete"] and report["read"] == 1000 and report["disabled"] == 2
    assert report["brought"] == 1000 - len(shop.odd) and len(report["left_out"]["listed"]) == 18
    assert {"email": "no at sign", "reason": "bad_email"} in report["left_out"]["listed"]
    assert {"email": f"_id {shop.docs[12]['_id']}", "reason": "no_email"} in report["left_out"]["listed"]
    users = a.users()
    assert set(users) == {f"user{i}@example.com" for i in range(1000) if i not in shop.odd and i != 60
                          } | {"sixty@example.com"}
    for i in set(range(1000)) - shop.odd - {40, 41, 42, 43, 59, 60}:
        row, doc = users[f"user{i}@example.com"], shop.docs[i]
        assert row["password_hash"] == BCRYPT and row["role"] == "customer"
        assert row["email_typed"] == doc["email"] and row["email_verified"] == (i % 2 == 0)
        assert row["version"] == 1 and row["session_epoch"] == 1
        assert row["disabled"] == (i in (53, 54))
        if i not in (55, 56, 57):
            made = doc["created_at"].replace(tzinfo=datetime.timezone.utc)
            assert row["created_at"] == row["updated_at"] == round(made.timestamp() * 1000)
        if i not in range(44, 50):
            assert row["name"] == doc["name"]
    user = {i: users[f"user{i}@example.com"] for i in range(40, 60)}
    assert user[40]["password_hash"] == user[59]["password_hash"] == ARGON2
    assert user[41]["password_hash"] == BCRYPT
    assert user[42]["password_hash"] == "$2y$" + BCRYPT[4:]
    assert user[43]["password_hash"] == "$2a$" + BCRYPT[4:]
    assert user[44]["name"] == ("Ñandú " * 50)[:120].rstrip() and user[45]["name"] == "日本 太郎 🦊"
    assert user[46]["name"] == "line one line two [31m" and user[47]["name"] == "Zoë"
    assert user[48]["name"] == "Grace Hopper" and user[49]["name"] is None
    assert user[50]["phone"] == "+4930123456" and user[51]["phone"] == "+4930123456"
    assert user[52]["phone"] is None
    assert user[55]["created_at"] == 1614834367000
    for i in (56, 57):
        assert abs(user[i]["created_at"] / 1000 - time.time()) < 60
    assert users["sixty@example.com"]["email_typed"] == "Sixty@Example.Com"
    assert snapshot(shop) == shop.before


@needs_mongo
def test_a_repeat_doubles_nothing(shop, sqlite):
    a = sqlite("a")
    first = answer("-s", a.url, "import", "mongo", shop.url)
    rows = a.rows()
    # One has signed in since (his hash was renewed), one was here before and is somebody else.
    a.sql("UPDATE users SET password_hash = ?, version = 2 WHERE email = 'user3@example.com'", ARGON2)
    a.sql("UPDATE users SET password_hash = ?, created_at = 1000 WHERE email = 'user4@example.com'",
          ARGON2)
    again = answer("-s", a.url, "import", "mongo", shop.url)
    assert again["brought"] == 0 and again["there_already"] == first["brought"] - 1
    assert again["left_out"]["reasons"].pop("taken") == 1
    assert again["left_out"]["reasons"] == first["left_out"]["reasons"]
    assert {"email": "User4@Example.com", "reason": "taken"} in again["left_out"]["listed"]
    assert a.rows().keys() == rows.keys()
    shop.db.users.insert_one({"email": "new@example.com", "password": BCRYPT})
    assert answer("-s", a.url, "import", "mongo", shop.url)["brought"] == 1


@needs_mongo
def test_an_interrupted_import_goes_on(shop, sqlite):
    a = sqlite("a")

    def enough():
        try:
            return a.sql("SELECT count(*) AS n FROM users")[0]["n"] >= 100
        except sqlite3.OperationalError:
            return False
    killed(["-s", a.url, "import", "mongo", shop.url], enough)
    half = len(a.users())
    assert 100 <= half < 982
    report = answer("-s", a.url, "import", "mongo", shop.url)
    assert report["there_already"] == half and report["brought"] == 982 - half
    assert len(a.users()) == 982
    assert {name for name, _ in a.rows()} <= {"users", "audit_log", "audit_marks"}


@needs_mongo
def test_an_import_into_mongodb(shop, database):
    m = database("biz")
    report = answer("-s", m.url, "import", "mongo", shop.url)
    assert report["brought"] == 982 == m.db.users.count_documents({})
    assert m.db.users.find_one({"email": "user0@example.com"})["password_hash"] == BCRYPT
    assert answer("-s", m.url, "import", "mongo", shop.url)["there_already"] == 982
    assert snapshot(shop) == shop.before


@needs_mongo
def test_a_dry_run_of_import_changes_nothing(shop, sqlite, database):
    a, m = sqlite("a"), database("biz")
    for store in (a, m):
        report = answer("-s", store.url, "import", "mongo", shop.url, "--dry-run")
        assert report["dry_run"] and report["brought"] == 982 and report["left_out"]["total"] == 18
    assert not a.path.exists() and m.db.list_collection_names() == []
    ctl("-s", a.url, "migrate")
    a.put("users", _id="usr_x", created_at=1000, version=1, updated_at=1000,
          email="user5@example.com")
    shown = ctl("-s", a.url, "import", "mongo", shop.url, "--dry-run")
    assert "nothing was changed" in shown.out and "981 to be brought" in shown.out
    assert "User5@Example.com: this address has an account here" in shown.out
    assert len(a.rows()) == 1


@needs_mongo
def test_what_import_shows(shop, sqlite):
    a = sqlite("a")
    shop.db.users.insert_many([{"email": f"bad{i}@example.com"} for i in range(40)])
    shown = ctl("-s", a.url, "import", "mongo", shop.url, "--dry-run")
    assert "1040 accounts read: 982 to be brought, 0 there already, 58 left out" in shown.out
    assert re.search(r"^ +43  there is no password hash$", shown.out, re.M)
    assert "... and 38 more; --all shows them" in shown.out
    assert r"a\x0d\x0aBcc: b@example.com: this e-mail" in shown.out
    assert shown.out.count("@example.com: there is no password hash") < 20
    assert "x" * 250 in shown.out and "x" * 301 not in shown.out
    everything = ctl("-s", a.url, "import", "mongo", shop.url, "--all")
    assert everything.out.count("there is no password hash") == 44
    assert "confirmed" in everything.out and "4111" not in everything.out
    quiet = ctl("-s", a.url, "import", "mongo", shop.url, "-q")
    assert quiet.out == quiet.err == ""


@needs_mongo
def test_fields_and_roles_by_option(database, sqlite):
    source, a = database("other"), sqlite("a")
    source.db.members.insert_many([
        {"_id": 1, "profile": {"mail": "ada@example.com", "nick": "Ada", "tel": "+4930123456",
                               "ok": True, "born": datetime.datetime(2020, 1, 1)},
         "secret": {"bcrypt": BCRYPT}, "job": "Admin"},
        {"_id": 2, "profile": {"mail": "bob@example.com", "ok": 1}, "secret": {"bcrypt": BCRYPT},
         "job": "employee", "password": MD5},
        {"_id": 3, "profile": {"mail": "eve@example.com", "ok": datetime.datetime(2020, 1, 1)},
         "secret": {"bcrypt": MD5}, "job": "superuser"},
        {"_id": "four", "profile": "no object"}])
    command = ["-s", a.url, "import", "mongo", "env:SOURCE", "--collection", "members", "--email-field",
               "profile.mail", "--name-field", "profile.nick", "--phone-field=profile.tel",
               "--verified-field", "profile.ok", "--created-field", "profile.born",
               "--password-field", "secret.bcrypt", "--role-field", "job"]
    env = {"SOURCE": source.url}
    assert "--roles" in ctl(*command, expect=USAGE, env=env).err
    command += ["--roles", "admin=admin, employee=staff", "--without-password"]
    report = answer(*command, env=env)
    assert report["brought"] == 3 and report["unverified"] == 0
    assert report["changed"]["reasons"] == {"password_dropped": 1, "role_unknown": 1}
    assert report["left_out"]["listed"] == [{"email": "_id four", "reason": "no_email"}]
    users = a.users()
    ada = users["ada@example.com"]
    assert (ada["name"], ada["phone"], ada["role"]) == ("Ada", "+4930123456", "admin")
    assert ada["created_at"] == 1577836800000
    assert users["bob@example.com"]["role"] == "staff"
    assert users["eve@example.com"]["role"] == "customer"
    assert users["eve@example.com"]["password_hash"] is None
    again = answer(*command, env=env)
    assert again["there_already"] == 3 and again["left_out"]["total"] == 1


@needs_mongo
def test_all_verified(database, sqlite):
    source, a = database("other"), sqlite("a")
    source.db.users.insert_many([{"email": "ada@example.com", "password": BCRYPT},
                                 {"email": "bob@example.com", "password": BCRYPT,
                                  "email_verified": False}])
    ctl("-s", a.url, "import", "mongo", source.url, "--all-verified")
    assert [row["email_verified"] for row in a.users().values()] == [1, 1]


@needs_mongo
def test_import_refuses_what_makes_no_sense(shop, sqlite, database, mongo):
    a, empty = sqlite("a"), database("empty")
    bad = ["-s", a.url, "import", "mongo"]
    assert "name the database" in ctl(*bad, shop.url.replace(shop.name, ""), expect=USAGE).err
    assert "mongodb://" in ctl(*bad, a.url, expect=USAGE).err
    assert "no NOWHERE" in ctl(*bad, "env:NOWHERE", expect=USAGE).err
    assert "no role" in ctl(*bad, shop.url, "--roles", "a=king", expect=USAGE).err
    assert "SOURCE=ROLE" in ctl(*bad, shop.url, "--roles", "admin", expect=USAGE).err
    for name in ("", "a..b", "$x", ".a", "a."):
        assert "is no name" in ctl(*bad, shop.url, "--email-field", name, expect=USAGE).err
    assert "no document" in ctl(*bad, empty.url, expect=MISSING).err
    assert "no document" in ctl(*bad, shop.url, "--collection", "nobody", expect=MISSING).err
    secret = f"mongodb://ada:s3cr3t@127.0.0.1:{mongod.free_port()}/shop?serverSelectionTimeoutMS=300"
    dead = ctl(*bad, secret, expect=FAILED)
    assert "cannot be read" in dead.err and "s3cr3t" not in dead.err + dead.out
    odd = ctl(*bad, "mongodb://ada:s3c@r3t:x@h/shop", expect=USAGE)
    assert "s3c" not in odd.err + odd.out
    # Neither into the database it comes from, nor into another program's.
    same = ctl("-s", shop.url.replace("127.0.0.1", "localhost"), "import", "mongo", shop.url,
               expect=USAGE)
    assert "the store itself" in same.err
    other = database("crm")
    other.db.users.insert_one({"email": "x@example.com"})
    before = snapshot(other)
    assert "another program" in ctl("-s", other.url, "import", "mongo", shop.url, expect=FAILED).err
    assert snapshot(other) == before and snapshot(shop) == shop.before


# ---- the bar ----

def on_a_terminal(*args):
    return terminal.run([CTL, *args], environment())


def test_the_bar_is_for_terminals_alone(sqlite):
    a, b, c = sqlite("a"), sqlite("b"), sqlite("c")
    fill(a, 120)
    shown, out = on_a_terminal("copy", a.url, b.url)
    frames = [int(n) for n in re.findall(rf"(\d+)% \d+/{120 * ALL}", shown)]
    assert frames[0] == 0 and frames == sorted(frames) and len(frames) >= 3
    assert "[####" in shown and shown.endswith("\r\x1b[K") and "\x1b" not in out
    shown, out = on_a_terminal("copy", a.url, c.url, "-q")
    assert shown == out == ""
