"""`make install`, `a2enmod bizapi`, `apachectl graceful` on Debian's own configuration tree, with two
sites that are there already. The tree is a copy: nothing of this machine's Apache is touched."""
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import tempfile

import httpx
import pytest

from harness import BUILD, REPO, apxs
from patience import wait_until
from ports import free_port

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="an installation is root's work"),
    pytest.mark.skipif(apxs("progname") != "apache2", reason="this is about Debian's layout"),
    pytest.mark.skipif("BIZ_PRELOAD" in os.environ, reason="builds without a sanitizer's flags"),
]
# What Debian's postinst enables.
DEFAULT = ("mpm_event authz_core authz_host authn_core authn_file auth_basic access_compat "
           "authz_user alias dir autoindex env mime negotiation setenvif filter deflate status "
           "reqtimeout").split()
HOP_OR_TIME = {"date", "keep-alive", "connection"}


class Debian:
    """A copy of Debian's /etc/apache2 on private ports, with its own a2enmod and apachectl."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="bizapi-install-", dir="/tmp"))
        self.root.chmod(0o755)
        self.port, self.tls_port = free_port(), free_port()
        self.etc = self.root / "etc/apache2"
        self.bin = pathlib.Path("/usr/sbin")
        if (self.bin / "a2enmod").exists() and pathlib.Path("/etc/apache2/apache2.conf").exists():
            shutil.copytree("/etc/apache2", self.etc, symlinks=True)
        else:
            self._unpack()
        for folder in ("mods-enabled", "sites-enabled"):
            shutil.rmtree(self.etc / folder, ignore_errors=True)
            (self.etc / folder).mkdir()
        for name in ("run", "lock", "log", "www/one", "www/two", "www/portal"):
            (self.root / name).mkdir(parents=True)
        (self.etc / "envvars").write_text(
            "unset HOME\nexport APACHE_RUN_USER=www-data APACHE_RUN_GROUP=www-data LANG=C\n"
            f"export APACHE_PID_FILE={self.root}/run/apache2.pid APACHE_RUN_DIR={self.root}/run\n"
            f"export APACHE_LOCK_DIR={self.root}/lock APACHE_LOG_DIR={self.root}/log\n" +
            "".join(f"export {name}='{os.environ[name]}'\n" for name in
                    ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS") if name in os.environ) +
            f"export LD_PRELOAD='{os.environ.get('BIZ_PRELOAD', '')}'\n")
        (self.etc / "ports.conf").write_text(f"Listen 127.0.0.1:{self.port}\n<IfModule ssl_module>\n"
                                             f"    Listen 127.0.0.1:{self.tls_port}\n</IfModule>\n")
        main = self.etc / "apache2.conf"
        main.write_text(main.read_text() + "\nServerName localhost\n"
                        f"<Directory {self.root}/www>\n    Require all granted\n</Directory>\n")
        if not pathlib.Path("/etc/mime.types").exists():
            (self.root / "mime.types").write_text("text/html html\ntext/plain txt\n")
            conf = self.etc / "mods-available/mime.conf"
            conf.write_text(conf.read_text().replace("/etc/mime.types", f"{self.root}/mime.types"))
        self.tool("a2enmod", "-q", *DEFAULT)

    def _unpack(self):
        """The package's files, without installing it: it would start a server on port 80."""
        package = self.root / "package"
        package.mkdir(mode=0o777)
        package.chmod(0o777)
        subprocess.run(["apt-get", "-q", "download", "apache2"], cwd=package, check=True,
                       capture_output=True)
        subprocess.run(["dpkg-deb", "-x", *package.glob("*.deb"), package], check=True)
        shutil.copytree(package / "etc/apache2", self.etc, symlinks=True)
        self.bin = package / "usr/sbin"
        ssl = self.etc / "mods-available/ssl.conf"
        ssl.write_text(ssl.read_text().replace("/usr/share/apache2", f"{package}/usr/share/apache2"))

    @property
    def env(self):
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "APACHE_CONFDIR": str(self.etc),
                "APACHE_STATE_DIRECTORY": str(self.root / "a2state"),
                # apachectl leaves the start to systemd where systemd runs.
                "APACHE_STARTED_BY_SYSTEMD": "1"}

    def tool(self, name, *arguments, check=True):
        done = subprocess.run([self.bin / name, *arguments], env=self.env, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if check:
            assert done.returncode == 0, f"{name} {arguments}: {done.stdout}\n{self.log()}"
        return done.stdout

    def make(self, target):
        done = subprocess.run(["make", target, f"B={BUILD}", f"DESTDIR={self.root}"], cwd=REPO,
                              text=True, capture_output=True, env={
                                  k: v for k, v in os.environ.items() if k != "LD_PRELOAD"})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def relocate(self):
        """The installed files name final paths; here they lie under the staging folder."""
        load = self.etc / "mods-available/bizapi.load"
        load.write_text(load.read_text().replace("/usr/lib/apache2", f"{self.root}/usr/lib/apache2"))
        conf = self.etc / "mods-available/bizapi.conf"
        text = conf.read_text()
        for final in ("/var/lib/apache2/bizapi", "/usr/local/share/bizapi"):
            assert final in text
            text = text.replace(final, f"{self.root}{final}")
        conf.write_text(text)

    def add_site(self, name, body):
        (self.etc / f"sites-available/{name}.conf").write_text(body)
        self.tool("a2ensite", "-q", name)

    def start(self):
        self.tool("apachectl", "start")
        wait_until(lambda: (self.root / "run/apache2.pid").exists(), 10, "the pid file")

    def graceful(self):
        """Nothing but what an administrator types, and the wait for the new generation."""
        before = self.log().count("resuming normal operations")
        self.tool("apachectl", "configtest")
        self.tool("apachectl", "graceful")
        wait_until(lambda: self.log().count("resuming normal operations") > before, 10, "graceful")

    def stop(self):
        pid = self.root / "run/apache2.pid"
        if pid.exists():
            number = int(pid.read_text())
            os.kill(number, signal.SIGTERM)  # apachectl stop wants a configuration without faults
            wait_until(lambda: not pathlib.Path(f"/proc/{number}").exists(), 20, "the stop")

    def log(self):
        path = self.root / "log/error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ask(self, host, path, method="GET", **more):
        return httpx.request(method, f"http://127.0.0.1:{self.port}{path}", trust_env=False,
                             headers={"Host": host, **more}, timeout=20)

    def close(self):
        self.stop()
        if not os.environ.get("BIZ_KEEP"):
            shutil.rmtree(self.root)


@pytest.fixture
def debian():
    made = Debian()
    yield made
    made.close()


def bad_lines(text):
    return [line for line in text.splitlines()
            if re.search(r"\[[\w-]*:(warn|error|crit|alert|emerg)\]", line) and "AH01882" not in line]


def two_sites(debian):
    (debian.root / "www/one/index.html").write_text("<h1>The first site</h1>\n")
    (debian.root / "www/one/api").mkdir()
    (debian.root / "www/one/api/v2.txt").write_text("somebody's own api\n")
    (debian.root / "www/two/index.html").write_text("<h1>The second</h1>\n")
    (debian.root / "www/two/gone.html").write_text("<h1>Not here</h1>\n")
    for page in (debian.root / "www").rglob("*"):
        os.utime(page, (1700000000, 1700000000))  # the ETag of a file of this second is a weak one
    debian.add_site("000-one", f"""<VirtualHost *:{debian.port}>
    ServerName one.test
    DocumentRoot {debian.root}/www/one
    ErrorLog ${{APACHE_LOG_DIR}}/one.log
</VirtualHost>
""")
    debian.add_site("two", f"""<VirtualHost *:{debian.port}>
    ServerName two.test
    DocumentRoot {debian.root}/www/two
    ErrorDocument 404 /gone.html
    Redirect permanent /old http://two.test/new
    FileETag None
    <Location /private>
        AuthType Basic
        AuthName "two"
        AuthUserFile {debian.root}/www/none
        Require valid-user
    </Location>
</VirtualHost>
""")


def behaviour(debian):
    """Status, headers and body of everything that the sites answer, but for the clock."""
    seen = {}
    for host in ("one.test", "two.test"):
        for method, path in (("GET", "/"), ("HEAD", "/"), ("GET", "/index.html?a=b"), ("GET", "/no"),
                             ("GET", "/old"), ("GET", "/private"), ("OPTIONS", "/"), ("POST", "/"),
                             ("GET", "/api/"), ("GET", "/api/v2.txt"), ("GET", "/api/v10"),
                             ("GET", "/api/v"), ("GET", "/%2f"), ("TRACE", "/")):
            answer = debian.ask(host, path, method, Origin="https://elsewhere.test")
            # The order in Allow is the order of a hash table with a random seed.
            headers = [(k, sorted(v.split(",")) if k == "allow" else v)
                       for k, v in answer.headers.multi_items() if k not in HOP_OR_TIME]
            seen[host, method, path] = (answer.status_code, headers, answer.content)
    return seen


def test_what_is_installed(debian):
    before = {p for p in debian.root.rglob("*")}
    said = debian.make("install")
    assert "a2enmod bizapi" in said
    new = {str(p.relative_to(debian.root)) for p in debian.root.rglob("*") if p.is_file()} - \
        {str(p.relative_to(debian.root)) for p in before}
    templates = {f"usr/local/share/bizapi/mail/{p.name}" for p in (REPO / "conf/mail").iterdir()
                 if p.is_file()}
    assert templates
    assert new == templates | {
        "usr/local/share/bizapi/fail2ban/filter.conf", "usr/local/share/bizapi/fail2ban/jail.conf",
        "usr/lib/apache2/modules/mod_bizapi.so", "usr/local/bin/bizapictl",
        "etc/apache2/mods-available/bizapi.load", "etc/apache2/mods-available/bizapi.conf",
        "usr/local/share/bizapi/bizapi-ssl-vhost.conf.example", "usr/local/share/bizapi/env.example",
        "usr/local/share/bizapi/hard.conf"}
    for name in new:
        mode = stat.S_IMODE((debian.root / name).stat().st_mode)
        assert mode == (0o755 if name.endswith("bizapictl") else 0o644), name

    # A second time: what the administrator edited stays.
    conf = debian.etc / "mods-available/bizapi.conf"
    shipped = conf.read_text()
    conf.write_text(shipped + "# mine\n")
    assert "stays as it is" in debian.make("install")
    assert conf.read_text() == shipped + "# mine\n"
    assert (debian.etc / "mods-available/bizapi.conf.dist").read_text() == shipped

    debian.make("uninstall")
    left = {str(p.relative_to(debian.root)) for p in debian.root.rglob("*") if p.is_file()} - \
        {str(p.relative_to(debian.root)) for p in before}
    assert left == {"etc/apache2/mods-available/bizapi.conf"}


def test_it_serves_beside_sites_that_stay_as_they_were(debian):
    two_sites(debian)
    debian.start()
    before = behaviour(debian)
    assert before["one.test", "GET", "/"][0] == 200
    assert debian.ask("one.test", "/api/v1/health/live").status_code == 404

    debian.make("install")
    debian.relocate()
    debian.tool("a2enmod", "bizapi")
    assert debian.tool("apachectl", "configtest").strip().endswith("Syntax OK")
    debian.graceful()
    assert behaviour(debian) == before
    for host in ("one.test", "two.test"):
        answer = debian.ask(host, "/api/v1/integrations/status")
        assert answer.status_code == 200 and answer.json()["data"]["summary"]["total"] == 7
        missing = debian.ask(host, "/api/v1/nothing")
        assert missing.status_code == 404 and missing.json()["error"]["code"] == "NOT_FOUND"
    state = debian.root / "var/lib/apache2/bizapi"
    assert state.owner() == "www-data" and state.stat().st_mode & 0o007 == 0
    answer = debian.ask("two.test", "/api/v1/auth/jwks.json")
    key = answer.json()

    # A graceful restart changes neither; `a2dismod` leaves no trace in the answers.
    debian.graceful()
    assert debian.ask("two.test", "/api/v1/auth/jwks.json").json() == key
    debian.tool("a2dismod", "bizapi")
    debian.graceful()
    wait_until(lambda: debian.ask("two.test", "/api/v1/health/live").status_code == 404, 10,
               "the end of the old children")
    assert behaviour(debian) == before
    assert [line for line in bad_lines(debian.log()) if "BZ" not in line] == []


def test_a_broken_line_is_named_and_the_server_goes_on(debian):
    two_sites(debian)
    debian.make("install")
    debian.relocate()
    debian.tool("a2enmod", "-q", "bizapi")
    debian.start()
    conf = debian.etc / "mods-available/bizapi.conf"
    conf.write_text(conf.read_text() + "BizApiRateLimit /api/v1/x many\n")
    number = len(conf.read_text().splitlines())
    said = debian.tool("apachectl", "graceful", check=False)
    assert f"line {number}" in said and "bizapi.conf" in said and "BizApiRateLimit" in said
    assert debian.ask("one.test", "/api/v1/health/live").status_code == 200


def test_the_reference_names_every_directive(debian):
    """bizapi.conf is the manual: no directive of the module is missing, none is invented."""
    debian.make("install")
    debian.relocate()
    debian.tool("a2enmod", "-q", "bizapi")
    listed = set(re.findall(r"^(BizApi\w+) ", debian.tool("apachectl", "-L"), re.M))
    assert len(listed) > 15
    text = (REPO / "conf/bizapi.conf").read_text()
    assert set(re.findall(r"^#?(BizApi\w+) ", text, re.M)) == listed
    # What is commented out is meant to be uncommented: the file must then still be accepted.
    conf = debian.etc / "mods-available/bizapi.conf"
    full = re.sub(r"^#(BizApi\w+ )", r"\1", conf.read_text(), flags=re.M)
    secret = debian.root / "sendgrid.key"
    secret.write_text("SG.test\n")
    secret.chmod(0o600)
    full = full.replace("/etc/apache2/bizapi-secrets/sendgrid", str(secret))
    overrides = debian.root / "overrides"
    overrides.mkdir()
    full = full.replace("/etc/bizapi/mail", str(overrides))
    full = full.replace("sqlite:/var/lib", f"sqlite:{debian.root}/var/lib")
    conf.write_text(full)
    assert debian.tool("apachectl", "configtest").strip().endswith("Syntax OK")


def test_the_example_of_a_tls_host(debian):
    debian.make("install")
    debian.relocate()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                    "/CN=portal.example.org", "-addext",
                    "subjectAltName=DNS:portal.example.org,IP:127.0.0.1",
                    "-addext", "basicConstraints=critical,CA:FALSE",
                    "-keyout", debian.root / "privkey.pem", "-out", debian.root / "fullchain.pem"],
                   check=True, capture_output=True)
    (debian.root / "www/portal/index.html").write_text("<h1>Portal</h1>\n")
    (debian.root / "www/portal/404.html").write_text("<h1>Not here</h1>\n")
    example = (debian.root / "usr/local/share/bizapi/bizapi-ssl-vhost.conf.example").read_text()
    commands = re.search(r"a2enmod ([\w ]+) &&", example).group(1).split()
    for old, new in ((":80>", f":{debian.port}>"), (":443>", f":{debian.tls_port}>"),
                     ("/etc/ssl/portal.example.org", str(debian.root)),
                     ("/var/www/portal", f"{debian.root}/www/portal")):
        assert old in example
        example = example.replace(old, new)
    debian.tool("a2enmod", "-q", *commands)
    debian.add_site("portal", example)
    debian.start()

    def tls(path, **headers):
        with httpx.Client(verify=str(debian.root / "fullchain.pem"), trust_env=False) as web:
            return web.get(f"https://127.0.0.1:{debian.tls_port}{path}",
                           headers={"Host": "portal.example.org", **headers})

    for path, status in (("/", 200), ("/none", 404), ("/api/v1/health/live", 200),
                         ("/api/v1/none", 404), ("/api/v1/auth/me", 401)):
        answer = tls(path)
        assert answer.status_code == status, path
        assert answer.headers.get_list("Strict-Transport-Security") == [
            "max-age=31536000; includeSubDomains"]
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers.get_list("Referrer-Policy") == [
            "no-referrer" if path.startswith("/api") else "same-origin"]
        assert len(answer.headers.get_list("Content-Security-Policy")) == 1
    allowed = tls("/api/v1/health/live", Origin="https://portal.example.org")
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://portal.example.org"

    # In the open: pages lead to https, the API says no and leads nowhere.
    page = debian.ask("portal.example.org", "/a/b?c=d")
    assert page.status_code == 301
    assert page.headers["Location"] == "https://portal.example.org/a/b?c=d"
    plain = debian.ask("portal.example.org", "/api/v1/auth/me", Authorization="Bearer x")
    assert plain.status_code == 403 and "Location" not in plain.headers
    assert plain.json()["error"]["code"] == "FORBIDDEN"

    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{debian.tls_port}",
                          "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True)
    assert old.returncode != 0
