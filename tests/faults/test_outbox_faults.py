"""What providers and mail servers can do to the outbox: answer wrongly, late or not at all, be somebody
else, refuse one or all, and what becomes of rows whose worker ends meanwhile. Nothing is lost, nothing
is sent twice where a second copy would do harm, and each way out is held up by its own trouble alone.
The rows are written as the planner writes them."""
import contextlib
import itertools
import json
import os
import signal
import time

import pytest

import providers
from client import new_ip
from kit import (OTHER_PASSWORD, PASSWORD, MailServer, Person, address, change, database, insert,
                 now_ms, row, rows)
from patience import wait_until
from received import token_of

NUMBER = "+4930123456"
SERVICES = ("twilio", "sendgrid", "firebase")
_due = itertools.count(1)


@pytest.fixture(scope="module")
def every():
    with providers.Providers() as all_of_them:
        yield all_of_them


@pytest.fixture
def world(every):
    every.clear()
    return every


@pytest.fixture
def salon(make_server, world):
    """A fresh server that sends by Twilio, SendGrid and Firebase, with somebody to be written to."""
    def make(conf=world.conf()):
        server = make_server(mail=False, env=world.env(*SERVICES), conf=(
            f"{conf}\nBizApiPublicURL https://api.example.test\nBizApiQuietHours off"))
        assert server.api().get("/health/ready").status == 200  # the store is there
        insert(server, "consents", channel="sms", address=NUMBER, state="given", given_at=now_ms())
        server.person = insert(server, "users", email="one@people.test", name="One")
        server.device = insert(server, "push_devices", user_id=server.person, token="dev-a" * 20,
                               platform="web")
        return server
    return make


def queue(server, service, text="Tomorrow at 10:00"):
    """A row that leaves by it, due after those before; its id."""
    what = {"twilio": {"channel": "sms", "kind": "text", "recipient": NUMBER},
            "firebase": {"channel": "push", "kind": "text", "recipient": server.device,
                         "user_id": server.person},
            "sendgrid": {"channel": "mail", "kind": "sample_mail", "recipient": "one@people.test"}}
    data = {"text": text, "name": "invoice_sent", "locale": "de"}
    return insert(server, "outbox", state="queued", tries=0, due_at=next(_due),
                  data=json.dumps(data), **what[service])


def of(server, service):
    """Its rows, in the order they were queued; once each was tried."""
    channel = {"twilio": "sms", "firebase": "push", "sendgrid": "mail"}[service]

    def tried():
        found = rows(server, "outbox", channel=channel)
        return found if all(r["tries"] and not r["lease"] for r in found) else None
    return sorted(wait_until(tried, 30, f"a try of each row by {service}"), key=lambda r: r["_id"])


def forgot(api, to):
    answer = api.post("/auth/forgot-password", ip=new_ip(), json={"email": to})
    assert answer.status == 200, answer


def settled(server, timeout=15, **where):
    wait_until(lambda: rows(server, "outbox", **where) and
               not rows(server, "outbox", **where, state="queued"), timeout, f"the end of {where}")
    return rows(server, "outbox", **where)


# ---- 28: it hangs ----

@pytest.mark.bz("BZ0605", "BZ0801")
def test_mails_go_on_while_twilio_hangs(salon, world):
    server = salon()
    world.twilio.fault(silent=True)
    queue(server, "twilio")
    world.twilio.wait(1)
    queue(server, "sendgrid")
    begin = time.monotonic()
    world.sendgrid.wait(1, timeout=25)
    waited = time.monotonic() - begin
    assert waited < 15, waited  # one call of 10 s is the most that a mail stands behind
    assert of(server, "twilio")[0]["state"] == "unknown"


