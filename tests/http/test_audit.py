"""The audit log as its readers meet it: their own events, the admin's list, the operator's verify and
export, the line for fail2ban. The chain itself: tests/conformance/test_store_audit.c."""
import configparser
import csv
import io
import json
import os
import re
import shutil
import subprocess

import pytest

from client import new_ip
from harness import BUILD, REPO
from kit import (OTHER_PASSWORD, PASSWORD, Admin, Person, address, change, check_error, login,
                 refusing, row, rows)
from patience import wait_until

FILTER = REPO / "conf/fail2ban/filter.conf"


def events(person, **query):
    """All events of GET /auth/events, oldest first, over its pages."""
    found, cursor = [], None
    while True:
        page = person.api.get("/auth/events", token=person.access,
                              params={**query, **({"cursor": cursor} if cursor else {})})
        assert page.status == 200, page
        found += page.data
        cursor = page.json["pagination"]["next_cursor"]
        if not cursor:
            return found[::-1]


def names(found):
    return [e["event"] for e in found]


@pytest.fixture(scope="module")
def admin(server):
    return Admin(server)


def search(admin, **query):
    answer = admin.api.get("/admin/audit", token=admin.access, params=query)
    assert answer.status == 200, answer
    return answer.data


def test_what_happens_to_an_account_is_its_owners_to_see(server):
    person = Person(server)
    ip = new_ip()
    person.api.post("/auth/login", ip=ip, headers={"User-Agent": "Guess/1"},
                    json={"email": person.email, "password": "wrong-wrong"})
    person.api.patch("/auth/me", token=person.access, json={"name": "New Name"})
    assert person.api.post("/auth/change-password", token=person.access, json={
        "current_password": "wrong-wrong", "new_password": OTHER_PASSWORD}).status == 401
    assert person.api.post("/auth/change-password", token=person.access, json={
        "current_password": PASSWORD, "new_password": OTHER_PASSWORD}).status == 200
    found = events(person)
    assert names(found) == ["user_created", "authn_login_success", "authn_login_fail",
                            "user_updated", "authn_password_change_fail", "authn_password_change"]
    failure = found[2]
    assert failure["address"] == ip and failure["device"] == "Guess/1"
    assert failure["by_staff"] is False
    person.api.post("/auth/logout", token=person.access)
    person.login(OTHER_PASSWORD)
    person.api.post("/auth/logout-all", token=person.access)
    person.login(OTHER_PASSWORD)
    assert names(events(person))[6:] == ["session_ended", "authn_login_success", "session_ended",
                                         "authn_login_success"]


def test_events_of_others_are_not_shown(server):
    one, two = Person(server), Person(server)
    one.api.patch("/auth/me", token=one.access, json={"name": "New Name"})
    assert "user_updated" not in names(events(two))
    assert len(events(one, limit=1)) == len(events(one)) == 3


def test_a_refusal_is_an_event(server, admin):
    person = Person(server)
    check_error(person.api.get("/admin/audit", token=person.access), 403, "FORBIDDEN")
    refused = search(admin, event="authz_fail", user_id=person.tokens["user"]["id"])
    assert len(refused) == 1
    assert refused[0]["details"] == {"method": "GET", "path": "/api/v1/admin/audit"}
    assert names(events(person))[-1] == "authz_fail"


