"""Two nodes: two Apaches with the same configuration and keys, one MongoDB, one Redis. What is done
on one holds on the other: limits, sign-outs, tokens, mails; and each goes on when the other dies."""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import time

import pytest

import stored
from client import new_ip
from harness import REPO
from kit import (OTHER_PASSWORD, PASSWORD, MailServer, Person, address, check_error, in_parallel,
                 login, now_ms, once, refresh, row, rows)
from patience import wait_until
from ports import free_port
from received import token_of

mongod = stored.mongod
from redisd import Redis  # noqa: E402, beside mongod

pytestmark = [pytest.mark.skipif(mongod.LEFT_OUT, reason="left out: BIZAPI_NO_MONGO=1"),
              pytest.mark.sqlite]  # has a MongoDB of its own
MAILS, PORTION = 1000, 100
LEASE_S = 60  # OUTBOX_LEASE_SECONDS


class Nodes:
    """Several servers of one business. `conf(number)` adds what differs between them."""

    def __init__(self, make, mongo, redis, count=2, conf=lambda number: "", same_keys=True,
                 **arguments):
        self.mongo, self.redis = mongo, redis
        self.store = mongo.uri_of(f"{mongod.DATABASE}_{os.urandom(4).hex()}")
        self.all = []
        for number in range(count):
            node = make(start=False, store=self.store, **arguments,
                        conf=f"BizApiRateBackend {redis.url}\n{conf(number)}")
            if self.all and same_keys:
                copy_keys(self.all[0], node)
            node.start()
            self.all.append(node)

    def __getitem__(self, number):
        return self.all[number % len(self.all)]

    def __iter__(self):
        return iter(self.all)

    def race(self, count, method, path, **more):
        """The answers to `count` equal requests at once, in turn to each node; `more` may be a
        function of the number of the request."""
        return in_parallel(count, lambda i: once(self[i], method, path,
                                                 **(more if "of" not in more else more["of"](i))))


def copy_keys(source, target):
    """As docs/OPERATIONS.md tells an operator to."""
    target.state.mkdir(mode=0o750)
    shutil.copytree(source.state / "keys", target.state / "keys")
    (target.state / "keys").chmod(0o700)
    if os.geteuid() == 0:
        shutil.chown(target.state, "www-data", "www-data")


def both_servers():
    with mongod.Mongo() as mongo, Redis(password="s3cret-of-redis") as redis:
        yield mongo, redis


servers = pytest.fixture(both_servers, scope="module", name="servers")
own_servers = pytest.fixture(both_servers, name="own_servers")  # to be hurt


@pytest.fixture(scope="module")
def nodes(servers, module_server):
    both = Nodes(module_server, *servers, may=("BZ0301",))  # where Redis takes more than 200 ms once
    yield both
    for node in both:
        node.stop()  # before its servers go


@pytest.fixture
def more_nodes(servers, make_server):
    return lambda **arguments: Nodes(make_server, *servers, **arguments)


@pytest.fixture
def own_nodes(own_servers, make_server):
    return Nodes(make_server, *own_servers, mail=False, may=("BZ0601", "BZ0301", "BZ02", "BZ06"))


# ---- limits ----

