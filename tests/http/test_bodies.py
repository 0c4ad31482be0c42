"""Bodies: their size, their type, how slowly they come, what is JSON and what is not, and every
declared field against every kind of wrong value. The tables make the cases: routes x fields."""
import json
import time

import pytest

import kit
from client import new_ip
from kit import (BODY_ROUTES, GOOD, PASSWORD, ROUTES, Person, Wire, address, check_error,
                 in_parallel, login, row, rows)
from patience import wait_until

pytestmark = pytest.mark.sqlite
MAX = 65536
SERVER = {"conf": "RequestReadTimeout header=5 body=3"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def person(server):
    return Person(server)


def send(api, route, body, **more):
    """A body to a route, from an address of its own."""
    headers = {**JSON, **more.pop("headers", {})}
    return api.request(route.method, route.url, body=body, ip=new_ip(), headers=headers, **more)


def padded(size, body):
    text = json.dumps(body).encode()
    return text[:-1] + b" " * (size - len(text)) + b"}"


# ---- size ----

def test_64_kib_exactly_pass(api):
    body = padded(MAX, {"email": "nobody@people.test", "password": "wrong password"})
    assert len(body) == MAX
    check_error(send(api, kit.ROUTES[1], body), 401, "INVALID_CREDENTIALS")


@pytest.mark.parametrize("size", [MAX + 1, MAX + 5000, 300_000, 5_000_000])
def test_larger_by_content_length_is_refused_unread(server, size):
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/auth/login", {**JSON, "Content-Length": size,
                                                    "Expect": "100-continue"})
        answer = wire.answer()
        assert (answer.status, answer.code) == (413, "BODY_TOO_LARGE")
        assert answer.interim == [] and answer.headers["connection"] == "close"
        assert wire.is_closed()


def test_a_refused_body_cannot_smuggle_a_request(server):
    """What follows a body that was not read is never taken for a request."""
    hidden = b"GET /api/v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/auth/login", {**JSON, "Content-Length": 70_000})
        wire.send(hidden * 10)
        assert wire.answer().status == 413
        assert wire.is_closed()
    assert not [a for a in server.access() if "smuggled" in a["path"]]


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(server, parts, path="/api/v1/auth/login", pause=0.0):
    with Wire(server) as wire:
        wire.request("POST", path, {**JSON, "Transfer-Encoding": "chunked"})
        try:
            for part in parts:
                wire.send(chunk(part))
                time.sleep(pause)
            wire.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = wire.answer()
        return answer, wire.is_closed() if answer.headers.get("connection") == "close" else False


def test_chunks(server):
    body = json.dumps({"email": "nobody@people.test", "password": "wrong password"}).encode()
    for parts in ([body], [body[i:i + 1] for i in range(len(body))], [body[:7], body[7:]]):
        answer, _ = chunked(server, parts)
        assert (answer.status, answer.code) == (401, "INVALID_CREDENTIALS")
    exact = padded(MAX, {"email": "nobody@people.test", "password": "wrong password"})
    answer, _ = chunked(server, [exact[:1000], exact[1000:]])
    assert answer.status == 401
    answer, closed = chunked(server, [exact, b" "])
    assert (answer.status, answer.code) == (413, "BODY_TOO_LARGE") and closed
    answer, closed = chunked(server, [b"x" * 50_000] * 4)
    assert (answer.status, answer.code) == (413, "BODY_TOO_LARGE") and closed


def test_extensions_and_trailers_of_chunks_do_no_harm(server):
    body = json.dumps({"email": "nobody@people.test", "password": "wrong password"}).encode()
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/auth/login", {**JSON, "Transfer-Encoding": "chunked"})
        wire.send(b"%x;name=value\r\n%s\r\n0\r\nX-Role: admin\r\nContent-Length: 3\r\n\r\n"
                  % (len(body), body))
        assert wire.answer().status == 401
        assert wire.request("GET", "/api/v1/health/live").answer().status == 200


def test_a_slow_body_is_cut_and_others_are_served_meanwhile(server):
    """40 clients that send a byte and stop, on a server with 16 threads: each gets 408."""
    def dawdle(_):
        with Wire(server) as wire:
            wire.request("POST", "/api/v1/auth/login", {**JSON, "Content-Length": 100})
            wire.send(b"{")
            answer = wire.answer()
            return answer.status, answer.code, answer.headers["connection"]

    assert set(in_parallel(40, dawdle)) == {(408, "REQUEST_TIMEOUT", "close")}
    assert server.api().get("/health/live").status == 200


