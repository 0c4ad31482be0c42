"""The services of others, as the API shows them: how each is, the way and the weather of a booking,
texts read aloud. The stand-in of tests/lib/providers.py is on the other end, and counts."""
import json
import re
import subprocess
import threading
import time

import pytest

import providers
from client import new_ip
from harness import BUILD
from kit import Admin, Person, address, check_error, check_headers, insert, now_ms, rows
from patience import wait_until

# The public OSRM is never asked by a test, configured or not.
BUSINESS = ('BizApiBusiness address "Kurfürstendamm 1, 10719 Berlin"\nBizApiBusiness locale de\n'
            "BizApiPublicURL https://api.salon.test\n")
PLACED = "BizApiBusiness latitude 52.50400\nBizApiBusiness longitude 13.33000\n"


@pytest.fixture(scope="module")
def world():
    with providers.Providers() as every:
        yield every


@pytest.fixture(autouse=True)
def fresh(world):
    world.clear()


def with_services(module_server, world, *services, conf=BUSINESS, **more):
    return module_server(conf=conf + world.conf(), env=world.env(*services) if services else {},
                         **more)


@pytest.fixture(scope="module")
def full(module_server, world):
    """Everything is configured, but mail, which is a file."""
    return with_services(module_server, world, *(s for s in (
        "stripe", "twilio", "sendgrid", "google_maps", "openweather", "elevenlabs", "firebase")))


@pytest.fixture(scope="module")
def bare(module_server, world):
    """Nothing is configured; the business says where it is."""
    return with_services(module_server, world, conf=BUSINESS + PLACED)


_places = iter(range(1, 10**6))


def place():
    """Coordinates that nobody has asked about."""
    return {"latitude": 52.4 + next(_places) / 1000, "longitude": 13.4}


def booking(server, email, location=None, start=None, **customer):
    customer_id = insert(server, "customers", name="Nora Body", email=email, **customer)
    start = start or now_ms() + 86400_000
    return insert(server, "bookings", number=f"B-{next(_places)}", customer_id=customer_id,
                  start_at=start, end_at=start + 3600_000, status="confirmed", timezone="Etc/UTC",
                  location=json.dumps(location) if location else None)


class Booked(Person):
    """With a confirmed address and a booking."""

    def __init__(self, server, location=None, start=None, **customer):
        super().__init__(server)
        from kit import change  # pylint: disable=import-outside-toplevel
        assert change(server, "users", {"email": self.email}, email_verified=1) == 1
        self.booking = booking(server, self.email, location, start, **customer)

    def ask(self, what, **more):
        return self.api.get(f"/portal/bookings/{self.booking}/{what}", token=self.access,
                            ip=new_ip(), **more)


# ---- GET /integrations/status, /integrations/{name}, POST …/test ----

def test_status_without_anything_asks_nobody(bare, world):
    services = bare.api().get("/integrations/status").data["services"]
    assert {s["status"] for s in services.values()} == {"unconfigured"}
    assert world.requests() == []


@pytest.mark.parametrize("name", ["stripe", "twilio", "sendgrid", "google_maps", "openweather",
                                  "elevenlabs", "firebase"])
def test_a_live_test_asks_once_and_says_how_it_was(full, world, name):
    admin = Admin(full)
    answer = admin.api.post(f"/integrations/{name}/test", token=admin.access)
    assert answer.data["ok"] is True and answer.data["status"] == "ok", answer
    assert 0 <= answer.data["latency_ms"] < 5000 and "error" not in answer.data
    asked = world.requests()
    assert len(asked) == (2 if name == "google_maps" else 1), asked
    assert all(line.startswith(name.split("_")[0]) for line in asked)
    detail = admin.api.get(f"/integrations/{name}", token=admin.access).data
    assert detail["configured"] is True and detail["status"] == "ok"
    two = {"google_maps": ["google_maps", "google_routes"],
           "firebase": ["firebase", "firebase_token"]}
    assert [h["name"] for h in detail["hosts"]] == two.get(name, [name])
    for host in detail["hosts"]:
        if host["name"] == "firebase":
            continue  # a message would be needed to ask it
        assert host["address"].startswith(world.each[host["name"]].url)
        assert host["breaker"] == "closed" and host["calls"] >= 1 and host["failures"] == 0
        assert host["last_error"] is None and host["last_success_at"] and not host["key_refused"]
    assert len(world.requests()) == len(asked)


