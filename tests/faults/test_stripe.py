"""Stripe and what can happen to a call: src/integrations/stripe.c, run by stripe_driver.c, against
the stand-in of tests/lib/providers.py. Nothing is charged twice, and each answer of Stripe's is one
of ours."""
import json
import pathlib
import subprocess
import time

import pytest

import driver
import providers

HERE = pathlib.Path(__file__).resolve().parent
KEY = providers.SECRETS["STRIPE_SECRET_KEY"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return driver.build(HERE / "stripe_driver.c",
                        tmp_path_factory.mktemp("driver") / "stripe_driver")


@pytest.fixture(scope="module")
def world():
    with providers.Providers() as every:
        yield every


@pytest.fixture
def run(program, world):
    world.clear()

    def run_(*arguments, key=KEY, log=()):
        done = subprocess.run([program, world.stripe.url, key, *arguments], capture_output=True,
                              text=True, timeout=60, env=driver.environment())
        assert done.returncode == 0, done
        assert providers.MARK not in done.stdout + done.stderr, "a key was shown"
        for number in log:
            assert done.stderr.count(number) == 1, done.stderr
        assert log or not done.stderr, done.stderr
        return json.loads(done.stdout)
    return run_


def test_without_a_key_nothing_is_sent(run, world):
    for words in (("create",), ("get", "cs_1"), ("expire", "cs_1"), ("refund", "pi_1")):
        answer = run(*words, key="")
        assert (answer["code"], answer["retry_after"]) == ("PAYMENTS_UNAVAILABLE", 60)
    assert world.requests() == []


def test_a_session_from_beginning_to_end(run, world):
    made = run("create")
    assert made["code"] == "OK" and made["url"].startswith("https://") and made["amount"] == 4999
    request, = world.stripe.requests
    assert request.headers["stripe-version"] == "2023-08-16"
    assert request.headers["idempotency-key"] == "bizapi:inv_1:4999:1"
    assert request.form["success_url"] == "https://p.example/ok?s={CHECKOUT_SESSION_ID}"
    assert "payment_method_types" not in str(request.form)
    assert run("create")["id"] == made["id"], "the same payment is the same session"
    assert run("get", made["id"])["status"] == "open"
    assert run("expire", made["id"])["status"] == "expired"
    assert run("get", "cs_other")["code"] == "NOT_FOUND"
    assert run("refund", "pi_1")["status"] == "succeeded"
    world.stripe.kept.clear()
    assert run("expire", made["id"])["code"] == "INVALID_STATE"


@pytest.mark.parametrize("drop", ["before", "mid", "half"])
def test_a_lost_answer_is_asked_for_again_under_the_same_key(run, world, drop):
    world.stripe.kept.clear()
    world.stripe.sessions.clear()
    world.stripe.fault(path="/v1/checkout", drop=drop)
    answer = run("create", log=["BZ0801"])
    assert answer["code"] == "OK"
    keys = [r.headers["idempotency-key"] for r in world.stripe.requests]
    assert len(keys) == 2 and len(set(keys)) == 1
    assert len({r.body for r in world.stripe.requests}) == 1
    assert len(world.stripe.sessions) == 1, "one payment"


@pytest.mark.parametrize("fault, code, tries, log", [
    ({"status": 400, "body": {"error": {"type": "invalid_request_error", "code":
                                        "parameter_missing", "param": "currency"}}},
     "PROVIDER_FAILED", 1, ["BZ0810"]),
    ({"status": 400, "body": {"error": {"type": "idempotency_error"}}}, "PROVIDER_FAILED", 1,
     ["BZ0810"]),
    ({"status": 401, "body": {"error": {"type": "invalid_request_error"}}}, "PAYMENTS_UNAVAILABLE",
     1, ["BZ0802"]),
    ({"status": 402, "body": {"error": {"type": "card_error", "code": "card_declined",
                                        "message": "Your card was declined."}}}, "PAYMENT_FAILED",
     1, []),
    ({"status": 409, "body": {"error": {"code": "idempotency_key_in_use"}}},
     "PAYMENTS_UNAVAILABLE", 3, []),
    ({"status": 429, "body": {"error": {"code": "rate_limit"}}}, "PAYMENTS_UNAVAILABLE", 3,
     ["BZ0804"]),
    ({"status": 500}, "PAYMENTS_UNAVAILABLE", 3, ["BZ0801"]),
    ({"status": 503, "headers": {"Retry-After": "40"}}, "PAYMENTS_UNAVAILABLE", 1, ["BZ0801"]),
    ({"status": 500, "headers": {"Stripe-Should-Retry": "false"}}, "PAYMENTS_UNAVAILABLE", 1,
     ["BZ0801"]),
    ({"status": 400, "headers": {"Stripe-Should-Retry": "true"}}, "PROVIDER_FAILED", 3,
     ["BZ0810"]),
    ({"garbage": True}, "PAYMENTS_UNAVAILABLE", 3, ["BZ0801"]),
    ({"body": {"object": "nothing"}}, "PROVIDER_FAILED", 1, ["BZ0810"]),
    ({"body": b""}, "PAYMENTS_UNAVAILABLE", 3, ["BZ0801"]),
    ({"huge": 20 << 20}, "PAYMENTS_UNAVAILABLE", 3, ["BZ0801"]),
    ({"redirect": "http://169.254.169.254/"}, "PAYMENTS_UNAVAILABLE", 1, ["BZ0801"]),
], ids=lambda v: str(v)[:50] if isinstance(v, dict) else "")
def test_what_stripe_may_say(run, world, fault, code, tries, log):
    world.stripe.fault(**fault, times=None)
    begin = time.monotonic()
    answer = run("create", log=log)
    assert answer["code"] == code, answer
    assert len(world.stripe.requests) == tries
    assert len({r.headers["idempotency-key"] for r in world.stripe.requests}) == 1
    assert time.monotonic() - begin < 8
    if code == "PAYMENT_FAILED":
        assert answer["message"] == "Your card was declined."
    if "Retry-After" in str(fault):
        assert answer["retry_after"] == 40


def test_what_we_got_wrong_is_told_once_a_minute(run, world):
    world.stripe.fault(status=400, body={"error": {"type": "invalid_request_error"}}, times=None)
    assert run("create", "again", log=["BZ0810"])["code"] == "PROVIDER_FAILED"
    assert len(world.stripe.requests) == 2


def test_a_passing_fault_is_not_seen(run, world):
    world.stripe.kept.clear()
    world.stripe.fault(status=503, headers={"Retry-After": "1"})
    begin = time.monotonic()
    assert run("create", log=["BZ0801"])["code"] == "OK"
    assert 1 <= time.monotonic() - begin < 6