@pytest.mark.bz_may("BZ0603", "AH00045")  # it may take 2.5 s, Apache warns after 3
def test_another_business_is_not_held_up(make_server, smtp):
    """Two virtual hosts: the mail server of one hangs with its mails, those of the other leave in
    their second all the same."""
    server = make_server(vhosts={
        "hangs.test": f"BizApiStateDir hangs\nBizApiMail {smtp.url}"})
    smtp.mode("hang")
    for _ in range(3):
        Person(server, api=server.api(host="hangs.test"), sign_in=False)
    wait_until(lambda: smtp.events("connect"), 10, "a mail in its hands")
    slowest = 0
    for _ in range(4):
        begin = time.monotonic()
        server.mail.wait(Person(server, sign_in=False).email, timeout=20)
        slowest = max(slowest, time.monotonic() - begin)
        assert not smtp.events("message")
    print(f"the slowest mail beside a mail server that hangs left after {slowest:.1f} s")
    assert slowest < 5, slowest


# ---- 29 to 32: what comes is no answer ----

@pytest.mark.bz("BZ0605", "BZ0801")
@pytest.mark.bz_may("BZ0803")
def test_what_is_no_answer_loses_nothing_and_doubles_nothing(salon, world):
    """Each fault, and a good answer after it, so that the breaker stays closed. An SMS that may have
    left is not sent again; a mail and a push message, of which a second copy does no harm, are."""
    server = salon()
    faults = {**providers.BROKEN, "a redirect": {"redirect": "http://169.254.169.254/latest/"},
              "500": {"status": 500}}
    # A lost answer to what is asked on a kept connection may be a connection that had ended before.
    world.firebase.fault()
    queue(server, "firebase")
    wait_until(lambda: rows(server, "outbox", state="sent"), 15, "the token of Firebase")
    begin = time.monotonic()
    for service in SERVICES:
        for fault in faults.values():
            getattr(world, service).fault(**fault).fault()
            queue(server, service)
            queue(server, service)
    found = {service: of(server, service) for service in SERVICES}
    seconds = time.monotonic() - begin
    print(f"{len(faults)} faults of {len(SERVICES)} providers in {seconds:.1f} s")
    found["firebase"] = found["firebase"][1:]
    for service, again in (("twilio", "unknown"), ("sendgrid", "queued"), ("firebase", "queued")):
        for i, name in enumerate(faults):
            bad, good = found[service][2 * i:2 * i + 2]
            told = f"{service}, {name}: {bad['state']}, {bad['last_error']}"
            assert good["state"] == "sent" and bad["tries"] == 1, told
            # SendGrid's sandbox says 200 and nothing.
            known = {"empty": "sent" if service == "sendgrid" else again}
            assert bad["state"] == known.get(name, again), told
            if bad["state"] == "sent":
                continue
            assert bad["due_at"] > bad["updated_at"] + 10_000 or bad["state"] == "unknown", told
            assert bad["last_error"] and providers.MARK not in bad["last_error"], told
    for service in SERVICES:
        taken = len(getattr(world, service).requests)
        assert taken == 2 * len(faults) + (service == "firebase"), "each row was tried once"
    assert server.log_text().count("BZ0801") == 3, "one line a provider and minute"
    # Whatever waits leaves when it is due, once, now that they work again.
    waiting = {service: sum(r["state"] == "queued" for r in found[service]) for service in SERVICES}
    taken = {service: len(getattr(world, service).requests) for service in SERVICES}
    assert waiting["twilio"] == 0 and min(waiting["sendgrid"], waiting["firebase"]) > 10
    change(server, "outbox", {"state": "queued"}, due_at=0)
    wait_until(lambda: not rows(server, "outbox", state="queued"), 30, "what waited")
    assert {r["state"] for service in ("sendgrid", "firebase") for r in of(server, service)} == {
        "sent"}
    assert {service: len(getattr(world, service).requests) - taken[service]
            for service in SERVICES} == waiting


