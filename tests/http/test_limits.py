"""The limits of the owner's table: exact counts over processes, connections, protocols and a
graceful restart, by address, path and virtual host, and what a refusal looks like.

Most requests here are a POST of {} to /auth/login: 422 where it is let through, and no hash."""
import asyncio
import json
import threading
import time

import pytest

import harness
from client import new_ip
from kit import H2, PASSWORD, Person, Wire, check_headers, in_parallel, login
from patience import wait_until

SERVER = {"http2": True, "vhosts": {
    "second.test": """
        BizApiStateDir second
        BizApiMail off
    """,
    "own.test": """
        BizApiStateDir own
        BizApiMail off
        BizApiRateLimit off
        BizApiRateLimit /api/v1/auth/login 3/min
        BizApiRateLimit /api/v1/health/* 2/min
    """}}
WAITS = "for windows to end"
ORIGIN = "http://localhost:3000"
BODY = (b'{"success":false,"error":{"code":"RATE_LIMITED","message":"Too many requests. '
        b'Please try again later."}}')
LIMITED = ["/auth/login", "/auth/register", "/auth/forgot-password"]


def spend(api, ip, path="/auth/login", count=10):
    """Statuses of `count` requests."""
    return [api.post(path, json={}, ip=ip).status for _ in range(count)]


# ---- the one real wait: who waits Retry-After is let through ----

class Waiting:
    """Addresses that spent a budget when this module began; their turn is asked for at its end."""

    def __init__(self, server):
        self.api = server.api()
        self.cases = []
        for path, ip in (("/auth/login", new_ip()), ("/auth/register", new_ip()),
                         ("/auth/login", "2001:db8:1:2::3"), ("/portal/x", new_ip())):
            count = 60 if path.startswith("/portal") else 10
            statuses = spend(self.api, ip, path, count)
            assert 429 not in statuses, statuses
            answer = self.api.post(path, json={}, ip=ip)
            assert answer.status == 429
            self.cases.append((path, ip, time.monotonic(), int(answer.headers["retry-after"])))


@pytest.fixture(scope="module", autouse=True)
def waiting(server):
    return Waiting(server)


# ---- the refusal ----

def test_the_refusal(server, api):
    ip = new_ip()
    assert spend(api, ip) == [422] * 10
    answer = api.post("/auth/login", json={}, ip=ip, origin=ORIGIN)
    assert answer.status == 429
    assert answer.body == BODY
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["retry-after"].isdigit()
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = answer.headers["access-control-expose-headers"]
    assert {"Retry-After", "X-Request-Id"} <= {n.strip() for n in exposed.split(",")}
    assert answer.headers["cache-control"] == "no-store"
    check_headers(answer)
    body = json.loads(BODY)
    assert set(body["error"]) == {"code", "message"}
    plain = api.post("/auth/login", json={}, ip=ip)
    assert plain.body == BODY and "access-control-allow-origin" not in plain.headers


@pytest.mark.parametrize("path", LIMITED)
def test_ten_a_minute(api, path):
    assert spend(api, new_ip(), path, 12) == [422] * 10 + [429] * 2


def test_sixty_a_minute_for_the_portal_what_stands_there_or_not(api):
    ip = new_ip()
    paths = ["/portal/", "/portal/nothing", "/portal/services", "/portal/a/b/c"]
    statuses = [api.get(paths[i % 4], ip=ip).status for i in range(62)]
    assert statuses == [404] * 60 + [429] * 2
    assert api.get("/portal", ip=ip).status == 404  # the pattern begins behind the slash


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/integrations/status",
                                  "/auth/me", "/auth/refresh", "/webhooks/stripe",
                                  "/auth/jwks.json", "/nowhere", "/auth/reset-password"])
def test_no_limit_elsewhere(api, path):
    ip = new_ip()
    statuses = {api.get(path, ip=ip).status for _ in range(70)}
    assert 429 not in statuses and len(statuses) == 1


def test_each_path_has_its_own_budget(api):
    ip = new_ip()
    spend(api, ip)
    assert api.post("/auth/login", json={}, ip=ip).status == 429
    for path in ("/auth/register", "/auth/forgot-password"):
        assert spend(api, ip, path, 10) == [422] * 10
    assert api.get("/portal/x", ip=ip).status == 404


def test_every_method_of_a_path_counts(api):
    ip = new_ip()
    for method in ("GET", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "POST", "GET", "GET", "GET"):
        assert api.request(method, "/auth/login", ip=ip).status != 429
    assert api.post("/auth/login", json={}, ip=ip).status == 429


def test_a_good_password_does_not_help(server):
    person = Person(server)
    ip = new_ip()
    spend(person.api, ip)
    body = {"email": person.email, "password": PASSWORD}
    assert person.api.post("/auth/login", json=body, ip=ip).status == 429
    assert login(person.api, person.email, PASSWORD).status == 200


