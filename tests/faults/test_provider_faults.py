"""What providers can do to the server: answer wrongly, late, endlessly or not at all, lead elsewhere,
or be somebody else. Each time the request's own answer comes in bounded time and the log has one line
a minute; how other routes fare meanwhile is in test_provider_hangs.py. The stand-in is
tests/lib/providers.py."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import pytest

import providers
from booked import ask, new_booking, salon, world  # noqa: F401
from harness import BUILD
from kit import Admin, check_error, in_parallel
from patience import wait_until

ROOT = os.geteuid() == 0
CTL = BUILD / "bizapictl"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # what libcurl trusts on Debian


def status_of(server, name):
    return server.api().get("/integrations/status").data["services"][name]["status"]


# ---- 27: it says that it does not work ----

@pytest.mark.bz("BZ0801", "BZ0803")
def test_the_breaker_opens_at_five_and_closes_after_the_probe(salon, world):
    """Whichever five: silence, a lost answer, another address, rubbish, an error."""
    server = salon("google_maps")
    for fault in ({"silent": True}, {"drop": "mid"}, {"redirect": world.stripe.url},
                  {"garbage": True}, {"status": 500, "times": None}):
        world.google_routes.fault(**fault)
    world.osrm.fault(status=503, times=None)
    for i in range(8):
        answer, seconds = ask(server, "route")
        assert answer.data["provider"] == "estimate" and seconds < (2 if i else 6)
    assert len(world.google_routes.requests) == 5 and world.stripe.connections == 0
    assert status_of(server, "google_maps") == "degraded"
    opened = time.monotonic()
    world.google_routes.faults.clear()
    seen = set()
    while time.monotonic() < opened + 27:
        seen.add(ask(server, "route")[0].data["provider"])
        time.sleep(3)
    assert seen == {"estimate"} and len(world.google_routes.requests) == 5
    wait_until(lambda: ask(server, "route")[0].data["provider"] == "google", 10, "the probe")
    assert status_of(server, "google_maps") == "ok"
    assert server.log_text().count("BZ0801: google_routes") == 1, "one line a minute"


@pytest.mark.bz("BZ0801")
def test_retry_after_is_honoured(salon, world):
    server = salon("openweather")
    world.openweather.fault(status=503, headers={"Retry-After": "1"})
    answer, seconds = ask(server, "weather")
    assert answer.data["available"] is True and 1 <= seconds < 3
    first, second = world.openweather.requests
    assert second.at - first.at >= 1
    # Longer than the call may take: the fallback, at once.
    world.openweather.fault(status=503, headers={"Retry-After": "120"})
    answer, seconds = ask(server, "weather")
    assert answer.data == {"available": False} and seconds < 1
    assert len(world.openweather.requests) == 3


# ---- 28: it hangs ----

@pytest.mark.bz("BZ0801")
def test_silence_and_drops_of_an_answer_are_ended(salon, world):
    """ElevenLabs may take 30 s, but not to begin, and not a byte a second once it has begun."""
    server = salon("elevenlabs")
    staff = Admin(server, "staff")
    world.elevenlabs.fault(silent=True).fault(drip=1)

    def speak(i):
        begin = time.monotonic()
        api = server.api()
        answer = api.post("/admin/voice", token=staff.access, json={"text": f"Text {i}"})
        check_error(answer, 503, "VOICE_UNAVAILABLE")
        return time.monotonic() - begin

    # libcurl looks at the speed of the last 5 s: the head counts for as long.
    took = in_parallel(2, speak)
    assert all(9 < seconds < 20 for seconds in took), took
    assert len(world.elevenlabs.requests) == 2, "each costs money: none is tried again"


# ---- 29 to 32: what comes is no answer ----

@pytest.mark.bz("BZ0801")
@pytest.mark.bz_may("BZ0811")
@pytest.mark.parametrize("name", providers.BROKEN)
def test_what_is_no_answer_is_the_fallback(salon, broken, world, name):
    booking, workers = new_booking(broken), set(broken.children())
    for provider in (world.google_routes, world.osrm, world.openweather):
        provider.fault(**providers.BROKEN[name], times=None)
    route, seconds = ask(broken, "route", booking)
    assert route.data["provider"] == "estimate" and seconds < 5
    weather, seconds = ask(broken, "weather", booking)
    assert weather.data == {"available": False} and seconds < 5
    assert workers <= set(broken.children()), "no worker died"
    log = broken.log_text()
    for provider in ("osrm", "openweather"):
        assert log.count(f"BZ0801: {provider} at") == 1, "a failure, and told once"
    assert name != "endless" or "the answer is longer than 1048576 bytes" in log
    world.openweather.faults.clear()
    assert ask(broken, "weather", booking)[0].data["available"] is True, "nothing of it is kept"


@pytest.mark.bz("BZ0801")
def test_a_route_that_is_none_is_not_kept(salon, world):
    """An error with 200, numbers that are none: the right answer is taken when it comes."""
    server = salon("openweather")
    booking = new_booking(server)
    for body in ({"code": "Error"}, {"code": "Ok", "routes": [{"distance": 1e300, "duration": 1}]}):
        world.osrm.fault(body=body)
        assert ask(server, "route", booking)[0].data["provider"] == "estimate"
        time.sleep(1.1)  # the pace of OSRM
    assert ask(server, "route", booking)[0].data["provider"] == "osrm"


@pytest.fixture
def broken(salon, request, world):
    """A server of its own, since five failures would close the way for the next test."""
    return salon("google_maps", "openweather")


@pytest.mark.bz("BZ0801")
@pytest.mark.parametrize("where", ["loopback", "metadata"])
def test_a_redirect_is_not_followed(salon, world, where):
    server = salon("openweather")
    target = world.stripe.url if where == "loopback" else "http://169.254.169.254/latest/"
    world.openweather.fault(redirect=target, times=None)
    for status in (301, 302, 307, 308):
        world.openweather.faults.clear()
        world.openweather.fault(redirect=target, status=status, times=None)
        answer, seconds = ask(server, "weather")
        assert answer.data == {"available": False} and seconds < 2
    assert world.stripe.connections == 0 and len(world.openweather.requests) == 4
    assert "redirects are not followed" in server.log_text()


# ---- 35: all sources of maps fail ----

@pytest.mark.bz("BZ0801")
def test_google_then_osrm_then_the_great_circle(salon, world):
    server = salon("google_maps")
    assert ask(server, "route")[0].data["provider"] == "google"
    world.google_routes.fault(status=503)
    assert ask(server, "route")[0].data["provider"] == "osrm"
    world.google_routes.fault(drop="before")
    world.osrm.fault(drop="before", times=2)  # a GET on a kept connection is sent once more
    time.sleep(1.1)  # the pace of OSRM
    answer = ask(server, "route")[0]
    assert answer.data["provider"] == "estimate" and answer.data["estimate"] is True
    world.google_maps.fault(status=503, times=None)
    nowhere = new_booking(server, latitude=None, longitude=None, address="A street 1, 12345 Town")
    check_error(ask(server, "route", nowhere)[0], 422, "GEOCODING_UNAVAILABLE")


# ---- 33: it is somebody else ----

@pytest.mark.bz("BZ0801")
def test_requests_get_the_fallback_of_strangers(salon, world, tls_server, monkeypatch):
    """At the server what bizapictl meets below: a certificate that nobody vouches for, a name that
    nobody knows, a handshake that stalls."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        places = {"google_routes": (f"https://localhost:{tls_server('self-signed')}", "certificate"),
                  "osrm": ("https://osrm.invalid", "resolv"),
                  "openweather": (f"https://127.0.0.1:{silent.getsockname()[1]}", "time")}
        for name, (url, _) in places.items():
            monkeypatch.setattr(world.each[name], "url", url)
        server = salon("google_maps", "openweather")
        route, seconds = ask(server, "route")
        assert route.data["provider"] == "estimate" and seconds < 5
        weather, seconds = ask(server, "weather")
        assert weather.data == {"available": False} and 1.5 < seconds < 5
    for name, (url, word) in places.items():
        line, = [text for text in server.log_text().splitlines() if f"BZ0801: {name} at" in text]
        assert url in line and word in line.lower(), line


