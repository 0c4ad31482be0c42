"""Secrets: where they may come from, how they are changed under a running server, and that none of
them is ever seen: not in a log, an answer, Apache's own status pages or what its command line shows.
Every secret of the table is a marker here (tests/lib/providers.py), and every service is used, well
and badly."""
import json
import re
import subprocess
from types import SimpleNamespace

import pytest

import harness
import leaks
import providers
from client import new_ip
from harness import REPO
from kit import Admin, Person, change, insert, now_ms, row
from patience import wait_until

FILES = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "TWILIO_AUTH_TOKEN", "GOOGLE_MAPS_API_KEY")


@pytest.fixture(scope="module")
def world():
    with providers.Providers() as every:
        yield every


@pytest.fixture
def salon(make_server, world, tmp_path):
    """Half of the secrets in files, half in the environment."""
    world.clear()
    tmp_path.chmod(0o755)
    env, lines = world.env(), []
    for name in FILES:
        path = tmp_path / name
        path.write_text(env.pop(name) + "\n")
        path.chmod(0o600)
        lines.append(f"BizApiSecret {name} file:{path}")
    env["MY_VOICE_KEY"] = env.pop("ELEVENLABS_API_KEY")
    lines.append("BizApiSecret ELEVENLABS_API_KEY env:MY_VOICE_KEY")
    server = make_server(conf="LogLevel debug\n" + "\n".join(lines) + "\n" + world.conf() +
                         "\nBizApiBusiness latitude 52.5\nBizApiBusiness longitude 13.3\n",
                         env=env)
    server.key_files = tmp_path
    return server


def secrets_of(world):
    """Each secret, and the parts of the private key."""
    account = json.loads(world.firebase_file.read_text())
    lines = [line for line in account["private_key"].splitlines() if len(line) > 40]
    return [v for v in providers.SECRETS.values() if providers.MARK in v] + lines


def use_everything(server, world):
    """All answers to requests of all kinds, while the providers work, refuse and break."""
    person, admin = Person(server), Admin(server)
    change(server, "users", {"email": person.email}, email_verified=1)
    customer = insert(server, "customers", name="N", email=person.email, address="A 1, 10115 B")
    answers = []

    def booking():
        return insert(server, "bookings", number=f"S-{len(answers)}", customer_id=customer,
                      start_at=now_ms() + 3600_000, end_at=now_ms() + 7200_000,
                      location=json.dumps({"type": "customer"}))

    faults = [{}, {"status": 500}, {"drop": "mid"}, {"garbage": True},
              {"status": 401, "body": {"error": {"message": " ".join(secrets_of(world)[:12])}}}]
    for fault in faults:
        for provider in world.each.values():
            if fault:
                provider.fault(**fault, times=None)
        for path in ("route", "weather"):
            answers.append(person.api.get(f"/portal/bookings/{booking()}/{path}", ip=new_ip(),
                                          token=person.access))
        answers.append(admin.api.post("/admin/voice", token=admin.access,
                                      json={"text": f"Text {len(answers)}"}))
        for name in ("stripe", "twilio", "sendgrid", "google_maps", "openweather", "elevenlabs",
                     "firebase"):
            answers.append(admin.api.post(f"/integrations/{name}/test", token=admin.access))
            answers.append(admin.api.get(f"/integrations/{name}", token=admin.access))
        for provider in world.each.values():
            provider.faults.clear()
    for path in ("/integrations/status", "/openapi.json", "/health/ready", "/admin/outbox"):
        answers.append(admin.api.get(path, token=admin.access))
    # Webhooks that are signed wrongly, or with the secret itself.
    for path, header in (("stripe", "Stripe-Signature"), ("sendgrid", "X-Twilio-Email-Event-"
                                                          "Webhook-Signature")):
        answers.append(admin.api.post(f"/webhooks/{path}", body=b"{}", headers={
            "Content-Type": "application/json",
            header: "t=1,v1=" + providers.SECRETS["STRIPE_WEBHOOK_SECRET"]}))
    return answers


@pytest.mark.bz("BZ0801", "BZ0802")
@pytest.mark.bz_may("BZ08", "BZ06", "AH", "[ssl:", "mod_")
def test_no_secret_is_ever_seen(salon, world):
    answers = use_everything(salon, world)
    asked = {line.split()[0] for line in world.requests()}
    assert asked >= {"stripe", "twilio", "sendgrid", "google_maps", "google_routes", "openweather",
                     "elevenlabs", "firebase_token"}, "each of them was really used"
    seen = "\n".join(a.text + repr(a.headers) for a in answers if a.headers["content-type"] !=
                     "audio/mpeg")
    api = salon.api()
    for page in ("/core-status", "/core-status?auto", "/core-info", "/core-info?config",
                 "/core-info?mod_bizapi.c"):
        answer = api.page(page)
        assert answer.status == 200, answer
        seen += answer.text
    assert "BizApiSecret" in seen, "the page shows our configuration"
    for arguments in (["-S"], ["-t", "-D", "DUMP_RUN_CFG"], ["-t", "-D", "DUMP_CONFIG"], ["-M"]):
        done = subprocess.run(salon.command(*arguments), env=salon.env, capture_output=True,
                              text=True)
        seen += done.stdout + done.stderr
    logs = "\n".join(p.read_text(errors="replace") for p in (salon.root / "logs").iterdir())
    assert "BZ0801" in logs and len(logs) > 10_000
    kept = "\n".join(p.read_bytes().decode("latin-1") for p in salon.state.rglob("*")
                     if p.is_file() and p.suffix != ".mp3")
    for secret in secrets_of(world):
        for where, text in (("an answer or a page", seen), ("a log", logs), ("the state", kept)):
            assert secret not in text, f"{secret[:6]}... is in {where}"
    assert not re.search(r"(appid|key)=[^*\s&\"]", logs), "a query with a key is in a log"
    assert "ya29." not in seen + logs + kept, "the access token of Firebase"