@pytest.mark.bz("BZ0605")
@pytest.mark.bz_may("BZ0801", "BZ0803")
def test_an_sms_that_is_not_reported_is_looked_up(salon, world):
    """Two answers are lost: one of a message that Twilio has, one of a message that it never had."""
    server = salon()
    world.twilio.fault(drop="mid").fault(drop="before")
    for text in ("Tomorrow at 10:00", "Tomorrow at 11:00"):
        queue(server, "twilio", text)
        assert of(server, "twilio")[-1]["state"] == "unknown"
    assert change(server, "outbox", {"state": "unknown"}, due_at=0, sent_at=now_ms()) == 2
    found = wait_until(lambda: (r := rows(server, "outbox", state="sent")) and len(r) == 2 and r, 15,
                       "both")
    assert [r["provider_id"] for r in found] == [m["sid"] for m in world.twilio.messages]
    assert [r.method for r in world.twilio.requests] == ["POST", "POST", "GET", "GET", "POST"]


# ---- 33 and 34: it is somebody else, or nobody knows where it is ----

@pytest.mark.bz("BZ0801")
def test_strangers_get_nothing_and_rows_wait(salon, tls_server):
    """Certificates that nobody vouches for, and a name that does not exist."""
    server = salon(f"BizApiProviderURL twilio https://localhost:{tls_server('self-signed')}\n"
                   f"BizApiProviderURL sendgrid https://localhost:{tls_server('wrong-host')}\n"
                   "BizApiProviderURL firebase https://firebase.invalid")
    for service in SERVICES:
        queue(server, service)
    for service, word in (("twilio", "certificate"), ("sendgrid", "certificate"),
                          ("firebase", "resolv")):
        one, = of(server, service)
        assert (one["state"], one["tries"]) == ("queued", 1), one
        assert word in one["last_error"].lower() and one["due_at"] > now_ms() + 10_000, one


@pytest.fixture
def stranger(pki, tmp_path):
    """stranger(option...): a mail server whose certificate nobody vouches for."""
    running, folder, pem = [], tmp_path / "stranger", tmp_path / "stranger.pem"
    pem.write_text("".join((pki / f"self-signed.{end}").read_text() for end in ("crt", "key")))
    folder.mkdir()

    def start(*options):
        running.append(MailServer(folder, "--cert", str(pem), *options))
        return running[-1]

    yield start
    for server in running:
        server.process.terminate()
        server.process.wait(10)


@pytest.mark.bz("BZ0602")
@pytest.mark.parametrize("scheme, options, query", [("smtp", (), "?tls=required"),
                                                    ("smtps", ("--implicit",), "")])
def test_a_mail_server_that_is_somebody_else(make_server, smtp, stranger, scheme, options, query):
    """Its certificate is refused: it gets no mail, no row loses a try, there is one line, and the mails
    leave once the right one is configured."""
    other = stranger(*options)
    server = make_server(mail=False, conf=f"BizApiMail {other.url.replace('smtp', scheme)}{query}")
    people = [Person(server, sign_in=False) for _ in range(2)]

    def tried():
        found = rows(server, "outbox")
        return found if any(r["last_error"] for r in found) and not any(
            r["lease"] for r in found) else None
    waiting = wait_until(tried, 10, "a try")
    assert [(r["state"], r["tries"]) for r in waiting] == [("queued", 0)] * 2
    assert "certificate" in next(r["last_error"] for r in waiting if r["last_error"])
    assert server.log_text().count("BZ0602") == 1
    assert other.events("connect") + other.events("error") and not other.events("message")
    server.graceful(f"BizApiMail {smtp.url}")
    change(server, "outbox", {"state": "queued"}, due_at=now_ms() - 1)
    for person in people:
        wait_until(lambda p=person: smtp.messages(p.email), 30, "the mail")
    assert [len(smtp.messages(p.email)) for p in people] == [1, 1]
    assert not other.events("message")


# ---- 36: a mail server refuses one, or all ----

@pytest.mark.bz("BZ0604")
def test_an_address_that_is_refused_is_given_up(make_server, smtp):
    server = make_server(mail=False, conf=f"BizApiMail {smtp.url}")
    person = Person(server, email=address("refuse+"), sign_in=False)
    assert settled(server, recipient=person.email)[0]["state"] == "dead"
    listed = server.ctl("outbox", "list").stdout
    assert "dead" in listed and "550" in listed
    other = Person(server, sign_in=False)
    wait_until(lambda: smtp.messages(other.email), 15, "the next mail")


