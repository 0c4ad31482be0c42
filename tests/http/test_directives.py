"""The configuration as an operator meets it: what `apachectl -t` refuses and in which words, what
variables do, what a virtual host inherits, and that no refusal shows a password."""
import pytest

from client import new_ip
from kit import check_error

SECRET = "Marker-pass-91"

GOOD = [
    "BizApiStore sqlite:/var/tmp/x/bizapi.db",
    "BizApiPortalDomain portal.example.org",
    "BizApiCorsOrigins https://a.test http://b.test:8080",
    "BizApiFrontendURL https://portal.example.org/app/",
    "BizApiPublicURL http://[::1]:8080",
    "BizApiRateLimit off",
    "BizApiRateLimit off\nBizApiRateLimit /api/v1/* 1/min",
    "BizApiRateLimit /api/v1/auth/login 100/min",
    "BizApiRateBackend shm",
    "BizApiRateBackend redis://127.0.0.1:1",
    f"BizApiRateBackend redis://:{SECRET}@127.0.0.1:6379/2",
    "BizApiRateSlots 64",
    "BizApiMail off",
    "BizApiMail smtp://mail.example.org",
    f"BizApiMail smtps://user:{SECRET}@mail.example.org:465",
    "BizApiMail file:/var/tmp/mails",
    'BizApiMailFrom "Name <a@b.example>"',
    "BizApiMailFrom a@b.example",
    "BizApiSecret STRIPE_SECRET_KEY env:NOT_SET",
    "BizApiProviderURL osrm https://osrm.example.org",
    "BizApiProviderURL google_routes http://127.0.0.1:9000/x",
    "BizApiProviderURL stripe http://localhost:9",
    "BizApiMaxBody 1024",
    "BizApiMaxBody 16777216",
    "BizApiRequireVerifiedEmail on",
    "BizApiQuietHours off",
    "BizApiQuietHours 22:30-07:05",
    "BizApiAuditRetention forever",
    "BizApiAuditRetention 1",
    "BizApiBreachedPasswords off",
    "BizApiBreachedPasswords https://api.pwnedpasswords.com",
    "BizApiBreachedPasswords http://127.0.0.1:9",
    "BizApiProofOfWork auto",
    "BizApiProofOfWork On",
    "BizApiRequireMfa staff admin",
    "BizApiRequireMfa none",
    "BizApiPasskeyDomain localhost",
    "BizApiFrontendURL https://portal.example.org/app\nBizApiPasskeyDomain example.ORG",
    'BizApiBusiness name "Salon & Söhne"',
    "BizApiBusiness NAME Salon",
    "BizApiBusiness timezone Europe/Berlin",
    "BizApiBusiness currency eur",
    "BizApiBusiness locale de-AT",
    "BizApiBusiness phone +4930123456",
    "BizApiBusiness email office@example.org",
    'BizApiBusiness address "Street 1, Town"',
    "BizApiBusiness logo https://example.org/logo.png",
    "BizApiBusiness primary #1A5fb4",
    "BizApiBusiness accent #000000",
]