def test_preflights_do_not_count(api):
    ip = new_ip()
    headers = {"Access-Control-Request-Method": "POST"}
    for _ in range(40):
        answer = api.options("/auth/login", origin=ORIGIN, headers=headers, ip=ip)
        assert answer.status == 204
    assert spend(api, ip, count=11) == [422] * 10 + [429]
    assert api.options("/auth/login", origin=ORIGIN, headers=headers, ip=ip).status == 204


def test_refusals_do_not_prolong_the_wait(api):
    ip = new_ip()
    spend(api, ip)
    waits = [int(api.post("/auth/login", json={}, ip=ip).headers["retry-after"])
             for _ in range(100)]
    assert waits == sorted(waits, reverse=True) and waits[0] <= 60


# ---- paths ----

@pytest.mark.bz_may("AH10244")
@pytest.mark.parametrize("path", [
    "/api/v1/auth/login", "//api/v1//auth/login", "/api/v1/auth/%6cogin", "/api/v1/auth/%6Cogin",
    "/x/../api/v1/auth/login", "/api/./v1/auth/./login", "/%61pi/v1/auth/login",
    "/api/v1/auth/x/../login", "/api/v1/auth/login?a=b", "/api/v1/auth//login",
    "/api/v1/%61%75%74%68/login", "/../api/v1/auth/login"])
def test_any_spelling_of_a_path_has_the_same_budget(server, path):
    """Nine by the plain path, the tenth by another spelling, the eleventh refused by both."""
    ip = new_ip()
    api = server.api()
    spend(api, ip, count=9)
    with Wire(server) as wire:
        answer = wire.request("POST", path, {"Content-Type": "application/json"}, b"{}",
                              ip=ip).answer()
    if path.startswith("/.."):
        assert answer.status in (400, 422)
        return
    assert answer.status == 422
    assert api.post("/auth/login", json={}, ip=ip).status == 429
    with Wire(server) as wire:
        assert wire.request("POST", path, {"Content-Type": "application/json"}, b"{}",
                            ip=ip).answer().status == 429


@pytest.mark.parametrize("path", ["/auth/login/", "/auth/login/x", "/auth/login%2F", "/auth/Login",
                                  "/auth/login;a"])
def test_other_paths_are_not_counted(api, path):
    ip = new_ip()
    assert {api.post(path, json={}, ip=ip).status for _ in range(12)} == {404}


# ---- addresses ----

def test_other_addresses_are_free(api):
    spend(api, ip := new_ip())
    assert api.post("/auth/login", json={}, ip=ip).status == 429
    assert api.post("/auth/login", json={}, ip=new_ip()).status == 422


def test_ipv6_counts_by_its_network(api):
    for i in range(10):
        assert api.post("/auth/login", json={}, ip=f"2001:db8:aa:1::{i:x}").status == 422
    assert api.post("/auth/login", json={}, ip="2001:db8:aa:1:ffff:ffff:ffff:ffff").status == 429
    assert api.post("/auth/login", json={}, ip="2001:db8:aa:2::1").status == 422


def test_ipv4_within_ipv6_is_that_ipv4(api):
    spend(api, "198.51.100.7")
    assert api.post("/auth/login", json={}, ip="::ffff:198.51.100.7").status == 429
    assert api.post("/auth/login", json={}, ip="::ffff:198.51.100.8").status == 422


def test_of_several_hops_the_nearest_stranger_counts(api):
    ip = new_ip()
    for i in range(10):
        assert api.post("/auth/login", json={}, ip=f"10.0.0.{i}, 6.6.6.{i}, {ip}").status == 422
    assert api.post("/auth/login", json={}, ip=ip).status == 429


@pytest.fixture(scope="module")
def direct(module_server):
    """No proxy is trusted: whoever connects is the caller."""
    server = module_server(start=False)
    conf = server.root / "conf/httpd.conf"
    conf.write_text(conf.read_text().replace("RemoteIPInternalProxy 127.0.0.1",
                                             "RemoteIPInternalProxy 192.0.2.1"))
    return server.start()


def test_headers_of_strangers_are_not_believed(direct):
    api = direct.api()
    names = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP",
             "X-Client-IP", "X-Cluster-Client-IP", "Client-IP")
    statuses = [api.post("/auth/login", json={}, ip=new_ip(), headers={
        name: (f"for={new_ip()}" if name == "Forwarded" else new_ip()) for name in names
    }).status for _ in range(12)]
    assert statuses == [422] * 10 + [429] * 2


# ---- exact, whoever asks at once ----

