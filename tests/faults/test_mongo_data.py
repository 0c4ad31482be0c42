"""What is stored in MongoDB, and its indexes, also where others have made some; and what the URI says.
The rules are in mongo_kit.py."""
import subprocess
import time

import pytest

import mongod
from driver import environment
from mongo_kit import drive, mongo, needs_mongo, program, replica_set, servers  # noqa: F401

pytestmark = needs_mongo


def test_reset_tokens_have_the_agreed_fields(mongo, drive):
    driver = drive(mongo.uri)
    token = driver.ok("reset", "sha256-of-it")
    tokens = mongo.database().password_reset_tokens
    fresh = {"_id": str, "token": str, "user_id": str, "email": str, "expires_at": "date",
             "used": bool, "created_at": "date"}
    for wanted in (fresh, {**fresh, "used_at": "date"}):
        stored = tokens.find_one({"_id": token})
        assert set(stored) == set(wanted)
        for name, kind in wanted.items():
            is_date = type(stored[name]).__name__ == "datetime"
            assert is_date if kind == "date" else isinstance(stored[name], kind), (name, stored)
        driver.ok("used", token) if wanted is fresh else None
    assert tokens.find_one({"_id": token})["used"] is True
    assert driver.ask("used", token).answer == "econd"
    assert driver.ask("reset", "sha256-of-it").answer == "eexist"


def test_a_sum_beyond_64_bits_changes_nothing(mongo, drive):
    driver = drive(mongo.uri)
    most = 2**63 - 1
    assert driver.ok("counter", "n", most) == str(most)
    assert driver.ask("counter", "n", most).answer == "einval"
    assert driver.ok("counter", "n", -1) == str(most - 1)


def test_declared_indexes(mongo, drive):
    driver = drive(mongo.uri)
    driver.ok("ping")
    db = mongo.database()
    indexes = {i["name"]: i for name in db.list_collection_names() for i in db[name].list_indexes()}
    assert indexes["users_email"]["unique"] and indexes["reset_token"]["unique"]
    assert dict(indexes["users_email"]["partialFilterExpression"]["email"]) == {"$gte": ""}
    assert list(indexes["outbox_due"]["key"]) == ["state", "due_at", "_id"]
    for name, field in (("sessions_expiry", "expires_at"), ("reset_expiry", "expires_at")):
        assert indexes[name]["expireAfterSeconds"] == 0
        assert list(indexes[name]["key"]) == [field]
    plan = db.users.find({"email": "a"}).explain()["queryPlanner"]["winningPlan"]
    assert "IXSCAN" in str(plan) or "EXPRESS" in str(plan), plan


def test_our_own_sweep(mongo, drive):
    """Expiry does not wait for the server's TTL monitor."""
    driver = drive(mongo.uri)
    live, dead = driver.ok("session", "60"), driver.ok("session", "-1")
    removed = driver.ok("sweep")
    sessions = mongo.database().sessions
    assert removed == "1" or sessions.count_documents({"_id": dead}) == 0
    assert [s["_id"] for s in sessions.find({})] == [live]


def test_an_index_that_differs(replica_set, drive):
    db = replica_set.database()
    db.users.create_index("email", name="users_email")
    driver = drive(replica_set.uri)
    done = driver.ask("insert", "a@b.test")
    assert done.answer == "eunavail" and "BZ0244" in driver.visible()[0]
    driver.ok("migrate")
    assert db.users.index_information()["users_email"]["unique"]
    time.sleep(1.1)
    driver.ok("insert", "a@b.test")


def test_an_index_of_another_name(replica_set, drive):
    """The same keys under a name of somebody else, which a mongod refuses to have twice."""
    users = replica_set.database().users
    users.create_index("email", name="by_hand")
    driver = drive(replica_set.uri)
    replica_set.fail(["createIndexes"], times=3, errorCode=85)
    driver.ok("migrate")
    assert "users_email" in users.index_information()
    assert "by_hand" not in users.index_information()


