"""bizapictl: every command, every exit status, what it prints and what it never prints. Runs the
program on SQLite files of its own; no server is started."""
import ctypes
import ctypes.util
import json
import os
import pathlib
import pty
import pwd
import re
import resource
import select
import shutil
import signal
import sqlite3
import stat
import subprocess
import termios
import threading
import time

import pytest

from harness import BUILD

CTL = BUILD / "bizapictl"
PASSWORD = "correct horse battery staple"
OK, FAILED, USAGE, MISSING, CONFLICT = range(5)
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")
USER_ID = re.compile(r"usr_[0-9a-hjkmnp-tv-z]{26}")
NEVER = ("argon2", "$2b$")

COMMANDS = ["check", "migrate", "user add", "user list", "user show", "user disable", "user enable",
            "user set-password", "user set-role", "outbox list", "outbox retry", "keys list",
            "keys rotate", "help"]


class Result:
    def __init__(self, run):
        self.code, self.out, self.err = run.returncode, run.stdout, run.stderr

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"<exit {self.code}\nout: {self.out}\nerr: {self.err}>"


def run(*args, stdin="", env=None, cwd=None, program=CTL, **more):
    """Without a controlling terminal, so that nothing can be asked."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BIZAPI")}
    done = subprocess.run([str(program), *map(str, args)], input=stdin, text=True, timeout=60,
                          capture_output=True, env={**clean, **(env or {})}, cwd=cwd,
                          start_new_session=True, **more)
    for word in NEVER:
        assert word not in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return Result(done)


class Ctl:
    """bizapictl on one database."""

    def __init__(self, folder):
        self.folder, self.db = folder, folder / "biz.db"

    def __call__(self, *args, expect=OK, **more):
        result = run("-s", f"sqlite:{self.db}", *args, **more)
        assert result.code == expect, result
        if expect != OK:
            assert result.err.startswith("bizapictl: "), result
        if expect == USAGE:
            assert result.err.count("\n") == 1 and "(see: bizapictl help" in result.err, result
        return result

    def add(self, email="ada@example.com", *more, role="customer", name="Ada", expect=OK,
            password=PASSWORD):
        return self("user", "add", email, "--role", role, "--name", name, "--password-stdin", *more,
                    stdin=password + "\n", expect=expect)

    def user(self, email="ada@example.com"):
        return self("user", "show", email, "--json").json

    def sql(self, text, *values):
        with sqlite3.connect(self.db) as db:
            rows = db.execute(text, values).fetchall()
        db.close()
        return rows

    def hash(self, email="ada@example.com"):
        return self.sql("SELECT password_hash FROM users WHERE email = ?", email)[0][0]


@pytest.fixture
def ctl(tmp_path):
    return Ctl(tmp_path)


@pytest.fixture
def ready(ctl):
    ctl("migrate")
    return ctl


def opens(stored, password):
    sodium = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
    sodium.sodium_init()
    text = password.encode()
    return sodium.crypto_pwhash_str_verify(stored.encode(), text, ctypes.c_ulonglong(len(text))) == 0


def new_id(prefix, n):
    return f"{prefix}_{n:026d}"


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


# ---- user add ----

def test_first_admin(ctl):
    result = run("-s", f"sqlite:{ctl.db}", "user", "add", "Ada@Example.com", "--role", "admin",
                 "--name", "Ada Lovelace", "--password-stdin", stdin=PASSWORD + "\n")
    assert result.code == OK and result.err == ""
    assert re.fullmatch(rf"{USER_ID.pattern} ada@example.com: made, admin\n", result.out)
    user = ctl.user()
    assert user["role"] == "admin" and user["name"] == "Ada Lovelace" and user["email_verified"]
    assert not user["disabled"] and user["has_password"] and user["version"] == 1
    assert ctl.hash().startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert opens(ctl.hash(), PASSWORD) and not opens(ctl.hash(), PASSWORD + "\n")
    assert ctl.sql("SELECT email_typed FROM users") == [("Ada@Example.com",)]


def test_every_option(ctl):
    ctl.add("grace@example.com", "--phone", "+4930123456", "--locale", "PT-br", "--timezone",
            "Europe/Berlin", "--unverified", role="staff", name="Gräfin Grace 🦉")
    user = ctl.user("grace@example.com")
    assert USER_ID.fullmatch(user.pop("id"))
    assert user.pop("created_at").endswith("Z") and user.pop("updated_at").endswith("Z")
    assert user == {"email": "grace@example.com", "name": "Gräfin Grace 🦉", "phone": "+4930123456",
                    "role": "staff", "email_verified": False, "mfa_enabled": False,
                    "locale": "pt-BR", "timezone": "Europe/Berlin", "version": 1,
                    "disabled": False, "has_password": True}


def test_defaults_and_json(ctl):
    user = ctl("user", "add", "a@example.com", "--name", "A", "--password-stdin", "--json",
               stdin=PASSWORD).json
    assert user["role"] == "customer" and user["email_verified"] and user["phone"] is None
    assert ctl.user("a@example.com") == user
    quiet = ctl("user", "add", "b@example.com", "--name", "B", "--password-stdin", "-q",
                stdin=PASSWORD)
    assert quiet.out == ""


def test_address_is_taken(ctl):
    ctl.add()
    first = ctl.user()
    result = ctl.add("ADA@example.COM", role="admin", name="Eve", expect=CONFLICT)
    assert first["id"] in result.err and result.out == ""
    assert ctl.user() == first and len(ctl("user", "list", "--json").json) == 1


@pytest.mark.parametrize("password, says", [
    ("", "no password"), ("\n", "no password"), ("short", "refused"), ("password1", "refused"),
    ("ada@example.com", "refused"), ("Lovelace1815", "refused"), ("bizapi123", "refused"),
    ("x" * 257, "refused"), ("x" * 9000, "too long"),
    (f"{PASSWORD}\n{PASSWORD}\n", "one line"), (f"{PASSWORD}\n\n", "one line"),
    (f"{PASSWORD}\0x", "one line"),
])
def test_refused_passwords(ctl, password, says):
    result = ctl("user", "add", "ada@example.com", "--name", "Lovelace", "--password-stdin",
                 stdin=password, expect=FAILED)
    assert says in result.err and result.err.count("\n") == 1
    assert ctl("user", "list", "--json").json == []


def test_password_that_is_not_utf8(ctl):
    done = subprocess.run([CTL, "-s", f"sqlite:{ctl.db}", "user", "add", "a@b.test", "--name", "A",
                           "--password-stdin"], input=b"long enough \xff\xfe\n", capture_output=True)
    assert done.returncode == FAILED and b"UTF-8" in done.stderr


@pytest.mark.parametrize("sent, kept", [
    (PASSWORD, PASSWORD), (PASSWORD + "\n", PASSWORD), (PASSWORD + "\r\n", PASSWORD),
    ("  two blanks around  \n", "  two blanks around  "), ("äöü€🦉 unicode\n", "äöü€🦉 unicode"),
    ("\N{OWL}" * 256, "\N{OWL}" * 256),
])
def test_password_is_kept_exactly(ctl, sent, kept):
    ctl("user", "add", "ada@example.com", "--name", "A", "--password-stdin", stdin=sent)
    assert opens(ctl.hash(), kept) and not opens(ctl.hash(), kept + " ")


# ---- user list, show ----

def test_list(ready):
    assert ready("user", "list").out == "no users\n"
    assert ready("user", "list", "-q").out == "" and ready("user", "list", "--json").json == []
    ready.add("a@example.com", role="admin")
    ready.add("b@example.com", "--unverified", name="Bärbel Ünlü")
    ready.add("c@example.com", role="staff", name="A rather long name for a column")
    ready("user", "disable", "c@example.com")
    lines = ready("user", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["ID"] + [
        ready.user(f"{c}@example.com")["id"] for c in "abc"]
    for heading in ("EMAIL", "NAME", "ROLE", "STATE", "CREATED"):
        at = lines[0].index(heading)
        assert all(line[at - 1] == " " and line[at] != " " for line in lines), heading
    assert [line.split()[-2] for line in lines[1:]] == ["active", "unconfirmed", "disabled"]


def test_list_filters_and_pages(ready):
    for n in range(5):
        ready.add(f"u{n}@example.com", role="staff" if n % 2 else "customer")
    everyone = [u["email"] for u in ready("user", "list", "--json").json]
    assert everyone == [f"u{n}@example.com" for n in range(5)]
    staff = ready("user", "list", "--role", "staff", "--json").json
    assert [u["email"] for u in staff] == ["u1@example.com", "u3@example.com"]
    some = ready("user", "list", "--limit", "2", "--json").json
    assert [u["email"] for u in some] == everyone[:2]
    rest = ready("user", "list", "--after", some[-1]["id"], "--json").json
    assert [u["email"] for u in rest] == everyone[2:]
    assert [u["email"] for u in ready("user", "list", "--role", "staff", "--limit", "1",
                                      "--json").json] == ["u1@example.com"]


def test_list_of_many(ready):
    with sqlite3.connect(ready.db) as db:
        db.executemany("INSERT INTO users(_id, version, email, name, role, created_at)"
                       " VALUES(?, 1, ?, 'N', 'customer', 1)",
                       [(new_id("usr", n), f"u{n}@example.com") for n in range(1234)])
    db.close()
    assert [u["id"] for u in ready("user", "list", "--json").json] == [
        new_id("usr", n) for n in range(1234)]
    lines = ready("user", "list").out.splitlines()
    assert len(lines) == 1235 and sum(line.startswith("ID") for line in lines) == 1


def test_show(ready):
    ready.add("Ada@example.com", name="Ada Lovelace")
    user = ready.user()
    shown = ready("user", "show", user["id"]).out
    assert shown == ready("user", "show", "ADA@EXAMPLE.COM").out
    for value in (user["id"], "ada@example.com (confirmed)", "Ada Lovelace", "customer", "active",
                  user["created_at"]):
        assert value in shown
    assert ready("user", "show", user["id"], "--json").json == user
    assert "eve@example.com" in ready("user", "show", "eve@example.com", expect=MISSING).err
    ready("user", "show", new_id("usr", 7), expect=MISSING)


def test_control_characters_do_not_reach_the_terminal(ready):
    ready.add()
    ready.sql("UPDATE users SET name = ?", "Jürgen\x1b[2J\nroot\u202e\x85\x07")
    for args in (["user", "list"], ["user", "show", "ada@example.com"]):
        out = ready(*args).out
        assert r"Jürgen\x1b[2J\x0aroot\u{202e}\x85\x07" in out
        assert not set("\x1b\x07\x85\u202e") & set(out)
    assert ready.user()["name"] == "Jürgen\x1b[2J\nroot\u202e\x85\x07"


# ---- changes ----

def epoch(ctl):
    return ctl.sql("SELECT session_epoch FROM users")[0][0]


def test_disable_and_enable(ready):
    ready.add()
    user, before = ready.user(), epoch(ready)
    result = ready("user", "disable", "ada@example.com")
    assert re.fullmatch(rf"{user['id']} ada@example.com: disabled; .*\n", result.out)
    assert ready.user()["disabled"] is True and epoch(ready) == before + 1
    assert ready("user", "enable", user["id"], "--json").json["disabled"] is False
    assert ready("user", "disable", "ada@example.com", "-q").out == ""
    for command in ("disable", "enable"):
        ready("user", command, "eve@example.com", expect=MISSING)


def test_set_role(ready):
    ready.add()
    before = epoch(ready)
    assert "is staff now" in ready("user", "set-role", "ada@example.com", "staff").out
    assert ready.user()["role"] == "staff" and epoch(ready) == before + 1
    ready("user", "set-role", new_id("usr", 1), "admin", expect=MISSING)


def test_set_password(ready):
    ready.add()
    before, other = epoch(ready), "another long password"
    result = ready("user", "set-password", "ada@example.com", "--password-stdin", stdin=other + "\n")
    assert "new password" in result.out and other not in result.out + result.err
    assert opens(ready.hash(), other) and epoch(ready) == before + 1
    kept = ready.hash()
    ready("user", "set-password", "ada@example.com", "--password-stdin", stdin="Ada@example.com",
          expect=FAILED)
    ready("user", "set-password", "ada@example.com", expect=USAGE)
    ready("user", "set-password", "eve@example.com", "--password-stdin", stdin=other,
          expect=MISSING)
    assert ready.hash() == kept and epoch(ready) == before + 1


# ---- on a terminal ----

class Terminal:
    """bizapictl on a pseudo terminal."""

    def __init__(self, *args):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.execv(CTL, [str(CTL), *map(str, args)])

    def until(self, text):
        end = time.monotonic() + 20
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"waited for {text!r}, got {self.seen!r}"
            self.seen += os.read(self.fd, 1000).decode()

    def answer(self, prompt, text, echo):
        self.until(prompt)
        end = time.monotonic() + 5
        while self.echo() != echo and time.monotonic() < end:
            time.sleep(0.01)
        assert self.echo() == echo
        os.write(self.fd, text.encode())

    def echo(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self):
        try:
            while True:
                part = os.read(self.fd, 1000)
                if not part:
                    break
                self.seen += part.decode()
        except OSError:
            pass
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_asks_on_a_terminal(ctl):
    term = Terminal("-s", f"sqlite:{ctl.db}", "user", "add", "ada@example.com")
    term.answer("Name: ", "Ada Lovelace\n", echo=True)
    term.answer("New password: ", PASSWORD + "\n", echo=False)
    term.answer("The same again: ", PASSWORD + "\n", echo=False)
    assert term.end() == OK, term.seen
    assert PASSWORD not in term.seen and "made, customer" in term.seen
    assert ctl.user()["name"] == "Ada Lovelace" and opens(ctl.hash(), PASSWORD)


def test_the_two_must_be_the_same(ready):
    ready.add()
    kept = ready.hash()
    for second in ("something else entirely", PASSWORD[:-1], ""):
        term = Terminal("-s", f"sqlite:{ready.db}", "user", "set-password", "ada@example.com")
        term.answer("New password: ", PASSWORD + "\n", echo=False)
        term.answer("The same again: ", second + "\n", echo=False)
        assert term.end() == FAILED and "not the same" in term.seen
    assert ready.hash() == kept


def test_password_stdin_on_a_terminal_asks(ready):
    ready.add()
    term = Terminal("-s", f"sqlite:{ready.db}", "user", "set-password", "ada@example.com",
                    "--password-stdin")
    term.answer("New password: ", "another long password\n", echo=False)
    term.answer("The same again: ", "another long password\n", echo=False)
    assert term.end() == OK and opens(ready.hash(), "another long password")


@pytest.mark.parametrize("key, number", [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
def test_interrupted_at_the_password(ready, key, number):
    """The terminal echoes again, and the program has died of the signal."""
    ready.add()
    kept = ready.hash()
    term = Terminal("-s", f"sqlite:{ready.db}", "user", "set-password", "ada@example.com")
    term.until("New password: ")
    keep = os.open(os.readlink(f"/proc/{term.pid}/fd/0"), os.O_RDWR | os.O_NOCTTY)
    term.answer("New password: ", "half a pass" + key, echo=False)
    assert os.waitstatus_to_exitcode(os.waitpid(term.pid, 0)[1]) == -number
    assert term.echo()
    os.close(keep)
    os.close(term.fd)
    assert ready.hash() == kept


def test_end_of_input_at_the_password(ready):
    ready.add()
    term = Terminal("-s", f"sqlite:{ready.db}", "user", "set-password", "ada@example.com")
    term.answer("New password: ", "\x04", echo=False)
    assert term.end() == FAILED and "no password was given" in term.seen


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

def test_many_at_once(ready):
    """Twelve add the same address, and one each of their own: one winner, nobody lost."""
    results = {}

    def work(n):
        results["same", n] = run("-s", f"sqlite:{ready.db}", "user", "add", "same@example.com",
                                 "--name", f"N{n}", "--password-stdin", stdin=PASSWORD)
        results["own", n] = run("-s", f"sqlite:{ready.db}", "user", "add", f"u{n}@example.com",
                                "--name", f"N{n}", "--password-stdin", stdin=PASSWORD)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    codes = sorted(r.code for (kind, _), r in results.items() if kind == "same")
    assert codes == [OK] + [CONFLICT] * 11
    assert all(r.code == OK for (kind, _), r in results.items() if kind == "own")
    assert len(ready("user", "list", "--json").json) == 13


def test_many_make_the_database(ctl):
    results = []
    threads = [threading.Thread(target=lambda: results.append(
        run("-s", f"sqlite:{ctl.db}", "migrate"))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [r.code for r in results] == [OK] * 8, results
    assert ("integrity", "ok") in findings(ctl)


def test_beside_a_writer(ready):
    ready.add()
    writer = sqlite3.connect(ready.db, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    assert len(ready("user", "list", "--json").json) == 1  # readers do not wait
    timer = threading.Timer(1.0, lambda: writer.execute("COMMIT"))
    timer.start()
    start = time.monotonic()
    ready("user", "disable", "ada@example.com")
    assert time.monotonic() - start >= 0.8
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
