"""A stand-in for the seven providers, for tests: one port each on 127.0.0.1, answers as theirs are,
every request recorded, faults on demand. It says yes to what has the right form and the key it was
given; it is no judge of a provider's whole contract.

    with Providers() as p:
        p.conf()                          BizApiProviderURL lines for all of them
        p.env()                           variables with a key for each; p.firebase_file too
        p.stripe.requests                 [Request(method, path, query, headers, body, form, json)]
        p.stripe.fault(status=503, headers={"Retry-After": "1"}, times=2)
        p.clear()

Faults, the oldest first, each for `times` requests (None: for all from now on) whose path begins
with `path`: status, headers, body (bytes or what becomes JSON), delay (seconds before the answer),
drop "before" (not processed), "mid" (processed, the answer is lost) or "half" (in the middle of the
answer), garbage, redirect (a url), huge (bytes of body), huge_header (bytes), drip (the head at once,
then a byte each so many seconds), gzip (bytes once they are unpacked), silent (never an answer).

A command line runs it by hand: providers.py prints the names and ports, and ends with its input.
"""
import base64
import collections
import contextlib
import email.utils
import functools
import gzip
import hashlib
import itertools
import json
import pathlib
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

NAMES = ("stripe", "twilio", "sendgrid", "google_maps", "google_routes", "osrm", "openweather",
         "elevenlabs", "firebase", "firebase_token")
# Every secret has this in it, so that a search of logs and answers finds any of them.
MARK = "mArKeR"
SECRETS = {
    "STRIPE_SECRET_KEY": f"sk_test_{MARK}stripe51", "STRIPE_PUBLISHABLE_KEY": f"pk_test_{MARK}st51",
    "STRIPE_WEBHOOK_SECRET": f"whsec_{MARK}stripe51",
    "TWILIO_ACCOUNT_SID": "AC" + hashlib.md5(MARK.encode()).hexdigest(),
    "TWILIO_AUTH_TOKEN": f"{MARK}twiliotoken51", "TWILIO_PHONE_NUMBER": "+15005550006",
    "SENDGRID_API_KEY": f"SG.{MARK}sendgrid51", "GOOGLE_MAPS_API_KEY": f"AIza{MARK}google51",
    "OPENWEATHER_API_KEY": f"{MARK}openweather51", "ELEVENLABS_API_KEY": f"xi{MARK}eleven51",
    "ELEVENLABS_VOICE_ID": "21m00Tcm4TlvDq8ikWAM",
}
# Faults after which there is no answer, by name.
BROKEN = {
    "reset before": {"drop": "before"}, "reset after": {"drop": "mid"},
    "cut in the middle": {"drop": "half"}, "garbage": {"garbage": True},
    "empty": {"body": b""}, "another type": {"body": [1, 2]}, "a number": {"body": b"7"},
    "another charset": {"body": '{"a":"ü"}'.encode("utf-16")},
    "duplicate keys": {"body": b'{"routes":[],"routes":[],"code":"Ok"}'},
    "deep": {"body": b"[" * 5000 + b"]" * 5000}, "NUL": {"body": b'{"a":"\\u0000"}'},
    "an error with 200": {"body": {"cod": "500", "message": "x", "code": "Err", "error": {}}},
    "endless": {"huge": 20 << 20}, "a header of 1 MB": {"huge_header": 1 << 20},
    "a gzip bomb": {"gzip": 50 << 20}, "wrong numbers": {"body": {
        "cod": 200, "dt": 1, "main": {"temp": 1e300}, "routes": [
            {"distanceMeters": -5, "duration": "x", "distance": 1e300, "duration_s": None}],
        "code": "Ok", "list": [{"dt": "x"}]}},
}
MP3 = b"\xff\xfb\x90\x64" + bytes(range(256)) * 8

Request = collections.namedtuple("Request", "at method path query headers body form json")


@functools.cache
def bomb(size):
    return gzip.compress(b" " * size)


class Fault:
    def __init__(self, path="/", times=1, **what):
        self.path, self.times, self.what = path, times, what