def test_the_search_would_find_one(tmp_path, world):
    """Else the test above, and every other that leaves it to the harness, would prove nothing."""
    found = leaks.in_setup(world.env(), "")
    for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "TWILIO_AUTH_TOKEN",
                 "SENDGRID_API_KEY", "GOOGLE_MAPS_API_KEY", "OPENWEATHER_API_KEY",
                 "ELEVENLABS_API_KEY"):
        assert providers.SECRETS[name] in found, name
    key = tmp_path / "key"
    key.write_text("in-a-file-0123456789\n")
    assert "in-a-file-0123456789" in leaks.in_setup({}, f"BizApiSecret TWILIO_AUTH_TOKEN file:{key}")
    (tmp_path / "error.log").write_text("x " + providers.SECRETS["SENDGRID_API_KEY"])
    assert leaks.search(tmp_path, found)
    answer = SimpleNamespace(body=b"", headers={"X-Key": providers.SECRETS["TWILIO_AUTH_TOKEN"]})
    assert leaks.in_answer(answer, found)
    answer = SimpleNamespace(body=providers.SECRETS["STRIPE_SECRET_KEY"].encode(), headers={})
    assert leaks.in_answer(answer, found)
    names = set(re.findall(r'"([A-Z0-9]+(?:_[A-Z0-9]+)+)"', (
        REPO / "src/integrations/registry.c").read_text().split("integration_secrets[]")[1].split(
            "};")[0]))
    public = {"SENDGRID_WEBHOOK_PUBLIC_KEY", "FIREBASE_CREDENTIALS_PATH"}
    assert names - public <= set(providers.SECRETS), "a secret of the table has no marker"


def test_the_search_would_find_one_on_a_status_page(make_server):
    """On both, at the end of any server: what it is told in a path, and in its configuration."""
    asked, configured = "planted-in-a-path-0123", "planted-in-the-configuration-0123"
    server = make_server(conf=f"BizApiBusiness name {configured}")
    server.secrets |= {asked, configured}
    for _ in range(8):  # mod_status has the last request of each thread, and takes one for itself
        server.api().page(f"/{asked}")
    server.close()
    found, harness.Server.leaked = harness.Server.leaked, []
    pages = {line.split(":")[0] for line in found} - {"access.log"}
    assert pages == {"core-status.html", "core-info.html"}, found


@pytest.mark.sqlite
@pytest.mark.bz_may("BZ0240", "BZ0604", "BZ0605")
def test_a_password_in_a_url_is_shown_nowhere(make_server):
    """Of the three directives that take one; the server's end searches its pages and logs besides."""
    password = "in-a-url-0123456789"
    server = make_server(mail=False, conf=f"""
BizApiRateBackend redis://:{password}@127.0.0.1:1
BizApiMail smtp://salon:{password}@127.0.0.1:1
<VirtualHost 127.0.0.1:1>
    BizApiStore "mongodb://salon:{password}@127.0.0.1:1/salon"
</VirtualHost>""")
    page = server.api().page("/core-info?config").text
    assert page.count("://***@127.0.0.1:1") == 3
    assert password not in page


def test_a_secret_is_changed_by_graceful(salon, world):
    """The old key goes out before, the new one after, and nothing fails in between."""
    admin = Admin(salon)

    def key_used():
        world.stripe.requests.clear()
        answer = admin.api.post("/integrations/stripe/test", token=admin.access)
        assert answer.status == 200
        return world.stripe.last().headers["authorization"].removeprefix("Bearer ")

    assert key_used() == providers.SECRETS["STRIPE_SECRET_KEY"]
    new = "sk_test_" + providers.MARK + "rotated52"
    salon.secrets.add(new)
    (salon.key_files / "STRIPE_SECRET_KEY").write_text(new + "\n")
    assert key_used() == providers.SECRETS["STRIPE_SECRET_KEY"], "a reload is needed"
    world.stripe.fault(body={"object": "balance"}, times=None)
    salon.graceful()
    wait_until(lambda: key_used() == new, 15, "the new key")
    assert row(salon, "users", email=admin.email)["role"] == "admin"
