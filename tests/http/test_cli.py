"""bizapictl: every command, every exit status, what it prints and what it never prints; accounts are in
test_cli_users.py. Runs the program on SQLite files of its own; no server is started."""
import json
import os
import pathlib
import pwd
import re
import shutil
import sqlite3
import stat
import subprocess
import threading
import time

import pytest

from bizapictl import (CTL, PASSWORD, OK, FAILED, USAGE, MISSING, CONFLICT, ROOT, run, Ctl, new_id)
from folders import private_folder

needs_root = pytest.mark.skipif(not ROOT, reason="needs root")
COMMANDS = ["check", "migrate", "user add", "user list", "user show", "user disable", "user enable",
            "user set-password", "user set-role", "outbox list", "outbox retry", "keys list",
            "keys rotate", "help"]


# ---- the command line ----

def test_help_names_every_command():
    everything = run("help")
    assert everything.code == OK and everything.err == ""
    assert run("--help").out == run("-h").out == run("help", "help", "--help").out == everything.out
    for command in COMMANDS:
        assert re.search(rf"^  {re.escape(command)}\b", everything.out, re.M), command
        words = command.split()
        one = run("help", *words)
        assert one.code == OK and one.err == "" and f"Usage: bizapictl [OPTION...] {command}" in one.out
        if command != "help":
            assert run(*words, "--help").out == one.out
    for line in ("BIZAPI_STORE", "Exit status:", "--state-dir DIR"):
        assert line in everything.out
    for code in range(5):
        assert re.search(rf"^  {code}  ", everything.out, re.M)
    assert all(len(line) <= 100 for line in everything.out.splitlines())


def test_help_of_a_group():
    group = run("help", "user")
    assert group.code == OK and "set-password" in group.out and "migrate" not in group.out
    assert run("user", "--help").out == group.out
    assert run("help", "nonsense").code == USAGE
    assert run("help", "user", "nonsense").code == USAGE


def test_help_wins_over_what_is_missing():
    assert run("user", "add", "--help", "--role").code == OK


def test_version():
    result = run("--version")
    assert result.code == OK and re.fullmatch(r"bizapictl \d+\.\d+\.\d+\S*\n", result.out)
    assert run("-V").out == result.out


@pytest.mark.parametrize("args, says", [
    ([], "no command"),
    (["frobnicate"], 'no command "frobnicate"'),
    (["user"], "One of: add, list, show"),
    (["user", "frobnicate"], 'no command "user frobnicate"'),
    (["outbox"], "list, retry"),
    (["--frobnicate", "check"], "--frobnicate"),
    (["check", "--frobnicate"], "--frobnicate"),
    (["-x", "check"], "-x"),
    (["check", "--role", "admin"], "--role"),
    (["check", "more"], "one argument too many"),
    (["user", "show"], "argument is missing"),
    (["user", "show", "a@b.test", "c@d.test"], "one argument too many"),
    (["user", "set-role", "a@b.test"], "argument is missing"),
    (["check", "--json=yes"], "takes no value"),
    (["user", "list", "--limit"], "needs a value"),
    (["-s"], "needs a value"),
    (["user", "list", "--limit", "0"], "--limit"),
    (["user", "list", "--limit", "1x"], "--limit"),
    (["user", "list", "--role", "king"], "no role"),
    (["user", "list", "--after", "x"], "--after"),
    (["user", "show", "nobody"], "neither"),
    (["user", "show", "a@@b"], "no e-mail address"),
    (["user", "show", "usr_1"], "neither"),
    (["user", "set-role", "a@b.test", "king"], "no role"),
    (["outbox", "list", "--state", "lost"], "no state"),
    (["outbox", "list", "--limit", "1001"], "--limit"),
    (["outbox", "retry"], "either"),
    (["outbox", "retry", "--all-dead", new_id("obx", 1)], "either"),
    (["outbox", "retry", "obx_1"], "not the id"),
    (["keys", "shred"], 'no command "keys shred"'),
    (["user", "add", "ada@example"], "no e-mail address"),
    (["user", "add", "ada@example.com", "--name", "A", "--role", "root"], "no role"),
    (["user", "add", "ada@example.com", "--name", ""], "--name"),
    (["user", "add", "ada@example.com", "--name", "a\x1b[31mb"], "--name"),
    (["user", "add", "ada@example.com", "--name", "a\nb"], "--name"),
    (["user", "add", "ada@example.com", "--name", "x" * 121], "--name"),
    (["user", "add", "ada@example.com", "--name", "A", "--phone", "030123"], "--phone"),
    (["user", "add", "ada@example.com", "--name", "A", "--locale", "klingon!"], "--locale"),
    (["user", "add", "ada@example.com", "--name", "A", "--timezone", "Mars/X"], "--timezone"),
    (["user", "add", "ada@example.com"], "--name is missing"),
    (["user", "add", "ada@example.com", "--name", "A"], "--password-stdin"),
])
def test_wrong_usage(ctl, args, says):
    result = ctl(*args, expect=USAGE)
    assert says in result.err and result.out == ""
    assert "\x1b" not in result.err


