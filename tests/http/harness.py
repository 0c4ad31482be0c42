"""A real Apache for tests, in a private folder.

    SERVER = {"conf": "BizApiRateLimit /api/v1/auth/login 3/min"}   # optional, for the module

    @pytest.mark.bz("BZ0601")             # this line (warn or worse) must appear in the error log
    def test_login(server, api):          # `api` has a client address of its own
        answer = api.post("/auth/login", json={"email": "a@b.test", "password": "x"})
        assert answer.status == 401 and answer.code == "INVALID_CREDENTIALS"
        mail = server.mail.wait("a@b.test")
        link = token_of(mail)

Fixtures (conftest.py): `server` is shared by the tests of one module and built from the module's
SERVER dict (the arguments of Server); `make_server(**arguments)` starts more of them, stopped after
the test; `module_server(**arguments)` likewise, stopped after the module.

After each test every new line of level warn or worse, one about a worker that died (a notice to
Apache), and every line that is not a log line at all (a sanitizer's report, a library's chatter),
fails the test unless it was announced:
`@pytest.mark.bz(number...)` must appear, `@pytest.mark.bz_may(number...)` may; AHnnnnn works alike,
and so does any other piece of the line. `Server(may=(...))` announces for a server's whole life.

Who asks it is in client.py, the mails that it sends are read by received.py, and how long a test waits
for anything is in patience.py. Every log of a server, and the pages of mod_status and mod_info at its
end, are searched for the passwords and tokens that went in and out (leaks.py) when it closes.

Environment: BIZ_BUILD (folder of mod_bizapi.so, default build/), BIZ_MPM (event, worker, prefork),
BIZ_PRELOAD (LD_PRELOAD for the server: a sanitizer's runtime), BIZ_KEEP=1 (keep the folders),
BIZ_STORE=mongodb (stored.py: on MongoDB, the tests of the files that look into the store).
"""
import html
import http.client
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest

import leaks
import stored
from client import Api
from folders import private_folder  # in tests/lib, as ports is: stored.py looks there
from patience import PATIENCE, wait_until
from ports import free_port
from received import Mailbox

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BIZ_BUILD") or REPO / "build").resolve()

# libmongoc counts in /dev/shm/mongoc-PID; a killed process leaves the file, and the next one with
# its number would complain.
os.environ["MONGOC_DISABLE_SHM"] = "1"

many_at_once = False  # this test asks more at once than a server has workers


def apxs(name):
    tool = shutil.which("apxs") or shutil.which("apxs2") or "/usr/sbin/apxs"
    return subprocess.run([tool, "-q", name], capture_output=True, text=True,
                          check=True).stdout.strip()


def httpd_binary():
    return f"{apxs('SBINDIR')}/{apxs('progname')}"


def is_a_crash_of_event(frames):
    """Apache's own (2.4.71): close_worker_sockets() looks at a stop into connections that other threads
    are closing, which stop() below makes rare."""
    thread = re.findall(r"^#\d+ .*", "\n".join(frames).rpartition("\nThread 1 ")[2], re.M)
    return (len(thread) > 2 and "apr_os_sock_get" in thread[0] and "mod_mpm_event.so" in thread[1]
            and " main ()" in thread[-1])


def check_leaks():
    """Fails where a server that was closed has left a secret in a log."""
    leaked, Server.leaked = Server.leaked, []
    assert not leaked, "secrets in logs:\n" + "\n".join(leaked)