def test_no_act_of_an_admin_is_without_a_row(server):
    """What the handler has no name for is there by its route; what it has one for, once."""
    admin, person = Admin(server), Person(server)
    me, user = admin.tokens["user"]["id"], person.tokens["user"]["id"]

    def acts(method, path, **more):
        before = len(rows(server, "audit_log", actor_id=me))
        answer = admin.api.request(method, path, token=admin.access, **more)
        return answer, [(r["event"], r["details"]) for r in rows(
            server, "audit_log", actor_id=me)[before:]]

    answer, noted = acts("POST", "/admin/email-templates/invoice_sent/test",
                         json={"to": "somebody@people.test"})
    assert answer.status == 200 and [name for name, _ in noted] == ["staff_act"]
    assert json.loads(noted[0][1]) == {
        "method": "POST", "path": "/api/v1/admin/email-templates/invoice_sent/test"}
    answer, noted = acts("POST", "/integrations/stripe/test")
    assert answer.status == 200 and [name for name, _ in noted] == ["staff_act"]
    for method, path, more, names_ in (
            ("PATCH", f"/admin/users/{user}", {"json": {"name": "Other"}}, ["user_updated"]),
            ("POST", f"/admin/users/{user}/unlock", {}, ["authn_login_unlock"]),
            ("DELETE", f"/admin/users/{user}", {}, ["user_disabled", "user_deleted"])):
        answer, noted = acts(method, path, **more)
        assert answer.status == 200 and [name for name, _ in noted] == names_
    # Looking, and what was refused, is no act.
    assert acts("GET", f"/admin/users/{me}")[1] == []
    answer, noted = acts("POST", "/admin/users/usr_none/unlock")
    assert answer.status == 404 and noted == []


def test_an_admin_filters_the_log(server, admin):
    person, ip = Person(server), new_ip()
    user = person.tokens["user"]["id"]
    for email in (person.email, address("nobody")):
        person.api.post("/auth/login", ip=ip, json={"email": email, "password": "wrong-wrong"})
    by_ip = search(admin, address=ip)
    assert [e["user_id"] for e in by_ip] == [None, user]
    assert {e["event"] for e in by_ip} == {"authn_login_fail"}
    assert names(search(admin, user_id=user))[::-1] == [
        "user_created", "authn_login_success", "authn_login_fail"]
    assert len(search(admin, user_id=user, event="authn_login_fail", address=ip)) == 1
    last = by_ip[0]
    assert last["request_id"] and last["seq"] > by_ip[1]["seq"]
    assert search(admin, address=ip, **{"from": "2099-01-01T00:00:00Z"}) == []
    assert len(search(admin, address=ip, **{"from": last["at"]})) >= 1
    assert search(admin, address=ip, to="2020-01-01T00:00:00Z") == []
    answer = admin.api.get("/admin/audit", token=admin.access, params={"from": "yesterday"})
    check_error(answer, 422, "VALIDATION_FAILED", "from")


def test_no_address_and_no_secret_is_in_a_row(server):
    person = Person(server)
    email = address("secretive")
    person.api.post("/auth/login", ip=new_ip(), json={"email": email, "password": "guess-guess-1"})
    text = json.dumps(rows(server, "audit_log"))
    assert "s***@people.test" in text
    for secret in (email, person.email, PASSWORD, "guess-guess-1", person.refresh_token,
                   person.access):
        assert secret not in text


def test_a_sign_up_of_a_taken_address_leaves_the_same_trace(server):
    person = Person(server)
    before = len(rows(server, "audit_log"))
    for email in (address("fresh"), person.email):
        assert person.api.post("/auth/register", ip=new_ip(), json={
            "email": email, "password": PASSWORD, "name": "N"}).status == 201
    assert [r["event"] for r in rows(server, "audit_log")[before:]] == [
        "user_created", "user_create_fail"]


# ---- the operator ----

def test_verify_finds_what_was_done_behind_the_servers_back(server):
    Person(server)
    whole = server.ctl("audit", "verify").stdout
    end = re.fullmatch(r"whole: (\d+) rows, the last is (\d+:[0-9a-f]{64})\n", whole)
    assert end, whole
    Person(server)
    assert server.ctl("audit", "verify", "--expect", end.group(2)).stdout.startswith("whole: ")
    victim = rows(server, "audit_log")[-2]
    change(server, "audit_log", {"_id": victim["_id"]}, event="user_updated")
    done = server.ctl("audit", "verify", check=False)
    assert done.returncode == 1 and f"row {victim['seq']} " in done.stderr
    found = json.loads(server.ctl("--json", "audit", "verify", check=False).stdout)
    assert found["whole"] is False and f"row {victim['seq']} " in found["wrong"]
    change(server, "audit_log", {"_id": victim["_id"]}, event=victim["event"])
    server.ctl("audit", "verify")
    done = server.ctl("audit", "verify", "--expect", f"{victim['seq']}:{'0' * 64}", check=False)
    assert done.returncode == 1 and "earlier report" in done.stderr


