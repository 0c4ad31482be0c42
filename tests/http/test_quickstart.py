"""`make run`, as a person meets it: in a terminal, with Ctrl-C, in a checkout of its own."""
import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
import pathlib

import httpx
import pytest

from harness import BUILD, REPO
from patience import wait_until
from ports import free_port
from received import Mailbox, text_of

pytestmark = pytest.mark.skipif("BIZ_PRELOAD" in os.environ,
                                reason="starts its own server, without a sanitizer's runtime")
ROOT = os.geteuid() == 0
PASSWORD = "correct horse battery staple"


def copy_of_checkout(parent):
    """The files that git knows, as a repository of their own; times are kept, so that make finds
    the build up to date."""
    target = pathlib.Path(tempfile.mkdtemp(prefix="check out-", dir=parent))
    names = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-co",
                            "--exclude-standard", "-z"], cwd=REPO, check=True,
                           capture_output=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (REPO / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, target / name)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.test"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "copy"]):
        subprocess.run([*git, *command], cwd=target, check=True)
    return target


class Terminal:
    """`make run` with a terminal around it."""

    def __init__(self, folder, *arguments, user=None, shell=False):
        self.output, self.code = "", None
        command = ["make", "run", f"B={BUILD}", *arguments]
        if user:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        if shell:
            # With jobs of its own, as a person's shell has them.
            command = ["bash", "--norc", "--noprofile", "-ic", shlex.join(command) + "; true"]
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            keep = {k: os.environ[k] for k in ("PATH", "ASAN_OPTIONS", "TSAN_OPTIONS")
                    if k in os.environ}
            if os.environ.get("BIZ_PRELOAD"):
                keep["LD_PRELOAD"] = os.environ["BIZ_PRELOAD"]
            os.execvpe(command[0], command, {**keep, "HOME": str(folder), "TERM": "dumb"})

    def read(self, timeout=0.05):
        ready, _, _ = select.select([self.master], [], [], timeout)
        if ready:
            try:
                self.output += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # the other side is closed
                pass
        return self.output

    def wait_text(self, pattern, timeout=120):
        def look():
            assert self.alive() or re.search(pattern, self.read()), self.output
            return re.search(pattern, self.read())
        return wait_until(look, timeout, f"{pattern!r} on the terminal")

    def alive(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def ctrl_c(self):
        os.write(self.master, b"\x03")

    def wait_end(self, timeout=30):
        def ended():
            if self.master is not None:
                self.read()
            return not self.alive()
        wait_until(ended, timeout, "the end of make run")
        while self.master is not None and select.select([self.master], [], [], 0.2)[0]:
            before = self.output
            if self.read() == before:
                break
        return self.code

    def close(self):
        if self.alive():
            os.kill(self.pid, signal.SIGTERM)
            self.wait_end()
        self.hang_up()

    def hang_up(self):
        if self.master is not None:
            os.close(self.master)
            self.master = None


def port_is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def run_folder(output):
    return pathlib.Path(re.search(r"mail goes to: +(.*)/mail/", output).group(1))


def remove(checkout, output):
    folder = re.search(r"mail goes to: +(.*)/mail/", output)
    if folder and pathlib.Path(folder.group(1)).name.startswith("check out-"):
        shutil.rmtree(folder.group(1))
    shutil.rmtree(checkout)


@pytest.fixture(scope="module")
def checkout():
    """Under root's home, where Apache's user cannot look."""
    folder = copy_of_checkout(os.path.expanduser("~") if ROOT else None)
    output = []
    yield folder, output
    remove(folder, "".join(output))


@pytest.fixture
def start(checkout):
    folder, output = checkout
    made = []

    def begin(*arguments, **more):
        made.append(Terminal(folder, *arguments, **more))
        return made[-1]

    yield begin
    for terminal in made:
        terminal.close()
        output.append(terminal.output)


def api(port, method, path, token=None, **body):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.request(method, f"http://localhost:{port}/api/v1{path}", headers=headers,
                         json=body or None, trust_env=False, timeout=30)


def make_admin(terminal, address):
    """The command that was printed, word by word but for the address, on a terminal of its own."""
    line = re.search(r"^ +(\S.*bizapictl.* user add .*)$", terminal.output, re.M).group(1).strip()
    words = [address if w == "you@example.org" else w for w in shlex.split(line)]
    return answer_prompts(words)


def answer_prompts(words):
    """Runs bizapictl, which asks twice for a password: (exit code, what it said)."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ.pop("LD_PRELOAD", None)
        os.execvp(words[0], words)
    said, answered = "", 0
    while True:
        try:
            chunk = os.read(master, 4096).decode(errors="replace")
        except OSError:
            break
        if not chunk:
            break
        said += chunk
        prompts = len(re.findall("(?:New password|The same again): ", said))
        while answered < prompts:
            time.sleep(0.2)  # until the echo is off
            os.write(master, (PASSWORD + "\n").encode())
            answered += 1
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def test_first_contact(start, checkout):
    """Start, page, admin, mail, Ctrl-C; then a second start that finds all of it again."""
    port = free_port()
    terminal = start(f"PORT={port}")
    terminal.wait_text("Ctrl-C ends it")
    assert f"http://localhost:{port}" in terminal.output

    with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as web:
        page = web.get("/")
        assert page.status_code == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Server"] == "Apache"
        for name, value in (("X-Content-Type-Options", "nosniff"),
                            ("Referrer-Policy", "same-origin"),
                            ("Cross-Origin-Opener-Policy", "same-origin")):
            assert page.headers.get_list(name) == [value]
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        links = re.findall(r'(?:href|src)="(/[^"]*)"', page.text)
        assert len(links) >= 8
        for link in links:
            assert web.get(link).status_code == 200, link
        missing = web.get("/no/such/page")
        assert missing.status_code == 404 and "does not exist" in missing.text
        for hidden in ("/.git/HEAD", "/.env", "/index.html~", "/docs/", "/server-status"):
            assert web.get(hidden).status_code in (403, 404), hidden
        assert web.get("/api/v1/no-such").json()["error"]["code"] == "NOT_FOUND"
        assert web.get("/api/v1/a%2Fb").json()["error"]["code"] == "NOT_FOUND"
        assert web.request("TRACE", "/").status_code == 405

    code, said = make_admin(terminal, "admin@example.test")
    assert code == 0 and PASSWORD not in said, said
    login = api(port, "POST", "/auth/login", email="admin@example.test", password=PASSWORD)
    assert login.status_code == 200, login.text
    assert login.json()["data"]["user"]["role"] == "admin"

    assert api(port, "POST", "/auth/forgot-password", email="admin@example.test").status_code == 200
    folder = run_folder(terminal.output)
    message = Mailbox(folder / "mail").wait("admin@example.test", timeout=15)
    link = re.search(rf"http://localhost:{port}/\S*#token=\S+", text_of(message)).group(0)
    assert httpx.get(link.partition("#")[0], trust_env=False).status_code == 200

    terminal.ctrl_c()
    terminal.wait_end()
    assert "mod_bizapi has stopped." in terminal.output
    assert "Error" not in terminal.output and "***" not in terminal.output, terminal.output
    assert port_is_free(port)

    again = start(f"PORT={port}")
    again.wait_text("Ctrl-C ends it")
    login = api(port, "POST", "/auth/login", email="admin@example.test", password=PASSWORD)
    assert login.status_code == 200
    token = login.json()["data"]["access_token"]
    assert api(port, "GET", "/auth/me", token).json()["data"]["email"] == "admin@example.test"
    again.ctrl_c()
    again.wait_end()

    status = subprocess.run(["git", "status", "--porcelain"], cwd=checkout[0], text=True,
                            capture_output=True, check=True)
    assert status.stdout == ""
    # AH01630: what was asked for above and is nobody's to see.
    bad = [line for line in (folder / "logs/error.log").read_text().splitlines()
           if re.search(r"\[[\w-]*:(warn|error|crit|alert|emerg)\]", line) and "AH01630" not in line]
    assert bad == []


def test_a_resized_window_and_a_second_start(start):
    """httpd takes SIGWINCH for a graceful stop: the terminal's must not reach it."""
    port = free_port()
    terminal = start(f"PORT={port}")
    terminal.wait_text("Ctrl-C ends it")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    time.sleep(1)
    assert api(port, "GET", "/health/live").status_code == 200

    second = start(f"PORT={free_port()}")
    assert second.wait_end() != 0
    assert len(re.findall("runs already", second.output)) == 1
    assert api(port, "GET", "/health/live").status_code == 200


def test_a_closed_terminal_ends_it(start):
    port = free_port()
    terminal = start(f"PORT={port}", shell=True)
    terminal.wait_text("Ctrl-C ends it")
    terminal.hang_up()
    wait_until(lambda: port_is_free(port), 20, "the free port")


def test_a_taken_port_is_one_line(start):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        port = s.getsockname()[1]
        terminal = start(f"PORT={port}")
        assert terminal.wait_end() != 0
    said = [line for line in terminal.output.splitlines() if str(port) in line and "***" not in line]
    assert len(said) == 1 and "taken" in said[0] and "PORT=" in said[0]


@pytest.mark.parametrize("port", ["0", "65536", "http", "80 81", "-1"])
def test_a_port_that_is_none(start, port):
    terminal = start(f"PORT={port}")
    assert terminal.wait_end() != 0
    assert "PORT must be a number" in terminal.output


@pytest.mark.skipif(not ROOT, reason="runs as an ordinary user already")
def test_as_an_ordinary_user():
    folder = copy_of_checkout("/tmp")
    shutil.copytree(BUILD, folder / "build", copy_function=shutil.copy2, ignore=lambda _, names: [
        n for n in names if n in ("venv", "results", "tests", "asan", "tsan", "foreign") or "lint" in n])
    subprocess.run(["chown", "-R", "65534:65534", folder], check=True)
    port, terminal = free_port(), None
    try:
        terminal = Terminal(folder, f"PORT={port}", "B=build", user=65534)
        terminal.wait_text("Ctrl-C ends it")
        assert run_folder(terminal.output) == folder / ".run"
        assert api(port, "GET", "/health/ready").status_code == 200
        terminal.ctrl_c()
        terminal.wait_end()
        assert port_is_free(port)
        status = subprocess.run(["git", "-c", "safe.directory=*", "status", "--porcelain"],
                                cwd=folder, text=True, capture_output=True, check=True)
        assert status.stdout == ""
    finally:
        if terminal:
            terminal.close()
        shutil.rmtree(folder)


def test_a_system_without_apt_names_what_is_missing(tmp_path):
    for tool in ("sh", "id", "perl", "cc"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    done = subprocess.run([REPO / "conf/quickstart/deps", "run"], text=True, capture_output=True,
                          env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "pkg-config" in done.stderr and "jansson" in done.stderr