class Provider:
    """One of them. `answer(request)` gives (status, headers, body)."""

    def __init__(self, name, home):
        self.name, self.home = name, home
        self.requests, self.faults, self.connections = [], [], 0
        self.lock = threading.Lock()
        self.server = _Server(("127.0.0.1", 0), self)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def fault(self, **what):
        with self.lock:
            self.faults.append(Fault(**what))
        return self

    def clear(self):
        with self.lock:
            self.requests, self.faults, self.connections = [], [], 0

    def paths(self):
        return [f"{r.method} {r.path}" for r in self.requests]

    def last(self):
        return self.requests[-1]

    def wait(self, count=1, timeout=10.0):
        """The requests, once there are so many."""
        end = time.monotonic() + timeout
        while len(self.requests) < count:
            assert time.monotonic() < end, f"{self.name} got {self.paths()}, not {count} requests"
            time.sleep(0.01)
        return self.requests

    def take_fault(self, path):
        with self.lock:
            for fault in self.faults:
                if path.startswith(fault.path):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self.faults.remove(fault)
                    return fault.what
        return {}

    def stop(self):
        self.server.stopping.set()
        self.server.shutdown()
        self.server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    def __init__(self, address, provider):
        self.provider, self.stopping = provider, threading.Event()
        super().__init__(address, _Handler)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.server.provider.lock:
            self.server.provider.connections += 1
        while self.one():
            pass

    def read(self):
        line = self.rfile.readline(65537).decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = {}
        while (text := self.rfile.readline(65537).decode("latin-1").strip()):
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        path, _, query = line[1].partition("?")
        form, value = {}, None
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        elif "json" in headers.get("content-type", ""):
            with contextlib.suppress(ValueError):
                value = json.loads(body)
        return Request(time.monotonic(), line[0], urllib.parse.unquote(path),
                       dict(urllib.parse.parse_qsl(query, keep_blank_values=True)), headers, body,
                       form, value)

    def one(self):
        provider = self.server.provider
        request = self.read()
        if request is None:
            return False
        fault = provider.take_fault(request.path)
        with provider.lock:
            provider.requests.append(request)
        if fault.get("drop") == "before":
            self.reset()
            return False
        if fault.get("silent"):
            self.server.stopping.wait(60)
            return False
        # A slow provider, not a slow test: ends with the test.
        if self.server.stopping.wait(fault.get("delay", 0)):
            return False
        status, headers, body = self.answer(request, fault)
        if fault.get("drop") == "mid":
            self.reset()
            return False
        return self.send(status, headers, body, fault)

    def answer(self, request, fault):
        if "redirect" in fault:
            return fault.get("status", 302), {"Location": fault["redirect"]}, b""
        if "garbage" in fault:
            return 200, {"Content-Type": "application/json"}, b'{"id": "cs_", \xff\xfe <html>'
        if "huge" in fault:
            return 200, {"Content-Type": "application/json"}, b" " * fault["huge"]
        if "gzip" in fault:
            return 200, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, \
                bomb(fault["gzip"])
        if "status" not in fault and "body" not in fault:
            status, headers, body = ANSWERS[self.server.provider.name](self.server.provider,
                                                                       request)
        else:
            status, headers, body = fault.get("status", 200), {}, fault.get("body", {})
        if not isinstance(body, bytes):
            headers = {"Content-Type": "application/json", **headers}
            body = json.dumps(body).encode()
        return status, {**headers, **fault.get("headers", {})}, body

    def send(self, status, headers, body, fault):
        if "huge_header" in fault:
            headers = {**headers, "X-Huge": "h" * fault["huge_header"]}
        head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        data = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
        if fault.get("drop") == "half":
            self.wfile.write(data[:-max(1, len(body) // 2)])
            self.reset()
            return False
        if "drip" in fault:
            self.wfile.write(data[:len(data) - len(body)])
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self.server.stopping.wait(fault["drip"]):
                    return False
        else:
            self.wfile.write(data)
        return True

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


# ---- what each of them says ----

_ids = itertools.count(1)


def _refused(kind, message, status=401, **more):
    return status, {}, {"error": {"type": kind, "message": message, **more}}


def stripe(provider, request):
    headers = {"Request-Id": f"req_{next(_ids)}"}
    key = SECRETS["STRIPE_SECRET_KEY"]
    if request.headers.get("authorization") != f"Bearer {key}":
        return 401, headers, {"error": {"type": "invalid_request_error",
                                        "message": f"Invalid API Key provided: {key[:8]}"}}
    path = request.path
    if request.method == "POST":
        idem = request.headers.get("idempotency-key")
        if not idem:
            return _refused("invalid_request_error", "no key", 400)
        known = provider.kept.get(idem)
        if known and known[0] != (path, request.body):
            return 400, headers, {"error": {"type": "idempotency_error", "message": "other body"}}
        if known:
            return known[1], {**headers, "Idempotent-Replayed": "true"}, known[2]
        status, body = _stripe_post(provider, path, request.form)
        provider.kept[idem] = ((path, request.body), status, body)
        return status, headers, body
    if path == "/v1/balance":
        return 200, headers, {"object": "balance", "livemode": False, "available": []}
    session = provider.sessions.get(path.rpartition("/")[2])
    if path.startswith("/v1/checkout/sessions/") and session:
        return 200, headers, session
    return 404, headers, {"error": {"type": "invalid_request_error", "code": "resource_missing",
                                    "message": f"No such object: {path.rpartition('/')[2]}"}}


def _stripe_post(provider, path, form):
    if path == "/v1/checkout/sessions":
        number = f"cs_test_{next(_ids)}"
        session = {
            "id": number, "object": "checkout.session", "mode": form["mode"], "status": "open",
            "payment_status": "unpaid", "url": f"https://checkout.stripe.test/c/pay/{number}",
            "amount_total": int(form["line_items[0][price_data][unit_amount]"]) *
            int(form["line_items[0][quantity]"]),
            "currency": form["line_items[0][price_data][currency]"], "livemode": False,
            "client_reference_id": form.get("client_reference_id"), "payment_intent": None,
            "expires_at": int(form.get("expires_at", time.time() + 86400)), "metadata": {}}
        provider.sessions[number] = session
        return 200, session
    if path.endswith("/expire"):
        session = provider.sessions.get(path.split("/")[-2])
        if not session or session["status"] != "open":
            return 400, {"error": {"type": "invalid_request_error",
                                   "message": "Only Checkout Sessions with a status of open"}}
        session["status"] = "expired"
        return 200, session
    if path == "/v1/refunds":
        return 200, {"id": f"re_{next(_ids)}", "object": "refund", "status": "succeeded",
                     "amount": int(form.get("amount", 0)), "currency": "eur",
                     "payment_intent": form["payment_intent"]}
    return 404, {"error": {"type": "invalid_request_error", "message": "Unrecognized URL"}}


def twilio(provider, request):
    account = SECRETS["TWILIO_ACCOUNT_SID"]
    pair = f"{account}:{SECRETS['TWILIO_AUTH_TOKEN']}".encode()
    if request.headers.get("authorization") != "Basic " + base64.b64encode(pair).decode():
        return 401, {}, {"code": 20003, "message": "Authenticate", "status": 401}
    if request.path == f"/2010-04-01/Accounts/{account}.json":
        return 200, {}, {"sid": account, "status": "active", "type": "Full"}
    if request.path == f"/2010-04-01/Accounts/{account}/Messages.json":
        if request.method == "GET":
            return 200, {}, {"messages": list(reversed(provider.messages)), "page": 0}
        message = {"sid": f"SM{next(_ids):032x}", "status": "queued", "error_code": None,
                   "to": request.form.get("To"), "from": request.form.get("From"),
                   "body": request.form.get("Body"),
                   "date_created": email.utils.formatdate(usegmt=True)}
        provider.messages.append(message)
        return 201, {}, message
    return 404, {}, {"code": 20404, "message": "The requested resource was not found",
                     "status": 404}


def sendgrid(_provider, request):
    if request.headers.get("authorization") != f"Bearer {SECRETS['SENDGRID_API_KEY']}":
        return 401, {}, {"errors": [{"message": "authorization required", "field": None}]}
    if request.path == "/v3/scopes":
        return 200, {}, {"scopes": ["mail.send", "sender_verification_eligible"]}
    if request.path == "/v3/mail/send" and request.json:
        return 202, {"X-Message-Id": f"msg{next(_ids)}"}, b""
    return 400, {}, {"errors": [{"message": "Bad Request", "field": None}]}


def google_maps(_provider, request):
    if request.query.get("key") != SECRETS["GOOGLE_MAPS_API_KEY"]:
        return 200, {}, {"status": "REQUEST_DENIED", "results": [],
                         "error_message": "The provided API key is invalid."}
    if request.query.get("address", "").startswith("Nowhere"):
        return 200, {}, {"status": "ZERO_RESULTS", "results": []}
    return 200, {}, {"status": "OK", "results": [{
        "formatted_address": request.query.get("address"), "place_id": "ChIJ",
        "geometry": {"location": {"lat": 52.5145, "lng": 13.3501}, "location_type": "ROOFTOP"}}]}


def google_routes(_provider, request):
    if request.headers.get("x-goog-api-key") != SECRETS["GOOGLE_MAPS_API_KEY"]:
        return 403, {}, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}}
    if "routes.duration" not in request.headers.get("x-goog-fieldmask", ""):
        return 400, {}, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "mask"}}
    return 200, {}, {"routes": [{"distanceMeters": 4321, "duration": "765s",
                                 "polyline": {"encodedPolyline": "_p~iF~ps|U"}}]}