class Server:
    """One Apache. Arguments:
    conf      text for the main server (BizApi directives, anything)
    env       variables for the server; nothing else of this process' environment is passed on
    vhosts    {name: conf text} more virtual hosts on the same port, each with /api/v1; one with
              BizApi directives is another business and needs a BizApiStateDir of its own
    https     True: mod_ssl on https_port with a certificate for localhost
    http2     True: mod_http2 (h2c on port, h2 on https_port)
    modules   names of more httpd modules to load, as "status"
    mail      False: no mail transport is configured
    pages     True: serves htdocs, with the headers of the quickstart; links in mails lead there
    may       numbers that may be logged at any time
    start     False: configured only
    store     mongodb://...: on this one, which others may use too
    """
    live = []
    leaked = []

    def __init__(self, conf="", env=None, vhosts=None, https=False, http2=False, modules=(),
                 mail=True, may=(), mpm=None, start=True,
                 pages=False, store=None):
        self.root = private_folder("bizapi-")
        self.root.chmod(0o755)
        self.port, self.https_port = free_port(), free_port() if https else None
        self.mpm = mpm or os.environ.get("BIZ_MPM") or "event"
        self.old = set()  # the processes of earlier generations
        self.core_pages = True  # False where somebody beside us refuses them
        self.url = f"http://127.0.0.1:{self.port}"
        self.conf, self.vhosts, self.https = conf, vhosts or {}, https
        # mod_http2 does not work with prefork (AH10034).
        self.http2 = http2 and self.mpm != "prefork"
        self.lacks_http2 = http2 and not self.http2
        self.modules, self.has_mail, self.pages = modules, mail, pages
        # AH01882: mod_ssl was built against another patch level of OpenSSL than it runs with.
        # BZ1004: its folder is in memory.
        self.may, self.ending = (*may, "AH01882", "BZ1004"), False
        self.process, self.log_position = None, 0
        self.only_for = None  # the test or module that it belongs to
        for name in ("logs", "run", "htdocs", "mail", "conf", "cores"):
            (self.root / name).mkdir()
        if pages:
            shutil.copytree(REPO / "htdocs", self.root / "htdocs", dirs_exist_ok=True)
        self.state = self.root / "state"
        self.store = store or stored.url_for(self.state)
        self.stores = {self.state: self.store}  # of each state directory
        self.mail = Mailbox(self.root / "mail")
        if os.geteuid() == 0:
            for name in ("mail", "cores"):
                shutil.chown(self.root / name, "www-data", "www-data")
        self.error_log = self.root / "logs/error.log"
        self.error_log.touch()
        self.env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                    "BIZ_MPM": self.mpm, "BIZ_MODULES": apxs("LIBEXECDIR"),
                    "BIZ_BUILD": str(BUILD), **(env or {})}
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "MONGOC_DISABLE_SHM"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        if "ASAN_OPTIONS" in self.env:
            self.env["ASAN_OPTIONS"] += ":strict_string_checks=1"
        # What Apache and the libraries do to their own memory is not looked at (tests/tsan.supp), nor
        # that a child's first thread joins none of Apache's; a stop has little time to wait for races.
        if "TSAN_OPTIONS" in self.env:
            self.env["TSAN_OPTIONS"] += (":ignore_noninstrumented_modules=1:report_thread_leaks=0"
                                         ":atexit_sleep_ms=100")
        if os.environ.get("BIZ_PRELOAD"):
            self.env["LD_PRELOAD"] = os.environ["BIZ_PRELOAD"]
        self.secrets, self.configured = set(), set()
        self.write_conf()
        Server.live.append(self)
        if start:
            self.start()

    # ---- configuration ----

    def write_conf(self, conf=None):
        """Writes httpd.conf anew; with `conf`, with that text in place of the first one."""
        if conf is not None:
            self.conf = conf
        (self.root / "conf/httpd.conf").write_text(self._conf_text())
        setup = {n: v for n, v in self.env.items() if "PUBLI" not in n}
        self.configured |= leaks.in_setup(setup, f"{self.conf}{self.vhosts or ''}")
        self.secrets |= self.configured

    def _conf_text(self):
        modules = list(dict.fromkeys(["remoteip", "status", "info", *self.modules]))
        if self.https:
            modules += ["ssl", "socache_shmcb"]
            self._make_certificate()
        if self.http2:
            modules.append("http2")
        load = "\n".join(f'LoadModule {m}_module "${{BIZ_MODULES}}/mod_{m}.so"' for m in modules)
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        mail = f"BizApiMail file:{self.root}/mail" if self.has_mail else ""
        pages = (f'Include "{REPO}/conf/quickstart/pages.conf"\nErrorDocument 404 /404.html\n'
                 f"BizApiFrontendURL http://localhost:{self.port}") if self.pages else ""
        text = f"""
ServerRoot "{self.root}"
DefaultRuntimeDir run
PidFile run/httpd.pid
Listen 127.0.0.1:{self.port}
ServerName localhost
ServerAdmin admin@localhost
CoreDumpDirectory cores
Include "{REPO}/conf/quickstart/modules.conf"
{load}
{user}
ErrorLog logs/error.log
LogLevel notice bizapi:debug
LogFormat "%a %m %U %>s %B %D" probe
CustomLog logs/access.log probe
RemoteIPHeader X-Forwarded-For
RemoteIPInternalProxy 127.0.0.1
{MPM_CONF[self.mpm]}
Include "{REPO}/conf/quickstart/hard.conf"
DocumentRoot htdocs
<Directory "{self.root}/htdocs">
    Require all granted
</Directory>
{"".join(CORE_PAGE.format(path=path, handler=handler) for path, handler in CORE_PAGES.items())}
{"Protocols h2 h2c http/1.1" if self.http2 else ""}
BizApiStateDir "{self.state}"
BizApiMailTemplates "{REPO}/conf/mail"
BizApiMailFrom "Test Salon <salon@example.test>"
{mail}
{self._store_line(self.state)}
{pages}
{self.conf}
"""
        # Every name that a test may use, and one virtual host for each: StrictHostCheck is on.
        text += self._vhost(self.port, "localhost", "    ServerAlias 127.0.0.1")
        for name, extra in self.vhosts.items():
            own = re.search(r"BizApiStateDir (\S+)", extra)
            text += self._vhost(self.port, name, extra + self._store_line(own and own.group(1)))
        if self.https:
            text += f"Listen 127.0.0.1:{self.https_port}\nSSLSessionCache shmcb:run/ssl(512000)\n"
            tls = (f'    SSLEngine on\n    SSLCertificateFile "{self.root}/tls.crt"\n'
                   f'    SSLCertificateKeyFile "{self.root}/tls.key"\n'
                   "    SSLProtocol -all +TLSv1.2 +TLSv1.3\n")
            text += self._vhost(self.https_port, "localhost", tls + "    ServerAlias 127.0.0.1")
        return text

    def _vhost(self, port, name, extra):
        return (f"<VirtualHost 127.0.0.1:{port}>\n    ServerName {name}\n{extra}\n"
                "</VirtualHost>\n")

    def _store_line(self, state):
        """Of the business with this state directory, where its store does not lie in there."""
        if state and state not in self.stores:
            self.stores[state] = stored.url_for(state)
        url = self.stores.get(state, "")
        return f"\nBizApiStore {url}" if stored.is_mongo(url) else ""

    def _make_certificate(self):
        if not (self.root / "tls.crt").exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                            "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext",
                            "basicConstraints=critical,CA:FALSE",
                            "-keyout", self.root / "tls.key", "-out", self.root / "tls.crt"],
                           check=True, capture_output=True)

    # ---- life ----

    def command(self, *arguments):
        return [httpd_binary(), "-d", str(self.root), "-f", str(self.root / "conf/httpd.conf"),
                *arguments]

    def configtest(self):
        """(exit code, output) of `apache2 -t`."""
        done = subprocess.run(self.command("-t"), env=self.env, text=True, capture_output=True)
        return done.returncode, done.stdout + done.stderr

    def start(self, wait=True):
        with open(self.root / "logs/stderr", "ab") as stderr:
            self.process = subprocess.Popen(self.command("-DFOREGROUND"), env=self.env,
                                            stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                                            start_new_session=True)
        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_CORE, (most, most))
        if wait:
            wait_until(self.answers, 30, "the server's first answer")
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n"
                                 f"{self.stderr()}{self.log_text()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5 * PATIENCE) as s:
                s.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return s.recv(1) != b""
        except OSError:
            return False

    def stderr(self):
        path = self.root / "logs/stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def look_at_core_pages(self):
        """What Apache's own modules tell of the server, its last requests and its configuration: kept
        beside the logs, where close() searches. Nothing comes where all workers are busy. Gives the
        connection, which is still open."""
        kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * PATIENCE)
        for path in CORE_PAGES if self.core_pages else ():
            try:
                kept.request("GET", path, headers={"Host": "localhost"})
                answer = kept.getresponse()
                text = html.unescape(answer.read().decode(errors="replace"))
            except (OSError, http.client.HTTPException):
                kept.close()
                continue
            assert answer.status == 200, (path, text[:300])
            with open(self.root / f"logs/{path.strip('/')}.html", "a", encoding="utf-8") as page:
                page.write(text)
        return kept

    def stop(self, sig=signal.SIGTERM, timeout=20):
        """Ends the server and gives the seconds that it took. An old child of event or worker waits for
        the end of its connections, and is deaf until then to a stop, which tells after 3 s that it
        waits (AH00045, Apache's own): it goes first.

        The last connection stays open until the server is gone: event looks at a stop into connections
        that its other threads may be closing right then, and crashes (close_worker_sockets())."""
        running = self.process and self.process.poll() is None
        if running and self.mpm != "prefork":
            wait_until(lambda: not self.old.intersection(self.children()), 20, "the old children's end")
        if running:
            kept = self.look_at_core_pages()
        begin = time.monotonic()
        if running:
            self.ending = True
            self.process.send_signal(sig)
            self.process.wait(timeout * PATIENCE)
            kept.close()
        return time.monotonic() - begin

    def graceful(self, conf=None):
        """apachectl graceful (SIGUSR1), waiting until the new generation runs. Gives the processes
        of the old one, which may still be at work."""
        if conf is not None:
            self.write_conf(conf)
        mark, before = len(self.log_text()), set(self.children())
        self.ending = True
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: GRACEFUL[self.mpm] in self.log_text()[mark:], 10,
                   "the graceful restart")
        wait_until(lambda: set(self.children()) - before, 10, "the new children")
        wait_until(self.answers, 10, "an answer after the graceful restart")
        self.old |= before
        return before

    def kill(self):
        """The power cut: SIGKILL to the whole group, until nobody of it holds the port any more."""
        def closed():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) != 0

        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        wait_until(closed, 10, "the end of the children")

    def children(self):
        """The process ids of the workers; of a dying one until its last thread has gone, and with it
        the connections that it had."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                        fields = stat.read().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == self.process.pid and (fields[0] != "Z" or
                                                           int(fields[17]) > 1):
                    found.append(int(entry))
        return found

    def close(self):
        """Stops and removes the folder. What its logs tell is told by check_leaks()."""
        self.stop()
        Server.live.remove(self)
        Server.leaked += leaks.search(self.root / "logs",
                                      self.secrets | leaks.in_mails(self.mail.folder))
        for url in self.stores.values():
            stored.drop(url)
        if not os.environ.get("BIZ_KEEP"):
            shutil.rmtree(self.root, ignore_errors=True)

    # ---- what it wrote ----

    def log_text(self):
        return self.error_log.read_text(errors="replace")

    def new_log_lines(self):
        """Finished lines since the last call."""
        with open(self.error_log, "rb") as log:
            log.seek(self.log_position)
            new = log.read()
        end = new.rfind(b"\n") + 1
        self.log_position += end
        return new[:end].decode(errors="replace").splitlines()

    def log_problems(self, expected=()):
        """(lines that nobody announced, the announced that were seen)."""
        bad, seen, may = [], set(), [*self.may, *(AT_AN_END if self.ending else ())]
        if "AH00052" in (*expected, *may):
            may.append("AH10392")  # who announces killed children announces many of them
        for line in self.new_log_lines():
            hit = [e for e in expected if e in line]
            seen.update(hit)
            if hit or any(m in line for m in may):
                continue
            frames = self.where_it_crashed() if "possible coredump" in line else []
            if self.ending and is_a_crash_of_event(frames):
                print(line)
                continue
            level = re.match(r"\[[^\]]+\] \[[\w-]*:(\w+)\]", line)
            if line.strip() and (not level or "exit signal" in line or level.group(1) in
                                 ("warn", "error", "crit", "alert", "emerg")):
                bad += [line, *frames]
        return bad, seen

    def where_it_crashed(self):
        """Of each child that left a core, the frames of all its threads."""
        told = []
        for core in (self.root / "cores").iterdir() if shutil.which("gdb") else ():
            told += subprocess.run(["gdb", "-q", "-batch", "-ex", "thread apply all bt 20",
                                    httpd_binary(), core], capture_output=True,
                                   text=True).stdout.splitlines()
            core.unlink()
        return told

    def access(self):
        """[{ip, method, path, status, bytes, us}] of every finished request."""
        rows = []
        for line in (self.root / "logs/access.log").read_text().splitlines():
            ip, method, path, status, size, us = line.split(" ")
            if path in CORE_PAGES:
                continue
            rows.append({"ip": ip, "method": method, "path": path, "status": int(status),
                         "bytes": int(size), "us": int(us)})
        return rows

    # ---- talking to it ----

    def must_speak_http2(self):
        """Leaves a test out that wants what this MPM cannot do."""
        if self.lacks_http2:
            pytest.skip(f"mod_http2 does not work with {self.mpm}")

    def api(self, **arguments):
        return Api(self, **arguments)

    def raw(self, data, timeout=10.0, port=None):
        """Sends bytes as they are and reads until the server closes."""
        with socket.create_connection(("127.0.0.1", port or self.port), timeout * PATIENCE) as s:
            s.sendall(data)
            got = b""
            try:
                while chunk := s.recv(65536):
                    got += chunk
            except (TimeoutError, ConnectionResetError):
                pass
            return got

    def ctl(self, *arguments, stdin="", check=True):
        """bizapictl on this server's store."""
        env = {k: v for k, v in self.env.items() if k != "LD_PRELOAD"}
        if "ASAN_OPTIONS" in env:
            env["ASAN_OPTIONS"] += ":detect_leaks=1"
        # Beside a SQLite file it is found by itself.
        state = ["--state-dir", str(self.state)] if stored.is_mongo(self.store) else []
        done = subprocess.run([str(BUILD / "bizapictl"), "-s", self.store, *state, *arguments],
                              input=stdin, text=True, capture_output=True, env=env)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def add_user(self, address, password, role="customer", name="Test Person"):
        self.secrets.update(leaks.parts(password))
        self.ctl("user", "add", address, "--role", role, "--name", name, "--password-stdin",
                 stdin=password + "\n")


