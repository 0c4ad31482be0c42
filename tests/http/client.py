"""Who asks a server of the tests: Api, which server.api() gives, each with an address of its own.

Every answer is held against the API's own OpenAPI document (document.py), unless the request, or the
Api, says `undocumented=True`. It is searched for what is configured as a secret; and what went in and
out as one is noted for the server, whose logs are searched for it at its end (leaks.py).
"""
import itertools
import json as jsonlib
import socket

import httpx
from httpcore.backends.sync import SyncBackend

import document
import leaks
from patience import PATIENCE

PREFIX = "/api/v1"
_addresses = itertools.count(1)
_GONE = object()


def new_ip():
    """A client address that no other test of this run uses (from the benchmark network)."""
    n = next(_addresses)
    return f"198.18.{n // 250 % 250}.{n % 250 + 1}"


class Answer:
    """What came back. `json` is the whole body, `data` and `error` its parts, `code` error.code."""

    def __init__(self, response):
        self.response = response
        self.status = response.status_code
        self.headers = response.headers
        self.body = response.content
        self.text = response.text
        self.http_version = response.http_version

    @property
    def json(self):
        return jsonlib.loads(self.body)

    @property
    def data(self):
        body = self.json
        assert body["success"] is True, body
        return body["data"]

    @property
    def error(self):
        body = self.json
        assert body["success"] is False, body
        return body["error"]

    @property
    def code(self):
        return self.error["code"]

    def __repr__(self):
        return f"<Answer {self.status} {self.text[:300]!r}>"


class NoDelay(SyncBackend):
    """Sends at once: else the kernel holds a body back for 40 ms, waiting for the server to confirm
    the headers."""

    def connect_tcp(self, *arguments, **more):
        stream = super().connect_tcp(*arguments, **more)
        stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream


class Connections(httpx.BaseTransport):
    """Requests that may be sent twice (RFC 9110 section 9.2.2) go over kept connections, others each
    over one of its own: the event MPM closes idle connections as soon as its workers are all busy,
    also while a request is on its way. One that is lost so is sent once more."""

    def __init__(self, http2, verify):
        verify = httpx.create_ssl_context(verify=verify, trust_env=False, http2=http2)
        # A kept connection is left before the server closes it (KeepAliveTimeout 5).
        self.kept, self.own = (
            httpx.HTTPTransport(verify=verify, trust_env=False, http2=http2, http1=not http2,
                                limits=httpx.Limits(max_connections=100, keepalive_expiry=3,
                                                    max_keepalive_connections=keep))
            for keep in (20, 0))
        self.used = False
        for transport in (self.kept, self.own):
            transport._pool._network_backend = NoDelay()
        if http2:  # one connection, many streams
            self.own = self.kept

    def handle_request(self, request):
        if request.method in ("POST", "PATCH"):
            return self.own.handle_request(request)
        used, self.used = self.used, True
        try:
            return self.kept.handle_request(request)
        except httpx.RemoteProtocolError as e:
            # One that was reset is none of these: an answer may be lost.
            if not used or "without sending a response" not in str(e):
                raise
            return self.own.handle_request(request)

    def close(self):
        self.kept.close()
        self.own.close()


class Api:
    """A client with one address. Paths are under /api/v1 unless `raw_path` is used."""

    def __init__(self, server, ip=None, https=False, http2=False, host=None, undocumented=False):
        if http2:
            server.must_speak_http2()
        self.server, self.ip, self.host = server, ip or new_ip(), host
        self.undocumented = undocumented
        base = f"https://localhost:{server.https_port}" if https else server.url
        self.http = httpx.Client(base_url=base, trust_env=False, timeout=30 * PATIENCE,
                                 transport=Connections(http2, str(server.root / "tls.crt")
                                                       if https else False))

    def request(self, method, path, *, json=_GONE, body=None, token=None, origin=None, ip=None,
                headers=None, params=None, raw_path=False, undocumented=False):
        """`json` is sent as JSON, `body` as it is (give the Content-Type in headers)."""
        sent = {"X-Forwarded-For": ip or self.ip}
        if self.host:
            sent["Host"] = f"{self.host}:{self.server.port}"
        if json is not _GONE:
            body = jsonlib.dumps(json).encode()
            sent["Content-Type"] = "application/json"
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if origin:
            sent["Origin"] = origin
        sent.update(headers or {})
        answer = Answer(self.http.request(method, path if raw_path else PREFIX + path,
                                          content=body, headers=sent, params=params))
        leaked = leaks.in_answer(answer, self.server.configured)
        assert not leaked, f"secrets in the answer to {method} {path}: {leaked}"
        for text in (body if isinstance(body, bytes) else b"", answer.body):
            self.server.secrets |= leaks.in_bytes(text)
        self.server.secrets.update(leaks.parts(token or ""))
        if not (raw_path or undocumented or self.undocumented):
            document.check(method, path, answer)
        return answer

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def head(self, path, **more):
        return self.request("HEAD", path, **more)

    def post(self, path, **more):
        return self.request("POST", path, **more)

    def put(self, path, **more):
        return self.request("PUT", path, **more)

    def patch(self, path, **more):
        return self.request("PATCH", path, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)

    def options(self, path, **more):
        return self.request("OPTIONS", path, **more)

    def page(self, path, **more):
        """A path outside of /api/v1."""
        return self.request("GET", path, raw_path=True, **more)