def in_namespace(script, *, network=False, env=None, timeout=60):
    """A shell script in a mount (and network) namespace of its own; skips where that is forbidden."""
    unshare = ["unshare", "-m", *(["-n"] if network else [])]
    if not ROOT or not pathlib.Path(BUNDLE).exists() or subprocess.run([*unshare, "true"], capture_output=True).returncode != 0:
        pytest.skip("namespaces (unshare) are not permitted here")
    begin = time.monotonic()
    done = subprocess.run([*unshare, "sh", "-ec", script], capture_output=True, text=True,
                          timeout=timeout, env={"PATH": os.environ["PATH"], **(env or {})})
    return done, time.monotonic() - begin


def ask_over_tls(pki, port):
    """`bizapictl integrations test stripe`, which trusts our CA alone."""
    return in_namespace(
        f"mount --bind {pki}/ca.crt {BUNDLE}\n"
        f"exec {CTL} integrations test stripe",
        env={**{k: v for k, v in providers.SECRETS.items() if k.startswith("STRIPE")},
             "STRIPE_API_BASE": f"https://localhost:{port}"})


def test_the_right_certificate_is_accepted(pki, tls_server):
    """Else the refusals below would prove nothing."""
    done, _ = ask_over_tls(pki, tls_server("good"))
    assert done.returncode == 0, done
    assert providers.MARK not in done.stdout + done.stderr


