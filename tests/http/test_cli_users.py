"""bizapictl user: accounts by hand, and passwords asked for on a terminal. Runs the program on SQLite
files of its own; no server is started."""
import os
import re
import signal
import sqlite3
import subprocess

import pytest

from bizapictl import (CTL, PASSWORD, OK, FAILED, USAGE, MISSING, CONFLICT, run, opens,
                       new_id, Terminal)

USER_ID = re.compile(r"usr_[0-9a-hjkmnp-tv-z]{26}")


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
