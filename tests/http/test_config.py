"""What an operator configures around the directives: the external services and their status, state
directories, two hosts on one store, templates, and restarts with a configuration that is broken.
What each directive takes and refuses is in test_directives.py."""
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time

import pytest

from client import new_ip
from harness import REPO
from kit import Person, check_error, login
from patience import wait_until

# The owner's table: the variables of each service, and what happens without it.
SERVICES = {
    "stripe": (["STRIPE_SECRET_KEY", "STRIPE_PUBLISHABLE_KEY"],
               'Returns 503 with "Payments unavailable" message'),
    "twilio": (["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"],
               "SMS features disabled, no errors"),
    "sendgrid": (["SENDGRID_API_KEY"], "Email skipped with warning log"),
    "google_maps": (["GOOGLE_MAPS_API_KEY"], "Falls back to OSRM public API"),
    "openweather": (["OPENWEATHER_API_KEY"], "Weather features disabled"),
    "elevenlabs": (["ELEVENLABS_API_KEY"], "Voice AI disabled"),
    "firebase": (["FIREBASE_CREDENTIALS_PATH"], "Push notifications disabled"),
}
ACCOUNT = {"type": "service_account", "project_id": "p", "client_email": "a@b.test",
           "private_key": "-----BEGIN PRIVATE KEY-----\nMARKERKEY\n-----END PRIVATE KEY-----\n",
           "token_uri": "https://oauth2.example.test/token"}
PHONE = "+4930123456"


def good_value(variable, folder):
    if variable == "FIREBASE_CREDENTIALS_PATH":
        path = folder / "firebase.json"
        path.write_text(json.dumps(ACCOUNT))
        path.chmod(0o600)
        return str(path)
    return PHONE if variable == "TWILIO_PHONE_NUMBER" else f"marker-{variable.lower()}-value"


def status_of(server):
    answer = server.api().get("/integrations/status")
    assert answer.status == 200
    return answer


# ---- the status of the seven services ----

def test_nothing_is_configured(make_server):
    answer = status_of(make_server())
    assert answer.json == {"success": True, "data": {
        "services": {name: {"configured": False, "status": "unconfigured", "fallback": fallback}
                     for name, (_, fallback) in SERVICES.items()},
        "summary": {"configured": 0, "total": 7}}}


def test_all_is_configured_and_nothing_is_told(make_server, tmp_path):
    env = {v: good_value(v, tmp_path) for variables, _ in SERVICES.values() for v in variables}
    tmp_path.chmod(0o755)
    answer = status_of(make_server(env=env))
    assert answer.data["summary"] == {"configured": 7, "total": 7}
    for name, (_, fallback) in SERVICES.items():
        assert answer.data["services"][name] == {
            "configured": True, "status": "ok", "fallback": fallback}
    for value in (*env.values(), "marker", "MARKERKEY", "a@b.test"):
        assert value not in answer.text


@pytest.mark.parametrize("name", SERVICES)
def test_one_is_configured(make_server, tmp_path, name):
    env = {v: good_value(v, tmp_path) for v in SERVICES[name][0]}
    answer = status_of(make_server(env=env))
    assert answer.data["summary"]["configured"] == 1
    configured = [n for n, s in answer.data["services"].items() if s["configured"]]
    assert configured == [name]


@pytest.mark.bz("BZ1003")
@pytest.mark.parametrize("name, left", [(n, v) for n, (vs, _) in SERVICES.items() if len(vs) > 1
                                        for v in vs])
def test_a_part_is_missing(make_server, tmp_path, name, left):
    """Set but for one variable (left out, or empty): misconfigured, and the log names it."""
    env = {v: good_value(v, tmp_path) for v in SERVICES[name][0] if v != left}
    server = make_server(env={**env, left: ""})
    service = status_of(server).data["services"][name]
    assert (service["configured"], service["status"]) == (False, "misconfigured")
    assert f"missing, while others of {name} are set: {left}\n" in server.log_text()
    assert not [v for v in env.values() if v != PHONE and v in server.log_text()]