def test_the_operators_acts_are_in_the_log(server, admin):
    email = address("byop")
    server.add_user(email, PASSWORD, "staff")
    user = row(server, "users", email=email)["_id"]
    server.ctl("user", "set-role", email, "customer")
    server.ctl("user", "disable", email)
    server.ctl("user", "enable", user)
    found = search(admin, user_id=user)
    assert names(found)[::-1] == ["user_created", "authz_change", "user_disabled", "user_enabled"]
    assert {e["actor_id"] for e in found} == {"operator"}
    assert found[-1]["details"]["role"] == "staff" and found[-1]["details"]["os_user"]


def test_export_is_json_lines_or_csv(server):
    person = Person(server)
    person.api.post("/auth/login", ip=new_ip(), headers={"User-Agent": '=HYPERLINK("http://x")'},
                    json={"email": person.email, "password": "wrong-wrong"})
    user = person.tokens["user"]["id"]
    lines = [json.loads(x) for x in server.ctl("audit", "export").stdout.splitlines()]
    assert [x["seq"] for x in lines] == list(range(1, lines[-1]["seq"] + 1))
    assert all(len(x["mac"]) == 64 for x in lines)
    text = server.ctl("audit", "export", "--format", "csv", "--user", user).stdout
    cells = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [c["event"] for c in cells] == ["user_created", "authn_login_success",
                                           "authn_login_fail"]
    assert cells[-1]["device"] == "'=HYPERLINK(\"http://x\")"
    assert cells[-1]["user_id"] == user and cells[-1]["actor_id"] == ""
    only = server.ctl("audit", "export", "--event", "sensitive_read").stdout.splitlines()
    assert len(only) == 3  # the two above, and this one
    assert server.ctl("audit", "export", "--to", "2020-01-01T00:00:00Z").stdout == ""
    for wrong in (["--format", "xml"], ["--from", "today"], ["--user", "me"]):
        assert server.ctl("audit", "export", *wrong, check=False).returncode == 2


# ---- retention ----

