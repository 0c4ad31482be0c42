"""Mail without a request waiting for it: no transport, killed workers, graceful restarts under load,
and a stop with mails still queued."""
import os
import signal
import threading

import httpx
import pytest

from client import new_ip
from kit import Person, address, change, check_error, login, now_ms, row, rows
from patience import wait_until


def forgot(server, email):
    answer = server.api().post("/auth/forgot-password", ip=new_ip(), json={"email": email})
    assert answer.status == 200, answer
    return answer


def open_again(server):
    """The workers have the database open: a look into it from here, as root, makes no new file
    beside it that is root's for a moment."""
    wait_until(lambda: server.api().get("/health/ready").status == 200, 10, "the database")


@pytest.mark.bz("BZ0601")
def test_no_transport_is_one_warning_and_no_error(make_server):
    server = make_server(mail=False)
    person = Person(server)
    with_mail = forgot(server, person.email).body
    wait_until(lambda: row(server, "outbox", kind="forgot_password",
                           recipient=person.email)["state"] == "skipped", 10, "the skipped row")
    assert forgot(server, address("nobody")).body == with_mail
    wait_until(lambda: not rows(server, "outbox", state="queued"), 10, "the end of the queue")
    assert server.log_text().count("BZ0601") == 1
    assert rows(server, "password_reset_tokens") == []


def test_the_fourth_mail_of_an_hour_is_not_sent(server):
    person = Person(server, sign_in=False)
    answers = {forgot(server, person.email).body for _ in range(4)}
    assert len(answers) == 1
    wait_until(lambda: not rows(server, "outbox", kind="forgot_password", state="queued",
                                recipient=person.email), 15, "the end of the queue")
    states = [r["state"] for r in rows(server, "outbox", kind="forgot_password",
                                       recipient=person.email)]
    assert states.count("sent") <= 3 and "dropped" in states, states
    assert len(server.mail.all(person.email, "new password")) == states.count("sent") >= 1


@pytest.mark.bz_may("AH00052", "exit signal")
def test_killed_workers_lose_no_mail_and_send_none_twice(make_server):
    server = make_server(may=("AH00052", "exit signal", "AH00051"))
    people = [Person(server, sign_in=False).email for _ in range(6)]
    for email in people:
        forgot(server, email)
        for pid in server.children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until(server.answers, 20, "new workers")
    open_again(server)
    # A lease that a killed worker held ends after a minute: the clock is helped along.
    def done():
        change(server, "outbox", {"state": "queued"}, due_at=now_ms() - 1)
        return not rows(server, "outbox", state="queued")
    wait_until(done, 30, "the end of the queue")
    for email in people:
        assert len(server.mail.all(email, "new password")) == 1, email


@pytest.mark.parametrize("rounds", [6])
def test_graceful_under_load_fails_no_request_and_doubles_no_mail(make_server, rounds):
    server = make_server()
    people = [Person(server, sign_in=False).email for _ in range(10)]
    stop, failures, served = threading.Event(), [], [0, 0]

    def load(number):
        client = httpx.Client(base_url=server.url, trust_env=False, timeout=20, verify=False,
                              headers={"Connection": "close"})
        while not stop.is_set():
            try:
                answer = client.get("/api/v1/integrations/status")
                served[number] += 1
                if answer.status_code != 200:
                    failures.append(answer.status_code)
            except httpx.HTTPError as e:
                failures.append(repr(e))

    threads = [threading.Thread(target=load, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    try:
        for i in range(rounds):
            for email in people[i::rounds]:
                forgot(server, email)
            server.graceful()
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    open_again(server)
    assert failures == [] and sum(served) > 50, (failures[:5], served)
    wait_until(lambda: not rows(server, "outbox", state="queued"), 70, "the end of the queue")
    for email in people:
        assert len(server.mail.all(email, "new password")) == 1, email


def test_a_stop_with_queued_mails_is_quick_and_keeps_them(make_server):
    server = make_server()
    person = Person(server, sign_in=False)
    for _ in range(3):
        forgot(server, person.email)
    seconds = server.stop()
    assert seconds < 9
    server.start()
    open_again(server)
    change(server, "outbox", {"state": "queued"}, due_at=now_ms() - 1)
    wait_until(lambda: not rows(server, "outbox", state="queued"), 30, "the end of the queue")
    assert len(server.mail.all(person.email, "new password")) >= 1


def test_expired_rows_are_swept(make_server):
    server = make_server()
    person = Person(server)
    change(server, "sessions", {"user_id": person.document()["_id"]}, expires_at=now_ms() - 1000)
    server.stop()
    server.start()
    open_again(server)
    wait_until(lambda: rows(server, "sessions") == [], 20, "the sweep")
    check_error(person.me(), 401, "TOKEN_REVOKED")
    assert login(person.api, person.email, person.password).status == 200
