"""What the tests of the API share beside the harness: people, the routes, raw HTTP, the database.

ROUTES is this level's own list of the routes and of what they take; test_contract.py holds it
against src/routes.c, so that a new route cannot stay without tests.
"""
import base64
import email
import email.policy
import hashlib
import hmac
import itertools
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events

import harness
from client import PREFIX, new_ip
from harness import BUILD, REPO
from stored import (change, database, everything, insert,  # noqa: F401, for the tests
                    refusing, row, rows)

PASSWORD = "Nine-lemons-walk-7"
OTHER_PASSWORD = "Quiet-Harbour-22-boats"
# PASSWORD as an imported bcrypt hash, by libxcrypt; the letter is a, b or y.
BCRYPT = "$2{}$05$abcdefghijklmnopqrstuuwmFOZR8Gth6hOVjkmnjACad1DxxiJou"

_people = itertools.count(1)


def address(word="p"):
    """An e-mail address that nobody else has."""
    return f"{word}{next(_people)}@people.test"


# ---- the routes ----

EMAIL, PASSWORD_FIELD, NEW_PASSWORD, TOKEN, LINE, PHONE, LOCALE, ZONE = (
    "email", "password", "new_password", "token", "line", "phone", "locale", "timezone")
BOOL = "bool"
CHOICE = "choice"  # each list of choices has these of ours
APP_CODE, RECOVERY_CODE, OBJECT = "app_code", "recovery_code", "object"
SCENARIO = "scenario"


class Route:
    """method, path below /api/v1, who may call, body fields {name: (type, required, nullable)}"""

    def __init__(self, method, path, who="anyone", fields=None, idempotent=False, query=None,
                 whole=(), own=False):
        """`whole`: the types of a body that is taken as it comes; `own`: a file of its own tests
        what its fields take."""
        self.method, self.path, self.who = method, path, who
        self.whole, self.own = whole, own
        self.fields, self.idempotent, self.query = fields or {}, idempotent, query

    def __repr__(self):
        return f"{self.method} {self.path}"

    @property
    def url(self):
        """A path that can be asked for."""
        return (self.path.replace("{id}", "ses_" + "0" * 26).replace("{token}", "x")
                .replace("templates/{name}", "templates/invoice_sent").replace("{name}", "stripe"))

    def good_body(self):
        return {name: GOOD[kind] for name, (kind, _, _) in self.fields.items()}


GOOD = {EMAIL: "nobody@people.test", PASSWORD_FIELD: PASSWORD, NEW_PASSWORD: PASSWORD,
        TOKEN: "A" * 43, LINE: "Nora Body", PHONE: "+4930123456", LOCALE: "de",
        ZONE: "Europe/Berlin", APP_CODE: "123456", RECOVERY_CODE: "7k3nq-x0r8w", OBJECT: {},
        BOOL: True, CHOICE: "customer", SCENARIO: "long"}
SPOKEN, VOICE = "spoken text", "voice"
GOOD.update({SPOKEN: "Good morning,\nNora.", VOICE: "21m00Tcm4TlvDq8ikWAM"})

# Of routes with files of their own, and the types of bodies that are taken as a whole.
GOOD |= {"switch": True, "device": "d" * 150, "platform": "web"}
JSON, FORM = "application/json", "application/x-www-form-urlencoded"

_profile = {"phone": (PHONE, False, True), "locale": (LOCALE, False, True),
            "timezone": (ZONE, False, True)}