NOT_SET_UP = "not set up: it needs STRIPE_SECRET_KEY, STRIPE_PUBLISHABLE_KEY"


def test_who_may_see_and_test(full, bare, world):
    for role, status in (("customer", 403), ("staff", 403)):
        person = Person(full) if role == "customer" else Admin(full, "staff")
        check_error(person.api.get("/integrations/stripe", token=person.access), status,
                    "FORBIDDEN")
        check_error(person.api.post("/integrations/stripe/test", token=person.access), status,
                    "FORBIDDEN")
    admin = Admin(full)
    for path in ("/integrations/paypal", "/integrations/osrm"):
        check_error(admin.api.get(path, token=admin.access), 404, "NOT_FOUND")
    check_error(admin.api.post("/integrations/paypal/test", token=admin.access), 404, "NOT_FOUND")
    admin = Admin(bare)
    assert admin.api.post("/integrations/stripe/test", token=admin.access).data == {
        "ok": False, "status": "unconfigured", "latency_ms": None, "error": NOT_SET_UP}
    assert world.requests() == []


@pytest.mark.bz("BZ0802")
@pytest.mark.bz_may("BZ0801")
def test_a_refused_key_is_seen_by_all_until_it_is_good_again(make_server, world):
    server = with_services(make_server, world, "stripe")
    admin = Admin(server)
    world.stripe.fault(status=401, body={"error": {"message": "Invalid API Key: sk_test_mArKeR"}})
    answer = admin.api.post("/integrations/stripe/test", token=admin.access)
    assert answer.data["ok"] is False and answer.data["status"] == "misconfigured", answer
    assert "401" in answer.data["error"] and providers.MARK not in answer.text
    api = server.api()
    status = api.get("/integrations/status").data
    assert status["services"]["stripe"] == {
        "configured": True, "status": "misconfigured",
        "fallback": 'Returns 503 with "Payments unavailable" message'}
    assert status["summary"] == {"configured": 1, "total": 7}
    detail = admin.api.get("/integrations/stripe", token=admin.access).data
    assert detail["hosts"][0]["key_refused"] and detail["hosts"][0]["last_error"] == "http_401"
    assert len(world.stripe.requests) == 1
    # The operator mends it at Stripe: a reload, or a test, and it is used again.
    server.graceful()
    assert api.get("/integrations/status").data["services"]["stripe"]["status"] == "ok"
    world.stripe.fault(status=500)
    admin.login()
    assert not admin.api.post("/integrations/stripe/test", token=admin.access).data["ok"]
    assert admin.api.post("/integrations/stripe/test", token=admin.access).data["ok"]


def test_a_sendgrid_key_that_may_not_send(make_server, world):
    server = with_services(make_server, world, "sendgrid")
    admin = Admin(server)
    world.sendgrid.fault(body={"scopes": ["stats.read"]})
    answer = admin.api.post("/integrations/sendgrid/test", token=admin.access)
    assert answer.data["ok"] is False and "mail.send" in answer.data["error"]


def ctl(tmp_path, world, *arguments, env=None):
    """bizapictl with the addresses, and one key, of a configuration file."""
    key = tmp_path / "key"
    key.write_text(providers.SECRETS["OPENWEATHER_API_KEY"] + "\n")
    key.chmod(0o600)
    (tmp_path / "bizapi.conf").write_text(
        f"# A comment\n<IfModule x>\n{world.conf()}\n</IfModule>\n"
        f"BizApiSecret OPENWEATHER_API_KEY file:{key}\n")
    done = subprocess.run([BUILD / "bizapictl", "integrations", "test", *arguments, "--conf",
                           tmp_path / "bizapi.conf"], capture_output=True, text=True, timeout=60,
                          env={"PATH": "/usr/bin", "MONGOC_DISABLE_SHM": "1", **(env or {})})
    assert providers.MARK not in done.stdout + done.stderr
    return done


def test_bizapictl_asks_each_that_is_configured(tmp_path, world):
    done = ctl(tmp_path, world, env=world.env("stripe"))
    assert done.returncode == 0 and not done.stderr, done
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["SERVICE", "STATUS", "TIME", "ERROR"]
    assert [line[:2] for line in lines[1:]] == [
        ["stripe", "ok"], ["twilio", "unconfigured"], ["sendgrid", "unconfigured"],
        ["google_maps", "unconfigured"], ["openweather", "ok"], ["elevenlabs", "unconfigured"],
        ["firebase", "unconfigured"]]
    assert sorted(world.requests()) == ["openweather GET /data/2.5/weather",
                                        "stripe GET /v1/balance"]