@pytest.mark.bz("BZ0603")
def test_a_mail_server_that_is_gone_for_a_while(make_server, smtp):
    """Requests are answered as ever, the mail waits, and comes when the server is back."""
    server = make_server(mail=False, conf=f"BizApiMail {smtp.url}")
    smtp.mode("grey")
    person = Person(server)
    wait_until(lambda: row(server, "outbox", recipient=person.email)["last_error"], 15, "a try")
    stored = row(server, "outbox", recipient=person.email)
    assert (stored["state"], stored["tries"]) == ("queued", 1)
    assert 20_000 < stored["due_at"] - now_ms() < 40_000  # 30 s, 20 % about
    smtp.mode("")
    change(server, "outbox", {"recipient": person.email}, due_at=now_ms() - 1)
    wait_until(lambda: smtp.messages(person.email), 30, "the mail")
    assert settled(server, recipient=person.email)[0]["state"] == "sent"
    assert len(smtp.messages(person.email)) == 1


@pytest.mark.bz("BZ0602")
def test_a_folder_that_cannot_be_written(make_server):
    server = make_server()
    os.rename(server.root / "mail", server.root / "away")
    (server.root / "mail").write_text("a file is in the way")
    person = Person(server)
    wait_until(lambda: "BZ0602" in server.log_text(), 10, "the line")
    assert row(server, "outbox", recipient=person.email)["state"] == "queued"
    (server.root / "mail").unlink()
    os.rename(server.root / "away", server.root / "mail")
    change(server, "outbox", {"recipient": person.email}, due_at=now_ms() - 1)
    server.mail.wait(person.email, timeout=30)


@pytest.mark.bz("BZ0802")
def test_a_key_that_sendgrid_refuses(make_server, world):
    """It is shown once, and told of once; every mail waits, and leaves once with the right key."""
    world.sendgrid.fault(status=401, times=None)
    server = make_server(mail=False, conf=world.conf(), env=world.env("sendgrid"))
    people = [Person(server) for _ in range(3)]
    wait_until(lambda: "BZ0802" in server.log_text() and not any(
        r["lease"] for r in rows(server, "outbox")), 10, "the line")
    assert [(r["state"], r["tries"]) for r in rows(server, "outbox")] == [("queued", 0)] * 3
    assert all(person.me().status == 200 for person in people)
    assert len(world.sendgrid.requests) == 1 and server.log_text().count("BZ0802") == 1
    # Another key after a graceful restart: what waited is sent.
    world.sendgrid.faults.clear()
    world.sendgrid.fault(status=202, body=b"", times=None)
    server.write_conf(f"{world.conf()}\nBizApiSecret SENDGRID_API_KEY file:{new_key(server)}")
    server.graceful()
    change(server, "outbox", {"state": "queued"}, due_at=now_ms())
    wait_until(lambda: not rows(server, "outbox", state="queued"), 30, "the mails")
    sent = world.sendgrid.requests[1:]
    assert {r.headers["authorization"] for r in sent} == {"Bearer SG.another-marker-key"}
    assert sorted(r.json["personalizations"][0]["to"][0]["email"] for r in sent) == sorted(
        person.email for person in people)


def new_key(server):
    path = server.root / "sendgrid.key"
    path.write_text("SG.another-marker-key\n")
    path.chmod(0o600)
    return path


# ---- 2 and 9: ended with a mail in its hands ----