# The directive, its bad value, and what the refusal must say besides the directive's name.
BAD = [
    ("BizApiStore", "mysql://localhost/x", "sqlite:"),
    ("BizApiStore", "sqlite:relative.db", "absolute"),
    ("BizApiStore", f"mongodb://user:{SECRET}@", "mongodb"),
    ("BizApiStateDir", '""', "directory"),
    ("BizApiMailTemplates", '""', "directory"),
    ("BizApiMailOverrides", '""', "directory"),
    ("BizApiPortalDomain", "https://portal.example.org", "portal.example.org"),
    ("BizApiPortalDomain", "a/b", "a/b"),
    ("BizApiCorsOrigins", "*", "*"),
    ("BizApiCorsOrigins", "https://a.test/path", "a.test"),
    ("BizApiCorsOrigins", "null", "null"),
    ("BizApiFrontendURL", "portal.example.org", "http"),
    ("BizApiFrontendURL", "ftp://portal.example.org", "http"),
    ("BizApiPublicURL", "https://portal.example.org/?x=1", "portal.example.org"),
    ("BizApiRateLimit", "/api/v1/auth/login", "N/min"),
    ("BizApiRateLimit", "/api/v1/auth/login 0/min", "N/min"),
    ("BizApiRateLimit", "/api/v1/auth/login 10/hour", "N/min"),
    ("BizApiRateLimit", "login 10/min", "login"),
    ("BizApiRateBackend", "memcached", "redis"),
    ("BizApiRateBackend", f"redis://:{SECRET}@", "redis"),
    ("BizApiRateSlots", "63", "64"),
    ("BizApiRateSlots", "many", "64"),
    ("BizApiMail", "imap://x", "smtp://"),
    ("BizApiMail", f"smtp://user:{SECRET}@", "smtp"),
    ("BizApiMail", "file:run/mails", "absolute"),
    ("BizApiMailFrom", "nobody", "a@b.example"),
    ("BizApiMailFrom", '"Name <a@b.example>, c@d.example"', "a@b.example"),
    ("BizApiSecret", f"STRIPE_SECRET_KEY {SECRET}", "file:PATH"),
    ("BizApiSecret", "STRIPE_KEY env:X", "STRIPE_KEY"),
    ("BizApiSecret", "STRIPE_SECRET_KEY file:missing", "missing"),
    ("BizApiProviderURL", "nobody https://x.test", "stripe"),
    ("BizApiProviderURL", "stripe http://x.test", "https"),
    ("BizApiProviderURL", "stripe x.test", "x.test"),
    ("BizApiMaxBody", "1023", "1024"),
    ("BizApiMaxBody", "64k", "1024"),
    ("BizApiRequireVerifiedEmail", "maybe", "On or Off"),
    ("BizApiQuietHours", "9-5", "21:00-08:00"),
    ("BizApiQuietHours", "21:00-24:00", "21:00-08:00"),
    ("BizApiQuietHours", "21:00-8:00x", "21:00-08:00"),
    ("BizApiAuditRetention", "0", "forever"),
    ("BizApiAuditRetention", "1y", "36500"),
    ("BizApiBreachedPasswords", "on", "http"),
    ("BizApiBreachedPasswords", "http://api.pwnedpasswords.com", "https"),
    ("BizApiProofOfWork", "maybe", "off, auto or on"),
    ("BizApiRequireMfa", "staff boss", "boss"),
    ("BizApiPasskeyDomain", "https://localhost", "localhost"),
    ("BizApiPasskeyDomain", "example.org", "localhost"),
    ("BizApiPasskeyDomain", "ocalhost", "localhost"),
    ("BizApiBusiness", "timezone Mars/X", "Europe/Berlin"),
    ("BizApiBusiness", "currency euro", "ISO 4217"),
    ("BizApiBusiness", "locale english", "language"),
    ("BizApiBusiness", "email nobody", "e-mail"),
    ("BizApiBusiness", "logo example.org/logo.png", "http"),
    ("BizApiBusiness", "primary red", "#1a5fb4"),
    ("BizApiBusiness", 'name " "', "1 to 200"),
    ("BizApiBusiness", "colour #112233", "keys are"),
]

BAD_VARIABLES = [
    ("BIZAPI_STORE", "mysql://x", "sqlite:"),
    ("PORTAL_DOMAIN", "https://x.test", "x.test"),
    ("FRONTEND_URL", "x.test", "http"),
    ("PUBLIC_URL", "ftp://x.test", "http"),
    ("BIZAPI_REDIS_URL", f"redis://:{SECRET}@", "redis"),
    ("BIZAPI_MAIL", f"smtp://user:{SECRET}@", "smtp"),
    ("CORS_ORIGINS", "https://a.test,*", "*"),
    ("BIZAPI_RATE_LIMIT", "/api/v1/auth/login 10/hour", "N/min"),
]


