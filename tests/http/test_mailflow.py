"""From a request to a mail: whose address, which link, how many, and by which way it leaves. What mail
servers do to it is in tests/faults/test_outbox_faults.py."""
import json
import re
import subprocess
import sys

import pytest

from client import new_ip
from harness import REPO
from kit import (OTHER_PASSWORD, MailServer, Person, address, change, insert, login, now_ms,
                 rows)
from patience import wait_until
from received import html_of, text_of, token_of

sys.path.insert(0, str(REPO / "tests/lib"))
from providers import SECRETS, Providers  # noqa: E402

WAITS = "for mail servers that hang, and for the next try"
SERVER = {"conf": "BizApiFrontendURL https://portal.test"}


def forgot(api, to, **more):
    answer = api.post("/auth/forgot-password", ip=new_ip(), json={"email": to, **more.pop("json", {})},
                      **more)
    assert answer.status == 200, answer
    return answer


def settled(server, timeout=15, **where):
    wait_until(lambda: rows(server, "outbox", **where) and
               not rows(server, "outbox", **where, state="queued"), timeout, f"the end of {where}")
    return rows(server, "outbox", **where)


# ---- to whom, with which link ----

def test_the_stored_address_is_written_to_not_the_typed_one(server):
    person = Person(server, email="Mixed.Case@People.test")
    forgot(person.api, "  MIXED.CASE@people.TEST ")
    mail = server.mail.wait("mixed.case@people.test", "new password")
    assert [a.addr_spec for a in mail["To"].addresses] == ["mixed.case@people.test"]
    forgot(person.api, "mixedcase@people.test")
    forgot(person.api, "mixed.case+x@people.test")
    settled(server, recipient="mixed.case+x@people.test")
    assert not server.mail.new(subject="new password")


def test_a_notice_that_comes_late_says_when_it_happened(server):
    """The server was killed just after the change, and is started a day later."""
    person = Person(server, locale="en", timezone="UTC")
    word = {"id": "act_" + "8" * 26, "at": 1767225600 * 10**6, "user_id": person.tokens["user"]["id"],
            "notice": "password_changed", "ip": "192.0.2.9"}
    wait_until(lambda: person.document()["untold"] is None)
    change(server, "users", {"email": person.email}, untold=json.dumps([word]))
    mail = server.mail.wait(person.email, "Password changed")
    assert mail["Subject"].endswith("1 Jan, 00:00"), mail["Subject"]
    assert "1 January 2026" in text_of(mail)


def test_no_header_changes_the_link(server):
    tried = [{"X-Forwarded-Host": "evil.test"}, {"X-Forwarded-Proto": "http"}, {"X-Host": "evil.test"},
             {"Forwarded": "host=evil.test"}, {"X-Original-URL": "http://evil.test/"},
             {"Origin": "https://evil.test"}, {"Referer": "https://evil.test/"}]
    people = [Person(server, sign_in=False) for _ in tried]
    for person, headers in zip(people, tried):
        forgot(person.api, person.email, headers=headers)
    for person, headers in zip(people, tried):
        text = text_of(server.mail.wait(person.email, "new password"))
        assert "https://portal.test/reset-password.html#token=" in text, headers
        assert "evil" not in text, headers


def test_no_field_changes_the_link(server):
    person = Person(server, sign_in=False)
    forgot(person.api, person.email, json={
        "redirect_url": "https://evil.test", "base_url": "https://evil.test", "next": "//evil.test",
        "frontend_url": "https://evil.test", "user_id": "x", "token": "A" * 43})
    mail = server.mail.wait(person.email, "new password")
    assert "evil" not in mail.as_string() and token_of(mail) != "A" * 43


@pytest.mark.parametrize("url, link", [
    ("https://portal.test/", "https://portal.test/reset-password.html#token="),
    ("https://Portal.TEST:443/app/", "https://portal.test/app/reset-password.html#token="),
    ("http://localhost:3000", "http://localhost:3000/reset-password.html#token=")])
def test_the_link_begins_with_the_frontend_url(make_server, url, link):
    server = make_server(env={"FRONTEND_URL": url})
    person = Person(server, sign_in=False)
    forgot(person.api, person.email)
    mail = server.mail.wait(person.email, "new password")
    assert link in text_of(mail) and link in html_of(mail)