# What every way to sign in takes beside its own fields.
SIGN_IN = {"device_token": (TOKEN, False, True), "session_cookie": (BOOL, False, False)}
# A second factor.
PROOF = {"code": (APP_CODE, False, False), "recovery_code": (RECOVERY_CODE, False, False)}
# What a flood of sign-ups makes the server ask for.
WORK = {"work": (TOKEN, False, True)}
ROUTES = [
    Route("POST", "/auth/register", idempotent=True, fields={
        **WORK,
        "email": (EMAIL, True, False), "password": (NEW_PASSWORD, True, False),
        "name": (LINE, True, False), **_profile}),
    Route("POST", "/auth/login", fields={
        **WORK,
        "email": (EMAIL, True, False), "password": (PASSWORD_FIELD, True, False), **SIGN_IN}),
    Route("POST", "/auth/login/mfa", fields={
        "mfa_token": (TOKEN, True, False), **PROOF, **SIGN_IN}),
    Route("POST", "/auth/refresh", fields={"refresh_token": (TOKEN, True, False)}),
    Route("POST", "/auth/logout", "signed in"),
    Route("POST", "/auth/logout-all", "signed in"),
    Route("GET", "/auth/me", "signed in"),
    Route("PATCH", "/auth/me", "signed in", fields={"name": (LINE, False, False), **_profile}),
    Route("POST", "/auth/change-password", "signed in", idempotent=True, fields={
        "current_password": (PASSWORD_FIELD, True, False),
        "new_password": (NEW_PASSWORD, True, False)}),
    Route("POST", "/auth/forgot-password", fields={"email": (EMAIL, True, False), **WORK}),
    Route("GET", "/auth/verify-reset-token", query="token"),
    Route("POST", "/auth/reset-password", fields={
        "token": (TOKEN, True, False), "new_password": (NEW_PASSWORD, True, False)}),
    Route("POST", "/auth/verify-email", fields={
        "token": (TOKEN, False, False), "email": (EMAIL, False, False),
        "code": (APP_CODE, False, False)}),
    Route("POST", "/auth/resend-verification", fields={
        "email": (EMAIL, True, False), **WORK}),
    Route("GET", "/auth/sessions", "signed in"),
    Route("DELETE", "/auth/sessions/{id}", "signed in"),
    Route("GET", "/auth/work"),
    Route("GET", "/auth/events", "signed in"),
    Route("POST", "/auth/reauthenticate", "signed in", fields={
        "password": (PASSWORD_FIELD, False, False), **PROOF,
        "credential": (OBJECT, False, False)}),
    Route("GET", "/auth/2fa", "signed in"),
    Route("POST", "/auth/2fa/setup", "signed in"),
    Route("POST", "/auth/2fa/enable", "signed in", fields={"code": (APP_CODE, True, False)}),
    Route("POST", "/auth/2fa/disable", "signed in", fields={
        "password": (PASSWORD_FIELD, False, False), **PROOF}),
    Route("POST", "/auth/2fa/recovery-codes", "signed in", fields=PROOF),
    Route("POST", "/auth/passkeys/register/options", "signed in"),
    Route("POST", "/auth/passkeys/register/verify", "signed in", fields={
        "credential": (OBJECT, True, False), "name": (LINE, False, False)}),
    Route("POST", "/auth/passkeys/login/options", fields={"mfa_token": (TOKEN, False, False)}),
    Route("POST", "/auth/passkeys/login/verify", fields={
        "credential": (OBJECT, True, False), "mfa_token": (TOKEN, False, False), **SIGN_IN}),
    Route("GET", "/auth/passkeys", "signed in"),
    Route("DELETE", "/auth/passkeys/{id}", "signed in"),
    Route("GET", "/auth/jwks.json"),
    Route("GET", "/admin/audit", "admin"),
    Route("GET", "/admin/users", "admin"),
    Route("POST", "/admin/users", "admin", idempotent=True, fields={
        "email": (EMAIL, True, False), "name": (LINE, True, False),
        "role": (CHOICE, False, False), **_profile}),
    Route("GET", "/admin/users/{id}", "admin"),
    Route("PATCH", "/admin/users/{id}", "admin", fields={
        "name": (LINE, False, False), "role": (CHOICE, False, False),
        "disabled": (BOOL, False, False), **_profile}),
    Route("DELETE", "/admin/users/{id}", "admin"),
    Route("POST", "/admin/users/{id}/unlock", "admin"),
    Route("GET", "/admin/email-templates", "admin"),
    Route("POST", "/admin/email-templates/{name}/preview", "admin", fields={
        "locale": (LOCALE, False, False), "scenario": (SCENARIO, False, False),
        "data": (OBJECT, False, False)}),
    Route("POST", "/admin/email-templates/{name}/test", "admin", fields={
        "to": (EMAIL, True, False), "locale": (LOCALE, False, False)}),
    Route("GET", "/integrations/status"),
    Route("GET", "/portal/notifications", "signed in"),
    Route("PUT", "/portal/notifications", "signed in", own=True, fields=dict.fromkeys(
        ("mail", "sms", "push", "voice"), ("switch", False, False))),
    Route("POST", "/portal/push-devices", "signed in", own=True, fields={
        "token": ("device", True, False), "platform": ("platform", True, False)}),
    Route("DELETE", "/portal/push-devices", "signed in", own=True, fields={
        "token": ("device", True, False)}),
    Route("GET", "/portal/unsubscribe/{token}"),
    Route("POST", "/portal/unsubscribe/{token}", whole=(FORM, "multipart/form-data", JSON)),
    Route("GET", "/admin/outbox", "admin"),
    Route("POST", "/admin/outbox/{id}/retry", "admin"),
    Route("POST", "/admin/outbox/{id}/cancel", "admin"),
    Route("GET", "/admin/webhook-events", "admin"),
    Route("POST", "/admin/webhook-events/{id}/replay", "admin"),
    Route("POST", "/webhooks/stripe", whole=(JSON,)),
    Route("POST", "/webhooks/twilio/status", whole=(FORM, JSON)),
    Route("POST", "/webhooks/twilio/inbound", whole=(FORM, JSON)),
    Route("POST", "/webhooks/sendgrid", whole=(JSON,)),
    Route("GET", "/integrations/{name}", "admin"),
    Route("POST", "/integrations/{name}/test", "admin"),
    Route("GET", "/portal/bookings/{id}/route", "signed in"),
    Route("GET", "/portal/bookings/{id}/weather", "signed in"),
    Route("POST", "/admin/voice", "staff", fields={
        "text": (SPOKEN, True, False), "voice_id": (VOICE, False, True)}),
    Route("GET", "/health/live"),
    Route("GET", "/health/ready"),
    Route("GET", "/openapi.json"),
]
BODY_ROUTES = [r for r in ROUTES if r.fields and not r.own]
SIGNED_IN_ROUTES = [r for r in ROUTES if r.who != "anyone"]
PATHS = sorted({r.path for r in ROUTES})