def test_slow_but_steady_is_served(server):
    body = json.dumps({"email": "nobody@people.test", "password": "wrong password"}).encode()
    answer, _ = chunked(server, [body[:20], body[20:40], body[40:]], pause=0.2)
    assert answer.status == 401


def test_a_body_that_ends_early(server):
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/auth/login", {**JSON, "Content-Length": 100})
        wire.send(b'{"email":"a@b.test"')
        wire.socket.shutdown(1)
        try:
            answer = wire.answer()
            assert answer.status in (400, 408) and answer.json["success"] is False
        except EOFError:
            pass  # nobody is there to be told
    assert server.api().get("/health/live").status == 200


@pytest.mark.parametrize("limit, size, status", [(1024, 1024, 401), (1024, 1025, 413),
                                                 (200_000, 200_000, 401), (200_000, 200_001, 413)])
def test_max_body_is_configurable(small_and_large, limit, size, status):
    server = small_and_large[limit]
    body = padded(size, {"email": "nobody@people.test", "password": "wrong password"})
    assert send(server.api(), kit.ROUTES[1], body).status == status


@pytest.fixture(scope="module")
def small_and_large(module_server):
    return {n: module_server(conf=f"BizApiMaxBody {n}") for n in (1024, 200_000)}


# ---- type and coding ----

GOOD_TYPES = ["application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8",
              'application/json; charset="utf-8"', "Application/JSON", "application/json ; a=b"]
BAD_TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
             "application/jsonx", "application/json-patch+json", "text/json", "",
             "application/json; charset=latin1", "application/json; charset=utf-16",
             "application/json; charset=utf-8x", "application/problem+json", "*/*", "json"]


@pytest.mark.parametrize("value", GOOD_TYPES)
def test_content_types_that_are_json(api, value):
    body = b'{"email":"nobody@people.test","password":"wrong password"}'
    assert send(api, kit.ROUTES[1], body, headers={"Content-Type": value}).status == 401


@pytest.mark.parametrize("value", BAD_TYPES)
def test_content_types_that_are_not(api, value):
    body = b'{"email":"nobody@people.test","password":"wrong password"}'
    answer = send(api, kit.ROUTES[1], body, headers={"Content-Type": value})
    check_error(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_no_content_type(server):
    with Wire(server) as wire:
        answer = wire.request("POST", "/api/v1/auth/login", body=b"{}").answer()
        assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("value", ["gzip", "deflate", "br", "x-gzip", "gzip, identity", "zstd"])
def test_a_compressed_body_is_refused(api, value):
    answer = send(api, kit.ROUTES[1], b"{}", headers={"Content-Encoding": value})
    error = check_error(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert error["message"] == "The body must have no Content-Encoding."


def test_identity_is_no_compression(api):
    assert send(api, kit.ROUTES[1], b"{}", headers={"Content-Encoding": "identity"}).status == 422


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity", "gzip", "chunked, chunked",
                                    "xchunked", "chunked;q=1"])
def test_transfer_codings_other_than_chunked(server, coding):
    with Wire(server) as wire:
        wire.request("POST", "/api/v1/auth/login", {**JSON, "Transfer-Encoding": coding})
        wire.send(b"2\r\n{}\r\n0\r\n\r\n")
        answer = wire.answer()
        assert answer.status in (400, 501) and answer.json["success"] is False
        assert answer.headers["connection"] == "close"
        assert wire.is_closed()


@pytest.mark.parametrize("route", BODY_ROUTES, ids=repr)
def test_no_body_at_all(server, route):
    with Wire(server) as wire:
        answer = wire.request(route.method, f"/api/v1{route.url}", JSON).answer()
        assert (answer.status, answer.code) == (400, "INVALID_JSON")
        assert answer.json["error"]["message"] == "The request needs a JSON body."


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method == "GET"], ids=repr)
def test_the_body_of_a_get_is_ignored(api, route):
    plain = api.get(route.url, ip=new_ip())
    with_body = send(api, route, b'{"email": [')
    assert with_body.status == plain.status