@pytest.mark.parametrize("certificate, options, word", [
    ("expired", (), "expired"), ("wrong-host", (), "no alternative certificate subject name"),
    ("self-signed", (), "self"),
    ("good", ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "protocol")])
def test_another_certificate_is_refused_and_told(pki, tls_server, certificate, options, word):
    port = tls_server(certificate, *options)
    done, seconds = ask_over_tls(pki, port)
    assert done.returncode == 1 and seconds < 5, done
    line, = [text for text in done.stderr.splitlines() if "BZ0801" in text]
    assert f"stripe at https://localhost:{port}" in line and word in line, line
    assert providers.MARK not in done.stdout + done.stderr


def test_a_handshake_that_stalls_is_ended(pki):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done, seconds = ask_over_tls(pki, silent.getsockname()[1])
        assert done.returncode == 1 and 2.5 < seconds < 5, (done, seconds)
        assert done.stderr.count(f"BZ0801: stripe at https://localhost:{silent.getsockname()[1]}") == 1


# ---- 34: nobody knows where it is ----

SINK = """
import socket, sys
how = sys.argv[1]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
open(sys.argv[2], "w").close()
while True:
    data, who = s.recvfrom(2000)
    if how == "silent":
        continue
    code = 3 if how == "nxdomain" else 0
    end = data.index(b"\\0", 12) + 5
    s.sendto(data[:2] + bytes([0x81, 0x80 | code]) + data[4:6] + bytes(6) + data[12:end], who)
"""


@pytest.mark.parametrize("how", ["silent", "nxdomain", "no records", "no resolver"])
def test_a_name_that_does_not_resolve(tmp_path, how):
    if not shutil.which("ip"):
        pytest.skip("iproute2 is not installed")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "sink.py").write_text(SINK)
    ready, began = tmp_path / "ready", time.time()
    sink = "" if how == "no resolver" else (
        f"{sys.executable} {tmp_path}/sink.py '{how}' {ready} & sink=$!\n"
        f"trap 'kill $sink' EXIT\nwhile [ ! -e {ready} ]; do sleep 0.05; done\n")
    done, seconds = in_namespace(
        f"ip link set lo up\nmount --bind {tmp_path}/resolv.conf /etc/resolv.conf\n{sink}"
        f"{CTL} integrations test stripe", network=True,
        env={k: v for k, v in providers.SECRETS.items() if k.startswith("STRIPE")})
    begin_after = ready.stat().st_mtime - began if sink else 0
    assert done.returncode == 1, done
    assert "stripe at https://api.stripe.com" in done.stderr and "BZ0801" in done.stderr
    assert seconds - begin_after < 4.5, "the time-out of a connection is 3 s"
    assert how != "silent" or seconds - begin_after > 2.5, "somebody was asked, and did not answer"
