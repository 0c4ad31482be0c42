"""Signing in and the account's safety, used as a person uses them, with Chromium's own virtual
authenticator for passkeys and oathtool in place of a telephone."""
import os
import re

import pytest
from playwright.sync_api import expect

from client import new_ip
from kit import change, row
from second import app_code, rewind
from test_pages import CONTRAST

SERVER = {"pages": True}
PASSWORD = "correct horse battery staple"


class Someone:
    """An account, as far as the helpers of second.py want to know it."""

    def __init__(self, server):
        self.server, self.api = server, server.api(ip=new_ip())
        self.email = f"a{self.api.ip.replace('.', '-')}@example.test"
        self.password = PASSWORD
        answer = self.api.post("/auth/register", json={
            "email": self.email, "password": PASSWORD, "name": "Ann Example"})
        assert answer.status == 201
        self.id = row(server, "users", email=self.email)["_id"]
        self.tokens = {"user": {"id": self.id}}


@pytest.fixture
def someone(server):
    return Someone(server)


@pytest.fixture
def page(open_page, server):
    return open_page(sign_in_url(server))


def sign_in_url(server):
    """By name: an address is no domain, and passkeys are for domains."""
    return f"http://localhost:{server.port}/sign-in.html"


def authenticator(page, **more):
    """A virtual one in this page's browser; gives its words (CDP)."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable", {"enableUI": False})
    made = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": {
        "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal",
        "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True,
        "automaticPresenceSimulation": True, **more}})
    return cdp, made["authenticatorId"]


def password_step(page, someone, password=PASSWORD):
    page.fill("#email", someone.email)
    page.fill("#password", password)
    page.click("#first [type=submit]")


def sign_in(page, someone):
    password_step(page, someone)
    page.wait_for_url("**/account.html")
    page.wait_for_selector("#all:visible")


def sign_out(page):
    page.click("#sign-out")
    page.wait_for_url("**/sign-in.html")
    page.wait_for_selector("#first:visible")


def kept(page):
    return page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage), "
                         "document.cookie, location.href].join()")


def set_up_app(page):
    """(secret, recovery codes) of an app that the page sets up."""
    page.click("#app-begin")
    page.wait_for_selector("#qr:visible")
    page.wait_for_function("document.getElementById('qr').naturalWidth > 0")
    secret = page.inner_text("#secret").replace(" ", "")
    assert secret in page.get_attribute("#otpauth", "href")
    page.fill("#app-code", "12345")
    page.click("#app-setup [type=submit]")
    expect(page.locator("#app-code-problem")).to_contain_text("6")
    page.fill("#app-code", app_code(secret, -1))
    page.click("#app-setup [type=submit]")
    page.wait_for_selector("#fresh-codes:visible")
    codes = page.locator("#codes li").all_inner_texts()
    assert len(codes) == 10
    expect(page.locator("#app-state")).to_have_text("on")
    assert page.evaluate("document.activeElement.id") == "codes-title"
    return secret, codes


def test_password_alone(page, someone):
    password_step(page, someone, "wrong password here")
    expect(page.locator("#problem")).to_contain_text("wrong")
    page.fill("#email", "nobody")
    page.click("#first [type=submit]")
    assert page.evaluate("document.activeElement.id") == "email"
    sign_in(page, someone)
    expect(page.locator("#who")).to_have_text(f"Ann Example, {someone.email}")
    expect(page.locator("#app-state")).to_have_text("off")
    expect(page.locator("#recovery")).to_be_hidden()
    expect(page.locator("#sessions li").first).to_contain_text("this one")
    # No script can read the session, and nothing secret is kept.
    stored = kept(page)
    assert PASSWORD not in stored and "eyJ" not in stored and "ses_" not in stored
    sign_out(page)
    page.goto(page.url.replace("sign-in", "account"))
    expect(page).to_have_url(re.compile(r"/sign-in\.html$"))


def test_the_app_from_end_to_end(page, someone, server):
    sign_in(page, someone)
    secret, codes = set_up_app(page)
    with page.expect_download() as download:
        page.click("#save-codes")
    with open(download.value.path(), encoding="ascii") as file:
        assert file.read().split() == codes
    page.click("#hide-codes")
    expect(page.locator("#codes li")).to_have_count(0)
    sign_out(page)

    # Sign in by its code.
    password_step(page, someone)
    page.wait_for_selector("#code:visible")
    assert page.evaluate("document.activeElement.id") == "code"
    page.keyboard.type("000000" if app_code(secret) != "000000" else "111111")
    page.keyboard.press("Enter")
    expect(page.locator("#code-problem")).to_contain_text("wrong")
    page.fill("#code", app_code(secret))
    page.keyboard.press("Enter")
    page.wait_for_url("**/account.html")
    sign_out(page)

    # By a recovery code.
    password_step(page, someone)
    page.click("#other")
    page.fill("#recovery", codes[4].upper())
    page.click("#second-submit")
    page.wait_for_url("**/account.html")
    page.wait_for_selector("#all:visible")
    expect(page.locator("#recovery-left")).to_contain_text("9 ")
    assert secret not in kept(page)

    # New codes, and the end of it.
    rewind(someone)
    page.fill("#renew-code", app_code(secret))
    page.click("#recovery-renew [type=submit]")
    page.wait_for_selector("#fresh-codes:visible")
    assert not set(page.locator("#codes li").all_inner_texts()) & set(codes)
    page.click("#app-remove")
    page.fill("#disable-password", "wrong password here")
    page.fill("#disable-code", app_code(secret, 1))
    page.click("#app-disable [type=submit]")
    expect(page.locator("#disable-password-problem")).to_contain_text("wrong")
    page.fill("#disable-password", PASSWORD)
    page.click("#app-disable [type=submit]")
    expect(page.locator("#state")).to_contain_text("removed")
    expect(page.locator("#app-state")).to_have_text("off")
    sign_out(page)
    sign_in(page, someone)


def test_a_second_step_that_comes_too_late(page, someone, server):
    sign_in(page, someone)
    secret, _ = set_up_app(page)
    sign_out(page)
    password_step(page, someone)
    page.wait_for_selector("#code:visible")
    change(server, "users", {"_id": someone.id},
           session_epoch=row(server, "users", _id=someone.id)["session_epoch"] + 1)
    page.fill("#code", app_code(secret))
    page.click("#second-submit")
    expect(page.locator("#problem")).to_contain_text("too long")
    expect(page.locator("#first")).to_be_visible()


@pytest.mark.parametrize("transport", ["internal", "usb"])
def test_a_passkey_from_end_to_end(page, someone, server, transport):
    cdp, device = authenticator(page, transport=transport)
    sign_in(page, someone)
    page.fill("#passkey-name", "My <b>key</b>")
    page.click("#passkey-add [type=submit]")
    page.wait_for_selector("#fresh-codes:visible")
    codes = page.locator("#codes li").all_inner_texts()
    assert len(codes) == 10
    expect(page.locator("#passkeys")).to_contain_text("My <b>key</b>")
    assert row(server, "passkeys", user_id=someone.id)["algorithm"] == -7
    # The same device makes no second one.
    page.click("#passkey-add [type=submit]")
    expect(page.locator("#problem")).to_contain_text("already")
    sign_out(page)

    # As the first factor: no address, no password.
    page.click("#passkey")
    page.wait_for_url("**/account.html")
    page.wait_for_selector("#all:visible")
    expect(page.locator("#who")).to_contain_text("Ann Example")
    expect(page.locator("#passkeys")).to_contain_text("last used")
    assert cdp.send("WebAuthn.getCredentials", {"authenticatorId": device})[
        "credentials"][0]["signCount"] == row(server, "passkeys", user_id=someone.id)["sign_count"]
    sign_out(page)

    # As the second: after the password, by somebody whom the device has not checked.
    cdp.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
    page.click("#passkey")
    expect(page.locator("#problem")).to_contain_text("try again")
    cdp.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": True})
    password_step(page, someone)
    page.click("#second-passkey")
    page.wait_for_url("**/account.html")
    page.wait_for_selector("#all:visible")

    # A session that has become old asks for it before it removes it.
    change(server, "sessions", {"user_id": someone.id}, created_at=1)
    page.click("#passkeys button")
    page.wait_for_selector("#confirm[open]")
    page.click("#confirm-passkey")
    expect(page.locator("#state")).to_contain_text("removed")
    expect(page.locator("#passkeys li")).to_have_count(0)
    expect(page.locator("#recovery")).to_be_hidden()


@pytest.mark.parametrize("algorithm", [-8, -257])
def test_other_algorithms(page, someone, server, algorithm):
    """A browser that is asked for one of them first makes an EdDSA or an RSA key."""
    authenticator(page)
    sign_in(page, someone)

    def first(route):
        answer = route.fetch()
        body = answer.json()
        body["data"]["pubKeyCredParams"].sort(key=lambda each: each["alg"] != algorithm)
        route.fulfill(response=answer, json=body)
    page.route("**/passkeys/register/options", first)
    page.click("#passkey-add [type=submit]")
    page.wait_for_selector("#fresh-codes:visible")
    assert row(server, "passkeys", user_id=someone.id)["algorithm"] == algorithm
    sign_out(page)
    page.click("#passkey")
    page.wait_for_url("**/account.html")


def test_proof_by_password(page, someone, server):
    sign_in(page, someone)
    change(server, "sessions", {"user_id": someone.id}, created_at=1)
    page.click("#app-begin")
    page.wait_for_selector("#confirm[open]")
    page.click("#confirm-cancel")
    expect(page.locator("#app-setup")).to_be_hidden()
    page.click("#app-begin")
    page.fill("#confirm-password", "wrong password here")
    page.keyboard.press("Enter")
    expect(page.locator("#confirm-password-problem")).to_contain_text("wrong")
    page.fill("#confirm-password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector("#qr:visible")
    page.click("#app-cancel")
    expect(page.locator("#secret")).to_be_empty()
    expect(page.locator("#app-begin")).to_be_visible()


def test_sessions_end_from_here(page, someone, server):
    other = someone.api.post("/auth/login", ip=new_ip(), headers={"User-Agent": "Other/1.0"}, json={
        "email": someone.email, "password": PASSWORD}).data["access_token"]
    sign_in(page, someone)
    page.wait_for_selector("#sessions li >> nth=1")
    page.click("#sessions button")
    expect(page.locator("#state")).to_contain_text("ended")
    expect(page.locator("#sessions li")).to_have_count(1)
    assert someone.api.get("/auth/me", token=other).status == 401
    page.click("#everywhere")
    page.wait_for_url("**/sign-in.html")
    page.goto(page.url.replace("sign-in", "account"))
    page.wait_for_url("**/sign-in.html")


@pytest.mark.parametrize("width, dark", [(320, True), (360, False), (1280, True)])
def test_all_of_it_can_be_read_and_used(open_page, someone, width, dark):
    page = open_page(sign_in_url(someone.server), width=width, dark=dark)
    page.wait_for_selector("#first:visible")
    look_at(page, width, "1-sign-in", dark)
    authenticator(page)
    sign_in(page, someone)
    page.fill("#passkey-name", "A passkey with quite a long name for a narrow screen")
    page.click("#passkey-add [type=submit]")
    page.wait_for_selector("#fresh-codes:visible")
    page.click("#hide-codes")
    set_up_app(page)
    look_at(page, width, "2-account", dark)
    page.click("#app-remove")
    look_at(page, width, "3-remove", dark)
    page.click("#disable-cancel")
    sign_out(page)
    password_step(page, someone)
    page.wait_for_selector("#code:visible")
    look_at(page, width, "4-second", dark)
    page.click("#other")
    look_at(page, width, "5-recovery", dark)


def look_at(page, width, name, dark):
    """Nothing sticks out, everything can be read, every field has its label."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    texts = page.evaluate(CONTRAST)
    assert len(texts) > 3 and [t for t in texts if t[1] < 4.5] == []
    for field in page.locator("input").all():
        assert page.locator(f"label[for={field.get_attribute('id')}]").count() == 1
        described = (field.get_attribute("aria-describedby") or "").split()
        assert described and all(page.locator(f"#{each}").count() == 1 for each in described)
        assert field.get_attribute("autocomplete") in (
            "username", "current-password", "one-time-code", "off")
    for button in page.locator("button:visible, a.button:visible").all():
        assert button.bounding_box()["height"] >= 44
    for image in page.locator("img:visible").all():
        assert image.get_attribute("alt") is not None
    assert re.fullmatch(r"[a-z]{2}", page.get_attribute("html", "lang"))
    shots = os.environ.get("BIZ_SHOTS")  # a folder, for who wants to look
    if shots:
        page.screenshot(path=f"{shots}/{name}-{width}-{'dark' if dark else 'light'}.png",
                        full_page=True)