def test_indexes_that_take_long_are_made_by_several_calls(replica_set, drive):
    """Each call, of those too that wait for the one that makes them, is under the bound; one line; what
    is made stays, and at the end none is missing."""
    def made():
        db = replica_set.database()
        return {(name, index) for name in db.list_collection_names()
                for index in db[name].index_information()}

    replica_set.fail(["createIndexes"], times=None, blockConnection=True, blockTimeMS=300)
    driver = drive(replica_set.uri)
    driver.load("ping", 4, 1, "x")
    assert {d.answer for d in driver.loaded()} == {"eunavail"}
    first, end = made(), time.monotonic() + 30
    while driver.ask("ping").answer != "ok":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert [text[:6] for _, text in driver.log] == ["BZ0252"]
    all_of_them = made()
    assert first and first < all_of_them
    replica_set.calm()
    driver.ok("migrate")
    assert made() == all_of_them


def test_data_that_breaks_a_unique_index(replica_set, drive):
    db = replica_set.database()
    db.users.insert_many([{"_id": n, "email": "secret@b.test"} for n in ("1", "2")])
    driver = drive(replica_set.uri)
    assert driver.ask("ping").answer == "eunavail"
    assert "BZ0250" in driver.visible()[0] and "users_email" in driver.visible()[0]
    assert "secret@" not in str(driver.log)
    db.users.delete_one({"_id": "2"})
    time.sleep(1.1)
    driver.ok("ping")


def test_a_newer_schema_is_left_alone(replica_set, drive):
    db = replica_set.database()
    db.schema_info.insert_one({"_id": "schema", "version": 99})
    driver = drive(replica_set.uri)
    for words in (("insert", "a@b.test"), ("ping",), ("migrate",), ("check",)):
        assert driver.ask(*words).answer == "eschema"
    assert "BZ0245" in driver.visible()[0]
    assert db.list_collection_names() == ["schema_info"]


# ---- the URI ----


@pytest.mark.parametrize("option", ["retryWrites=true", "retryWrites=false", "w=0", "journal=false",
                                    "readPreference=secondary", "maxPoolSize=1"])
def test_what_the_uri_may_say(mongo, drive, option):
    """A server without retryable writes is not asked for them; what was written is there, and is
    read from where it was written, whatever the URI prefers."""
    driver = drive(mongo.uri + ("&" if "?" in mongo.uri else "?") + option)
    user = driver.ok("insert", "a@b.test")
    assert driver.ok("get", user) == "a@b.test"
    assert driver.ok("counter", "n") == "1"
    assert driver.ask("insert", "a@b.test").answer == "eexist"
    assert not driver.visible()


def test_sign_in(drive):
    with mongod.Mongo(standalone=True) as server:
        server.database().command("createUser", "biz", pwd="s3cret/pw",
                                  roles=[{"role": "readWrite", "db": mongod.DATABASE}])
        server.more = ["--auth"]
        server.restart()
        at = f"127.0.0.1:{server.port}/{mongod.DATABASE}"
        right, wrong = (drive(f"mongodb://biz:{word}@{at}") for word in ("s3cret%2Fpw", "wr0ng"))
        right.ok("insert", "a@b.test")
        right.ok("migrate")
        right.ok("check")
        assert wrong.ask("insert", "c@d.test").answer == "eunavail"
        assert "BZ0240" in wrong.visible()[0]
        assert "wr0ng" not in str(wrong.log) and "biz:" not in str(wrong.log)
        assert right.close() < 2.5


def test_tls(drive, tmp_path):
    """As the URI says, and only to whom the certificate names."""
    pem = tmp_path / "server.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key",
                    "-out", pem], check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "key").read_text())
    with mongod.Mongo(standalone=True, certificate=str(pem)) as server:
        server.controlled()
        assert server.uri.startswith("mongodb://localhost:")
        right = drive(server.uri)
        right.ok("insert", "a@b.test")
        for uri in (server.uri.replace("localhost", "127.0.0.1"),
                    server.uri.replace(f"&tlsCAFile={pem}", "")):
            wrong = drive(uri)
            assert wrong.ask("insert", "c@d.test").answer == "eunavail"
            assert "BZ0240" in wrong.visible()[0] and "certificate" in wrong.visible()[0]


def test_a_wrong_uri_shows_no_password(program):
    for uri in ("mongodb://user:s3cr/et@@host/db", "mongodb://user:s3cret@host:99999/",
                "mongodb://user:s3cret@host/?socketTimeoutMS=s3cret", "mongodb://h/s3cret$db"):
        done = subprocess.run([program, uri], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=environment())
        text = done.stdout + done.stderr
        assert "s3cr" not in text
        assert done.returncode == 1 and "mongodb://" in text or "database" in text, text
