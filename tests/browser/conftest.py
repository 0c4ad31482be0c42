"""The fixtures of tests/http, and a real browser (Debian's chromium, driven by playwright)."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
# pylint: disable=wrong-import-position,unused-import
from served import (api, log_guard, make_server, module_server, pytest_configure,  # noqa: E402,F401
                    server)
from client import new_ip  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

ARGUMENTS = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
             "--disable-background-networking --disable-component-update").split()


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, server):
    """open_page(path, width=…, dark=…, javascript=…): a page in a fresh profile. Whatever the
    browser complains about fails the test, but for the failed requests a test provokes itself."""
    contexts, complaints = [], []

    def complain(message):
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def begin(path, width=1200, dark=False, javascript=True):
        context = chromium.new_context(
            base_url=server.url, viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light", java_script_enabled=javascript,
            extra_http_headers={"X-Forwarded-For": new_ip()})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10000)
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield begin
    for context in contexts:
        context.close()
    assert complaints == []
