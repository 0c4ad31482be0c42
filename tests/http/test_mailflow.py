"""From a request to a mail: whose address, which link, how many, and what happens where the mail
server is slow, broken or gone, or the worker is killed with a mail in its hands."""
import contextlib
import http.server
import json
import os
import signal
import threading
import time

import pytest

from harness import html_of, new_ip, text_of, token_of, wait_until
from kit import (OTHER_PASSWORD, PASSWORD, MailServer, Person, address, change, login, now_ms, row,
                 rows)
from stored import database

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


@pytest.fixture
def smtp(tmp_path):
    server = MailServer(tmp_path)
    yield server
    server.process.terminate()
    server.process.wait(10)


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
    assert len(answers) == 1
    assert len(server.mail.all(person.email, "Confirm")) == 1 + 3
    forgot(person.api, person.email)
    server.mail.wait(person.email, "new password")


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


@pytest.mark.sqlite
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


class SendGrid(http.server.BaseHTTPRequestHandler):
    """POST /v3/mail/send, remembered; the class's `status` is the answer."""
    seen, status = [], 202

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        SendGrid.seen.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(SendGrid.status)
        self.send_header("X-Message-Id", "provider-77")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def sendgrid():
    SendGrid.seen, SendGrid.status = [], 202
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SendGrid) as listener:
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.server_address[1]}"
        listener.shutdown()
        thread.join()


def test_by_sendgrid(make_server, sendgrid):
    """The key is all that has to be set; the provider's id is kept."""
    server = make_server(mail=False, conf=f"BizApiProviderURL sendgrid {sendgrid}",
                         env={"SENDGRID_API_KEY": "SG.marker-key-for-the-tests"})
    person = Person(server)
    stored = settled(server, recipient=person.email)[0]
    assert (stored["state"], stored["provider_id"]) == ("sent", "provider-77")
    path, headers, body = SendGrid.seen[0]
    assert path == "/v3/mail/send"
    assert headers["Authorization"] == "Bearer SG.marker-key-for-the-tests"
    assert body["personalizations"][0]["to"][0]["email"] == person.email
    assert [c["type"] for c in body["content"]] == ["text/plain", "text/html"]
    assert server.api().get("/integrations/status").data["services"]["sendgrid"]["status"] == "ok"


@pytest.mark.bz("BZ0802")
def test_a_key_that_sendgrid_refuses(make_server, sendgrid):
    SendGrid.status = 401
    server = make_server(mail=False, conf=f"BizApiProviderURL sendgrid {sendgrid}",
                         env={"SENDGRID_API_KEY": "SG.marker-key-for-the-tests"})
    person = Person(server)
    wait_until(lambda: "BZ0802" in server.log_text(), 10, "the line")
    stored = row(server, "outbox", recipient=person.email)
    assert (stored["state"], stored["tries"]) == ("queued", 0)
    assert person.me().status == 200
    # Another key after a graceful restart: what waited is sent.
    SendGrid.status = 202
    server.write_conf(f"BizApiProviderURL sendgrid {sendgrid}\n"
                      f"BizApiSecret SENDGRID_API_KEY file:{new_key(server)}")
    server.graceful()
    change(server, "outbox", {"_id": stored["_id"]}, due_at=now_ms())
    wait_until(lambda: row(server, "outbox", _id=stored["_id"])["state"] == "sent", 20, "the mail")
    assert SendGrid.seen[-1][1]["Authorization"] == "Bearer SG.another-marker-key"


def new_key(server):
    path = server.root / "sendgrid.key"
    path.write_text("SG.another-marker-key\n")
    path.chmod(0o600)
    return path


# ---- killed with a mail in its hands ----

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


@pytest.mark.bz_may("BZ0603")
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


@pytest.mark.sqlite
@pytest.mark.bz_may("BZ0603")
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
    smtp.mode("")
    server.start()

    def done():
        change(server, "outbox", {"state": "queued"}, due_at=now_ms() - 1)
        return not rows(server, "outbox", state="queued")
    wait_until(done, 60, "the end of the queue")
    sent = [e["data"].partition("Message-Id: <")[2].partition("@")[0]
            for e in smtp.events("message") if "password was changed" in e["data"]]
    assert len(sent) == len(set(sent)) == 501, (len(sent), len(set(sent)))
