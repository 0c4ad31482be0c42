"""The servers that the bench compares: ours, the same Apache with others' limiters, nginx, and the
FastAPI stand-in. Each in a private folder on a free port, with 100 places for connections or as many
as its kind has by default, no access log, and clients told apart by X-Forwarded-For where it can."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests/http"), str(REPO / "tests/lib")]
import foreign  # noqa: E402
from ports import free_port  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def apxs(name):
    tool = shutil.which("apxs") or "/usr/bin/apxs"
    return subprocess.run([tool, "-q", name], capture_output=True, text=True,
                          check=True).stdout.strip()


class Server:
    """A process group; subclasses give the command."""
    name = path = ""
    env = {}
    users = 0  # how many of the bench's accounts are there

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bizapi-bench-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(self.folder / "output", "wb")
        self.process = subprocess.Popen(
            self.command(), env={**os.environ, **self.env}, stdout=self.log, stderr=self.log,
            stdin=subprocess.DEVNULL, start_new_session=True, cwd=self.folder)
        self.wait()

    def wait(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"bench: {type(self).__name__} does not start:\n" +
                         (self.folder / "output").read_text(errors="replace")[-2000:])

    def processes(self):
        """[(process id, fields of its stat)] of the group."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    text = pathlib.Path(f"/proc/{entry}/stat").read_text()
                except OSError:
                    continue
                fields = text.rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid:  # the session
                    found.append((int(entry), fields))
        return found

    def cpu(self):
        """Seconds of processor time, those of children that have ended too."""
        ticks = 0
        for pid, fields in self.processes():
            ticks += int(fields[11]) + int(fields[12])
            if pid == self.process.pid:
                ticks += int(fields[13]) + int(fields[14])
        return ticks / TICKS

    def private_bytes(self):
        """What each worker has for itself alone: [bytes], the parent left out."""
        found = []
        for pid, _ in self.processes():
            if pid != self.process.pid:
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                found.append(1024 * sum(int(line.split()[1]) for line in text.splitlines()
                                        if line.startswith("Private_")))
        return sorted(found)

    def shared_bytes(self):
        """The greatest Pss of shared memory among the workers."""
        found = [0]
        for pid, _ in self.processes():
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            found += [1024 * int(line.split()[1]) for line in text.splitlines()
                      if line.startswith("Pss_Shmem:")]
        return sum(found)

    def call(self, path, body=None, headers=None, patience=20):
        request = urllib.request.Request(self.url + path, data=body,
                                         headers={"Host": "localhost", **(headers or {})})
        with urllib.request.urlopen(request, timeout=patience) as answer:
            return answer.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.log.close()
        if not os.environ.get("BIZ_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)


class Apache(Server):
    """Event, 4 children of 25 threads, with the empty handler at /empty, and more lines."""

    def __init__(self, build, more="", ours=True):
        self.build, self.more, self.ours = build, more, ours
        super().__init__()

    def wait(self):
        super().wait()
        # It listens before it has workers; a table of half a gigabyte takes a moment.
        self.call("/empty", patience=60)

    def command(self):
        modules = apxs("LIBEXECDIR")
        self.env = {"BIZ_MODULES": modules, "BIZ_MPM": "event", "BIZ_BUILD": str(self.build)}
        loads = (REPO / "conf/quickstart/modules.conf").read_text()
        if not self.ours:
            loads = loads.replace("LoadModule bizapi_module", "#")
        hard = (REPO / "conf/quickstart/hard.conf").read_text()
        for name in ("logs", "run", "mail", "htdocs"):
            (self.folder / name).mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.folder / "mail", "www-data", "www-data")
            shutil.chown(self.folder / "run", "www-data", "www-data")
        own = f"""
BizApiStateDir "{self.folder}/state"
BizApiMailTemplates "{REPO}/conf/mail"
BizApiMail off
BizApiCorsOrigins http://localhost:8081
""" if self.ours else ""
        text = f"""
ServerRoot "{self.folder}"
DefaultRuntimeDir run
PidFile run/httpd.pid
Listen 127.0.0.1:{self.port}
ServerName localhost
{loads}
LoadModule remoteip_module "{modules}/mod_remoteip.so"
LoadModule empty_module "{self.build}/load/mod_empty.so"
{"User www-data" if os.geteuid() == 0 else ""}
{"Group www-data" if os.geteuid() == 0 else ""}
ErrorLog logs/error.log
LogLevel warn
RemoteIPHeader X-Forwarded-For
RemoteIPInternalProxy 127.0.0.1
StartServers 4
ServerLimit 4
ThreadsPerChild 25
MaxRequestWorkers 100
MinSpareThreads 1
MaxSpareThreads 100
MaxKeepAliveRequests 0
KeepAliveTimeout 15
{hard if self.ours else hard.replace("SetHandler bizapi", "")}
DocumentRoot htdocs
<Location "/empty">
    SetHandler empty
    Require all granted
</Location>
<Location "/limited">
    SetHandler empty
    Require all granted
</Location>
{own}
{self.more}
"""
        (self.folder / "httpd.conf").write_text(text)
        return [f"{apxs('SBINDIR')}/{apxs('progname')}", "-d", str(self.folder), "-f",
                str(self.folder / "httpd.conf"), "-DFOREGROUND"]