def spent(nodes, path, ip, limit):
    """Eight clients of one address, four on each node, ask three times as often as they may; so
    many pass as may. Gives the refusals."""
    def client(number):
        api = nodes[number].api(ip=ip)
        return [api.post(path, json={}, undocumented=True) for _ in range(3 * limit // 8 + 1)]

    answers = [answer for some in in_parallel(8, client) for answer in some]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(answers) - len(refused) == limit
    return refused


@pytest.mark.parametrize("path, limit", [("/auth/login", 10), ("/portal/bookings", 60)])
def test_limits_are_exact_over_both(nodes, path, limit):
    ip = new_ip()
    refused = spent(nodes, path, ip, limit)
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
    for node in nodes:
        assert node.api(ip=ip).post(path, json={}, undocumented=True).status == 429


def test_a_restart_of_one_node_gives_nobody_more(more_nodes):
    nodes, ip = more_nodes(mail=False, may=("BZ0601",)), new_ip()
    statuses = [node.api(ip=ip).post("/auth/login", json={}).status for node in nodes for _ in "123"]
    assert 429 not in statuses
    nodes[0].stop()
    nodes[0].start()
    statuses = [nodes[i].api(ip=ip).post("/auth/login", json={}).status for i in range(8)]
    assert statuses.count(429) == 4 and statuses[:4].count(429) == 0


def is_open(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def stunnel_conf(**values):
    """The block of docs/OPERATIONS.md with other values."""
    text = (REPO / "docs/OPERATIONS.md").read_text()
    lines = [line.strip() for line in re.search(r"    \[bizapi-redis\]\n(?:    .*\n)+",
                                                text).group().splitlines()]
    return "foreground = yes\npid =\nsyslog = no\n" + "\n".join(
        f"{line.split(' = ')[0]} = {values[line.split(' = ')[0]]}"
        if line.split(" = ")[0] in values else line for line in lines)


@pytest.mark.parametrize("host", ["localhost", "redis.example.org"])
def test_tls_to_redis_by_stunnel(make_server, tmp_path, host):
    """As the page says; under another name than the certificate's nobody is talked to."""
    port, accept = free_port(), free_port()
    node = make_server(start=False, https=True, mail=False, may=("BZ0601", "BZ0301"),
                       conf=f"BizApiRateBackend redis://:s3cret-of-redis@127.0.0.1:{accept}")
    certificate = node.root / "tls.crt"
    (tmp_path / "stunnel.conf").write_text(stunnel_conf(
        accept=f"127.0.0.1:{accept}", connect=f"127.0.0.1:{port}", CAfile=certificate,
        checkHost=host))
    with Redis(password="s3cret-of-redis", options=[
            "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file",
            str(node.root / "tls.key"), "--tls-auth-clients", "no"]) as redis:
        stunnel = subprocess.Popen(["stunnel", str(tmp_path / "stunnel.conf")],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_open(accept), 10, "stunnel")
            node.start()
            # Redis is waited for 200 ms, two handshakes among them: the right one may be late once.
            for _ in range(10 if host == "localhost" else 2):
                assert node.api().post("/auth/login", json={}).status == 422
                keys = redis.do("KEYS", "bizapi:rl:*")
                if keys:
                    break
                time.sleep(0.6)
            assert bool(keys) == (host == "localhost"), keys
            assert host == "localhost" or "BZ0301" in node.log_text()
        finally:
            node.stop()
            stunnel.kill()
            stunnel.wait()


# ---- sessions and tokens ----

def test_a_sign_in_on_one_is_one_on_the_other(nodes):
    person = Person(nodes[0])
    for node in nodes:
        me = node.api().get("/auth/me", token=person.access)
        assert me.data["email"] == person.email
    nodes[1].api().patch("/auth/me", token=person.access, json={"name": "Two Nodes"})
    assert person.me().data["name"] == "Two Nodes"


@pytest.mark.parametrize("way", ["logout", "logout-all", "delete", "password"])
def test_what_ended_on_one_is_refused_by_the_other_at_once(nodes, way):
    person = Person(nodes[0])
    other = login(nodes[1].api(), person.email, PASSWORD).data
    here, there = nodes[0].api(), nodes[1].api()
    assert there.get("/auth/me", token=person.access).status == 200
    if way == "delete":
        listed = there.get("/auth/sessions", token=other["access_token"]).data
        ended = [s["id"] for s in listed if not s["current"]]
        answer = there.delete(f"/auth/sessions/{ended[0]}", token=other["access_token"])
        refusing = here
    elif way == "password":
        answer = there.post("/auth/change-password", token=other["access_token"], json={
            "current_password": PASSWORD, "new_password": OTHER_PASSWORD})
        refusing = here
    else:
        answer = here.post(f"/auth/{way}", token=person.access)
        refusing = there
    assert answer.status == 200, answer
    check_error(refusing.get("/auth/me", token=person.access), 401, "TOKEN_REVOKED")
    check_error(refresh(refusing, person.refresh_token), 401, "TOKEN_REVOKED")
    still = there.get("/auth/me", token=other["access_token"]).status
    assert still == (401 if way == "logout-all" else 200)


def test_racers_for_a_refresh_get_one_successor(nodes):
    person = Person(nodes[0])
    answers = nodes.race(40, "POST", "/auth/refresh", of=lambda _: {
        "ip": new_ip(), "json": {"refresh_token": person.refresh_token}})
    assert {a.status for a in answers} == {200}
    successors = {a.data["refresh_token"] for a in answers}
    assert len(successors) == 1 and person.refresh_token not in successors
    assert row(nodes[0], "sessions", user_id=person.document()["_id"])["generation"] == 2
    assert refresh(nodes[1].api(), successors.pop()).status == 200


@pytest.mark.bz_may("BZ0501")
def test_a_link_to_a_new_password_has_one_winner(nodes):
    person = Person(nodes[0])
    nodes[1].api().post("/auth/forgot-password", json={"email": person.email})
    token = token_of(mail_to(nodes, person.email, "new password"))
    answers = nodes.race(40, "POST", "/auth/reset-password", of=lambda i: {
        "json": {"token": token, "new_password": f"{OTHER_PASSWORD}-{i}"}})
    won = [i for i, answer in enumerate(answers) if answer.status == 200]
    assert len(won) == 1
    assert {a.status for a in answers} <= {200, 400, 503}
    for node in nodes:
        check_error(node.api().get("/auth/verify-reset-token", params={"token": token}), 400,
                    "INVALID_TOKEN")
    assert login(nodes[won[0] + 1].api(), person.email, f"{OTHER_PASSWORD}-{won[0]}").status == 200


def test_an_address_is_confirmed_once(nodes):
    person = Person(nodes[1])
    token = token_of(mail_to(nodes, person.email, "Confirm"))
    answers = nodes.race(20, "POST", "/auth/verify-email", json={"token": token})
    assert sorted(a.status for a in answers) == [200] + [400] * 19


def mail_to(nodes, to, subject):
    """From the folder of whichever node has sent it; one mail, not one of each."""
    found = wait_until(lambda: [m for node in nodes for _, m in node.mail.all(to, subject)], 15,
                       f"a mail to {to}")
    assert len(found) == 1
    return found[0]


@pytest.mark.bz_may("BZ0501", "BZ0301")  # so many hashes at once leave Redis no processor
def test_one_account_for_many_registrations(nodes):
    email = address("raced")
    body = {"email": email, "password": PASSWORD, "name": "Nora Body"}
    answers = nodes.race(24, "POST", "/auth/register", of=lambda _: {"ip": new_ip(), "json": body})
    assert {a.status for a in answers} <= {201, 503}
    assert {a.code for a in answers if a.status == 503} <= {"BUSY"}
    assert len({a.body for a in answers if a.status == 201}) == 1
    assert len(rows(nodes[0], "users", email=email)) == 1
    assert login(nodes[1].api(), email, PASSWORD).status == 200


@pytest.mark.bz_may("BZ0501")
def test_one_work_for_one_idempotency_key(nodes):
    body = {"email": address("keyed"), "password": PASSWORD, "name": "Nora Body"}
    answers = nodes.race(24, "POST", "/auth/register", of=lambda _: {
        "ip": new_ip(), "json": body, "headers": {"Idempotency-Key": f"k-{body['email']}"}})
    assert {a.status for a in answers} <= {201, 409, 503} and 201 in {a.status for a in answers}
    assert len(rows(nodes[0], "users", email=body["email"])) == 1
    assert len(rows(nodes[0], "outbox", recipient=body["email"])) == 1
    again = nodes[1].api().post("/auth/register", json=body, headers={
        "Idempotency-Key": f"k-{body['email']}"})
    assert again.status == 201 and again.headers["idempotent-replayed"] == "true"


@pytest.mark.bz("BZ0554")
def test_keys_that_differ_are_told(more_nodes):
    nodes = more_nodes(mail=False, may=("BZ0601",), same_keys=False)
    person = Person(nodes[0])
    check_error(nodes[1].api().get("/auth/me", token=person.access), 401, "UNAUTHENTICATED")
    lines = wait_until(lambda: [line for line in nodes[1].log_text().splitlines()
                                if "BZ0554" in line], 15, "the line")
    assert str(nodes[0].state) in lines[0] and str(nodes[1].state) in lines[0]


# ---- mails ----

@contextlib.contextmanager
def mail_servers(folder, count):
    """One for each node, so that it is known who sent what."""
    found = []
    for number in range(count):
        (folder / str(number)).mkdir()
        found.append(MailServer(folder / str(number)))
    yield found
    for server in found:
        server.process.kill()
        server.process.wait()


def many_notices(nodes, count):
    """Accounts, and for each of them the row of one notice, like those that a person's change of the
    password has made, in portions: the server of the tests looks at all that wait for each claim."""
    db, person = stored.mongo_of(nodes.store), Person(nodes[0])
    person.api.post("/auth/change-password", token=person.access, json={
        "current_password": PASSWORD, "new_password": OTHER_PASSWORD})
    user = db.users.find_one({"email": person.email})
    notice = db.outbox.find_one({"kind": "security_notice", "user_id": user["_id"]})
    wait_until(lambda: not db.outbox.count_documents({"state": "queued"}), 20, "the person's mails")
    emails = [address("many") for _ in range(count)]
    db.users.insert_many([{**user, "_id": f"usr_{i:026d}", "email": email, "email_typed": email,
                           "untold": None} for i, email in enumerate(emails)])
    notice.update(state="queued", tries=0, version=1, unique_key=None)
    for name in ("lease", "sent_at", "expires_at", "last_error"):
        notice.pop(name, None)
    rows_of = [{**notice, "_id": f"obx_{i:026d}", "user_id": f"usr_{i:026d}"} for i in range(count)]
    return emails, [rows_of[i:i + PORTION] for i in range(0, count, PORTION)]


@pytest.mark.bz_may("BZ0603")
def test_a_thousand_mails_each_once_though_a_node_dies(more_nodes, tmp_path):
    """Both nodes send. Then the mail server of the first one hangs, and it is killed -9 with leases
    in its hands; within a minute the second has sent what they were for too."""
    with mail_servers(tmp_path, 2) as smtp:
        nodes = more_nodes(mail=False, conf=lambda number: f"BizApiMail {smtp[number].url}")
        emails, portions = many_notices(nodes, MAILS)
        outbox = stored.mongo_of(nodes.store).outbox

        def sent(which=(0, 1)):
            return [to for number in which for event in smtp[number].events("message")
                    for to in event["to"]]

        def waiting(of={}):
            return outbox.count_documents({"state": "queued", **of})

        for number, portion in enumerate(portions):
            outbox.insert_many(portion)
            wait_until(lambda: len(sent()) >= number * PORTION + PORTION // 2, 120, "more mails")
        smtp[0].mode("hang")
        held = wait_until(lambda: [r for r in rows(nodes[1], "outbox", state="queued") if r["lease"]
                                   and r["updated_at"] < now_ms() - 1500], 20, "a lease held")
        nodes[0].kill()
        died = time.monotonic()
        assert all(r["due_at"] <= now_ms() + LEASE_S * 1000 for r in held)
        mine = {"_id": {"$in": [r["_id"] for r in held]}}
        wait_until(lambda: waiting() == waiting(mine), 120, "the end of all that nobody held")
        others_after = time.monotonic() - died
        wait_until(lambda: not waiting(), LEASE_S + 5, "the end of what the dead node held")
        replaced_after = time.monotonic() - died
        assert replaced_after <= max(others_after, LEASE_S) + 2, (others_after, replaced_after)
        by_node = [len(sent([number])) for number in (0, 1)]
        print(f"sent {by_node}, {len(held)} held by the dead node, back after {replaced_after:.1f} s")
        to_all = [to for to in sent() if to in set(emails)]
        assert sorted(to_all) == sorted(emails)
        assert min(by_node) > 0
        assert {r["state"] for r in rows(nodes[1], "outbox")} == {"sent"}


# ---- faults ----

@pytest.mark.bz("BZ0301")
def test_redis_goes_and_comes_back(own_nodes):
    """Each node counts by itself meanwhile, and no request fails for it."""
    nodes, redis, ip = own_nodes, own_nodes.redis, new_ip()

    def statuses(count):
        return [nodes[i].api(ip=ip).post("/auth/login", json={}).status for i in range(count)]

    assert statuses(6) == [422] * 6
    redis.kill()
    try:
        alone = statuses(24)
        assert [alone[i::2].count(422) for i in range(2)] == [7, 7]  # 10 on each machine
    finally:
        redis.start()
    fresh = new_ip()
    for _ in range(25):  # each worker process finds out by requests of its own, 0.5 s apart
        nodes.race(8, "POST", "/auth/login", of=lambda _: {"json": {}, "ip": new_ip()})
        time.sleep(0.1)
    assert all("BZ0303" in node.log_text() for node in nodes)
    spent(nodes, "/auth/login", fresh, 10)
    for node in nodes:
        assert node.log_text().count("BZ0301") == 1


def all_back(nodes):
    """Each worker process has found the store again."""
    for node in nodes:
        wait_until(lambda n=node: {a.status for a in in_parallel(12, lambda _: once(
            n, "GET", "/health/ready"))} == {200}, 10, "the store's return")


@pytest.mark.bz("BZ0240")
def test_the_store_goes_and_comes_back(own_nodes):
    """503 with Retry-After, at once but for one worker of each process, which finds out; what needs
    no store is served all the time; both nodes come back by themselves and have lost nothing."""
    nodes, mongo = own_nodes, own_nodes.mongo
    people = [Person(node) for node in nodes]

    def me(number):
        begin = time.monotonic()
        answer = once(nodes[number], "GET", "/auth/me", token=people[0].access)
        check_error(answer, 503, "STORE_UNAVAILABLE")
        return time.monotonic() - begin

    mongo.kill()
    try:
        assert max(in_parallel(8, me)) < 5  # the first ones, until it is known
        for node in nodes:
            assert node.api().get("/health/live").status == 200
            assert node.api().get("/integrations/status").status == 200
            assert node.api().page("/").status < 500
        for _ in range(3):  # a machine that stalls does so once, a mistake of ours each time
            begin = time.monotonic()
            took = in_parallel(40, me)
            tries = 1 + (time.monotonic() - begin) / 1.5  # each waits so long for a server
            waited = sum(each > 1 for each in took)
            if waited <= tries * sum(len(n.children()) for n in nodes):
                break
        else:
            raise AssertionError(took)
    finally:
        mongo.start()
    all_back(nodes)
    for person in people:
        assert login(nodes[1].api(), person.email, PASSWORD).status == 200
    assert Person(nodes[0]).me().status == 200


@pytest.mark.bz("BZ0240")
def test_a_node_that_starts_without_the_store(own_servers, make_server):
    """It starts, serves what needs none, and finds the store when it is there."""
    mongo, redis = own_servers
    mongo.kill()
    try:
        node = make_server(store=mongo.uri_of(f"{mongod.DATABASE}_late"), mail=False,
                           may=("BZ0601", "BZ02"), conf=f"BizApiRateBackend {redis.url}")
        check_error(node.api().get("/health/ready"), 503, "STORE_UNAVAILABLE")
        assert node.api().get("/integrations/status").status == 200
    finally:
        mongo.start()
    all_back([node])
    assert Person(node).me().status == 200