def osrm(_provider, request):
    return 200, {}, {"code": "Ok", "waypoints": [], "routes": [
        {"distance": 5432.1, "duration": 876.5, "weight": 1, "legs": []}]}


def openweather(_provider, request):
    if request.query.get("appid") != SECRETS["OPENWEATHER_API_KEY"]:
        return 401, {}, {"cod": 401, "message": "Invalid API key."}
    now = {"main": {"temp": 18.4, "feels_like": 18.0, "humidity": 60}, "wind": {"speed": 3.6},
           "weather": [{"id": 500, "main": "Rain", "description": "light rain", "icon": "10d"}],
           "clouds": {"all": 75}}
    if request.path == "/data/2.5/weather":
        return 200, {}, {**now, "dt": int(time.time()), "cod": 200, "name": "Berlin",
                         "coord": {"lat": 52.52, "lon": 13.4}}
    if request.path == "/data/2.5/forecast":
        first = int(time.time()) // 10800 * 10800 + 10800
        return 200, {}, {"cod": "200", "cnt": 40, "list": [
            {**now, "dt": first + 10800 * i, "pop": 0.4,
             "main": {**now["main"], "temp": 10 + i / 10}} for i in range(40)]}
    return 404, {}, {"cod": "404", "message": "Internal error"}