def test_accept_does_not_matter(api):
    answer = api.get("/nowhere", headers={"Accept": "text/html"})
    check_error(answer, 404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/logout-all"])
def test_routes_without_fields_take_no_body_or_an_object(server, path):
    for body, status in ((None, 200), (b"{}", 200), (b'{"a":1}', 200), (b"{", 400), (b"[]", 422)):
        person = Person(server)
        answer = person.api.request("POST", path, token=person.access, body=body,
                                    headers=JSON if body else {})
        assert answer.status == status, (body, answer)


# ---- JSON ----

EMAIL = b'"email":"nobody@people.test"'
NOT_JSON = {
    "nothing but spaces": b"   ",
    "open": b"{",
    "open string": b'{"email":"a',
    "trailing comma": b"{" + EMAIL + b",}",
    "comment": b"{" + EMAIL + b"/* x */}",
    "line comment": b"{" + EMAIL + b"} // x",
    "single quotes": b"{'email':'a@b.test'}",
    "bare key": b"{email:1}",
    "leading zero": b'{"a":01,' + EMAIL + b"}",
    "plus": b'{"a":+1,' + EMAIL + b"}",
    "hex": b'{"a":0x1,' + EMAIL + b"}",
    "NaN": b'{"a":NaN,' + EMAIL + b"}",
    "Infinity": b'{"a":Infinity,' + EMAIL + b"}",
    "True": b'{"a":True,' + EMAIL + b"}",
    "two documents": b"{" + EMAIL + b"}{" + EMAIL + b"}",
    "trailing text": b"{" + EMAIL + b"} x",
    "byte order mark": b"\xef\xbb\xbf{" + EMAIL + b"}",
    "UTF-16": ("{" + EMAIL.decode() + "}").encode("utf-16"),
    "UTF-32": ("{" + EMAIL.decode() + "}").encode("utf-32"),
    "duplicate key": b"{" + EMAIL + b"," + EMAIL + b"}",
    "duplicate key, escaped": b"{" + EMAIL + b',"\\u0065mail":"b@c.test"}',
    "duplicate key, unknown": b"{" + EMAIL + b',"x":1,"x":2}',
    "duplicate key, deep": b"{" + EMAIL + b',"x":{"y":1,"y":2}}',
    "invalid UTF-8": b'{"email":"a\xff@b.test"}',
    "invalid UTF-8 in a key": b"{" + EMAIL + b',"\xff":1}',
    "cut UTF-8": b'{"email":"a\xc3"}',
    "overlong UTF-8": b'{"email":"a\xc0\xaf@b.test"}',
    "overlong, three bytes": b'{"email":"a\xe0\x80\xaf@b.test"}',
    "surrogate as bytes": b'{"email":"a\xed\xa0\x80@b.test"}',
    "beyond Unicode": b'{"email":"a\xf4\x90\x80\x80@b.test"}',
    "lone surrogate": b'{"email":"a\\ud800@b.test"}',
    "lone low surrogate": b'{"email":"a\\udc00@b.test"}',
    "swapped surrogates": b'{"email":"a\\udc00\\ud800@b.test"}',
    "escaped NUL": b'{"email":"a\\u0000@b.test"}',
    "escaped NUL in a key": b"{" + EMAIL + b',"a\\u0000b":1}',
    "raw NUL": b'{"email":"a\x00@b.test"}',
    "NUL behind": b"{" + EMAIL + b"}\x00",
    "raw newline": b'{"email":"a\n@b.test"}',
    "raw tab": b'{"email":"a\t@b.test"}',
    "bad escape": b'{"email":"a\\x41@b.test"}',
    "short escape": b'{"email":"a\\u12"}',
    "integer beyond 64 bits": b'{"a":9223372036854775808,' + EMAIL + b"}",
    "real beyond double": b'{"a":1e999,' + EMAIL + b"}",
    "a string": b'"text"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "17 levels": b"{" + EMAIL + b',"x":' + b"[" * 16 + b"]" * 16 + b"}",
    "5000 levels": b"{" + EMAIL + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "5000 objects": b'{"x":' * 5000 + b"1" + b"}" * 5000,
    "5000 open": b"[" * 5000,
    "a form": b"email=a%40b.test",
    "XML": b"<email>a@b.test</email>",
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_not_json(api, name):
    error = check_error(send(api, kit.ROUTES[1], NOT_JSON[name]), 400, "INVALID_JSON")
    assert "near" not in error["message"] and "people.test" not in error["message"]


@pytest.mark.parametrize("route", BODY_ROUTES, ids=repr)
@pytest.mark.parametrize("name", ["open", "duplicate key", "invalid UTF-8", "escaped NUL",
                                  "5000 levels"])
def test_no_route_takes_what_is_not_json(api, route, name):
    check_error(send(api, route, NOT_JSON[name]), 400, "INVALID_JSON")


@pytest.mark.parametrize("route", BODY_ROUTES, ids=repr)
@pytest.mark.parametrize("body", [b"[]", b'[{"email":"a@b.test"}]', b"[" * 16 + b"]" * 16])
def test_an_array_is_no_object(api, route, body):
    check_error(send(api, route, body), 422, "VALIDATION_FAILED")


def test_sixteen_levels_pass(api):
    body = b"{" + EMAIL + b',"password":"wrong password","x":' + b"[" * 15 + b"]" * 15 + b"}"
    assert send(api, kit.ROUTES[1], body).status == 401


def test_escapes_mean_what_they_stand_for(server):
    person = Person(server)
    body = (b'{"\\u0065mail":"' + person.email.replace("@", "\\u0040").encode() +
            b'","pass\\u0077ord":"' + PASSWORD.encode() + b'"}')
    assert send(person.api, kit.ROUTES[1], body).status == 200


def test_no_answer_quotes_a_broken_body(api):
    for body in (b'{"password":"SECRET-MARK-1"', b'{"password":SECRET-MARK-1}',
                 b'SECRET-MARK-1', b'{"SECRET-MARK-1":1,"SECRET-MARK-1":2}'):
        assert b"SECRET-MARK" not in send(api, kit.ROUTES[1], body).body


# ---- declared fields ----

WRONG_TYPES = {"a number": 1, "a real": 1.0, "true": True, "false": False, "an object": {},
               "an operator": {"$gt": ""}, "a regex": {"$regex": ".*"}, "an array": [],
               "an array of it": None}
FIELDS = [(r, f) for r in BODY_ROUTES for f in r.fields]


def field_id(value):
    return value if isinstance(value, str) else repr(value)


def one_bad(api, person, route, field, value):
    """The answer to a body that is good but for one field."""
    body = {**route.good_body(), field: value}
    if value is MISSING:
        del body[field]
    token = person.access if route.who != "anyone" else None
    return send(api, route, json.dumps(body).encode(), token=token)


MISSING = object()


@pytest.mark.parametrize("route, field", FIELDS, ids=field_id)
@pytest.mark.parametrize("name", WRONG_TYPES)
def test_no_type_is_converted(api, person, route, field, name):
    kind = route.fields[field][0]
    if kind == kit.BOOL and name in ("true", "false"):
        name = "a number"  # tried twice
    value = [GOOD[kind]] if name == "an array of it" else WRONG_TYPES[name]
    if kind == kit.OBJECT and isinstance(value, dict):
        value = "{}"
    error = check_error(one_bad(api, person, route, field, value), 422, "VALIDATION_FAILED", field)
    assert error["details"] == [{"param": field, "message": error["message"]}]


@pytest.mark.parametrize("route, field", FIELDS, ids=field_id)
def test_null(server, api, route, field):
    person = Person(server) if route.who != "anyone" else None
    answer = one_bad(api, person, route, field, None)
    if route.fields[field][2] and route.who in ("staff", "admin"):
        check_error(answer, 403, "FORBIDDEN")  # nothing was wrong with the body
    elif route.fields[field][2]:
        assert answer.status in (200, 201, 401)
    else:
        check_error(answer, 422, "VALIDATION_FAILED", field)


@pytest.mark.parametrize("route, field", [(r, f) for r, f in FIELDS if r.fields[f][1]],
                         ids=field_id)
def test_missing(api, person, route, field):
    check_error(one_bad(api, person, route, field, MISSING), 422, "VALIDATION_FAILED", field)


# What is wrong with a text, by the kind of its field. Passwords are taken as they are.
CONTROLS = ["a\rb", "a\nb", "a\tb", "a\x00b", "a\x01b", "a\x1fb", "a\x7fb", "a\x85b", "a\u2028b",
            "a\u2029b", "a\u202eb", "a\u2066b"]
WRONG_TEXTS = {
    kit.EMAIL: ["", " ", "a", "@b.test", "a@", "a@b", "a@@b.test", "a@b@c.test", ".a@b.test",
                "a.@b.test", "a..b@c.test", "a@.test", "a@b..test", "a@b.test.", "a@-b.test",
                "a@b-.test", "a" * 65 + "@b.test", "a@" + "b" * 64 + ".test",
                "a@" + "b." * 125 + "test", '"a b"@c.test', "a b@c.test", "a@[127.0.0.1]",
                "a@127.0.0.1", "a@0x7f.1", "adm\u0131n@b.test", "\u0430dmin@b.test",
                "a@b\u00e4r.test", "a@b.test\n", "a@b.test\r\nBcc: x@y.test", "a@b.test,c@d.test",
                "a@b.test;c@d.test", "<a@b.test>", "A <a@b.test>", "a(b)@c.test", "a\\@b.test",
                "mailto:a@b.test", "\u200ba@b.test"],
    kit.PASSWORD_FIELD: ["", "a" * 257],
    kit.NEW_PASSWORD: ["", "a", "short77", "\U0001f600" * 7, "a1-" * 85 + "ab"],
    kit.TOKEN: ["", "A" * 513],
    kit.BOOL: ["", "true", "false", "yes", "1"],
    kit.LINE: ["", " ", "   ", "\u200b", "\u00a0\u3000", "\u2800", "\u3164", "x" * 121,
               "\U0001f600" * 121, *CONTROLS],
    kit.PHONE: ["", "123", "+", "+0123456789", "+123456", "+1234567890123456", "0049301234567",
                "+49 30 123456", "+49-30-123456", "+4930x123456", "+\u0661\u0662\u0663\u0664\u0665"
                "\u0666\u0667\u0668", "tel:+4930123456", "+4930123456\n"],
    kit.LOCALE: ["", "x", "english", "en_US.UTF-8", "../../etc/passwd", "en US", "e\u0301n",
                 "a" * 200],
    kit.SCENARIO: ["", "endless", "short|long", "LONG"],
    kit.CHOICE: ["", " ", "nobody", "customer|staff", "Customer", "customer "],
    kit.ZONE: ["", "Mars/X", "Europe/berlin ", "../../etc/passwd", "UTC+1", "/etc/localtime",
               "Europe", "Europe/", "GMT+25", "A" * 300],
    kit.APP_CODE: ["", " ", "12345", "1234567", "12 34-5", "\uff11" * 7, "A" * 300],
    kit.RECOVERY_CODE: ["", "-", "7k3nq-x0r8", "7k3nq-x0r8w1", "7k3nq_x0r8w", "A" * 300],
    kit.OBJECT: [],
    kit.SPOKEN: ["", " ", "\n\t", "x" * 1001, "a\rb", "a\x00b", "a\x1fb", "a\u202eb"],
    kit.VOICE: ["", "x" * 65],
}
TEXT_CASES = [(r, f, v) for r, f in FIELDS for v in WRONG_TEXTS[r.fields[f][0]]]


@pytest.mark.parametrize("route, field, value", TEXT_CASES,
                         ids=lambda v: ascii(v)[:40] if isinstance(v, str) else repr(v))
def test_wrong_texts(api, person, route, field, value):
    answer = one_bad(api, person, route, field, value)
    if "\x00" in value:
        check_error(answer, 400, "INVALID_JSON")
    else:
        check_error(answer, 422, "VALIDATION_FAILED", field)


def test_all_that_is_wrong_is_named(api):
    answer = send(api, kit.ROUTES[0], json.dumps({
        "email": "x", "password": "short", "name": 7, "phone": "1", "timezone": "Mars/X"}).encode())
    error = check_error(answer, 422, "VALIDATION_FAILED", "email")
    assert [d["param"] for d in error["details"]] == ["email", "password", "name", "phone",
                                                      "timezone"]
    assert all(d["message"] for d in error["details"])


def test_operators_sign_nobody_in(server, api):
    person = Person(server)
    for body in ({"email": {"$ne": None}, "password": {"$gt": ""}},
                 {"email": person.email, "password": {"$ne": 1}},
                 {"email": [person.email], "password": [PASSWORD]}):
        check_error(send(api, kit.ROUTES[1], json.dumps(body).encode()), 422, "VALIDATION_FAILED")
    for text in ("' OR 1=1 --", "'; DROP TABLE users; --", "admin'/*"):
        assert login(api, "a@b.test", text).status == 401
    assert person.me().status == 200


GOOD_TEXTS = {
    "name": ["x", "x" * 120, "\U0001f600" * 120, "O'Neil; DROP TABLE users", "{{password}} %n%s",
             "<b>Bold</b> & \"quoted\"", "\u05d3\u05e0\u05d9\u05d0\u05dc", "Zo\u00eb  Two Spaces",
             "e\u0301", " padded "],
    "phone": ["+1234567", "+123456789012345"],
    "locale": ["en", "de-AT", "pt-BR", "zh-Hant-TW"],
    "timezone": ["Europe/Berlin", "America/Argentina/Buenos_Aires", "UTC"],
}


@pytest.mark.parametrize("field, value", [(f, v) for f, vs in GOOD_TEXTS.items() for v in vs],
                         ids=lambda v: ascii(v)[:40])
def test_good_texts_come_back_as_typed(person, field, value):
    answer = person.api.patch("/auth/me", token=person.access, json={field: value})
    assert answer.status == 200, answer
    assert answer.data[field] == value
    assert person.me().data[field] == value


def test_forbidden_fields_have_no_effect(server):
    forbidden = {"role": "admin", "id": "usr_" + "1" * 26, "_id": "x", "user_id": "x",
                 "business_id": "x", "email_verified": True, "mfa_enabled": True,
                 "disabled": False, "session_epoch": 99, "version": 77, "created_at": "2001-01-01",
                 "password_hash": "x", "status": "x", "__proto__": {"role": "admin"},
                 "constructor": {}}
    person = Person(server, **forbidden)
    user = person.me().data
    assert user["role"] == "customer" and user["email_verified"] is False
    assert user["id"] != forbidden["id"] and user["version"] == 1
    # What the account has to tell of its making is emptied unseen.
    before = wait_until(lambda: person.document()["untold"] is None and person.document(), 20, "that")
    answer = person.api.patch("/auth/me", token=person.access, json=forbidden)
    assert answer.status == 200
    assert person.document() == before
    answer = person.api.patch("/auth/me", token=person.access, json={
        **forbidden, "email": "other@people.test", "name": "New Name"})
    after = person.document()
    changed = {k for k in after if after[k] != before[k]}
    assert changed == {"name", "version", "updated_at"} and after["email"] == person.email


def test_a_query_never_stands_for_a_field_of_the_body(server, api):
    person = Person(server)
    answer = api.post(f"/auth/login?email={person.email}&password={PASSWORD}", json={},
                      ip=new_ip())
    check_error(answer, 422, "VALIDATION_FAILED", "email")


@pytest.mark.parametrize("query, status, code", [
    ("", 422, "VALIDATION_FAILED"), ("token=", 422, "VALIDATION_FAILED"),
    ("token=a&token=b", 400, "INVALID_REQUEST"), ("token=a&token=a", 400, "INVALID_REQUEST"),
    ("token=%", 400, "INVALID_REQUEST"), ("token=%zz", 400, "INVALID_REQUEST"),
    ("token=%00", 400, "INVALID_REQUEST"), ("token=%ff", 400, "INVALID_REQUEST"),
    ("token=a&%zz=1", 400, "INVALID_REQUEST"), ("%74oken=a&token=a", 400, "INVALID_REQUEST"),
    ("TOKEN=a", 422, "VALIDATION_FAILED"), ("token=" + "a" * 513, 422, "VALIDATION_FAILED"),
    ("token=nothing", 400, "INVALID_TOKEN"), ("%74oken=nothing", 400, "INVALID_TOKEN"),
    ("a=b&token=nothing&c", 400, "INVALID_TOKEN"), ("&&token=nothing&&", 400, "INVALID_TOKEN"),
    ("token=a+b%26c%3d", 400, "INVALID_TOKEN"), ("token[]=a", 422, "VALIDATION_FAILED"),
    ("token=%F0%9F%98%80", 400, "INVALID_TOKEN")])
def test_the_query_of_verify_reset_token(server, query, status, code):
    with Wire(server) as wire:
        answer = wire.request("GET", f"/api/v1/auth/verify-reset-token?{query}").answer()
    assert (answer.status, answer.code) == (status, code), answer
    if code != "INVALID_TOKEN":
        assert answer.json["error"]["param"] == "token"


def test_addresses_are_one_in_any_spelling(server, api):
    email = address("Case.Mixed+Tag")
    person = Person(server, email=f"  {email} ", sign_in=False)
    assert login(api, email.upper(), PASSWORD).data["user"]["email"] == email.lower()
    again = api.post("/auth/register", ip=new_ip(), json={
        "email": email.lower(), "password": PASSWORD, "name": "Second"})
    assert again.status == 201
    stored = row(server, "users", email=email.lower())
    assert stored["name"] == person.name and stored["email_typed"].strip() == email


def test_dots_and_tags_make_different_people(server):
    addresses = ["a.b+x@gmail.test", "ab@gmail.test", "a.b@gmail.test", "ab+x@gmail.test"]
    ids = {Person(server, email=a).me().data["id"] for a in addresses}
    assert len(ids) == 4
    assert len([r for r in rows(server, "users") if r["email"] in addresses]) == 4