LEAST_WORKERS = 12
# Event's children close their sets of connections at their end while one comes back to it. With a
# sanitizer a stop may take more than 3 s; a child that does not end by itself within 9 is no such.
AT_AN_END = ("AH03092", "AH03093", *(("AH00045",) if PATIENCE > 1 else ()))
# The pages of mod_status and mod_info, which every server has: leaks.py looks at them at its end.
CORE_PAGES = {"/core-status": "server-status", "/core-info": "server-info"}
CORE_PAGE = """<Location "{path}">
    SetHandler {handler}
    Require all granted
</Location>
"""
# What an MPM says when it restarts.
GRACEFUL = {"event": "AH00493", "worker": "AH00297", "prefork": "AH00171"}
# Two children and few threads: small, and what must hold across processes is really tested.
MPM_CONF = {
    "event": "StartServers 2\nServerLimit 4\nThreadsPerChild 8\nMaxRequestWorkers 16\n"
             "MinSpareThreads 1\nMaxSpareThreads 16\nGracefulShutdownTimeout 10",
    "worker": "StartServers 2\nServerLimit 4\nThreadsPerChild 8\nMaxRequestWorkers 16\n"
              "MinSpareThreads 1\nMaxSpareThreads 16\nGracefulShutdownTimeout 10",
    "prefork": "StartServers 6\nServerLimit 12\nMaxRequestWorkers 12\nMinSpareServers 2\n"
               "MaxSpareServers 12\nGracefulShutdownTimeout 10",
}