@pytest.fixture(scope="module")
def configured(module_server):
    """configtest of one server with this text in its configuration, and these variables."""
    server = module_server(start=False, mail=False)
    plain = dict(server.env)

    def test(conf="", **env):
        server.env = {**plain, **env}
        server.write_conf(conf)
        return server.configtest()
    return test


@pytest.mark.parametrize("line", GOOD)
def test_what_is_accepted(configured, line):
    code, output = configured(line)
    assert code == 0 and "Syntax OK" in output, output
    assert SECRET not in output


@pytest.mark.parametrize("directive, value, word", BAD)
def test_what_is_refused(configured, directive, value, word):
    code, output = configured(f"{directive} {value}")
    assert code != 0 and "Syntax OK" not in output
    assert directive in output and word in output, output
    assert SECRET not in output


@pytest.mark.parametrize("name, value, word", BAD_VARIABLES)
def test_variables_that_are_refused(configured, name, value, word):
    code, output = configured("", **{name: value})
    assert code != 0, output
    assert name in output and word in output, output
    assert SECRET not in output


@pytest.mark.parametrize("name", [name for name, _, _ in BAD_VARIABLES])
def test_an_empty_variable_is_none(configured, name):
    assert configured("", **{name: ""})[0] == 0


def test_a_directive_beats_a_bad_variable(configured):
    assert configured("BizApiFrontendURL https://x.test", FRONTEND_URL="nonsense")[0] == 0


def test_a_slot_count_is_of_the_whole_server(configured):
    code, output = configured("<VirtualHost 127.0.0.1:1>\nBizApiRateSlots 64\n</VirtualHost>")
    assert code != 0 and "BizApiRateSlots" in output


@pytest.mark.parametrize("directive", ["BizApiStore sqlite:/x", "BizApiMail off",
                                       "BizApiRequireVerifiedEmail on"])
def test_none_stands_in_a_directory(configured, directive):
    code, output = configured(f"<Location /api>\n{directive}\n</Location>")
    assert code != 0 and directive.split(" ", maxsplit=1)[0] in output


# ---- where secrets come from ----

def services(api):
    return {name: service["status"]
            for name, service in api.get("/integrations/status").data["services"].items()}


def test_secrets_come_from_files_and_variables(make_server):
    server = make_server(start=False, env={"MY_TWILIO": "token-" + "1" * 26,
                                           "TWILIO_PHONE_NUMBER": "+4930123456",
                                           "OPENWEATHER_API_KEY": "weather-" + "2" * 24,
                                           "ELEVENLABS_API_KEY": ""})
    (server.root / "conf/stripe").write_text("sk_test_" + "3" * 24 + "\nsecond line\n")
    (server.root / "conf/stripe").chmod(0o600)
    server.write_conf(f"""
BizApiSecret STRIPE_SECRET_KEY file:{server.root}/conf/stripe
BizApiSecret STRIPE_PUBLISHABLE_KEY file:conf/stripe
BizApiSecret TWILIO_AUTH_TOKEN env:MY_TWILIO
BizApiSecret TWILIO_ACCOUNT_SID env:MY_TWILIO
BizApiSecret GOOGLE_MAPS_API_KEY env:NOT_SET
""")
    server.secrets.add("sk_test_" + "3" * 24)
    server.start()
    found = services(server.api())
    assert found["stripe"] == found["twilio"] == found["openweather"] == "ok"
    assert found["google_maps"] == found["elevenlabs"] == found["sendgrid"] == "unconfigured"
    assert "3333" not in server.api().get("/integrations/status").text


@pytest.mark.bz("BZ1001")
def test_a_secret_that_others_may_read_is_told(make_server):
    server = make_server(start=False)
    (server.root / "conf/key").write_text("key-" + "4" * 20)
    (server.root / "conf/key").chmod(0o644)
    server.write_conf("BizApiSecret OPENWEATHER_API_KEY file:conf/key")
    server.start()
    assert services(server.api())["openweather"] == "ok"


def test_an_empty_secret_file_is_refused(configured, tmp_path):
    (tmp_path / "empty").write_text("\n")
    code, output = configured(f"BizApiSecret OPENWEATHER_API_KEY file:{tmp_path}/empty")
    assert code != 0 and "is empty" in output