def elevenlabs(_provider, request):
    if request.headers.get("xi-api-key") != SECRETS["ELEVENLABS_API_KEY"]:
        return 401, {}, {"detail": {"status": "invalid_api_key", "message": "Invalid API key"}}
    if request.path.startswith("/v1/text-to-speech/"):
        return 200, {"Content-Type": "audio/mpeg", "request-id": f"r{next(_ids)}"}, MP3
    if request.path == "/v1/user/subscription":
        return 200, {}, {"tier": "creator", "character_count": 17231, "character_limit": 100000,
                         "next_character_count_reset_unix": int(time.time()) + 86400}
    return 404, {}, {"detail": {"status": "not_found", "message": "Not Found"}}


def firebase_token(provider, request):
    if not request.form.get("assertion"):
        return 400, {}, {"error": "invalid_request"}
    token = f"ya29.{MARK}access{next(_ids)}"
    provider.home.tokens.add(token)
    return 200, {}, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}


def firebase(provider, request):
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token not in provider.home.tokens:
        return 401, {}, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "no"}}
    return 200, {}, {"name": f"projects/test-project/messages/{next(_ids)}"}


ANSWERS = {name: globals()[name] for name in NAMES}


class Providers:
    """All of them, and the files that the server needs for them."""

    def __init__(self):
        self.tokens = set()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="providers-", dir="/tmp"))
        self.each = {name: Provider(name, self) for name in NAMES}
        for name, provider in self.each.items():
            provider.kept, provider.sessions, provider.messages = {}, {}, []
            setattr(self, name, provider)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for provider in self.each.values():
            provider.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self):
        for provider in self.each.values():
            provider.clear()
            provider.messages.clear()

    def requests(self):
        """Of all of them, as ["stripe GET /v1/balance"]."""
        return [f"{name} {path}" for name, p in self.each.items() for path in p.paths()]

    @property
    def firebase_file(self):
        """A service account's credentials with a key of its own."""
        path = self.folder / "firebase.json"
        if not path.exists():
            key = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt",
                                  "rsa_keygen_bits:2048"], check=True, capture_output=True,
                                 text=True).stdout
            path.write_text(json.dumps({
                "type": "service_account", "project_id": "test-project",
                "private_key_id": "k1", "private_key": key,
                "client_email": "push@test-project.iam.gserviceaccount.com",
                "token_uri": self.firebase_token.url + "/token"}))
            path.chmod(0o600)
        return path

    def conf(self):
        return "\n".join(f"BizApiProviderURL {name} {p.url}" for name, p in self.each.items()
                         if name != "firebase_token")

    def env(self, *services):
        """The variables of the services named, of all where none is: as in GET
        /integrations/status."""
        found = {name: value for name, value in SECRETS.items()
                 if not services or any(name.startswith(s.upper()) for s in services)}
        if not services or "firebase" in services:
            found["FIREBASE_CREDENTIALS_PATH"] = str(self.firebase_file)
        return found


def main():
    with Providers() as providers:
        for name, provider in providers.each.items():
            print(name, provider.port, flush=True)
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