def test_names_stay_what_they_are(server):
    names = ["<img src=x onerror=alert(1)>", '"><a href=//evil.test>x</a>', "{{link_url}} {{#ip}}",
             "%s%n$(id)`id`", "&lt;b&gt; &amp;", "=?utf-8?q?x?= Bcc: x@y.test",
             "O'Neil \"Bob\", <b@c.test>"]
    people = [Person(server, name=name, sign_in=False) for name in names]
    for person in people:
        mail = server.mail.wait(person.email)
        assert person.name in text_of(mail)
        html = html_of(mail)
        assert "<img" not in html and "<a href=//evil" not in html
        assert person.name not in html or not set(person.name) & set('<>&"')
        assert mail["Bcc"] is None
        assert [a.addr_spec for a in mail["To"].addresses] == [person.email]


def test_the_headers_of_a_mail(server):
    person = Person(server, sign_in=False)
    mail = server.mail.wait(person.email)
    outbox = settled(server, recipient=person.email)[0]
    assert outbox["_id"] in mail["Message-ID"] and mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"].addresses[0].addr_spec == "salon@example.test"
    assert mail["MIME-Version"] == "1.0" and mail["Date"] and mail["List-Unsubscribe"] is None
    for forbidden in ("X-Mailer", "X-Originating-IP", "Received", "X-PHP-Script"):
        assert mail[forbidden] is None


# ---- how many ----

def test_the_fourth_confirmation_of_an_hour_is_not_sent(server):
    """Three on request besides the welcome; resets have a budget of their own."""
    person = Person(server, sign_in=False)
    server.mail.wait(person.email, "Confirm")
    answers = set()
    for _ in range(4):
        answer = person.api.post("/auth/resend-verification", json={"email": person.email})
        answers.add((answer.status, answer.body))
        settled(server, recipient=person.email)
        # A minute later.
        change(server, "outbox", {"recipient": person.email, "kind": "resend_verification"},
               unique_key=None)
    assert len(answers) == 1
    assert len(server.mail.all(person.email, "Confirm")) == 1 + 3
    forgot(person.api, person.email)
    server.mail.wait(person.email, "new password")


def test_who_asks_all_the_time_fills_no_queue(server):
    """One row a minute for an address, known or not; every answer is the same."""
    person, nobody = Person(server, sign_in=False), address("nobody")
    answers = set()
    for email in (person.email, nobody, person.email.upper()) * 4:
        answer = person.api.post("/auth/resend-verification", ip=new_ip(), json={"email": email})
        answers.add((answer.status, answer.body))
    assert len(answers) == 1
    for email in (person.email, nobody):  # a minute may have ended in between
        assert 1 <= len(rows(server, "outbox", recipient=email, kind="resend_verification")) <= 2


def test_an_hour_later_there_are_mails_again(server):
    person = Person(server, sign_in=False)
    for _ in range(4):
        forgot(person.api, person.email)
        settled(server, recipient=person.email)
    assert len(server.mail.all(person.email, "new password")) == 3
    change(server, "outbox", {"recipient": person.email}, created_at=now_ms() - 3601 * 1000)
    forgot(person.api, person.email)
    settled(server, recipient=person.email)
    assert len(server.mail.all(person.email, "new password")) == 4


def test_rows_that_are_settled_hold_no_token(server):
    person = Person(server, sign_in=False)
    forgot(person.api, person.email)
    token = token_of(server.mail.wait(person.email, "new password"))
    stored = settled(server, recipient=person.email)
    assert all(r["sealed"] is None and r["lease"] is None and r["sent_at"] for r in stored)
    assert token not in json.dumps(stored)


# ---- mail servers ----

def test_by_smtp(make_server, smtp):
    server = make_server(mail=False, conf=f"BizApiMail {smtp.url}")
    person = Person(server, sign_in=False)
    forgot(person.api, person.email)
    wait_until(lambda: len(smtp.messages(person.email)) == 2, 15, "two mails")
    assert {r["state"] for r in settled(server, recipient=person.email)} == {"sent"}
    reset = next(m for m in smtp.messages(person.email) if "new password" in m["Subject"])
    assert [p.get_content_type() for p in reset.walk()] == [
        "multipart/alternative", "text/plain", "text/html"]
    answer = person.api.post("/auth/reset-password", json={
        "token": token_of(reset), "new_password": OTHER_PASSWORD})
    assert answer.status == 200
    assert login(person.api, person.email, OTHER_PASSWORD).status == 200


@pytest.fixture
def relay(tmp_path):
    """relay(option...): a mail server with STARTTLS that takes mails from those who sign in."""
    running, pem = [], tmp_path / "relay.pem"

    def start(*options):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", "relay.key", "-out", "relay.pem"], cwd=tmp_path, check=True,
                       capture_output=True)
        pem.write_text(pem.read_text() + (tmp_path / "relay.key").read_text())
        running.append(MailServer(tmp_path, "--cert", str(pem), "--auth", "salon:a/word", *options))
        running[-1].url = running[-1].url.replace("//", "//salon:a%2Fword@")
        return running[-1]

    yield start
    for server in running:
        server.process.terminate()
        server.process.wait(10)


