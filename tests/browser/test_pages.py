"""The pages in htdocs, used as a person uses them."""
import re

import pytest
from playwright.sync_api import expect

from client import new_ip
from kit import unsubscribe_token
from patience import wait_until
from received import text_of, token_of

SERVER = {"pages": True}
PAGES = ("/", "/reset-password.html", "/verify-email.html", "/404.html", "/unsubscribe.html",
         "/reset-password.html#token=" + "x" * 43, "/verify-email.html#token=" + "x" * 43)
OLD, NEW = "correct horse battery staple", "quiet river under seven stones"


@pytest.fixture
def person(server):
    """A registered customer: (address, client)."""
    client = server.api(ip=new_ip())
    address = f"p{client.ip.replace('.', '-')}@example.test"
    answer = client.post("/auth/register", json={"email": address, "password": OLD, "name": "Pat"})
    assert answer.status == 201
    return address, client


# Every visible text with the contrast of its colours (WCAG 2.2, 1.4.3), as the browser drew them.
CONTRAST = """() => {
    const rgb = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
    const mix = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
    const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255;
        return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const back = (e) => { const chain = []; for (let n = e; n; n = n.parentElement) chain.push(n);
        const root = matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
        return chain.reverse().reduce((under, n) => mix(rgb(getComputedStyle(n).backgroundColor), under), root); };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest('noscript')) continue;
        const under = back(e), top = mix(rgb(getComputedStyle(e).color), under);
        const [a, b] = [light(top), light(under)].sort((x, y) => y - x);
        found.push([walker.currentNode.data.trim().slice(0, 40), (a + 0.05) / (b + 0.05)]);
    }
    return found;
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1200])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_can_be_read_and_used(open_page, path, width, dark):
    page = open_page(path, width=width, dark=dark)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    texts = page.evaluate(CONTRAST)
    assert len(texts) > 3
    assert [t for t in texts if t[1] < 4.5] == []
    assert page.locator("h1").count() == 1 and page.locator("html[lang]").count() == 1
    for field in page.locator("input").all():
        assert page.locator(f"label[for={field.get_attribute('id')}]").count() == 1
        described = (field.get_attribute("aria-describedby") or "").split()
        assert all(page.locator(f"#{name}").count() == 1 for name in described)
        assert field.get_attribute("autocomplete") in ("username", "new-password",
                                                        "one-time-code")
    for button in page.locator("button:visible, a.button:visible").all():
        assert button.bounding_box()["height"] >= 44
    assert page.locator("script:not([src]), style, [style], [onclick]").count() == 0


def test_first_page(open_page, server):
    page = open_page("/")
    page.wait_for_selector("#services tbody tr")
    rows = page.locator("#services tbody tr")
    assert rows.count() == 7
    assert "Stripe" in rows.first.inner_text() and "not set up" in rows.first.inner_text()
    assert page.inner_text("#live") == "running" and page.inner_text("#ready") == "ready"
    assert page.inner_text("#count") == "0 of 7"
    assert page.locator("#state").is_hidden()

    page.route("**/api/v1/integrations/status", lambda route: route.abort())
    page.click("#again")
    page.wait_for_selector("#state:has-text('does not answer')")  # after that it asks
    page.unroute("**/api/v1/integrations/status")
    page.click("#again")
    page.wait_for_selector("#services tbody tr:visible")


def test_first_page_without_javascript(open_page):
    page = open_page("/", javascript=False)
    assert page.locator("noscript a[href='/api/v1/integrations/status']").is_visible()


def test_a_page_that_does_not_exist(open_page):
    page = open_page("/deep/down/none.html")
    assert "does not exist" in page.inner_text("h1")
    page.click("a.button")
    page.wait_for_url(re.compile(r"//[^/]+/$"))
    assert page.inner_text("h1").startswith("The server")


def test_a_forgotten_password_from_end_to_end(open_page, server, person):
    address, client = person
    page = open_page("/")
    page.click("text=Reset a password")
    page.fill("#email", "not an address")
    page.click("#ask button")
    assert page.get_attribute("#email", "aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "email"
    assert server.mail.new(address, "(?i)password") == []
    page.fill("#email", f"  {address.upper()} ")
    page.keyboard.press("Enter")
    page.wait_for_selector("#state.good")
    assert "on its way" in page.inner_text("#state") and address not in page.inner_text("main")

    token = token_of(server.mail.wait(address, "(?i)password"))
    seen = []
    page.on("request", lambda request: seen.append((request.url, request.headers)))
    page.goto(f"/reset-password.html#token={token}")
    page.wait_for_selector("#password:visible")
    assert page.url == f"{server.url}/reset-password.html"
    assert page.evaluate("document.activeElement.id") == "password"

    page.fill("#password", "short")
    page.click("#choose > button")
    assert "8 characters" in page.inner_text("#password-problem")
    page.fill("#password", "password123")
    page.click("#choose > button")
    expect(page.locator("#password-problem")).to_contain_text("guess")
    assert page.get_attribute("#password", "type") == "password"
    page.click("#show")
    assert page.get_attribute("#password", "type") == "text"
    assert page.get_attribute("#show", "aria-pressed") == "true"
    page.fill("#password", NEW)
    page.click("#choose > button")
    page.wait_for_selector("#state.good")
    assert "changed" in page.inner_text("#state")
    assert page.input_value("#password") == "" and page.locator("#choose").is_hidden()

    def login(password):
        return client.post("/auth/login", json={"email": address, "password": password})
    assert login(OLD).code == "INVALID_CREDENTIALS"
    assert login(NEW).status == 200

    # No third party, and the token in nothing but the two calls that need it.
    assert all(url.startswith(server.url) for url, _ in seen)
    assert all(token not in headers.get("referer", "") for _, headers in seen)
    assert [url for url, _ in seen if token in url and "#" not in url] == [
        f"{server.url}/api/v1/auth/verify-reset-token?token={token}"]
    kept = page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage), "
                         "document.cookie, JSON.stringify(history.state)].join()")
    assert token not in kept and NEW not in kept

    # The link works once; a second use offers a new one.
    page.goto("about:blank")
    page.goto(f"/reset-password.html#token={token}")
    page.wait_for_selector("#problem:visible")
    assert page.locator("#ask").is_visible() and page.locator("#choose").is_hidden()


def test_another_link_in_the_same_tab(open_page, server, person):
    """Only the fragment changes then: the browser loads nothing."""
    address, client = person
    page = open_page("/reset-password.html#token=" + "x" * 43)
    page.wait_for_selector("#problem:visible")
    assert client.post("/auth/forgot-password", json={"email": address}).status == 200
    token = token_of(server.mail.wait(address, "(?i)password"))
    page.evaluate(f"window.location.hash = 'token={token}'")
    page.wait_for_selector("#password:visible")
    assert page.locator("#problem").is_hidden() and token not in page.url


def test_a_server_that_is_away_for_a_moment(open_page):
    page = open_page("/reset-password.html")
    page.route("**/api/v1/**", lambda route: route.abort())
    page.fill("#email", "somebody@example.test")
    page.click("#ask button")
    page.wait_for_selector("#problem:visible")
    assert "does not answer" in page.inner_text("#problem")
    assert page.input_value("#email") == "somebody@example.test"
    page.evaluate("window.location.hash = 'token=" + "x" * 43 + "'")
    page.wait_for_selector("#retry:visible")
    page.unroute("**/api/v1/**")
    page.click("#retry button")
    page.wait_for_selector("#ask:visible")
    assert page.locator("#retry").is_hidden()


def test_too_many_requests_say_when_to_come_back(open_page):
    page = open_page("/reset-password.html")
    page.route("**/api/v1/auth/forgot-password", lambda route: route.fulfill(
        status=429, headers={"Retry-After": "42", "Content-Type": "application/json"},
        body='{"success":false,"error":{"code":"RATE_LIMITED","message":'
             '"Too many requests. Please try again later."}}'))
    page.fill("#email", "somebody@example.test")
    page.click("#ask button")
    page.wait_for_selector("#problem:visible")
    assert page.inner_text("#problem") == "Too many requests. Please try again later. (in 42 s)"


def test_an_address_is_confirmed_by_a_person_only(open_page, server, person):
    address, client = person
    token = token_of(server.mail.wait(address))
    page = open_page(f"/verify-email.html#token={token}")
    page.wait_for_selector("#confirm button:visible")
    page.wait_for_load_state("networkidle")
    login = client.post("/auth/login", json={"email": address, "password": OLD})
    session = login.data["access_token"]
    assert client.get("/auth/me", token=session).data["email_verified"] is False
    assert token not in page.url
    page.click("#confirm button")
    page.wait_for_selector("#state.good")
    assert client.get("/auth/me", token=session).data["email_verified"] is True
    assert page.locator("#confirm").is_hidden()


def test_an_address_is_confirmed_by_the_code_of_the_mail(open_page, server, person):
    """Where the mail is read on another device than the one that waits."""
    address, client = person
    text = re.sub(r"https?://\S+", "", text_of(server.mail.wait(address)))
    code = re.search(r"\b\d{6}\b", text)[0]
    page = open_page("/verify-email.html")
    page.wait_for_selector("#type:visible")
    assert page.locator("#confirm").is_hidden() and page.locator("#ask").is_visible()
    page.click("#type button")  # nothing typed
    page.wait_for_selector("#problem:visible")
    assert page.inner_text("#problem") == "Please enter your e-mail address and the six digits."
    page.fill("#typed-email", address)
    page.fill("#code", f"{(int(code) + 1) % 1_000_000:06}")
    page.press("#code", "Enter")
    page.get_by_text("code is wrong").wait_for()
    session = client.post("/auth/login", json={"email": address, "password": OLD}).data
    assert client.get("/auth/me", token=session["access_token"]).data["email_verified"] is False
    page.fill("#code", f"{code[:3]} {code[3:]}")  # as people copy it
    page.click("#type button")
    page.wait_for_selector("#state.good")
    assert page.locator("#type").is_hidden() and page.locator("#ask").is_hidden()
    assert page.evaluate("document.activeElement.id") == "title"
    assert client.get("/auth/me", token=session["access_token"]).data["email_verified"] is True
    assert address not in page.url and code not in page.url


def test_a_new_confirmation_mail(open_page, server, person):
    address, _ = person
    server.mail.wait(address)
    page = open_page("/verify-email.html#token=" + "x" * 43)
    page.click("#confirm button")
    page.wait_for_selector("#problem:visible")
    page.fill("#email", address)
    page.click("#ask button")
    page.wait_for_selector("#state.good")
    assert re.fullmatch(r"[\w.~-]+", token_of(server.mail.wait(address)))


def test_messages_are_stopped_by_a_person_only(open_page, server, person):
    address, client = person
    session = client.post("/auth/login", json={"email": address, "password": OLD}).data
    client.put("/portal/notifications", token=session["access_token"], json={"mail": True})
    token = unsubscribe_token(server, address)
    page = open_page(f"/unsubscribe.html#token={token}")
    page.wait_for_selector("#confirm button:visible")
    assert page.inner_text("#address") == f"p***@{address.split('@')[1]}"
    assert token not in page.url
    assert client.get(f"/portal/unsubscribe/{token}").data["subscribed"] is True
    page.click("#confirm button")
    page.wait_for_selector("#state.good")
    assert client.get(f"/portal/unsubscribe/{token}").data["subscribed"] is False
    page = open_page(f"/unsubscribe.html#token={token}")
    page.wait_for_selector("#state.good")
    assert page.locator("#confirm").is_hidden()


def test_by_keyboard_alone(open_page, server, person):
    address, client = person
    assert client.post("/auth/forgot-password", json={"email": address}).status == 200
    token = token_of(server.mail.wait(address, "(?i)password"))
    page = open_page(f"/reset-password.html#token={token}")
    page.wait_for_selector("#password:visible")
    page.keyboard.type(NEW)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "show"
    page.keyboard.press("Space")
    assert page.get_attribute("#password", "type") == "text"
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#state.good")
    wait_until(lambda: page.evaluate("document.activeElement.id") == "title", 5, "the focus")