def evasive(count):
    """Counts by connection, a table a process; `count` requests of an address in 60 s."""
    path = foreign.module("libapache2-mod-evasive", "mod_evasive20.so")
    return f"""
LoadModule evasive20_module "{path}"
DOSHashTableSize 3097
DOSPageCount {count}
DOSPageInterval 60
DOSSiteCount 1000000
DOSSiteInterval 1
DOSBlockingPeriod 60
DOSLogDir run
"""


def security2(count):
    """A counter for each address in its collection, on /limited alone where count is given."""
    path = foreign.module("libapache2-mod-security2", "mod_security2.so")
    return f"""
LoadModule unique_id_module "{apxs('LIBEXECDIR')}/mod_unique_id.so"
LoadModule security2_module "{path}"
SecRuleEngine On
SecRequestBodyAccess Off
SecDataDir run
SecTmpDir run
SecAuditEngine Off
SecAction "id:1,phase:1,nolog,pass,initcol:ip=%{{REMOTE_ADDR}},setvar:ip.seen=+1,expirevar:ip.seen=60"
SecRule IP:SEEN "@gt {count}" "id:2,phase:1,nolog,deny,status:429"
"""


class Nginx(Server):
    """Two workers, a small file, limit_req. `return` would answer before limit_req is asked."""

    def command(self):
        (self.folder / "www").mkdir()
        for name in ("status", "limited"):
            (self.folder / "www" / name).write_text('{"success":true,"data":{}}' + " " * 500)
        (self.folder / "nginx.conf").write_text(f"""
daemon off;
worker_processes 2;
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log crit;
{"user www-data;" if os.geteuid() == 0 else ""}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 100000000;
    open_file_cache max=100;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Forwarded-For;
    limit_req_zone $binary_remote_addr zone=narrow:64m rate=60r/m;
    limit_req_zone $binary_remote_addr zone=wide:64m rate=100000r/s;
    limit_req_status 429;
    client_body_temp_path {self.folder}/body;
    proxy_temp_path {self.folder}/proxy;
    fastcgi_temp_path {self.folder}/fastcgi;
    uwsgi_temp_path {self.folder}/uwsgi;
    scgi_temp_path {self.folder}/scgi;
    server {{
        listen 127.0.0.1:{self.port};
        root {self.folder}/www;
        location = /status {{ limit_req zone=wide burst=1000 nodelay; }}
        location = /limited {{ limit_req zone=narrow burst=59 nodelay; }}
    }}
}}
""")
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(self.folder / "nginx.conf"),
                "-p", str(self.folder), "-e", str(self.folder / "error.log")]


class Redis(Server):
    """On a unix socket, keeping nothing on disk."""

    def command(self):
        self.socket = self.folder / "redis.sock"
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--unixsocket", str(self.socket), "--unixsocketperm", "777"]


class FastApi(Server):
    """Two workers of uvicorn with uvloop and httptools."""

    def __init__(self, limiter):
        self.env = {"BENCH_LIMITER": limiter}
        super().__init__()

    def command(self):
        return [str(REPO / "build/bench-venv/bin/uvicorn"), "fastapi_app:app", "--workers", "2",
                "--host", "127.0.0.1", "--port", str(self.port), "--no-access-log",
                "--log-level", "warning", "--app-dir", str(REPO / "tests/load")]