def flood_h1(server, ip, count, path="/api/v1/auth/login", stop=None):
    """Statuses of `count` requests, each on a connection of its own, all sent at once."""
    harness.many_at_once = True
    data = (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {ip}\r\n"
            "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    async def one(start):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await start.wait()
        writer.write(data.encode())
        line = await reader.readline()
        await reader.read()
        writer.close()
        return int(line.split()[1])

    async def run():
        start = asyncio.Event()
        tasks = [asyncio.ensure_future(one(start)) for _ in range(count)]
        await asyncio.sleep(0.2)
        start.set()
        return await asyncio.gather(*tasks)

    return asyncio.run(run())


def flood_h2(server, ip, count, connections=4):
    """Likewise, as streams of a few connections."""
    harness.many_at_once = True
    request = ("POST", "/auth/login", b"{}", [("content-type", "application/json")])
    answers = in_parallel(connections, lambda _: H2(server).flood(
        [request] * (count // connections), ip))
    return [a.status for each in answers for a in each]


@pytest.mark.parametrize("round_", range(3))
def test_exactly_ten_of_200_parallel(server, round_):
    statuses = flood_h1(server, new_ip(), 200)
    assert sorted(statuses) == [422] * 10 + [429] * 190


def test_exactly_ten_of_200_streams(server):
    statuses = flood_h2(server, new_ip(), 200)
    assert sorted(statuses) == [422] * 10 + [429] * 190


def test_exactly_ten_over_both_protocols(server):
    server.must_speak_http2()
    ip, found = new_ip(), []
    threads = [threading.Thread(target=lambda f=f: found.extend(f(server, ip, 100)))
               for f in (flood_h1, flood_h2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [422] * 10 + [429] * 190


def test_the_processes_share_the_count(server):
    """More than one process serves, and together they let ten through."""
    assert len(server.children()) >= 2 or server.mpm == "prefork"
    ip, statuses = new_ip(), []
    for _ in range(12):
        with Wire(server) as wire:
            statuses.append(wire.request("POST", "/api/v1/auth/login",
                                         {"Content-Type": "application/json"}, b"{}",
                                         ip=ip).answer().status)
    assert statuses == [422] * 10 + [429] * 2


# ---- across a graceful restart ----

def test_the_count_goes_on_across_graceful(make_server):
    server = make_server()
    api = server.api()
    ips = {n: new_ip() for n in (0, 3, 9, 10)}
    for n, ip in ips.items():
        spend(api, ip, count=n)
    refused = int(api.post("/auth/login", json={}, ip=ips[10]).headers["retry-after"])
    for _ in range(2):
        server.graceful()
    # A worker that is ending may still take a connection, and close it between two requests.
    wait_until(lambda: not server.old & set(server.children()), 20, "the end of the old workers")
    api = server.api()
    for n, ip in ips.items():
        statuses = spend(api, ip, count=12)
        assert statuses == [422] * (10 - n) + [429] * (2 + n), n
    answer = api.post("/auth/login", json={}, ip=ips[10])
    assert refused - 20 <= int(answer.headers["retry-after"]) <= refused


def test_graceful_takes_a_new_limit(make_server):
    server = make_server(conf="BizApiRateLimit /api/v1/auth/login 2/min")
    api, ip = server.api(), new_ip()
    assert spend(api, ip, count=3) == [422, 422, 429]
    server.graceful("BizApiRateLimit /api/v1/auth/login 4/min")
    wait_until(lambda: not server.old & set(server.children()), 20, "the end of the old workers")
    assert 429 in spend(server.api(), ip, count=5)
    assert spend(server.api(), new_ip(), count=5) == [422] * 4 + [429]


# ---- configuration ----

def test_virtual_hosts_count_apart(server):
    ip = new_ip()
    first, second, own = server.api(), server.api(host="second.test"), server.api(host="own.test")
    assert spend(first, ip, count=11)[-1] == 429
    assert spend(second, ip, count=11) == [422] * 10 + [429]
    assert spend(own, ip, count=4) == [422] * 3 + [429]


def test_own_rules_in_place_of_the_defaults(server):
    own, ip = server.api(host="own.test"), new_ip()
    assert [own.get(f"/health/{p}", ip=ip).status for p in ("live", "ready", "live")] == \
        [200, 200, 429]
    assert spend(own, ip, "/auth/register", 15) == [422] * 15


@pytest.mark.parametrize("conf, env, path, limit", [
    ("BizApiRateLimit /api/v1/auth/login 2/min", {}, "/auth/login", 2),
    ("BizApiRateLimit /api/v1/auth/login 2/min", {}, "/auth/register", 10),
    ("BizApiRateLimit /api/v1/auth/refresh 1/min", {}, "/auth/refresh", 1),
    ("BizApiRateLimit /api/v1/* 5/min", {}, "/auth/refresh", 5),
    ("BizApiRateLimit /api/v1/* 5/min", {}, "/auth/login", 10),
    ("BizApiRateLimit off", {}, "/auth/login", None),
    ("BizApiRateLimit off\nBizApiRateLimit /api/v1/auth/login 4/min", {}, "/auth/login", 4),
    ("BizApiRateLimit off\nBizApiRateLimit /api/v1/auth/login 4/min", {}, "/auth/register", None),
    ("", {"BIZAPI_RATE_LIMIT": "/api/v1/auth/login 3/min, /api/v1/auth/refresh 2/min"},
     "/auth/login", 3),
    ("", {"BIZAPI_RATE_LIMIT": "/api/v1/auth/login 3/min, /api/v1/auth/refresh 2/min"},
     "/auth/refresh", 2),
    ("", {"BIZAPI_RATE_LIMIT": "/api/v1/auth/login 3/min"}, "/auth/register", 10),
    ("", {"BIZAPI_RATE_LIMIT": "off"}, "/auth/login", None),
    ("", {"BIZAPI_RATE_LIMIT": "off,/api/v1/auth/login 3/min"}, "/auth/login", 3),
    ("", {"BIZAPI_RATE_LIMIT": ""}, "/auth/login", 10),
    ("BizApiRateLimit /api/v1/auth/login 2/min", {"BIZAPI_RATE_LIMIT": "/api/v1/auth/login 7/min"},
     "/auth/login", 2)])
def test_limits_by_directive_and_variable(make_server, conf, env, path, limit):
    api = make_server(conf=conf, env=env, mail=False).api()
    statuses = spend(api, new_ip(), path, (limit or 30) + 2)
    assert statuses == ([422] * 32 if limit is None else [422] * limit + [429] * 2)


def test_a_full_table_forgets_nobody_and_stops_nobody_for_good(make_server):
    """64 slots and 400 callers: who spent a budget stays refused, the crowd shares what is left."""
    server = make_server(conf="BizApiRateSlots 64", may=("BZ03",))
    api, ip = server.api(), new_ip()
    spend(api, ip)
    statuses = [api.post("/auth/login", json={}, ip=new_ip()).status for _ in range(400)]
    assert statuses.count(422) > 50
    assert api.post("/auth/login", json={}, ip=ip).status == 429


# ---- what a refusal costs ----

def test_a_refusal_reads_no_body_and_keeps_the_connection(server):
    ip = new_ip()
    spend(server.api(), ip)
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/auth/login", {
            "Content-Type": "application/json", "Content-Length": 10_000,
            "Expect": "100-continue"}, ip=ip)
        answer = wire.answer()
        assert (answer.status, answer.interim, answer.body) == (429, [], BODY)
    with Wire(server) as wire:
        for size in (10, 10_000, 65_536):
            wire.request("POST", "/api/v1/auth/login", {"Content-Type": "text/plain"}, b"x" * size,
                         ip=ip)
            assert wire.answer().status == 429
            assert wire.request("GET", "/api/v1/health/live").answer().status == 200
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/auth/login", {"Content-Length": 70_000}, ip=ip)
        answer = wire.answer()
        assert answer.status == 429 and "close" in answer.headers["connection"]


def test_refusals_write_no_line_each(server, api):
    ip = new_ip()
    spend(api, ip)
    before = len(server.log_text())
    for _ in range(100):
        assert api.post("/auth/login", json={}, ip=ip).status == 429
    lines = server.log_text()[before:].splitlines()
    assert len(lines) <= 1 and all("BZ0305" in line for line in lines), lines


def test_the_limit_holds_while_the_store_is_down(make_server):
    """No call of the store stands before the limit: 503 ten times, then 429."""
    server = make_server(start=False, mail=False, may=("BZ0204", "BZ06"))
    (server.root / "db").mkdir()
    server.write_conf(f"BizApiStore sqlite:{server.root}/db/none/bizapi.db")
    server.start()
    api, ip = server.api(), new_ip()
    body = {"email": "nobody@people.test", "password": "wrong password"}
    statuses = [api.post("/auth/login", json=body, ip=ip).status for _ in range(12)]
    assert statuses == [503] * 10 + [429] * 2


# ---- the wait ends ----

def test_who_waits_retry_after_is_let_through(waiting):
    """Each of the addresses that the module's beginning has spent; every one got 1..60 s."""
    for path, ip, since, wait in waiting.cases:
        assert 1 <= wait <= 60
        left = since + wait - time.monotonic()
        if left > 0:
            time.sleep(left)
        answer = waiting.api.post(path, json={}, ip=ip)
        assert answer.status != 429, (path, ip, wait, dict(answer.headers))