@pytest.mark.parametrize("store, says", [
    ("", "is no store"), ("mysql://x", "is no store"), ("/var/x.db", "is no store"),
    ("sqlite:", "is no store"), ("sqlite:/", "is no store"),
])
def test_wrong_store(store, says):
    result = run("-s", store, "user", "list")
    assert result.code in (USAGE, FAILED) and result.err.count("\n") == 1, result
    from_env = run("user", "list", env={"BIZAPI_STORE": store} if store else {"BIZAPI_STORE": "x"})
    assert from_env.code in (USAGE, FAILED) and from_env.err.startswith("bizapictl: ")


def test_store_from_the_environment(ready):
    url = {"BIZAPI_STORE": f"sqlite:{ready.db}"}
    ready.add()
    assert len(run("user", "list", "--json", env=url).json) == 1
    # The option counts more, and an empty variable does not count.
    assert run("user", "list", "-s", f"sqlite:{ready.folder}/no.db", env=url).code == FAILED
    empty = run("user", "list", env={"BIZAPI_STORE": ""})
    assert "/var/lib/apache2/bizapi" in empty.err or empty.code == OK


def test_relative_path_and_options_anywhere(ready):
    ready.add()
    for args in (["-s", "sqlite:biz.db", "user", "list", "--json"],
                 ["user", "list", "--json", "--store=sqlite:./biz.db"],
                 ["user", "--json", "-ssqlite:biz.db", "list"],
                 ["--json", "user", "list", "-s", "sqlite:../{}/biz.db".format(ready.folder.name)]):
        result = run(*args, cwd=ready.folder)
        assert result.code == OK and len(result.json) == 1, result


def test_state_dir_names_the_database_too(tmp_path):
    assert run("--state-dir", tmp_path, "migrate").code == OK
    assert (tmp_path / "bizapi.db").exists()


def test_double_dash_ends_the_options(ready):
    result = ready("user", "show", "--", "-x@example.com", expect=MISSING)
    assert "-x@example.com" in result.err