@pytest.mark.bz("BZ1003")
@pytest.mark.parametrize("variable, value", [
    ("TWILIO_PHONE_NUMBER", "030 123456"), ("TWILIO_PHONE_NUMBER", "+0123456789"),
    ("STRIPE_SECRET_KEY", "two words"), ("OPENWEATHER_API_KEY", "tab\tin it"),
    ("SENDGRID_API_KEY", "kéy-with-accent"), ("FIREBASE_CREDENTIALS_PATH", "/nowhere/at/all.json"),
    ("FIREBASE_CREDENTIALS_PATH", "/etc/hostname"), ("FIREBASE_CREDENTIALS_PATH", "/etc")])
def test_a_value_that_cannot_be(make_server, tmp_path, variable, value):
    name = next(n for n, (vs, _) in SERVICES.items() if variable in vs)
    env = {v: good_value(v, tmp_path) for v in SERVICES[name][0]}
    server = make_server(env={**env, variable: value}, mail=variable != "SENDGRID_API_KEY")
    assert status_of(server).data["services"][name]["status"] == "misconfigured"
    assert variable in server.log_text()


@pytest.mark.bz("BZ1003")
@pytest.mark.parametrize("missing", ["project_id", "client_email", "private_key", "token_uri"])
def test_firebase_credentials_that_lack_something(make_server, tmp_path, missing):
    path = tmp_path / "firebase.json"
    path.write_text(json.dumps({k: v for k, v in ACCOUNT.items() if k != missing}))
    path.chmod(0o600)
    server = make_server(env={"FIREBASE_CREDENTIALS_PATH": str(path)})
    assert status_of(server).data["services"]["firebase"]["status"] == "misconfigured"
    assert missing in server.log_text() and "MARKERKEY" not in server.log_text()


def test_empty_variables_are_none(make_server):
    env = {v: "" for variables, _ in SERVICES.values() for v in variables}
    assert status_of(make_server(env=env)).data["summary"]["configured"] == 0


def test_firebase_credentials_may_be_for_root_alone(make_server, tmp_path):
    """They are read before the workers give up root."""
    path = tmp_path / "firebase.json"
    path.write_text(json.dumps(ACCOUNT))
    path.chmod(0o600)
    server = make_server(env={"FIREBASE_CREDENTIALS_PATH": str(path)})
    assert status_of(server).data["services"]["firebase"]["status"] == "ok"


@pytest.mark.bz("BZ1003")
def test_firebase_credentials_that_everybody_may_read_are_refused(make_server, tmp_path):
    path = tmp_path / "firebase.json"
    path.write_text(json.dumps(ACCOUNT))
    path.chmod(0o644)
    server = make_server(env={"FIREBASE_CREDENTIALS_PATH": str(path)})
    assert status_of(server).data["services"]["firebase"]["status"] == "misconfigured"
    assert f"its file may be read by everybody; chmod 600 it; it is {path}\n" in server.log_text()


@pytest.mark.parametrize("what", ["BizApiSecret", "FIREBASE_CREDENTIALS_PATH", "BizApiStateDir"])
def test_no_secret_lies_where_files_are_served_from(make_server, what):
    """Not by way of a link either."""
    server = make_server(start=False)
    file = server.root / "htdocs/below/firebase.json"
    file.parent.mkdir()
    file.write_text(json.dumps(ACCOUNT))
    file.chmod(0o600)
    link = server.root / "elsewhere"
    link.symlink_to(file)
    if what == "FIREBASE_CREDENTIALS_PATH":
        server.env[what] = str(link)
    else:
        server.write_conf(f"BizApiSecret TWILIO_AUTH_TOKEN file:{link}" if what == "BizApiSecret"
                          else f"BizApiStateDir {server.root}/htdocs/state")
    refused(server, "BZ1002", what, "can be fetched by everybody", f"DocumentRoot {server.root}/htdocs")


@pytest.mark.bz("BZ1013")
def test_a_webhook_key_that_is_none_is_told_at_the_start(make_server):
    server = make_server(env={"SENDGRID_API_KEY": "SG.marker-key",
                              "SENDGRID_WEBHOOK_PUBLIC_KEY": "MFkwAAAA-marker"})
    assert status_of(server).data["services"]["sendgrid"]["status"] == "ok"
    code, output = server.configtest()
    assert code == 0 and "SENDGRID_WEBHOOK_PUBLIC_KEY is no public key" in output
    assert "MFkwAAAA" not in output


