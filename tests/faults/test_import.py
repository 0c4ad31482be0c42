"""bizapictl import mongo: which accounts of another program come over, which do not and why, and what
an end in the middle leaves behind."""
import datetime
import re
import sqlite3
import time

import pytest

from ctl_kit import (ARGON2, BCRYPT, FAILED, MD5, MISSING, USAGE, answer, ctl, database,  # noqa: F401
                     killed, mongo, needs_mongo, snapshot, sqlite)
from ports import free_port


def accounts(n=1000):
    """The users of some other program: n of them, and who of them must come over with what."""
    when = datetime.datetime(2021, 3, 4, 5, 6, 7, 891000)
    docs = []
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
def test_an_interrupted_import_goes_on(shop, mongo, sqlite):
    a = sqlite("a")
    # The second half, from 500 on, is late.
    mongo.fail(["getMore"], blockConnection=True, blockTimeMS=5000)

    def enough():
        try:
            return a.sql("SELECT count(*) AS n FROM users")[0]["n"] >= 100
        except sqlite3.OperationalError:
            return False
    killed(["-s", a.url, "import", "mongo", shop.url], enough)
    mongo.calm()
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
    secret = f"mongodb://ada:s3cr3t@127.0.0.1:{free_port()}/shop?serverSelectionTimeoutMS=300"
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