def test_bizapictl_says_what_does_not_work(tmp_path, world):
    world.openweather.fault(status=401)
    done = ctl(tmp_path, world)
    assert done.returncode == 1 and "status 401" in done.stdout, done
    assert done.stderr.count("BZ0802") == 1
    assert ctl(tmp_path, world, "openweather", "--json").returncode == 0
    assert ctl(tmp_path, world, "stripe").returncode == 1, "asked for by name, and off"
    assert ctl(tmp_path, world, "paypal").returncode == 2
    for line in ("BizApiProviderURL stripe http://api.example.com", "BizApiSecret X_KEY key",
                 "BizApiSecret STRIPE_SECRET_KEY file:/nowhere"):
        (tmp_path / "bad.conf").write_text(line + "\n")
        done = subprocess.run([BUILD / "bizapictl", "integrations", "test", "--conf",
                               tmp_path / "bad.conf"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and line.split()[1] in done.stderr, done


@pytest.mark.bz("BZ1003")
def test_what_is_missing_is_named_to_administrators(make_server, tmp_path, world):
    """By the variables' names alone, in the detail, the live test, and by bizapictl."""
    env = {"TWILIO_AUTH_TOKEN": providers.SECRETS["TWILIO_AUTH_TOKEN"],
           "FIREBASE_CREDENTIALS_PATH": str(tmp_path / "none.json")}
    server = make_server(env=env, conf=world.conf())
    problems = {
        "twilio": "missing, while others of twilio are set: TWILIO_ACCOUNT_SID, TWILIO_PHONE_NUMBER",
        "firebase": "FIREBASE_CREDENTIALS_PATH: its file cannot be opened: No such file or directory",
        "stripe": None}
    admin = Admin(server)
    for name, problem in problems.items():
        answer = admin.api.get(f"/integrations/{name}", token=admin.access)
        assert answer.data["problem"] == problem
        tested = admin.api.post(f"/integrations/{name}/test", token=admin.access).data
        assert tested["error"] == (problem or NOT_SET_UP)
        done = ctl(tmp_path, world, name, env=env)
        assert done.returncode == 1 and not done.stderr
        assert (problem or NOT_SET_UP) in " ".join(done.stdout.split())
        for value in env.values():
            assert value not in answer.text + str(tested) + done.stdout
        done = ctl(tmp_path, world, name, "--json", env=env)
        assert json.loads(done.stdout)[0]["error"] == tested["error"]
    assert world.requests() == []


@pytest.mark.bz("BZ1003")
def test_stripe_keys_of_two_modes(make_server, world):
    env = {**world.env("stripe"), "STRIPE_PUBLISHABLE_KEY": "pk_live_" + providers.MARK}
    server = make_server(env=env, conf=world.conf())
    assert server.api().get("/integrations/status").data["services"]["stripe"]["status"] == \
        "misconfigured"
    assert "stripe: one of its keys is of the test mode, the other of the live mode" in \
        server.log_text()


# ---- the way ----

def test_the_way_by_google(full, world):
    person = Booked(full, address="Straße des 17. Juni 135, 10623 Berlin")
    answer = person.ask("route")
    check_headers(answer)
    assert answer.data == {
        "available": True, "from": "customer", "to": "business", "distance_m": 4321,
        "duration_s": 765, "polyline": "_p~iF~ps|U", "provider": "google",
        "attribution": "Google Maps", "traffic": True, "estimate": False}
    assert answer.headers["cache-control"] == "no-store"
    asked = world.google_maps.requests
    assert [r.query["address"] for r in asked][-1] == "Straße des 17. Juni 135, 10623 Berlin"
    route, = world.google_routes.requests
    assert route.path == "/directions/v2:computeRoutes" and route.json["travelMode"] == "DRIVE"
    assert route.headers["x-goog-fieldmask"] == \
        "routes.duration,routes.distanceMeters,routes.polyline.encodedPolyline"
    assert world.osrm.requests == []
    # Where an address is stays known; the traffic does not.
    seen = len(asked)
    assert person.ask("route").data["provider"] == "google"
    assert len(world.google_maps.requests) == seen and len(world.google_routes.requests) == 2


@pytest.mark.bz("BZ0811")
def test_what_we_asked_wrongly_is_told_once_a_minute(make_server, world):
    server = with_services(make_server, world, "google_maps", conf=BUSINESS + PLACED)
    world.google_routes.fault(status=400, body={"error": {"status": "INVALID_ARGUMENT"}},
                              times=None)
    for _ in range(3):
        person = Booked(server, {"type": "customer", **place()})
        assert person.ask("route").data["provider"] in ("osrm", "estimate")
    assert len(world.google_routes.requests) == 3
    assert server.log_text().count("BZ0811") == 1


def test_at_the_customers_it_leads_the_other_way(full, world):
    person = Booked(full, {"type": "customer", **place()})
    answer = person.ask("route")
    assert (answer.data["from"], answer.data["to"]) == ("business", "customer")
    sent = world.google_routes.last().json
    assert sent["destination"]["location"]["latLng"]["latitude"] == pytest.approx(
        json.loads(rows(full, "bookings", _id=person.booking)[0]["location"])["latitude"])


def test_online_there_is_no_way_and_no_weather(full, world):
    person = Booked(full, {"type": "online"}, address="Nowhere 1, Berlin")
    assert person.ask("route").data == {"available": False}
    assert person.ask("weather").data == {"available": False}
    assert world.requests() == []


def test_an_address_that_is_not_found(full, world):
    person = Booked(full, {"type": "customer", "address": f"Nowhere {next(_places)}, Berlin"})
    assert person.ask("route").data == {"available": False}
    assert world.google_routes.requests == [] and world.osrm.requests == []


def test_without_a_key_osrm_is_asked_and_its_answer_kept(bare, world):
    time.sleep(1.1)  # its pace
    where = place()
    person = Booked(bare, {"type": "customer", **where})
    answer = person.ask("route")
    assert answer.data == {
        "available": True, "from": "business", "to": "customer", "distance_m": 5432,
        "duration_s": 877, "polyline": None, "provider": "osrm",
        "attribution": "© OpenStreetMap contributors", "traffic": False, "estimate": False}
    request, = world.osrm.requests
    # Longitude first, a point whatever the locale.
    assert request.path == (f"/route/v1/driving/13.3300,52.5040;{where['longitude']:.4f},"
                            f"{where['latitude']:.4f}")
    assert request.query == {"overview": "false"}
    assert request.headers["user-agent"] == "mod_bizapi (https://api.salon.test)"
    assert person.ask("route").data == answer.data
    assert len(world.osrm.requests) == 1
    assert world.requests() == [f"osrm GET {request.path}"]


def test_osrm_is_asked_once_a_second_by_all_workers(bare, world):
    """Others get the estimate at once: there is no queue."""
    time.sleep(1.1)
    people = [Booked(bare, {"type": "customer", **place()}) for _ in range(8)]
    begin = time.monotonic()
    found = [person.ask("route").data["provider"] for person in people]
    took = time.monotonic() - begin
    assert found[0] == "osrm" and found.count("osrm") <= 1 + int(took)
    assert set(found) == {"osrm", "estimate"}
    assert len(world.osrm.requests) == found.count("osrm")


def test_an_estimate_says_so(bare, world):
    time.sleep(1.1)
    world.osrm.fault(body={"code": "NoRoute", "message": "Impossible route"}, status=400)
    person = Booked(bare, {"type": "customer", "latitude": 52.504, "longitude": 13.477})
    data = person.ask("route").data
    # 147/1000 of a degree of longitude on this latitude are 9.95 km; roads are a third longer.
    assert data["estimate"] is True and data["provider"] == "estimate"
    assert data["distance_m"] == pytest.approx(9950 * 1.3, rel=0.01)
    assert data["duration_s"] == pytest.approx(9950 * 1.3 / (40 / 3.6), rel=0.01)
    assert data["attribution"] is None and data["polyline"] is None


def test_an_address_that_nobody_can_look_up(bare, world):
    person = Booked(bare, {"type": "customer", "address": "Somewhere 1, 12345 Town"})
    check_error(person.ask("route"), 422, "GEOCODING_UNAVAILABLE")
    assert person.ask("weather").data == {"available": False}
    assert world.requests() == []


# ---- whose booking ----

@pytest.mark.parametrize("what", ["route", "weather"])
def test_only_ones_own_booking(bare, what):
    owner = Booked(bare, {"type": "online"})
    assert owner.ask(what).status == 200
    other = Person(bare)
    theirs = other.api.get(f"/portal/bookings/{owner.booking}/{what}", token=other.access)
    none = other.api.get(f"/portal/bookings/bk_{'0' * 26}/{what}", token=other.access)
    check_error(theirs, 404, "NOT_FOUND")
    assert theirs.json == none.json
    for role in ("staff", "admin"):
        staff = Admin(bare, role)
        assert staff.api.get(f"/portal/bookings/{owner.booking}/{what}",
                             token=staff.access).status == 200


def test_an_address_that_is_not_confirmed_proves_nothing(bare):
    """Somebody who registers with a customer's address sees nothing before the mail was read."""
    email = address()
    number = booking(bare, email, {"type": "online"})
    person = Person(bare, email=email)
    check_error(person.api.get(f"/portal/bookings/{number}/route", token=person.access), 404,
                "NOT_FOUND")
    # And a customer record that belongs to another user is that user's, whatever its address.
    other = Booked(bare, {"type": "online"})
    mine = booking(bare, other.email, {"type": "online"}, user_id="usr_" + "0" * 26)
    check_error(other.api.get(f"/portal/bookings/{mine}/route", token=other.access), 404,
                "NOT_FOUND")


# ---- the weather ----

def test_the_weather_of_now_and_of_later(full, world):
    now = Booked(full, {"type": "customer", **place()}, start=now_ms() + 600_000)
    data = now.ask("weather").data
    assert re.fullmatch(r"20\d\d-.*Z", data.pop("at"))
    assert data == {"available": True, "forecast": False, "temperature": 18, "feels_like": 18,
                    "rain_percent": None, "wind_kmh": 13, "text": "light rain", "icon": "10d",
                    "attribution": "OpenWeather"}
    request, = world.openweather.requests
    assert request.query["units"] == "metric" and request.query["lang"] == "de"
    assert re.fullmatch(r"\d+\.\d\d", request.query["lat"])
    now.ask("weather")
    assert len(world.openweather.requests) == 1, "it is kept for ten minutes"
    later = Booked(full, {"type": "customer", **place()}, start=now_ms() + 2 * 86400_000)
    data = later.ask("weather").data
    assert data["forecast"] is True and data["rain_percent"] == 40 and 11 <= data["temperature"] <= 12
    start = rows(full, "bookings", _id=later.booking)[0]["start_at"] / 1000
    at = time.mktime(time.strptime(data["at"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert at <= start < at + 3 * 3600


def test_no_weather_beyond_the_forecast_nor_of_yesterday(full, world):
    for start in (now_ms() + 6 * 86400_000, now_ms() - 86400_000):
        person = Booked(full, {"type": "customer", **place()}, start=start)
        assert person.ask("weather").data == {"available": False}
    assert world.requests() == []


@pytest.mark.bz("BZ0804")
def test_a_limit_that_is_reached_rests_the_weather(make_server, world):
    server = with_services(make_server, world, "openweather")
    world.openweather.fault(status=429, body={"cod": 429, "message": "limit"}, times=None)
    for _ in range(3):
        person = Booked(server, {"type": "customer", **place()})
        assert person.ask("weather").data == {"available": False}
    assert len(world.openweather.requests) == 1
    assert server.api().get("/integrations/status").data["services"]["openweather"]["status"] == \
        "degraded"


# ---- texts read aloud ----

def test_a_text_is_read_and_paid_for_once(full, world):
    staff = Admin(full, "staff")
    text = "Guten Morgen, Nora!\nIhr Termin ist um zehn."
    for _ in range(2):
        answer = staff.api.post("/admin/voice", token=staff.access, json={"text": text})
        assert answer.status == 200 and answer.headers["content-type"] == "audio/mpeg"
        assert answer.body == providers.MP3
        assert answer.headers["cache-control"] == "no-store"
        check_headers(answer)
    request, = world.elevenlabs.requests
    assert request.path == "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM"
    assert request.query == {"output_format": "mp3_44100_128"}
    assert request.json == {"text": text, "model_id": "eleven_multilingual_v2",
                            "voice_settings": {"stability": 0.5, "similarity_boost": 0.75}}
    # Another voice is another text to it.
    answer = staff.api.post("/admin/voice", token=staff.access,
                            json={"text": text, "voice_id": "EXAVITQu4vr4xnSDxMaL"})
    assert answer.status == 200 and len(world.elevenlabs.requests) == 2
    kept = list((full.state / "voice").iterdir())
    assert len([p for p in kept if p.suffix == ".mp3"]) == len(kept) >= 2
    assert all(p.stat().st_mode & 0o077 == 0 for p in kept)


@pytest.mark.bz("BZ0812")
def test_a_folder_that_keeps_no_text_costs_and_is_told_once(make_server, world):
    server = with_services(make_server, world, "elevenlabs")
    staff = Admin(server, "staff")
    folder = server.state / "voice"
    if folder.exists():
        folder.rmdir()
    folder.write_text("no folder")
    for n in range(1, 4):
        answer = staff.api.post("/admin/voice", token=staff.access, json={"text": "Hello"})
        assert answer.status == 200 and answer.body == providers.MP3
        assert len(world.elevenlabs.requests) == n
    assert server.log_text().count("BZ0812") == 1


@pytest.mark.parametrize("voice", ["../../etc/passwd", "a b", "a/b", "ä", "a?b", "a%2fb"])
def test_what_is_no_voice_is_not_asked_for(full, world, voice):
    staff = Admin(full, "staff")
    check_error(staff.api.post("/admin/voice", token=staff.access,
                               json={"text": "Hello", "voice_id": voice}),
                422, "VALIDATION_FAILED", "voice_id")
    assert world.requests() == []


def test_voice_without_a_key_is_off(bare, world):
    staff = Admin(bare, "staff")
    answer = staff.api.post("/admin/voice", token=staff.access, json={"text": "Hello"})
    error = check_error(answer, 503, "VOICE_UNAVAILABLE")
    assert error["message"] == "Voice unavailable"
    customer = Person(bare)
    check_error(customer.api.post("/admin/voice", token=customer.access, json={"text": "Hello"}),
                403, "FORBIDDEN")
    assert world.requests() == []


def test_a_graceful_restart_cuts_no_call_that_is_waited_for(make_server, world):
    server = with_services(make_server, world, "elevenlabs")
    staff = Admin(server, "staff")
    world.elevenlabs.fault(delay=4)
    answers = []
    asker = threading.Thread(target=lambda: answers.append(staff.api.post(
        "/admin/voice", token=staff.access, json={"text": f"Text {next(_places)}"})))
    asker.start()
    wait_until(lambda: world.elevenlabs.requests, 10, "the call to ElevenLabs")
    server.graceful()
    asker.join(30)
    assert [(a.status, a.headers["Content-Type"]) for a in answers] == [(200, "audio/mpeg")]


@pytest.mark.parametrize("fault, status, code, number", [
    ({"status": 401, "body": {"detail": {"status": "quota_exceeded"}}}, 503, "VOICE_UNAVAILABLE",
     "BZ0804"),
    ({"status": 401, "body": {"detail": {"status": "invalid_api_key"}}}, 503, "VOICE_UNAVAILABLE",
     "BZ0802"),
    ({"status": 404, "body": {"detail": {"status": "voice_not_found"}}}, 422, "VALIDATION_FAILED",
     None),
    ({"status": 422, "body": {"detail": [{"loc": ["body"], "msg": "x"}]}}, 422, "VALIDATION_FAILED",
     None),
    ({"status": 429, "body": {"detail": {"status": "too_many_concurrent_requests"}}}, 503,
     "VOICE_UNAVAILABLE", "BZ0804"),
    ({"status": 200, "body": {"not": "audio"}}, 503, "VOICE_UNAVAILABLE", "BZ0801"),
    ({"status": 500}, 503, "VOICE_UNAVAILABLE", "BZ0801"),
], ids=lambda v: str(v)[:40])
def test_what_elevenlabs_may_say(module_server, full, world, request, fault, status, code, number):
    if number:
        request.node.add_marker(pytest.mark.bz_may(number))
    staff = Admin(full, "staff")
    world.elevenlabs.fault(**fault)
    answer = staff.api.post("/admin/voice", token=staff.access,
                            json={"text": f"Text {next(_places)}"})
    check_error(answer, status, code)
    assert len(world.elevenlabs.requests) == 1, "a text costs money: it is not tried again"
    if "401" in str(fault):  # no key, no credit: no other text fares better
        again = staff.api.post("/admin/voice", token=staff.access,
                               json={"text": f"Text {next(_places)}"})
        check_error(again, 503, "VOICE_UNAVAILABLE")
        assert len(world.elevenlabs.requests) == 1
    admin = Admin(full)
    admin.api.post("/integrations/elevenlabs/test", token=admin.access)