@pytest.mark.bz_may("AH00052", "exit signal")
def test_a_worker_killed_while_it_sends(make_server, smtp):
    """The mail server hangs at the recipient; every worker is killed -9; when the lease has ended
    the mail is sent, once."""
    server = make_server(mail=False, conf=f"BizApiMail {smtp.url}")
    person = Person(server, email=address("h+"), sign_in=False)
    wait_until(lambda: smtp.messages(person.email), 15, "the welcome")
    smtp.mode("hang")
    forgot(person.api, person.email)
    wait_until(lambda: rows(server, "outbox", kind="forgot_password")[0]["lease"], 10, "the lease")
    time.sleep(0.3)
    for pid in server.children():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.children() and server.answers(), 20, "new workers")
    stored = rows(server, "outbox", kind="forgot_password")[0]
    assert (stored["state"], stored["tries"]) == ("queued", 1) and stored["lease"]
    assert 40_000 < stored["due_at"] - now_ms() <= 60_000  # the rest of the lease
    smtp.mode("")
    change(server, "outbox", {"_id": stored["_id"]}, due_at=now_ms() - 1)
    wait_until(lambda: len(smtp.messages(person.email)) == 2, 15, "the mail")
    assert settled(server, kind="forgot_password")[0]["state"] == "sent"
    time.sleep(1.5)
    found = [m for m in smtp.messages(person.email) if "new password" in m["Subject"]]
    assert len(found) == 1 and stored["_id"] in found[0]["Message-ID"]
    answer = server.api().get("/auth/verify-reset-token", params={"token": token_of(found[0])})
    assert answer.data["valid"] is True


@pytest.mark.bz_may("BZ0603", "AH00045")  # it may take 2.5 s, Apache warns after 3
def test_a_stop_does_not_wait_for_a_mail_server_that_hangs(make_server, smtp):
    server = make_server(mail=False, conf=f"BizApiMail {smtp.url}")
    smtp.mode("hang")
    people = [Person(server, sign_in=False) for _ in range(5)]
    wait_until(lambda: [r for r in rows(server, "outbox") if r["lease"]], 10, "a mail in flight")
    assert server.stop() < 6  # Apache kills at 9
    stored = rows(server, "outbox")
    assert len(stored) == 5 and {r["state"] for r in stored} == {"queued"}
    smtp.mode("")
    change(server, "outbox", {"state": "queued"}, due_at=now_ms() - 1)
    server.start()
    for person in people:
        wait_until(lambda p=person: smtp.messages(p.email), 30, "the mail")
    assert all(len(smtp.messages(p.email)) == 1 for p in people)
    assert {r["state"] for r in settled(server, kind="register")} == {"sent"}


@pytest.mark.bz_may("BZ0603", "AH00045")  # it may take 2.5 s, Apache warns after 3
def test_a_stop_with_500_queued_mails(make_server, smtp):
    """One of them hangs in the mail server's hands: the stop does not wait for it, and none of them
    is lost or sent twice."""
    server = make_server(mail=False, conf=f"BizApiMail {smtp.url}", may=("BZ06",))
    person = Person(server)
    settled(server)
    smtp.mode("hang")
    assert person.api.post("/auth/change-password", token=person.access, json={
        "current_password": PASSWORD, "new_password": OTHER_PASSWORD}).status == 200
    one = rows(server, "outbox", kind="security_notice")[-1]
    with contextlib.closing(database(server)) as db:
        for number in range(500):
            new = {**one, "_id": f"{one['_id'][:-4]}{number:04d}", "state": "queued", "lease": None,
                   "due_at": now_ms(), "unique_key": None, "tries": 0}
            names = ", ".join(new)
            db.execute(f"INSERT INTO outbox ({names}) VALUES ({', '.join('?' * len(new))})",
                       tuple(new.values()))
    time.sleep(1.5)
    assert server.stop() < 9
    assert "AH00046" not in server.log_text()
    assert len(rows(server, "outbox", state="queued")) == 501
    smtp.mode("")
    server.start()

    def done():
        change(server, "outbox", {"state": "queued"}, due_at=now_ms() - 1)
        return not rows(server, "outbox", state="queued")
    wait_until(done, 60, "the end of the queue")
    sent = [e["data"].partition("Message-Id: <")[2].partition("@")[0]
            for e in smtp.events("message") if "password was changed" in e["data"]]
    assert len(sent) == len(set(sent)) == 501, (len(sent), len(set(sent)))
