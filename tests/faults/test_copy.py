"""bizapictl copy: what comes over, what does not and why, and what an end in the middle leaves behind."""
import datetime
import json
import random
import re
import sqlite3
import subprocess
import time

import pytest

import mongod
import schema
import terminal
from ctl_kit import (BCRYPT, COLLECTIONS, CONFLICT, CTL, FAILED, OK, USAGE, MongoStore,  # noqa: F401
                     answer, ctl, database, environment, killed, mongo, needs_mongo, snapshot,
                     sqlite)

ALL = len(COLLECTIONS)


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
    # MongoDB may still do what it was told last after `half` was counted.
    assert report["complete"] and total(report, "there_already") >= half
    assert total(report, "copied") + total(report, "there_already") == 160 * ALL
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


# ---- the bar ----

def on_a_terminal(*args):
    return terminal.run([CTL, *args], environment())


def test_the_bar_is_for_terminals_alone(sqlite):
    for n in (120, 2000):  # a fast disk is through before the bar is drawn a third time
        a, b, c = (sqlite(f"{name}{n}") for name in "abc")
        fill(a, n)
        shown, out = on_a_terminal("copy", a.url, b.url)
        frames = [int(n) for n in re.findall(rf"(\d+)% \d+/{n * ALL}", shown)]
        if len(frames) >= 3:
            break
    assert frames[0] == 0 and frames == sorted(frames) and len(frames) >= 3
    assert "[####" in shown and shown.endswith("\r\x1b[K") and "\x1b" not in out
    shown, out = on_a_terminal("copy", a.url, c.url, "-q")
    assert shown == out == ""
