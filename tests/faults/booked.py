"""Bookings whose way and weather are asked of providers: what the tests of their faults share."""
import json
import time

import pytest

import providers
from client import new_ip
from kit import Person, change, insert, now_ms


@pytest.fixture(scope="module")
def world():
    with providers.Providers() as every:
        yield every


@pytest.fixture
def salon(make_server, world):
    """salon(service...): a fresh server, and so fresh breakers, with these configured."""
    world.clear()

    def make(*services, **more):
        conf = ("BizApiBusiness latitude 52.504\nBizApiBusiness longitude 13.33\n"
                "BizApiBusiness address \"Kurfürstendamm 1, Berlin\"\n")
        server = make_server(conf=conf + world.conf(), env=world.env(*services), **more)
        server.person = Person(server)
        change(server, "users", {"email": server.person.email}, email_verified=1)
        server.customer = insert(server, "customers", name="N", email=server.person.email)
        return server
    return make


_numbers = iter(range(1, 10**6))


def new_booking(server, **location):
    """At a place that nobody has asked about, tomorrow."""
    n = next(_numbers)
    where = {"type": "customer", "latitude": 52 + n / 100, "longitude": 13, **location}
    return insert(server, "bookings", number=f"F-{n}", customer_id=server.customer,
                  start_at=now_ms() + 86400_000, end_at=now_ms() + 90000_000,
                  status="confirmed", location=json.dumps(where))


def ask(server, what, booking=None, api=None, **more):
    """(answer, seconds)"""
    begin = time.monotonic()
    answer = (api or server.person.api).get(
        f"/portal/bookings/{booking or new_booking(server)}/{what}", token=server.person.access,
        ip=new_ip(), **more)
    return answer, time.monotonic() - begin