def allow_of(path):
    """The Allow header of a path."""
    methods = []
    for route in ROUTES:
        if route.path == path:
            methods.append(route.method)
            if route.method == "GET":
                methods.append("HEAD")
    return ", ".join(methods + ["OPTIONS"])


def routes_of_source():
    """{(method, path, who, idempotent)} as src/routes.c has them."""
    text = (REPO / "src/routes.c").read_text()
    table = text[text.index("biz_routes[]"):]
    found = re.findall(r'\{"(\w+)", API "([^"]+)", \w+, (BIZ_\w+),\s*([^,]+),', table)
    return {(method, path, {"BIZ_ANYONE": "anyone", "BIZ_SIGNED_IN": "signed in",
                            "BIZ_STAFF": "staff", "BIZ_ADMIN": "admin"}[who],
             "BIZ_IDEMPOTENT" in flags) for method, path, who, flags in found}


# ---- people ----

class Person:
    """Somebody with an account, signed in. Each of the calls has an address of its own, so that no
    test meets the limits by accident."""

    def __init__(self, server, api=None, email=None, password=PASSWORD, name="Nora Body",
                 sign_in=True, **fields):
        self.server, self.api = server, api or server.api()
        self.email, self.password, self.name = email or address(), password, name
        answer = self.api.post("/auth/register", ip=new_ip(), json={
            "email": self.email, "password": password, "name": name, **fields})
        assert answer.status == 201, answer
        self.tokens = None
        if sign_in:
            self.login()

    def login(self, password=None):
        answer = login(self.api, self.email, password or self.password)
        assert answer.status == 200, answer
        self.tokens = answer.data
        return self.tokens

    @property
    def access(self):
        return self.tokens["access_token"]

    @property
    def refresh_token(self):
        return self.tokens["refresh_token"]

    def me(self, **more):
        return self.api.get("/auth/me", token=self.access, **more)

    def document(self):
        return row(self.server, "users", email=self.email.lower())


class Admin(Person):
    """Made by the operator."""

    def __init__(self, server, role="admin", email=None, password=PASSWORD):
        self.server, self.api = server, server.api()
        self.email, self.password, self.name = email or address("admin"), password, "Ada Min"
        server.add_user(self.email, password, role, self.name)
        self.login()


def login(api, email, password, **fields):
    return api.post("/auth/login", ip=new_ip(), json={"email": email, "password": password,
                                                      **fields})


def refresh(api, token):
    return api.post("/auth/refresh", ip=new_ip(), json={"refresh_token": token})


# ---- answers ----

def check_headers(answer):
    """What every answer of the API has."""
    assert re.fullmatch(r"[\w.-]{1,64}", answer.headers["x-request-id"]), answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "Origin" in [v.strip() for v in answer.headers["vary"].split(",")]
    assert "access-control-allow-origin" not in answer.headers or answer.headers[
        "access-control-allow-origin"] not in ("*", "null")


