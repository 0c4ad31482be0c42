"""The API's description of itself: a valid OpenAPI 3.1 document, with every route and nothing else,
and what the other tests of this level rely on to hold answers against it."""
import json
import re

import pytest

import document
import leaks
from harness import REPO, check_leaks, Server
import kit
from kit import (BOOL, OBJECT, ROUTES, LINE, LOCALE, NEW_PASSWORD, PASSWORD_FIELD, TOKEN, ZONE,
                 check_headers, routes_of_source)

SERVER = {"conf": "BizApiPublicURL https://API.Example.test:443/base/",
          "vhosts": {"other.test": ""}}


@pytest.fixture(scope="module")
def spec(server):
    return server.api().get("/openapi.json").json


@pytest.fixture(scope="module")
def known(spec):
    return document.Document(spec)


def operations(spec):
    return {(method.upper(), path): operation for path, item in spec["paths"].items()
            for method, operation in item.items()}


# ---- the document ----

def test_the_answer(api):
    answer = api.get("/openapi.json")
    assert answer.status == 200 and answer.json["openapi"] == "3.1.0"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    check_headers(answer)
    tag = answer.headers["etag"]
    assert api.get("/openapi.json").body == answer.body
    again = api.get("/openapi.json", headers={"If-None-Match": tag})
    assert again.status == 304 and not again.body and again.headers["etag"] == tag
    assert api.get("/openapi.json", headers={"If-None-Match": '"1"'}).status == 200
    head = api.head("/openapi.json")
    assert head.status == 200 and not head.body and head.headers["etag"] == tag
    assert int(head.headers["content-length"]) == len(answer.body)


def test_the_same_after_a_restart_and_in_every_child(make_server):
    servers = [make_server(), make_server()]
    tags = {s.api().get("/openapi.json").headers["etag"] for s in servers for _ in range(8)}
    assert len(tags) == 1
    servers[0].graceful()
    assert servers[0].api().get("/openapi.json").headers["etag"] in tags


def test_it_is_valid(spec):
    """By a validator that is not ours."""
    from openapi_spec_validator import openapi_v31_spec_validator  # build/venv has it
    openapi_v31_spec_validator.validate(spec)


def test_what_is_not_valid_is_seen(spec):
    from openapi_spec_validator import openapi_v31_spec_validator
    broken = json.loads(json.dumps(spec))
    broken["paths"]["/auth/sessions/{id}"]["delete"]["parameters"] = []
    assert list(openapi_v31_spec_validator.iter_errors(broken))


def test_each_business_names_its_own_address(server, make_server, spec):
    assert spec["servers"] == [{"url": "https://api.example.test/base/api/v1"}]
    two = make_server(conf="BizApiFrontendURL https://one.test",
                      vhosts={"two.test": "BizApiPublicURL https://two.test\n"
                                          "BizApiBusiness name Two\nBizApiStateDir run/two\n"})
    first = two.api().get("/openapi.json")
    second = two.api(host="two.test").get("/openapi.json")
    assert first.json["servers"] == [{"url": "https://one.test/api/v1"}]
    assert second.json["servers"] == [{"url": "https://two.test/api/v1"}]
    assert second.json["info"]["title"].startswith("Two")
    assert first.headers["etag"] != second.headers["etag"]


def test_every_route_and_no_other(spec):
    in_source = {(method, path): (who, idempotent)
                 for method, path, who, idempotent in routes_of_source()}
    found = operations(spec)
    assert set(found) == set(in_source) == {(r.method, r.path) for r in ROUTES}
    assert len(found) == len({o["operationId"] for o in found.values()})
    for key, (who, idempotent) in in_source.items():
        roles = {"staff": ["staff", "admin"], "admin": ["admin"]}.get(who, [])
        assert found[key]["security"] == ([] if who == "anyone" else
                                          [{"bearer": roles}, {"cookie": roles}]), key
        refs = [p.get("$ref", "") for p in found[key].get("parameters", [])]
        assert ("#/components/parameters/Idempotency-Key" in refs) is idempotent, key
        assert found[key]["summary"] and found[key]["tags"], key


PLAIN = {BOOL: "boolean", OBJECT: "object"}
LENGTHS = {PASSWORD_FIELD: (1, 256), NEW_PASSWORD: (8, 256), TOKEN: (1, 512), LINE: (1, 120),
           LOCALE: (2, None), ZONE: (1, None), kit.SPOKEN: (1, 1000), kit.VOICE: (1, 64)}