def test_the_status_calls_nobody(make_server, tmp_path):
    """Every provider's address leads to a port where a call would be seen; none comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        env = {v: good_value(v, tmp_path) for vs, _ in SERVICES.values() for v in vs}
        conf = "\n".join(f"BizApiProviderURL {name} {url}" for name in SERVICES)
        server = make_server(env=env, conf=conf)
        begin = time.monotonic()
        for _ in range(20):
            assert status_of(server).data["summary"]["configured"] == 7
        assert time.monotonic() - begin < 5
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_the_status_needs_no_store(make_server):
    server = make_server(start=False, mail=False, may=("BZ0204", "BZ06"))
    server.write_conf(f"BizApiStore sqlite:{server.root}/none/bizapi.db")
    server.start()
    assert status_of(server).data["summary"]["total"] == 7
    check_error(server.api().get("/health/ready"), 503, "STORE_UNAVAILABLE")


# ---- state directories and stores ----

def refused(server, *words):
    """The start and `apachectl -t` refuse, in these words."""
    code, output = server.configtest()
    assert code != 0, output
    for word in words:
        assert word in output, (word, output)
    return output


def test_the_state_directory_is_made_and_is_closed_to_others(make_server):
    server = make_server()
    Person(server)
    mode = stat.S_IMODE(os.stat(server.state).st_mode)
    assert mode & 0o007 == 0
    for path in (server.state / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_uid == os.geteuid()
    assert stat.S_IMODE((server.state / "keys").stat().st_mode) == 0o700
    for path in server.state.glob("bizapi.db*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


@pytest.mark.parametrize("place", ["/dev/shm", "/var/tmp"])
def test_a_state_directory_in_memory_is_told(make_server, place):
    kind = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory(dir=place) as folder:
        os.chmod(folder, 0o755)
        server = make_server(start=False)
        server.write_conf(f"BizApiStateDir {folder}/state")
        server.start()
        told = [line for line in server.log_text().splitlines() if "BZ1004" in line]
        assert len(told) == (kind.strip() == "tmpfs") and all(folder in line for line in told)
        server.stop()


def test_a_configuration_test_touches_nothing(make_server):
    server = make_server(start=False)
    assert server.configtest()[0] == 0
    assert not server.state.exists()
    assert not list((server.root / "mail").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts as somebody else than the workers")
def test_a_state_directory_that_the_workers_cannot_reach(make_server):
    server = make_server(start=False)
    closed = server.root / "closed"
    closed.mkdir(mode=0o700)
    server.write_conf(f"BizApiStateDir {closed}/state")
    refused(server, "BZ1002", "BizApiStateDir", f"{closed}/state", str(closed), "www-data")


@pytest.mark.parametrize("place", ["file", "below a file"])
def test_a_state_directory_that_cannot_be(make_server, place):
    server = make_server(start=False)
    (server.root / "plain").write_text("x")
    path = f"{server.root}/plain" + ("/state" if place == "below a file" else "")
    server.write_conf(f"BizApiStateDir {path}")
    refused(server, "BZ1002", "BizApiStateDir", path, "not a directory")


@pytest.mark.bz("BZ1002", "AH00020")
@pytest.mark.parametrize("name", ["voice", "mails"])
def test_a_link_in_the_state_directory_is_not_followed(make_server, name):
    """It may be the workers', and root would give away what it leads to."""
    server = make_server(start=False, mail=False, env={"ELEVENLABS_API_KEY": "e" * 32})
    server.write_conf(f"BizApiMail file:{server.state}/mails")
    target = server.root / "elsewhere"
    target.mkdir()
    server.state.mkdir()
    (server.state / name).symlink_to(target)
    if os.geteuid() == 0:
        shutil.chown(server.state, "www-data")
    server.start(wait=False)
    wait_until(lambda: "BZ1002" in server.log_text() + server.stderr(), 10, "the refusal")
    said = server.log_text() + server.stderr()
    assert f"{server.state}/{name}" in said and "is a symbolic link" in said
    assert target.stat().st_uid == os.geteuid()