def check_error(answer, status, code, param=None):
    """The failure envelope with this status and code, and nothing else in it."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json; charset=utf-8", answer.headers
    body = answer.json
    assert sorted(body) == ["error", "success"] and body["success"] is False, body
    error = body["error"]
    assert set(error) <= {"code", "message", "param", "details", "request_id", "retry_after"}, body
    assert error["code"] == code, answer
    assert isinstance(error["message"], str) and error["message"], body
    if param is not None:
        assert error["param"] == param, answer
    check_headers(answer)
    if status >= 500:
        assert error["request_id"] == answer.headers["x-request-id"]
    if status == 503:
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    if status == 401 and code in ("UNAUTHENTICATED", "TOKEN_EXPIRED", "TOKEN_REVOKED"):
        assert answer.headers["www-authenticate"].startswith("Bearer")
    return error


def comparable(answer):
    """Status, body and headers without what differs between any two requests."""
    headers = sorted((k.lower(), v) for k, v in answer.headers.multi_items()
                     if k.lower() not in ("date", "x-request-id", "keep-alive", "connection"))
    return answer.status, answer.body, headers


# ---- raw HTTP ----

class Headers(dict):
    """Header names in lower case; several of one name are joined by ", "."""

    def add(self, name, value):
        name = name.lower()
        self[name] = f"{self[name]}, {value}" if name in self else value


class WireAnswer:
    def __init__(self, status, headers, body, interim):
        self.status, self.headers, self.body, self.interim = status, headers, body, interim

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]

    def __repr__(self):
        return f"<WireAnswer {self.status} {self.headers} {self.body[:300]!r}>"


class Wire:
    """A connection on which bytes are written as they are and answers are read one by one."""

    def __init__(self, server, timeout=20.0, tls=False):
        self.socket = socket.create_connection(
            ("127.0.0.1", server.https_port if tls else server.port), timeout)
        if tls:
            context = ssl.create_default_context(cafile=str(server.root / "tls.crt"))
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def request(self, method, path, headers=(), body=b"", ip=None):
        """A whole request; Host and an address of its own are added."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost",
                 f"X-Forwarded-For: {ip or new_ip()}"]
        lines += [f"{k}: {v}" for k, v in dict(headers).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def _fill(self):
        try:
            got = self.socket.recv(65536)
        except ConnectionResetError:
            got = b""
        self.buffer += got
        return bool(got)

    def _until(self, mark):
        while mark not in self.buffer:
            if not self._fill():
                raise EOFError(f"closed after {self.buffer!r}")
        found, self.buffer = self.buffer.split(mark, 1)
        return found

    def _exactly(self, count):
        while len(self.buffer) < count:
            if not self._fill():
                raise EOFError(f"closed after {self.buffer!r}")
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def answer(self, head=False):
        """The next answer; 1xx before it are counted in .interim."""
        interim = []
        while True:
            lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            headers = Headers()
            for line in lines[1:]:
                name, _, value = line.partition(":")
                headers.add(name, value.strip())
            if status >= 200 or status == 101:
                break
            interim.append(status)
        if head or status in (204, 304):
            body = b""
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size)
                self._until(b"\r\n")
            self._until(b"\r\n")
        else:
            while self._fill():
                pass
            body, self.buffer = self.buffer, b""
        return WireAnswer(status, headers, body, interim)

    def is_closed(self, timeout=5.0):
        """Whether the server closes without another byte."""
        self.socket.settimeout(timeout)
        try:
            return not self._fill() and not self.buffer
        except TimeoutError:
            return False


