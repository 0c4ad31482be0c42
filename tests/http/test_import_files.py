"""bizapictl import csv and import htpasswd: what comes over from a file, what does not and why, that
who came can sign in, and that an end in the middle loses and doubles nobody."""
import json
import os
import re
import subprocess
import sys

import pytest

from harness import BUILD, REPO
from kit import BCRYPT, PASSWORD, address, login, row, rows
from patience import wait_until

sys.path.append(str(REPO / "tests/lib"))
import terminal  # noqa: E402

OK, FAILED, USAGE, MISSING = range(4)
HASH = BCRYPT.format("y")
HEADER = "email,name,password_hash,phone,email_verified,created_at,disabled,role\r\n"


@pytest.fixture
def bring(server, tmp_path):
    """import KIND of a file with this text; its report."""
    def run(kind, text, *options, expect=OK):
        file = tmp_path / "source"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        done = server.ctl("--json", "import", kind, str(file), *options, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        assert HASH not in done.stdout + done.stderr
        return json.loads(done.stdout) if expect == OK else done.stderr
    return run


def user(server, email):
    return row(server, "users", email=email)


def test_who_came_by_csv_signs_in(server, api, bring):
    ada, bob = address("ada"), address("bob")
    report = bring("csv", HEADER +
                   f'{ada},"Lovelace, ""Ada""\n of London",{HASH},+49 30 123456,yes,2020-01-02,,boss\r\n'
                   f"{bob},Bob,{HASH},030 1234,0,2020-01-02T03:04:05Z,true,\r\n",
                   "--roles", "boss=admin")
    assert (report["read"], report["brought"], report["disabled"]) == (2, 2, 1)
    assert report["changed"]["reasons"] == {"name_changed": 1, "phone_dropped": 1}
    found = user(server, ada)
    assert found["name"] == 'Lovelace, "Ada"  of London' and found["phone"] == "+4930123456"
    assert found["role"] == "admin" and found["email_verified"] == 1
    assert found["created_at"] == 1577923200000000 or found["created_at"] == 1577923200000
    assert user(server, bob)["email_verified"] == 0
    assert login(api, ada, PASSWORD).status == 200
    assert login(api, bob, PASSWORD).status == 401  # disabled
    assert rows(server, "audit_log", event="user_import")[-1]["actor_id"] == "operator"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_pipe_is_read_from_its_first_line(server, separator):
    cat = address("cat")
    text = f"email,name,password_hash\n{cat},Cat,{HASH}\n".replace(",", separator)
    done = server.ctl("--json", "import", "csv", "/dev/stdin", stdin=text)
    assert json.loads(done.stdout)["brought"] == 1
    assert user(server, cat)["name"] == "Cat"


def test_a_dry_run_changes_nothing(server, bring):
    email, before = address(), len(rows(server, "audit_log"))
    report = bring("csv", f"{HEADER}{email},N,{HASH},,,,,\r\n", "--dry-run")
    assert report["dry_run"] is True and report["brought"] == 1
    assert not rows(server, "users", email=email)
    assert len(rows(server, "audit_log")) == before


def test_what_is_left_out_is_told_with_its_reason(server, bring):
    taken, twice = address("taken"), address("twice")
    server.add_user(taken, PASSWORD)
    report = bring("csv", HEADER +
                   f",Nobody,{HASH},,,,,\r\nno address,N,{HASH},,,,,\r\n{taken},N,{HASH},,,,,\r\n"
                   f"{twice},N,{HASH},,,,,\r\n{twice.upper()},N,{HASH},,,,,\r\n"
                   f"{address()},N,secret-in-the-clear,,,,,\r\n{address()},N,,,,,,\r\n\r\n")
    assert report["left_out"]["reasons"] == {"no_email": 1, "bad_email": 1, "taken": 1, "twice": 1,
                                             "bad_hash": 1, "no_password": 1}
    assert "line 2" in [one["email"] for one in report["left_out"]["listed"]]
    assert "secret-in-the-clear" not in json.dumps(report)
    assert user(server, taken)["name"] == "Test Person"


@pytest.mark.parametrize("text", [
    "\ufeffemail;name\r\nX;\"a;b\"\r\n", "Email\tNAME\nX\ta;b\n", "email,name\nX,a;b"])
def test_the_shapes_of_csv(server, bring, text):
    email = address("shape")
    assert bring("csv", text.replace("X", email), "--without-password")["brought"] == 1
    assert user(server, email)["name"] == "a;b"


@pytest.mark.parametrize("text, expect, says", [
    ("", FAILED, "empty"), ("name\r\nN\r\n", USAGE, "--email-field"),
    (HEADER, MISSING, "nothing below"), ('email\r\n"open,x\r\n', FAILED, "line 2: a quotation mark"),
    (b"email,name\r\na@b.test,M\xfcller\r\n", FAILED, "iconv"),
    ("email\r\n" + "a," * 300, FAILED, "256 cells")])
def test_a_file_that_is_none_is_refused_with_its_line(bring, text, expect, says):
    assert says in bring("csv", text, "--without-password", expect=expect)


def test_columns_may_have_other_names(server, bring):
    email = address("col")
    report = bring("csv", f"E-Mail-Adresse,Passwort,Vorname\r\n{email},{HASH},Vera\r\n",
                   "--email-field", "e-mail-adresse", "--password-field", "Passwort",
                   "--name-field", "Vorname", "--all-verified")
    assert report["brought"] == 1 and report["unverified"] == 0
    assert user(server, email)["name"] == "Vera"
    assert "has no column" in bring("csv", "email\r\n", "--name-field", "x", expect=USAGE)


def test_an_htpasswd_file(server, api, bring):
    whole, name = address("ht"), address("htn").partition("@")[0]
    old = address("old")
    text = (f"# users\n\n{whole}:{HASH}\n{name}:{HASH}\n"
            f"{old}:$apr1$abcdefgh$0123456789012345678901\n")
    report = bring("htpasswd", text, "--domain", "people.test", "--all-verified")
    assert report["brought"] == 2 and report["left_out"]["reasons"] == {"bad_hash": 1}
    report = bring("htpasswd", text, "--domain", "people.test", "--without-password")
    assert (report["brought"], report["there_already"]) == (1, 2)
    assert user(server, old)["password_hash"] is None
    for email in (whole, f"{name}@people.test"):
        assert login(api, email, PASSWORD).status == 200
    assert "line 1" in bring("htpasswd", "no colon\n", expect=FAILED)
    assert "no user" in bring("htpasswd", "# nobody\n", expect=MISSING)


@pytest.mark.sqlite
@pytest.mark.parametrize("kind", ["csv", "htpasswd"])
def test_a_terminal_sees_how_far_it_is(server, tmp_path, kind):
    file, names = tmp_path / "source", [address(f"bar{n}") for n in range(20_000)]
    file.write_text("".join(f"{name}:{HASH}\n" for name in names) if kind == "htpasswd" else
                    HEADER + "".join(f"{name},Bar,{HASH},,,,,\r\n" for name in names))
    shown, out = terminal.run([BUILD / "bizapictl", "-s", server.store, "import", kind, file],
                              server.env)
    frames = [int(n) for n in re.findall(r"(\d+)% \d+/20000", shown)]
    # It is drawn ten times a second, the first time before it begins.
    assert frames[0] == 0 and frames == sorted(frames) and frames[-1] > 0
    assert "[##" in shown and shown.endswith("\r\x1b[K") and "\x1b" not in out
    assert all(user(server, name) for name in names[::5000])


def test_who_was_interrupted_runs_it_again(server, tmp_path):
    word = address("many").partition("@")[0]
    file = tmp_path / "many.csv"
    count = 3000
    file.write_text("email,password_hash\n" + "".join(
        f"{word}{n}@people.test,{HASH}\n" for n in range(count)))
    command = [str(BUILD / "bizapictl"), "-s", server.store, "--json", "import", "csv", str(file)]

    def brought():
        return sum(u["email"].startswith(word) for u in rows(server, "users"))

    # From a pipe whose end does not come it is never through.
    with subprocess.Popen([*command[:-1], "/dev/stdin"], env=server.env, stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL) as process:
        process.stdin.write(file.read_bytes()[:len(HASH) * 1000])
        process.stdin.flush()
        wait_until(lambda: brought() >= 50, 30, "the first accounts")
        process.kill()
    there = brought()
    assert 50 <= there < count
    done = subprocess.run(command, env={**os.environ, **server.env}, capture_output=True, text=True)
    report = json.loads(done.stdout)
    # MongoDB may still do what it was told last after `there` was counted.
    assert report["there_already"] in (there, there + 1)
    assert report["brought"] + report["there_already"] == count
    assert brought() == count
