"""What the machine runs out of: disk, descriptors, memory, room for the log; and a clock that jumps.
Each time one clear answer, one line in the log, and everything as before once it is mended."""
import contextlib
import ctypes.util
import email.utils
import glob
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

from client import new_ip
from kit import PASSWORD, Person, address, check_error, database, login, once, rows
from patience import wait_until

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="mounts and limits of other processes need root")


@pytest.fixture
def small_disk():
    """mount(folder, megabytes): a disk of its own there."""
    mounted = []

    def mount(folder, size):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=755", "tmpfs",
                               folder], capture_output=True)
        if done.returncode != 0:
            pytest.skip("tmpfs cannot be mounted here")
        mounted.append(folder)
        shutil.chown(folder, "www-data", "www-data")
        return pathlib.Path(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Not a byte is left."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path


def lines_of(server, number):
    return [line for line in server.log_text().splitlines() if number in line]


def register(server, email):
    return once(server, "POST", "/auth/register", ip=new_ip(), json={
        "email": email, "password": PASSWORD, "name": "Nora Body"})


@needs_root
@pytest.mark.bz("BZ0202")
def test_the_disk_of_the_database_is_full(small_disk, make_server):
    server = make_server(start=False)
    (server.root / "disk").mkdir()
    disk = small_disk(server.root / "disk", 12)
    server.store = f"sqlite:{disk}/bizapi.db"
    server.write_conf(f"BizApiStore {server.store}")
    server.start()
    person = Person(server)
    filler = fill(disk)
    refused = [address("full") for _ in range(6)]
    for each in refused:
        check_error(register(server, each), 503, "STORE_UNAVAILABLE")
    assert once(server, "GET", "/integrations/status").status == 200
    assert once(server, "GET", "/auth/me", token=person.access).status == 200
    lines = lines_of(server, "BZ0202")
    assert 1 <= len(lines) <= len(server.children()), lines
    filler.unlink()
    room = address("room")
    wait_until(lambda: register(server, room).status == 201, 10, "the disk's recovery")
    assert len(rows(server, "users", email=room)) == 1
    assert not {r["email"] for r in rows(server, "users")}.intersection(refused)
    with contextlib.closing(database(server)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


TITLES = {"nofile": "Max open files", "as": "Max address space"}


def limit(server, name, value_of):
    """Gives every worker a limit; the way back. As the workers' own user, who may lower it without
    any privilege and raise it to where it was."""
    before = {}

    def prlimit(pid, soft):
        subprocess.run(["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups",
                        "prlimit", f"--pid={pid}", f"--{name}={soft}:"], check=True)

    for pid in server.children():
        table = pathlib.Path(f"/proc/{pid}/limits").read_text()
        before[pid] = re.search(rf"^{TITLES[name]} +(\w+)", table, re.M).group(1)
        prlimit(pid, value_of(pid))

    def undo():
        for pid, value in before.items():
            prlimit(pid, value)
    return undo


def settle(server):
    """Until no worker opens anything any more."""
    def opened():
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in server.children()]
    before = None
    while before != (before := opened()):
        time.sleep(0.5)


@needs_root
def test_descriptors_are_gone(make_server):
    """Connections are taken, but the database cannot be opened."""
    # AH02179: a worker that cannot take one more connection says so, and another takes it.
    server = make_server(may=("BZ0204", "AH02179"))
    settle(server)
    workers = len(server.children())
    undo = limit(server, "nofile",
                 lambda pid: len(os.listdir(f"/proc/{pid}/fd")) + 2)
    time.sleep(1.1)  # a worker remembers for a second what it saw
    # The worker whose background thread has the database open already may use that connection.
    answers = [once(server, "GET", "/health/ready") for _ in range(30)]
    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    for answer in refused:
        check_error(answer, 503, "STORE_UNAVAILABLE")
    assert 1 <= len(lines_of(server, "BZ0204")) <= workers
    assert once(server, "GET", "/health/live").status == 200
    undo()
    wait_until(lambda: server.api().get("/health/ready").status == 200, 20, "the recovery")
    assert Person(server).me().status == 200


@needs_root
@pytest.mark.bz("BZ0502")
def test_there_is_no_memory_for_a_hash(make_server):
    server = make_server()
    person = Person(server)

    def size(pid):
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(text.split("VmSize:")[1].split()[0]) * 1024 + (8 << 20)

    undo = limit(server, "as", size)
    for _ in range(4):
        check_error(login(server.api(), person.email, PASSWORD), 503, "BUSY")
    assert once(server, "GET", "/auth/me", token=person.access).status == 200
    assert len(lines_of(server, "BZ0502")) == 1
    undo()
    assert login(server.api(), person.email, PASSWORD).status == 200


@needs_root
def test_the_disk_of_the_log_is_full(small_disk, make_server):
    server = make_server(start=False)
    disk = small_disk(server.root / "logs", 1)
    server.error_log.touch()
    server.start()
    person = Person(server)
    filler = fill(disk)
    size = server.error_log.stat().st_size
    for _ in range(30):
        assert once(server, "GET", "/auth/me", token=person.access).status == 200
    check_error(login(server.api(), person.email, "not-the-one-8"), 401, "INVALID_CREDENTIALS")
    # What is not in the log is in the audit trail all the same.
    wait_until(lambda: rows(server, "audit_log", event="authn_login_fail"), 5, "its row")
    assert Person(server).me().status == 200
    assert server.error_log.stat().st_size - size < 4096
    filler.unlink()
    server.graceful()
    assert server.stop() < 9


# ---- the clock ----

def faketime():
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    return found[0] if found else ctypes.util.find_library("faketimeMT")


@pytest.fixture
def clock(make_server):
    """(server, set): the server's wall clock is as many seconds off as was set."""
    library = faketime()
    assert library, "libfaketime is missing"
    if "BIZ_PRELOAD" in os.environ:
        pytest.skip("a server under libfaketime and a sanitizer does not come up")
    server = make_server(start=False)
    file, new = server.root / "clock", server.root / "new"

    def step(seconds):
        new.write_text(f"{seconds:+d}\n")
        new.replace(file)

    step(0)
    server.env |= {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file),
                   "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                   "FAKETIME_DONT_RESET": "1"}
    server.start()

    def step_and_wait(seconds):
        """Until the Date of an answer says so."""
        step(seconds)

        def arrived():
            date = email.utils.parsedate_to_datetime(
                once(server, "GET", "/health/live").headers["date"]).timestamp()
            return abs(date - time.time() - seconds) < 30
        wait_until(arrived, 20, "the clock's jump")
    return server, step_and_wait


def test_the_clock_jumps_forwards_and_back(clock):
    server, step = clock
    person, ip = Person(server), new_ip()
    assert [once(server, "POST", "/auth/login", json={}, ip=ip).status
            for _ in range(11)] == [422] * 10 + [429]
    step(20 * 60)
    check_error(once(server, "GET", "/auth/me", token=person.access), 401, "TOKEN_EXPIRED")
    # Limits go by a clock that nobody sets.
    assert once(server, "POST", "/auth/login", json={}, ip=ip).status == 429
    later = once(server, "POST", "/auth/refresh", ip=new_ip(),
                 json={"refresh_token": person.refresh_token}).data
    assert once(server, "GET", "/auth/me", token=later["access_token"]).status == 200
    step(0)
    # Whoever was signed in stays so, and whoever signs in now is signed in.
    back = once(server, "POST", "/auth/refresh", ip=new_ip(),
                json={"refresh_token": later["refresh_token"]}).data
    assert once(server, "GET", "/auth/me", token=back["access_token"]).status == 200
    assert once(server, "POST", "/auth/login", json={}, ip=ip).status == 429
    assert Person(server).me().status == 200


def test_mails_go_out_whichever_way_the_clock_jumps(clock):
    server, step = clock
    for seconds in (0, 3 * 3600, -2 * 3600, 0):
        step(seconds)
        person = Person(server, sign_in=False)
        begin = time.monotonic()
        server.mail.wait(person.email, timeout=20)
        assert time.monotonic() - begin < 20