def test_old_rows_go_and_the_log_stays_whole(make_server):
    server = make_server(conf="BizApiAuditRetention 1", start=False)
    ctl = [BUILD / "bizapictl", "-s", server.store, "--state-dir", server.state, "user", "add",
           "--name", "Old", "--password-stdin"]
    server.state.mkdir()
    # faketime's library comes before a sanitizer's.
    env = {**server.env, "LD_PRELOAD": "",
           "ASAN_OPTIONS": server.env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
    for number in range(3):
        done = subprocess.run(["faketime", "-f", "-2d", *map(str, ctl), f"old{number}@people.test"],
                              input=PASSWORD + "\n", text=True, capture_output=True, env=env)
        assert done.returncode == 0, done.stderr
    assert server.ctl("audit", "verify").stdout.startswith("whole: 3 rows")
    if os.geteuid() == 0:
        for file in (server.state, *server.state.glob("bizapi.db*")):
            shutil.chown(file, "www-data", "www-data")
    server.start()
    wait_until(lambda: len(rows(server, "audit_log")) == 1, 30, "the sweep")
    Person(server)
    assert server.ctl("audit", "verify").stdout.startswith("whole: 3 rows")
    assert rows(server, "audit_log")[0]["seq"] == 3  # the last of the old ones holds the chain


# ---- no answer without its row ----

@pytest.mark.sqlite
@pytest.mark.bz("BZ0570")
@pytest.mark.bz_may("BZ0212", "BZ0213", "BZ0202", "BZ0201")
def test_a_sign_in_that_cannot_be_written_down_is_refused(make_server):
    server = make_server()
    person = Person(server)
    with refusing(server, "INSERT ON audit_log"):
        answer = login(person.api, person.email, PASSWORD)
        check_error(answer, 503, "STORE_UNAVAILABLE")
        assert "access_token" not in answer.body.decode()
        # A change has its row in itself, until the log takes it.
        answer = person.api.patch("/auth/me", token=person.access, json={"name": "Other"})
        assert answer.status == 200
        assert "user_updated" not in [r["event"] for r in rows(server, "audit_log")]
    wait_until(lambda: login(person.api, person.email, PASSWORD).status == 200)
    wait_until(lambda: [r["event"] for r in rows(server, "audit_log")].count("user_updated") == 1)
    server.ctl("audit", "verify")


@pytest.mark.sqlite
@pytest.mark.bz("BZ0570")
@pytest.mark.bz_may("BZ0212", "BZ0213", "BZ0202", "BZ0201")
def test_without_the_log_changes_are_done_and_no_answer_tells_of_an_address(make_server):
    server = make_server()
    admin, person = Admin(server), Person(server)
    user, new = person.tokens["user"]["id"], address("new")
    with refusing(server, "INSERT ON audit_log"):
        answer = admin.api.post(f"/admin/users/{user}/unlock", token=admin.access)
        assert answer.status == 200, answer
        for command in ("unlock", "reset-mfa"):
            server.ctl("user", command, person.email)
        server.ctl("user", "set-role", person.email, "staff")
        for email in (person.email, new):
            check_error(person.api.post("/auth/register", ip=new_ip(), json={
                "email": email, "password": PASSWORD, "name": "Nora"}), 503, "STORE_UNAVAILABLE")
    told = ["authn_login_unlock", "authn_login_unlock", "authn_factors_removed", "authz_change"]
    wait_until(lambda: [r["event"] for r in rows(server, "audit_log", user_id=user)][-4:] == told)
    assert person.api.post("/auth/register", ip=new_ip(), json={
        "email": new, "password": PASSWORD, "name": "Nora"}).status == 201
    wait_until(lambda: row(server, "users", email=new)["untold"] is None)


# ---- fail2ban ----

def failregex():
    """The filter's expression as fail2ban makes it: its tag by an address, after the date."""
    parser = configparser.RawConfigParser()
    parser.read(FILTER)
    return re.compile(parser["Definition"]["failregex"].replace(
        "<ADDR>", r"(?P<ip>[0-9a-fA-F.:]+)"))


def without_date(line):
    return re.sub(r"^\[\w+ \w+ \d+ [\d:.]+ \d+\]", "", line)


def test_the_filter_for_fail2ban_finds_refused_sign_ins_and_nothing_else(server, api):
    person, ip, six = Person(server), new_ip(), "2001:db8::77"
    before = len(server.log_text())
    for where in (ip, six):
        api.post("/auth/login", ip=where, json={"email": person.email, "password": "wrong-wrong"})
    # Somebody who wants a stranger banned.
    forged = "BZ0505: sign-in refused from 203.0.113.9 for a"
    api.post("/auth/login", ip=ip, headers={"Referer": f"http://x/] {forged}", "User-Agent": forged},
             json={"email": "x@people.test", "password": "wrong-wrong"})
    login(api, person.email, PASSWORD, headers={"Referer": forged})
    new = server.log_text()[before:].splitlines()
    found = [m.group("ip") for m in map(failregex().match, map(without_date, new)) if m]
    assert found == [ip, six, ip], new
    tool = shutil.which("fail2ban-regex")
    if tool is None:
        print("fail2ban is not installed: its own tool has not read the filter")
        return
    log = server.root / "fail2ban.log"
    log.write_text("\n".join(new) + "\n")
    done = subprocess.run([tool, "--print-all-matched", str(log), str(FILTER)],
                          capture_output=True, text=True)
    assert re.search(r"Lines: \d+ lines, \d+ ignored, 3 matched", done.stdout), done.stdout