class H2:
    """An HTTP/2 connection (prior knowledge) on which a stream may end before its body is sent.
    Answers have .end: "ended", or the code of a reset."""

    def __init__(self, server):
        server.must_speak_http2()
        self.socket = socket.create_connection(("127.0.0.1", server.port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.socket.sendall(self.h2.data_to_send())

    def request(self, method, path, body=b"", headers=(), ip=None):
        return self.flood([(method, path, body, headers)], ip)[0]

    def flood(self, requests, ip=None):
        """The answers to [(method, path, body, headers)], all sent at once."""
        streams = {}
        for method, path, body, headers in requests:
            stream = self.h2.get_next_available_stream_id()
            self.h2.send_headers(stream, [
                (":method", method), (":path", PREFIX + path), (":scheme", "http"),
                (":authority", "localhost"), ("x-forwarded-for", ip or new_ip()), *headers],
                end_stream=not body)
            streams[stream] = [WireAnswer(None, Headers(), b"", []), body]
        while not all(hasattr(answer, "end") for answer, _ in streams.values()):
            for stream, (answer, body) in streams.items():
                if not hasattr(answer, "end"):
                    streams[stream][1] = self._send_body(stream, body)
            self.socket.sendall(self.h2.data_to_send())
            got = self.socket.recv(65536)
            assert got, "the server has closed the connection"
            for event in self.h2.receive_data(got):
                assert not isinstance(event, h2.events.ConnectionTerminated), event
                if getattr(event, "stream_id", None) in streams:
                    self._take(event, streams[event.stream_id][0])
        self.socket.sendall(self.h2.data_to_send())
        return [answer for answer, _ in streams.values()]

    def _send_body(self, stream, body):
        """Sends as much as the server wants now, and gives the rest."""
        while body:
            room = min(self.h2.local_flow_control_window(stream), len(body),
                       self.h2.max_outbound_frame_size)
            if not room:
                break
            self.h2.send_data(stream, body[:room], end_stream=room == len(body))
            body = body[room:]
        return body

    def _take(self, event, answer):
        if isinstance(event, h2.events.ResponseReceived):
            for name, value in event.headers:
                answer.headers.add(name, value)
            answer.status = int(answer.headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.end = "ended"
        elif isinstance(event, h2.events.StreamReset):
            answer.end = event.error_code


def ask(server, data, timeout=20.0):
    """One raw request on a connection of its own."""
    with Wire(server, timeout) as wire:
        return wire.send(data).answer()


def once(server, method, path, **more):
    """One request on a connection that ends with it, so that many at once do not wait for the idle
    connections of others."""
    api = server.api()
    try:
        return api.request(method, path, **{**more, "headers": {**more.get("headers", {}),
                                                                "Connection": "close"}})
    finally:
        api.http.close()


def in_parallel(count, work):
    """work(i) for i < count, all at once, each in a thread; gives their values back."""
    harness.many_at_once |= count >= harness.LEAST_WORKERS
    results, barrier = [None] * count, threading.Barrier(count)

    def run(i):
        barrier.wait()
        try:
            results[i] = work(i)
        except BaseException as e:  # pylint: disable=broad-except
            results[i] = e

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


# ---- a mail server ----

class MailServer:
    """tests/lib/smtpd.py, which does to a message what the word in `mode` says."""

    def __init__(self, folder, *options):
        self.journal, self.control = folder / "journal", folder / "control"
        self.process = subprocess.Popen(
            [sys.executable, str(REPO / "tests/lib/smtpd.py"), str(self.journal), "--control",
             str(self.control), *options], stdout=subprocess.PIPE, text=True)
        self.url = f"smtp://127.0.0.1:{int(self.process.stdout.readline())}"

    def mode(self, word):
        self.control.write_text(word)

    def events(self, event):
        """Those that are written to the end: the last one may be on its way."""
        text = self.journal.read_text() if self.journal.exists() else ""
        lines = text[:text.rfind("\n") + 1].splitlines()
        return [e for e in map(json.loads, lines) if e["event"] == event]

    def messages(self, to):
        return [email.message_from_string(e["data"], policy=email.policy.default)
                for e in self.events("message") if to in e["to"]]


# ---- the server's keys ----

def unsubscribe_token(server, to):
    """As it stands in a message to the address: made from the keys of the server."""
    id_ = rows(server, "consents", address=to)[0]["_id"]
    master = bytes.fromhex((server.state / "keys/master.key").read_text().strip())
    key = hkdf(hkdf(master, b"bizapi outbox v1"), b"bizapi unsubscribe v1")
    mac = hmac.new(key, id_.encode(), hashlib.sha256).digest()[:16]
    return f"{id_}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def hkdf(key, label):
    """RFC 5869 with SHA-256, no salt, 32 bytes."""
    start = hmac.new(b"\0" * 32, key, hashlib.sha256).digest()
    return hmac.new(start, label + b"\x01", hashlib.sha256).digest()


# ---- the workers ----

class Shim:
    """tests/lib/shim.c in a server that is not started yet: `kill` is the file that kills the next
    worker before its answer, `step` the one that kills before a commit; checked() counts the
    signatures that were looked at."""

    def __init__(self, server):
        folder = server.root / "shim"
        folder.mkdir()
        folder.chmod(0o777)
        self.kill, self.count, self.step = folder / "kill", folder / "count", folder / "step"
        self.count.touch()
        self.count.chmod(0o666)
        library = [server.env.get("LD_PRELOAD"), str(BUILD / "tests/shim.so")]
        server.env.update(SHIM_KILL=str(self.kill), SHIM_COUNT=str(self.count), SHIM_STEP=str(self.step),
                          LD_PRELOAD=":".join(filter(None, library)))

    def checked(self):
        return self.count.stat().st_size

    def killed(self):
        """The numbers of the workers that `kill` has killed."""
        return {int(path.suffix[1:]) for path in self.kill.parent.glob("kill.*")}



def processor_time(server):
    """Seconds that all workers have computed."""
    ticks = 0
    for pid in server.children():
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def now_ms():
    return int(time.time() * 1000)