@pytest.mark.parametrize("route", ROUTES, ids=repr)
def test_bodies_are_as_declared(spec, route):
    operation = operations(spec)[route.method, route.path]
    assert ("requestBody" in operation) is bool(route.fields or route.whole)
    if route.whole:
        assert set(operation["requestBody"]["content"]) == set(route.whole)
    if not route.fields:
        return
    assert operation["requestBody"]["required"] is True
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(route.fields)
    assert set(schema.get("required", [])) == {f for f in route.fields if route.fields[f][1]}
    for name, (kind, _, nullable) in () if route.own else route.fields.items():
        field = schema["properties"][name]
        plain = PLAIN.get(kind, "string")
        assert field["type"] == ([plain, "null"] if nullable else plain), name
        if kind in LENGTHS:
            assert (field["minLength"], field.get("maxLength")) == LENGTHS[kind], name


def test_parameters(spec):
    def names(method, path):
        return {p["name"]: (p["in"], p.get("required", False)) for p in document.inline(
            operations(spec)[method, path].get("parameters", []), spec)}

    assert names("DELETE", "/auth/sessions/{id}") == {"id": ("path", True)}
    assert names("GET", "/auth/verify-reset-token") == {"token": ("query", True)}
    assert names("GET", "/auth/sessions") == {"limit": ("query", False), "cursor": ("query", False)}
    assert names("GET", "/auth/me") == {"If-None-Match": ("header", False)}
    assert names("PATCH", "/auth/me") == {"If-Match": ("header", False)}
    assert names("POST", "/auth/register") == {"Idempotency-Key": ("header", False)}
    assert names("POST", "/auth/login") == {}
    limit = spec["components"]["parameters"]["limit"]["schema"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 100, 20)


def codes_of_source():
    text = (REPO / "src/core/biz.h").read_text()
    return dict(re.findall(r"X\((\w+), (\d+),", text[text.index("#define BIZ_CODES"):]))


def test_codes_stand_under_their_status(spec):
    statuses = codes_of_source()
    for (method, path), operation in operations(spec).items():
        for status, response in operation["responses"].items():
            response = document.inline(response, spec)
            if status.startswith(("2", "3")):
                continue
            schema = response["content"]["application/json"]["schema"]
            codes = schema["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"]
            assert codes and all(f"`{code}`" in response["description"] for code in codes)
            for code in codes:
                assert status in (statuses[code], "default"), (method, path, status, code)


def test_every_schema_is_used_and_every_reference_has_its_end(spec):
    text = json.dumps(spec)
    referenced = set(re.findall(r'"#/components/(\w+)/([^"]+)"', text))
    there = {(kind, name) for kind, all_of_it in spec["components"].items() for name in all_of_it
             if kind != "securitySchemes"}
    assert referenced == there


# ---- can the checks of this level fail? ----

class Fake:
    def __init__(self, status, body, headers=None):
        self.status, self.body = status, json.dumps(body).encode()
        self.json, self.text = body, json.dumps(body)
        self.headers = {"Cache-Control": "no-store", **(headers or {})}


def failure(code, **more):
    return {"success": False, "error": {"code": code, "message": "m", **more}}


USER = {"id": "usr_1", "email": "a@b.test", "name": "n", "phone": None, "role": "customer",
        "email_verified": False, "mfa_enabled": False, "locale": None, "timezone": None,
        "created_at": "2026-10-25T08:00:00Z", "version": 1}
TAG = {"ETag": '"1"'}