def test_two_virtual_hosts_on_one_store(make_server):
    vhosts = {"one.test": "BizApiMail off", "two.test": "BizApiBusiness name Two"}
    server = make_server(start=False, vhosts=vhosts)
    refused(server, "BZ1002", "BizApiStore", "one.test", "two.test", "BizApiStateDir")
    server.vhosts = {name: f"{conf}\nBizApiStateDir {name}" for name, conf in vhosts.items()}
    server.write_conf()
    assert server.configtest()[0] == 0


def test_the_same_host_on_two_ports_is_one_business(make_server):
    server = make_server(start=False, mail=False, https=True, may=("BZ0601",))
    server.vhosts = {}
    path = server.root / "conf/httpd.conf"
    text = path.read_text().replace("    SSLEngine on", "    BizApiMail off\n    SSLEngine on")
    path.write_text(text.replace("    ServerAlias 127.0.0.1\n",
                                 "    ServerAlias 127.0.0.1\n    BizApiMail off\n", 1))
    assert server.configtest()[0] == 0, server.configtest()
    server.start()
    person = Person(server)
    assert server.api(https=True).get("/auth/me", token=person.access).status == 200


def test_the_data_of_virtual_hosts_is_walled(make_server):
    server = make_server(mail=False, may=("BZ0601",), vhosts={
        "one.test": "BizApiStateDir one\nBizApiMail off",
        "two.test": "BizApiStateDir two\nBizApiMail off"})
    one, two = server.api(host="one.test"), server.api(host="two.test")
    person = Person(server, api=one)
    assert login(two, person.email, person.password).status == 401
    assert two.get("/auth/me", token=person.access).status == 401
    assert person.me().status == 200
    assert {p.name for p in server.root.glob("*/bizapi.db")} == {"bizapi.db"}
    assert (server.root / "one/bizapi.db").exists() and (server.root / "two/bizapi.db").exists()


@pytest.mark.bz_may("BZ1005", "AH00020", "AH00016")
def test_keys_that_others_may_read_are_refused(make_server):
    server = make_server()
    server.stop()
    key = next((server.state / "keys").glob("jwt-*.json"))
    key.chmod(0o644)
    server.start(wait=False)
    assert server.process.wait(20) != 0
    assert "BZ1005" in server.stderr() + server.log_text() and key.name in server.log_text() + \
        server.stderr()


# ---- templates ----

@pytest.fixture
def templates(tmp_path):
    """A copy of the shipped templates that a test may break."""
    folder = tmp_path / "mail"
    shutil.copytree(REPO / "conf/mail", folder)
    for path in (tmp_path.parent, tmp_path, folder):
        path.chmod(0o755)
    return folder


def use(server, folder):
    server.write_conf(f"BizApiMailTemplates {folder}")


@pytest.mark.parametrize("change, words", [
    (("password_reset.txt", "{{>title}}", "{{>title}"), ("password_reset.txt:1:",)),
    (("password_reset.txt", "{{/user_name}}", ""), ("password_reset.txt:3:",)),
    (("password_reset.html", "{{link_url}}", "{{{link_url}}}"), ("password_reset.html:",)),
    (("layout.html", "{{{content}}}", ""), ("layout.html",)),
    (("texts.de.ini", "title = Neues", "titel = Neues"), ("password_reset.txt:1:", "title")),
    (("texts.ar.ini", "[common]", "[common"), ("texts.ar.ini:3:", "section")),
    (("texts.en.ini", "\nbutton = Confirm", "\nbutton Confirm"), ("texts.en.ini:",)),
])
def test_a_broken_template_is_named_with_its_line(make_server, templates, change, words):
    name, old, new = change
    path = templates / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    server = make_server(start=False)
    use(server, templates)
    refused(server, "BizApiMailTemplates", str(templates), *words)