def batch(make_server, relay, recipients):
    """Sends a mail to each in one go; the events of those that were taken, in their order."""
    server = make_server(mail=False, conf=f"BizApiMail {relay.url}")
    assert server.api().get("/health/ready").status == 200  # the store is there
    data = json.dumps({"name": "invoice_sent", "locale": "en"})
    for number, to in enumerate(recipients):
        insert(server, "outbox", state="queued", tries=0, due_at=now_ms() + 3_600_000 + number,
               channel="mail", kind="sample_mail", recipient=to, data=data)
    change(server, "outbox", {"state": "queued"}, due_at=now_ms() - 1)
    wait_until(lambda: not rows(server, "outbox", state="queued"), 30, "the end of the queue")
    taken = relay.events("message")
    assert all(e["tls"] and e["user"] == "salon" for e in taken)
    assert len(relay.events("connect")) == 1, "one connection for all of them"
    wait_until(lambda: relay.events("quit"), 10, "the goodbye")
    return server, taken


def group(to, size, before=""):
    return (f"{before}MAIL FROM:<salon@example.test>{size}\r\nRCPT TO:<{to}>\r\nDATA\r\n")


@pytest.mark.bz("BZ0604")
def test_a_batch_leaves_in_one_piece_each(make_server, relay):
    """Over one connection, under TLS, and what a refused one left does not come into the next."""
    server = relay("--offer", "PIPELINING", "--offer", "SIZE 1000000")
    people = [f"{word}@people.test" for word in
              ("a", "b", "refuse+c", "d", "lax+e", "f", "spam+g", "h", *(f"p{n}" for n in range(12)))]
    site, taken = batch(make_server, server, people)
    refused = [p for p in people if "+" in p]
    assert sorted(e["to"][0] for e in taken) == sorted(set(people) - set(refused))
    for event in taken:
        first, *text = event["pieces"]
        size = re.search(r" SIZE=\d+", first).group()
        assert first in (group(event["to"][0], size), group(event["to"][0], size, "RSET\r\n")), first
        assert "".join(text).endswith("\r\n.\r\n")
        assert int(size[6:]) == len(event["data"])
    assert sum(e["pieces"][0].startswith("RSET") for e in taken) == len(refused)
    assert [e["data"] for e in server.events("nobody")] == [""]
    for to in refused:
        one = rows(site, "outbox", recipient=to)[0]
        assert one["state"] == "dead" and ("554" if "spam" in to else "550") in one["last_error"]


def test_a_server_that_does_not_offer_it_gets_one_after_the_other(make_server, relay):
    _, taken = batch(make_server, relay(), [f"p{n}@people.test" for n in range(5)])
    assert len(taken) == 5
    for event in taken:
        assert "".join(event["pieces"][:3]) == group(event["to"][0], "")
        assert [p[:4] for p in event["pieces"][:3]] == ["MAIL", "RCPT", "DATA"]


@pytest.mark.bz("BZ0601")
def test_what_was_skipped_is_sent_when_there_is_a_way(make_server):
    server = make_server(mail=False)
    person = Person(server)
    stored = settled(server, recipient=person.email)[0]
    assert stored["state"] == "skipped"
    server.graceful(f"BizApiMail file:{server.root}/mail")
    server.ctl("outbox", "retry", stored["_id"])
    assert "Confirm" in server.mail.wait(person.email)["Subject"]
    assert rows(server, "outbox", _id=stored["_id"])[0]["state"] in ("queued", "sent")


@pytest.fixture
def world():
    with Providers() as every:
        yield every


def test_by_sendgrid(make_server, world):
    """The key is all that has to be set; the provider's id is kept."""
    server = make_server(mail=False, conf=world.conf(), env=world.env("sendgrid"))
    person = Person(server)
    stored = settled(server, recipient=person.email)[0]
    assert stored["state"] == "sent" and stored["provider_id"].startswith("msg")
    sent, = world.sendgrid.requests
    assert sent.path == "/v3/mail/send"
    assert sent.headers["authorization"] == f"Bearer {SECRETS['SENDGRID_API_KEY']}"
    assert sent.json["personalizations"][0]["to"][0]["email"] == person.email
    assert [c["type"] for c in sent.json["content"]] == ["text/plain", "text/html"]
    assert server.api().get("/integrations/status").data["services"]["sendgrid"]["status"] == "ok"