GOOD_ANSWERS = [
    ("GET", "/auth/me", Fake(200, {"success": True, "data": USER}, TAG)),
    ("GET", "/auth/me?x=1", Fake(200, {"success": True, "data": USER}, TAG)),
    ("POST", "/auth/logout", Fake(200, {"success": True, "data": {"status": "signed_out"}})),
    ("POST", "/auth/login", Fake(401, failure("INVALID_CREDENTIALS"),
                                 {"WWW-Authenticate": "Bearer"})),
    ("POST", "/auth/login", Fake(500, failure("INTERNAL", request_id="r"))),
    ("GET", "/nowhere", Fake(404, failure("NOT_FOUND"))),
]
BAD_ANSWERS = {
    "a member more": ("GET", "/auth/me", Fake(200, {"success": True, "data": {**USER, "x": 1}},
                                              TAG)),
    "a member less": ("GET", "/auth/me", Fake(200, {"success": True, "data": {
        k: v for k, v in USER.items() if k != "role"}}, TAG)),
    "another type": ("GET", "/auth/me", Fake(200, {"success": True, "data": {
        **USER, "version": "1"}}, TAG)),
    "another instant": ("GET", "/auth/me", Fake(200, {"success": True, "data": {
        **USER, "created_at": "2026-10-25T08:00:00.5Z"}}, TAG)),
    "another word": ("POST", "/auth/logout", Fake(200, {"success": True, "data": {
        "status": "gone"}})),
    "no envelope": ("GET", "/auth/me", Fake(200, USER, TAG)),
    "beside the envelope": ("GET", "/auth/me", Fake(200, {"success": True, "data": USER, "x": 1},
                                                    TAG)),
    "another success": ("GET", "/auth/me", Fake(202, {"success": True, "data": USER}, TAG)),
    "another code": ("GET", "/auth/me", Fake(401, failure("INVALID_CREDENTIALS"),
                                             {"WWW-Authenticate": "Bearer"})),
    "another failure": ("GET", "/auth/me", Fake(404, failure("NOT_FOUND"))),
    "an unknown code": ("GET", "/nowhere", Fake(404, failure("NOWHERE"))),
    "no operation": ("GET", "/nowhere", Fake(200, {"success": True, "data": {}})),
    "another method": ("PUT", "/auth/me", Fake(200, {"success": True, "data": USER})),
    "no ETag": ("GET", "/auth/me", Fake(200, {"success": True, "data": USER})),
    "an ETag": ("POST", "/auth/logout", Fake(200, {"success": True, "data": {
        "status": "signed_out"}}, TAG)),
    "no Retry-After": ("GET", "/health/live", Fake(429, failure("RATE_LIMITED"))),
    "a body with 304": ("GET", "/auth/me", Fake(304, {}, TAG)),
}


@pytest.mark.parametrize("method, path, answer", GOOD_ANSWERS, ids=lambda v: str(v)[:20])
def test_documented_answers_pass(known, method, path, answer):
    known.check(method, path, answer)


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_undocumented_answers_fail(known, name):
    with pytest.raises(document.Undocumented):
        known.check(*BAD_ANSWERS[name])


def test_answers_of_this_level_are_held_against_the_document(api, monkeypatch):
    seen = []
    monkeypatch.setattr(document, "check", lambda *a: seen.append(a[:2]))
    api.get("/health/live")
    api.get("/health/live", undocumented=True)
    assert seen == [("GET", "/health/live")]
    assert document.Draft202012Validator is not None


JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c3JfMSIsImlhdCI6MX0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"


@pytest.mark.parametrize("line, secrets, leaks_out", [
    ("all is well", {"Nine-lemons-walk-7"}, False),
    ("password Nine-lemons-walk-7 refused", {"Nine-lemons-walk-7"}, True),
    (f"Bearer {JWT}", leaks.parts(JWT), True),
    (f"payload {JWT.split('.')[1]}", leaks.parts(JWT), True),
    (f"header {JWT.split('.', maxsplit=1)[0]}", leaks.parts(JWT), False),
    ("session ses_" + "0" * 26, leaks.parts("ses_" + "0" * 26 + ".1." + "s" * 43 + ".tag"), False),
    ("s" * 43, leaks.parts("ses_" + "0" * 26 + ".1." + "s" * 43 + ".tag"), True),
])
def test_a_secret_in_a_log_is_found(tmp_path, line, secrets, leaks_out):
    (tmp_path / "error.log").write_text(f"first\n{line}\n")
    found = leaks.search(tmp_path, secrets)
    assert bool(found) is leaks_out
    assert all(f.startswith("error.log:2 ") for f in found)


def test_what_counts_as_a_secret():
    assert leaks.in_bytes(json.dumps({"email": "a@b.test", "password": "Nine-lemons-walk-7",
                                      "data": [{"refresh_token": "r" * 30}]}).encode()) == {
        "Nine-lemons-walk-7", "r" * 30}
    assert leaks.in_bytes(b'{"password"') == set()
    assert leaks.in_setup({"STRIPE_SECRET_KEY": "sk_test_12345", "LANG": "C.UTF-8",
                           "BIZAPI_STORE": "mongodb://u:pass-word@h/d"},
                          "BizApiMail smtp://me:other-word@mail.test") == {
        "sk_test_12345", "pass-word", "other-word"}


def test_a_leak_fails_the_test(make_server):
    server = make_server()
    server.api().post("/auth/login", json={"email": "a@b.test", "password": "Marker-secret-1"})
    with open(server.root / "logs/own.log", "w", encoding="utf-8") as log:
        log.write("Marker-secret-1\n")
    server.close()
    with pytest.raises(AssertionError, match="own.log:1 holds a secret of 15 characters"):
        check_leaks()
    assert Server.leaked == []