def test_full_disk_under_stdout(ready):
    ready.add()
    with open("/dev/full", "w") as full:
        done = subprocess.run([CTL, "-s", f"sqlite:{ready.db}", "user", "list"], stdout=full,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == FAILED and "stdout" in done.stderr


# ---- a database that is not there ----

@pytest.mark.parametrize("args", [
    ["user", "list"], ["user", "show", "a@b.test"], ["user", "disable", "a@b.test"],
    ["user", "enable", "a@b.test"], ["user", "set-role", "a@b.test", "staff"],
    ["user", "set-password", "a@b.test"], ["outbox", "list"], ["outbox", "retry", "--all-dead"],
])
def test_missing_database(ctl, args):
    result = ctl(*args, expect=FAILED)
    assert f"there is no database at {ctl.db} yet" in result.err
    assert not ctl.db.exists() and list(ctl.folder.iterdir()) == []


@pytest.mark.parametrize("args", [["migrate"], ["user", "list"], [
    "user", "add", "a@b.test", "--name", "A", "--password-stdin"]])
def test_missing_folder(tmp_path, args):
    ctl = Ctl(tmp_path / "none")
    result = ctl(*args, stdin=PASSWORD, expect=FAILED)
    assert f"there is no folder {ctl.folder}" in result.err and not ctl.folder.exists()


def test_no_database_at_all(ctl):
    ctl.db.write_text("this is a letter and not a database, long enough to be looked at\n" * 20)
    result = ctl("user", "list", expect=FAILED)
    assert "unavailable" in result.err
    assert ctl.db.read_text().startswith("this is a letter")


# ---- migrate ----

def test_migrate(ctl):
    assert "schema version 2" in ctl("migrate").out
    assert ctl("migrate", "--json").json == {"store": f"sqlite:{ctl.db}", "schema_version": 2}
    assert ctl("-q", "migrate").out == ""
    assert stat.S_IMODE(ctl.db.stat().st_mode) & 0o007 == 0


def test_newer_schema(ready):
    ready.sql("UPDATE bizapi_meta SET value = '99' WHERE key = 'schema'")
    for args in (["migrate"], ["user", "list"], ["check"]):
        result = run("-s", f"sqlite:{ready.db}", *args)
        assert result.code == FAILED and "newer" in result.out + result.err, result


# ---- outbox ----

def add_row(ctl, n, state, **more):
    row = {"_id": new_id("obx", n), "version": 1, "created_at": n * 1000, "kind": "forgot_password",
           "state": state, "due_at": 5000, "tries": 0, "recipient": f"u{n}@example.com",
           "data": '{"event":"dataofrow"}', "sealed": "SEALEDTOKEN", **more}
    ctl.sql(f"INSERT INTO outbox({','.join(row)}) VALUES({','.join('?' * len(row))})",
            *row.values())
    return row["_id"]


def test_outbox_list(ready):
    assert ready("outbox", "list").out == "no messages\n"
    assert ready("outbox", "list", "--json").json == []
    states = ["queued", "sent", "skipped", "dead", "dropped", "cancelled", "unknown", "delivered"]
    ids = [add_row(ready, n, state) for n, state in enumerate(states, 1)]
    add_row(ready, 9, "dead", last_error="550 \x1b[31mno such user", tries=10, lease="node-1")
    result = ready("outbox", "list")
    assert [line.split()[0] for line in result.out.splitlines()] == [
        "ID", new_id("obx", 9)] + ids[::-1]
    assert r"550 \x1b[31mno such user" in result.out and "u3@example.com" in result.out
    as_json = ready("outbox", "list", "--json")
    rows = as_json.json
    assert rows[0]["last_error"] == "550 \x1b[31mno such user" and rows[0]["tries"] == 10
    assert rows[0]["being_sent"] is True and rows[1]["being_sent"] is False
    assert rows[1]["created_at"] == "1970-01-01T00:00:08Z"
    for state in states:
        some = ready("outbox", "list", "--state", state, "--json").json
        assert some and {row["state"] for row in some} == {state}
    assert [r["id"] for r in ready("outbox", "list", "--state", "dead", "--json").json] == [
        new_id("obx", 9), ids[3]]
    assert len(ready("outbox", "list", "--limit", "2", "--json").json) == 2
    for out in (result.out, as_json.out):
        assert "SEALED" not in out and "dataofrow" not in out


def test_outbox_list_stops_at_fifty(ready):
    for n in range(60):
        add_row(ready, n, "sent")
    assert len(ready("outbox", "list", "--json").json) == 50
    assert len(ready("outbox", "list", "--limit", "1000", "--json").json) == 60


def state_of(ctl, row):
    return ctl.sql("SELECT state FROM outbox WHERE _id = ?", row)[0][0]


def test_outbox_retry(ready):
    dead, sent = add_row(ready, 1, "dead", tries=10), add_row(ready, 2, "sent")
    assert ready("outbox", "retry", dead).out == f"{dead} is due again\n"
    assert state_of(ready, dead) == "queued"
    assert ready("outbox", "retry", sent, expect=CONFLICT).out == ""
    assert state_of(ready, sent) == "sent"
    ready("outbox", "retry", new_id("obx", 3), expect=MISSING)


def test_outbox_retry_all_dead(ready):
    assert ready("outbox", "retry", "--all-dead").out == "0 messages are due again\n"
    dead = [add_row(ready, n, "dead") for n in range(450)]
    sent = add_row(ready, 999, "sent")
    result = ready("outbox", "retry", "--all-dead", "--json").json
    assert sorted(result["retried"]) == dead
    assert ready.sql("SELECT count(*) FROM outbox WHERE state = 'queued'") == [(450,)]
    assert state_of(ready, sent) == "sent"


# ---- keys ----

def test_keys(ctl):
    keys = ctl.folder / "keys"
    for args in (["keys"], ["keys", "list"], ["keys", "rotate"]):
        assert str(keys) in ctl(*args, expect=MISSING).err
    assert not keys.exists()
    keys.mkdir(mode=0o700)
    assert ctl("keys", "list", "--json").json == []
    first = ctl("keys", "rotate", "--json").json["kid"]
    said = ctl("keys", "rotate").out
    second = said.split()[0]
    assert re.fullmatch(rf"key_[0-9a-z]{{26}} made in {keys}; .*apachectl graceful\n", said)
    listed = ctl("keys", "--json").json
    assert [k["kid"] for k in listed] == [second, first]
    assert listed[0]["signs"] and listed[0]["path"] == f"{keys}/jwt-{second}.json"
    assert stat.S_IMODE(os.stat(listed[0]["path"]).st_mode) == 0o600
    (keys / f"jwt-{first}.since").write_text("2026-01-01T00:00:00Z\n")
    (keys / f"jwt-{first}.since").chmod(0o600)
    assert [k["state"] for k in ctl("keys", "--json").json] == ["next", "signs"]
    (keys / f"jwt-{second}.since").write_text("2026-01-02T00:00:00Z\n")
    (keys / f"jwt-{second}.since").chmod(0o600)
    assert [k["state"] for k in ctl("keys", "--json").json] == ["signs", "ended"]
    table = ctl("keys").out
    secret = json.loads((keys / f"jwt-{second}.json").read_text())["d"]
    assert table.splitlines()[0].split() == ["KID", "MADE", "STATE", "FILE"]
    assert secret not in table + ctl("keys", "--json").out
    os.chmod(listed[0]["path"], 0o644)
    assert "chmod 600" in ctl("keys", "list", expect=FAILED).err


def test_keys_of_another_state_dir(ctl, tmp_path):
    other = tmp_path / "state"
    (other / "keys").mkdir(parents=True, mode=0o700)
    ctl("keys", "rotate", "--state-dir", other)
    assert len(list((other / "keys").glob("jwt-*.json"))) == 1


# ---- check ----

def findings(ctl, expect=OK, **more):
    result = run("-s", f"sqlite:{ctl.db}", "check", "--json", **more)
    assert result.code == expect, result
    report = result.json
    assert report["ok"] == (expect == OK)
    assert all(f["status"] in ("ok", "WARN", "FAIL") and f["text"] for f in report["findings"])
    return {(f["name"], f["status"]): f["text"] for f in report["findings"]}


def test_check_before_the_first_start(ctl):
    found = findings(ctl, FAILED)
    assert f"there is no database at {ctl.db} yet" in found["database", "FAIL"]
    assert not ctl.db.exists()
    found = findings(Ctl(ctl.folder / "none"), FAILED)
    assert ("folder", "FAIL") in found


def test_check(ready):
    found = findings(ready)
    assert "no admin" in found["users", "WARN"] and ("keys", "WARN") in found
    ready.add(role="admin")
    ready("keys", "rotate")
    found = findings(ready)
    for name in ("url", "disk", "folder", "store", "integrity", "users", "outbox", "keys"):
        assert (name, "ok") in found, found
    lines = ready("check").out.splitlines()
    assert all(re.match(r"(ok|WARN|FAIL) +[a-z]+ +\S", line) for line in lines)
    add_row(ready, 1, "dead")
    assert "1 messages" in findings(ready)["outbox", "WARN"]
    ready("user", "disable", "ada@example.com")
    assert ("users", "WARN") in findings(ready)


def test_check_quiet_shows_troubles_only(ready):
    out = ready("check", "-q").out
    assert out and all(line.startswith("WARN") for line in out.splitlines())


def test_check_finds_damage(ready):
    ready.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    for n in range(200):
        add_row(ready, n, "sent")
    ready.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(ready.db, "r+b") as f:
        f.seek(4096 * 3)
        f.write(b"\xff" * 4096 * 4)
    found = findings(ready, FAILED)
    assert ("integrity", "FAIL") in found or ("store", "FAIL") in found


def test_check_finds_open_keys(ready):
    (ready.folder / "keys").mkdir(mode=0o700)
    ready("keys", "rotate")
    key = next((ready.folder / "keys").glob("jwt-*.json"))
    key.chmod(0o640)
    assert f"chmod 600 {key}" in findings(ready, FAILED)["keys", "FAIL"]
    key.chmod(0o600)
    (ready.folder / "keys").chmod(0o777)
    assert "chmod 700" in findings(ready, FAILED)["keys", "FAIL"]


def test_check_finds_open_files(ready):
    if ROOT:
        os.chown(ready.db, 33, 33)
        os.chown(ready.folder, 33, 33)
    ready.db.chmod(0o644)
    assert "every user may read" in findings(ready)["database", "WARN"]
    ready.db.chmod(0o600)
    ready.folder.chmod(0o777)
    assert "chmod o-w" in findings(ready)["folder", "WARN"]


def test_check_tells_of_tmpfs():
    shm = pathlib.Path("/dev/shm")
    if not shm.is_dir() or "tmpfs" not in subprocess.run(
            ["stat", "-f", "-c", "%T", shm], capture_output=True, text=True).stdout:
        pytest.skip("/dev/shm is no tmpfs")
    ctl = Ctl(shm / f"bizapi-test-{os.getpid()}")
    ctl.folder.mkdir()
    try:
        ctl("migrate")
        assert "lost at a reboot" in findings(ctl)["disk", "WARN"]
    finally:
        shutil.rmtree(ctl.folder)


@needs_root
def test_check_finds_a_full_disk(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", tmp_path],
                      capture_output=True).returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        ctl = Ctl(tmp_path)
        ctl("migrate")
        assert "make room" in findings(ctl, FAILED)["disk", "FAIL"]
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


# ---- whose files ----

@needs_root
def test_root_leaves_the_files_to_the_server(tmp_path):
    server = pwd.getpwnam("www-data")
    ctl = Ctl(tmp_path)
    os.chown(tmp_path, server.pw_uid, server.pw_gid)
    ctl.add(role="admin")
    holder = sqlite3.connect(ctl.db)  # keeps -wal and -shm in place
    holder.execute("SELECT count(*) FROM users").fetchall()
    ctl("user", "disable", "ada@example.com")
    ctl("check")
    files = list(tmp_path.iterdir())
    assert ctl.db in files and pathlib.Path(f"{ctl.db}-wal") in files
    # The keys are read before the server gives up root, and are nobody else's.
    assert (tmp_path / "keys").stat().st_uid == 0
    for file in files:
        if file.name == "keys":
            continue
        assert file.stat().st_uid == server.pw_uid and file.stat().st_gid == server.pw_gid, file
    holder.close()
    # The other way round: the database was the server's before, the folder is root's.
    other = Ctl(tmp_path / "other")
    other.folder.mkdir()
    other("migrate")
    os.chown(other.db, server.pw_uid, server.pw_gid)
    other.add()
    for file in other.folder.glob("biz.db*"):
        assert file.stat().st_uid == server.pw_uid, file


@needs_root
def test_check_finds_files_of_root(tmp_path):
    server = pwd.getpwnam("www-data")
    ctl = Ctl(tmp_path)
    os.chown(tmp_path, server.pw_uid, server.pw_gid)
    ctl("migrate")
    assert ("database", "ok") in findings(ctl)
    os.chown(ctl.db, 0, 0)
    assert "its folder to www-data" in findings(ctl)["database", "WARN"]
    os.chown(tmp_path, 0, 0)
    assert "belongs to root" in findings(ctl)["database", "WARN"]
    os.chown(ctl.db, server.pw_uid, server.pw_gid)
    wal = pathlib.Path(f"{ctl.db}-wal")
    wal.touch()
    os.chown(wal, 0, 0)
    assert f"{wal} belongs to root" in findings(ctl, FAILED)["files", "FAIL"]


@needs_root
def test_another_user_is_told_to_be_root(tmp_path_factory):
    """nobody, on files of the server."""
    folder = pathlib.Path(f"/tmp/bizapi-test-{os.getpid()}")
    folder.mkdir()
    try:
        folder.chmod(0o755)
        shutil.copy(CTL, folder / "bizapictl")
        ctl = Ctl(folder)
        ctl("migrate")
        os.chown(ctl.db, pwd.getpwnam("www-data").pw_uid, -1)
        ctl.db.chmod(0o600)
        result = run("-s", f"sqlite:{ctl.db}", "user", "list", program=folder / "bizapictl",
                     user="nobody")
        assert result.code == FAILED and "belongs to www-data; run bizapictl as root" in result.err
        (folder / "keys").mkdir(mode=0o700)
        result = run("-s", f"sqlite:{ctl.db}", "keys", program=folder / "bizapictl", user="nobody")
        assert result.code == FAILED and f"{folder}/keys" in result.err
    finally:
        shutil.rmtree(folder)


# ---- with others at the same time ----

@pytest.fixture
def quick():
    """bizapictl on a database that is not there yet, in a folder where syncing takes no time."""
    folder = private_folder("bizapi-ctl-")
    yield Ctl(folder)
    shutil.rmtree(folder)


def test_many_at_once(quick):
    """Twelve add the same address, and one each of their own: one winner, nobody lost."""
    quick("migrate")
    results = {}

    def work(n):
        results["same", n] = run("-s", f"sqlite:{quick.db}", "user", "add", "same@example.com",
                                 "--name", f"N{n}", "--password-stdin", stdin=PASSWORD)
        results["own", n] = run("-s", f"sqlite:{quick.db}", "user", "add", f"u{n}@example.com",
                                "--name", f"N{n}", "--password-stdin", stdin=PASSWORD)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    codes = sorted(r.code for (kind, _), r in results.items() if kind == "same")
    assert codes == [OK] + [CONFLICT] * 11
    assert all(r.code == OK for (kind, _), r in results.items() if kind == "own")
    assert len(quick("user", "list", "--json").json) == 13


def test_many_make_the_database(quick):
    results = []
    threads = [threading.Thread(target=lambda: results.append(
        run("-s", f"sqlite:{quick.db}", "migrate"))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [r.code for r in results] == [OK] * 8, results
    assert ("integrity", "ok") in findings(quick)


def test_beside_a_writer(ready):
    ready.add()
    writer = sqlite3.connect(ready.db, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    assert len(ready("user", "list", "--json").json) == 1  # readers do not wait
    timer = threading.Timer(1.0, lambda: writer.execute("COMMIT"))
    start = time.monotonic()
    timer.start()
    ready("user", "disable", "ada@example.com")
    assert time.monotonic() - start >= 1
    timer.join()
    assert ready.user()["disabled"] is True
    writer.close()


def test_beside_a_writer_that_never_ends(ready):
    ready.add()
    writer = sqlite3.connect(ready.db, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    result = ready("user", "disable", "ada@example.com", expect=FAILED)
    assert 3 < time.monotonic() - start < 15
    assert "unavailable" in result.err
    writer.execute("ROLLBACK")
    writer.close()
    assert ready.user()["disabled"] is False


def test_mongodb_that_is_down():
    """An error within the time limit, and no password in it."""
    start = time.monotonic()
    for args in (["user", "list"], ["check"]):
        result = run("-s", "mongodb://biz:hunter2secret@127.0.0.1:1/biz", *args)
        assert result.code == FAILED, result
        assert "127.0.0.1" in result.out + result.err
        assert "hunter2secret" not in result.out + result.err
    assert time.monotonic() - start < 30