@pytest.mark.parametrize("name, text, mark", [
    ("verify_email.txt", "{{user_nmae}}", "user_nmae"),
    ("password_reset.html", "{{valid_hours}}", "valid_hours"),
    ("password_reset.txt", "from {{ip}}", "ip"),
    ("security_notice.txt", "{{detail}}", "detail"),
    ("layout.txt", "{{business_phone}}", "business_phone"),
])
def test_a_template_that_asks_for_what_it_will_not_get(make_server, templates, name, text, mark):
    """A value that is never there, or not always and without a section around it."""
    path = templates / name
    path.write_text(path.read_text().rstrip() + f"\n{text}\n")
    server = make_server(start=False)
    use(server, templates)
    refused(server, "BizApiMailTemplates", f"{path.name}:", mark)


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_text_that_asks_for_what_it_will_not_get(make_server, templates, tmp_path, language):
    """It is named with the file and line of the operator's own folder."""
    own = tmp_path / "own"
    own.mkdir(mode=0o755)
    (own / f"texts.{language}.ini").write_text("[verify_email]\ntitle = {{valid_minutes}}\n")
    server = make_server(start=False)
    server.write_conf(f"BizApiMailTemplates {templates}\nBizApiMailOverrides {own}")
    refused(server, "BizApiMailOverrides", f"texts.{language}.ini:2:", "valid_minutes")


@pytest.mark.parametrize("names", [["password_reset.txt"], ["password_reset.html"], ["layout.txt"],
                                   ["verify_email.txt", "verify_email.html"], ["texts.en.ini"],
                                   ["layout.txt", "layout.html"]])
def test_a_missing_template_is_named(make_server, templates, names):
    for name in names:
        (templates / name).unlink()
    server = make_server(start=False)
    use(server, templates)
    refused(server, "BizApiMailTemplates", str(templates), names[0].split(".", maxsplit=1)[0],
            "missing")


def test_a_folder_of_templates_that_is_not_there(make_server):
    server = make_server(start=False)
    server.write_conf("BizApiMailTemplates /nowhere/mail")
    refused(server, "BizApiMailTemplates", "/nowhere/mail")


def test_graceful_takes_changed_templates(make_server, templates, tmp_path):
    server = make_server(start=False)
    use(server, templates)
    server.start()
    person = Person(server, sign_in=False)
    assert "Confirm" in server.mail.wait(person.email)["Subject"]
    own = tmp_path / "own"
    own.mkdir(mode=0o755)
    (own / "texts.en.ini").write_text("[verify_email]\nsubject = Please confirm, {{business_name}}\n")
    server.write_conf(f"BizApiMailTemplates {templates}\nBizApiMailOverrides {own}")
    server.graceful()
    person = Person(server, api=server.api(), sign_in=False)
    assert server.mail.wait(person.email)["Subject"].startswith("Please confirm")


# ---- restarts with a broken configuration ----

def serves(server, person):
    api = server.api()
    return (api.get("/health/live").status, api.get("/auth/me", token=person.access).status) == \
        (200, 200)


@pytest.mark.parametrize("conf", ["BizApiMaxBody 64k", "BizApiFrontendURL nonsense",
                                  "BizApiStateDir {root}/conf/httpd.conf", "Nonsense on",
                                  "BizApiMailTemplates /nowhere"])
def test_graceful_with_a_broken_configuration(make_server, conf):
    """`apachectl graceful` tests first, and leaves the server alone."""
    server = make_server()
    person = Person(server)
    good, children = server.conf, set(server.children())
    server.write_conf(conf.format(root=server.root))
    code, output = server.configtest()
    assert code != 0 and conf.split(" ", maxsplit=1)[0] in output
    assert serves(server, person) and set(server.children()) == children
    server.write_conf(good)
    server.graceful()
    assert serves(server, person)


def test_broken_templates_at_a_graceful_keep_the_old_server(make_server, templates):
    server = make_server(start=False)
    use(server, templates)
    server.start()
    person = Person(server)
    path = templates / "password_reset.txt"
    good = path.read_text()
    path.write_text(good.replace("{{link_url}}", "{{link_url"))
    code, output = server.configtest()
    assert code != 0 and "password_reset.txt:" in output
    assert serves(server, person)
    person.api.post("/auth/forgot-password", ip=new_ip(), json={"email": person.email})
    assert "#token=" in server.mail.wait(person.email, "new password").as_string()
    path.write_text(good)
    server.graceful()
    assert serves(server, person)


def test_every_variable_of_the_status_is_in_env_example():
    text = (REPO / "conf/env.example").read_text()
    assert not [v for vs, _ in SERVICES.values() for v in vs if v not in text]