@pytest.mark.bz("BZ1003")
def test_half_a_service_is_misconfigured(make_server):
    server = make_server(env={"STRIPE_SECRET_KEY": "sk_test_" + "5" * 24})
    assert services(server.api())["stripe"] == "misconfigured"
    assert "others of stripe are set: STRIPE_PUBLISHABLE_KEY\n" in server.log_text()


# ---- what a virtual host inherits ----

def test_a_virtual_host_inherits_and_overrides(make_server):
    server = make_server(
        env={"OPENWEATHER_API_KEY": "weather-" + "6" * 24, "MY_KEY": "maps-" + "7" * 24},
        conf="""
BizApiPublicURL https://main.test
BizApiBusiness name Main
BizApiBusiness locale de
BizApiMaxBody 2000
BizApiRateLimit /api/v1/auth/refresh 2/min
BizApiCorsOrigins https://main-pages.test
""", vhosts={
            "same.test": "",
            "own.test": """
BizApiStateDir run/own
BizApiPublicURL https://own.test
BizApiBusiness name Own
BizApiMaxBody 3000
BizApiRateLimit off
BizApiRateLimit /api/v1/auth/logout 1/min
BizApiCorsOrigins https://own-pages.test
BizApiSecret GOOGLE_MAPS_API_KEY env:MY_KEY
""",
            "little.test": "BizApiStateDir run/little\n"})
    main, same, own, little = (server.api(host=name) for name in
                               (None, "same.test", "own.test", "little.test"))

    def address(api):
        document = api.get("/openapi.json").json
        return document["servers"][0]["url"], document["info"]["title"].split(":")[0]

    assert address(main) == address(same) == address(little) == ("https://main.test/api/v1", "Main")
    assert address(own) == ("https://own.test/api/v1", "Own")

    for api, largest in ((main, 2000), (same, 2000), (little, 2000), (own, 3000)):
        for size, status in ((largest, 400), (largest + 1, 413)):
            answer = api.post("/auth/verify-email", body=b" " * size, ip=new_ip(),
                              headers={"Content-Type": "application/json"})
            assert answer.status == status, (api.host, size)

    for api in (main, same, little, own):
        answers = [api.post("/auth/refresh", json={}, ip="203.0.113.7").status for _ in range(3)]
        # The same business counts together, whatever the host's name.
        assert answers == ([422, 422, 429] if api in (main, little) else
                           [429] * 3 if api is same else [422] * 3), api.host
    answers = [own.post("/auth/logout", json={}) for _ in range(2)]
    check_error(answers[0], 401, "UNAUTHENTICATED")
    assert answers[1].code == "RATE_LIMITED"

    for api, origin, other in ((main, "https://main-pages.test", "https://own-pages.test"),
                               (little, "https://main-pages.test", "https://own-pages.test"),
                               (own, "https://own-pages.test", "https://main-pages.test")):
        allowed = api.get("/health/live", origin=origin).headers
        assert allowed["access-control-allow-origin"] == origin
        assert "access-control-allow-origin" not in api.get("/health/live", origin=other).headers

    for api in (main, same, little):
        assert services(api)["google_maps"] == "unconfigured"
        assert services(api)["openweather"] == "ok"
    assert services(own)["google_maps"] == services(own)["openweather"] == "ok"


def test_limits_from_the_environment(make_server):
    server = make_server(env={"BIZAPI_RATE_LIMIT": "off, /api/v1/auth/refresh 1/min,"
                                                   "/api/v1/health/* 2/min"},
                         conf="BizApiRateLimit /api/v1/auth/refresh 3/min")
    api = server.api()
    assert [api.post("/auth/refresh", json={}).status for _ in range(4)] == [422] * 3 + [429]
    assert [api.get("/health/live").status for _ in range(3)] == [200, 200, 429]
    assert [api.post("/auth/login", json={}).status for _ in range(12)] == [422] * 12
