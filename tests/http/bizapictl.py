"""bizapictl for tests: run on a database of its own, or on a pseudo terminal."""
import ctypes
import ctypes.util
import json
import os
import pty
import resource
import select
import sqlite3
import subprocess
import termios
import time

from harness import BUILD
from driver import environment  # in tests/lib, which harness.py has added to the path

CTL = BUILD / "bizapictl"
PASSWORD = "correct horse battery staple"
OK, FAILED, USAGE, MISSING, CONFLICT = range(5)
ROOT = os.geteuid() == 0
NEVER = ("argon2", "$2b$")


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
    clean = {k: v for k, v in environment().items() if not k.startswith("BIZAPI")}
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


def opens(stored, password):
    sodium = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
    sodium.sodium_init()
    text = password.encode()
    return sodium.crypto_pwhash_str_verify(stored.encode(), text, ctypes.c_ulonglong(len(text))) == 0


def new_id(prefix, n):
    return f"{prefix}_{n:026d}"


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
