#!/usr/bin/python3
"""webauthn_vectors.py: what Chromium's virtual authenticator answers, as C texts: the output is
tests/unit/webauthn_vectors.h. Not run by the tests, which hold us against these bytes; run it in
build/venv to make them anew."""
import http.server
import json
import threading

from playwright.sync_api import sync_playwright

CREATE = """async ([alg, challenge]) => {
    const c = await navigator.credentials.create({publicKey: {
        rp: {id: 'localhost', name: 'Biz'}, user: {id: new TextEncoder().encode('usr_test'),
            name: 'ann@example.org', displayName: 'Ann'},
        challenge: new TextEncoder().encode(challenge), attestation: 'none',
        pubKeyCredParams: [{type: 'public-key', alg}, {type: 'public-key', alg: -7},
            {type: 'public-key', alg: -257}],
        authenticatorSelection: {residentKey: 'required', userVerification: 'required'}}});
    return c.toJSON();
}"""
GET = """async (challenge) => (await navigator.credentials.get({publicKey: {
    rpId: 'localhost', challenge: new TextEncoder().encode(challenge),
    userVerification: 'required'}})).toJSON()"""


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>t</title>")

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


def c_text(value):
    text = json.dumps(value, separators=(",", ":"))
    return "\n     ".join(json.dumps(text[i:i + 72]) for i in range(0, len(text), 72))


def main():
    server = http.server.HTTPServer(("127.0.0.1", 18900), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("/* webauthn_vectors.h: made by tests/lib/webauthn_vectors.py with Chromium; do not edit. */")
    print("static const struct {\n    int algorithm;\n    const char *made, *used;\n} vectors[] = {")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium",
                                       args=["--no-sandbox", "--disable-gpu"])
        for algorithm in (-7, -8, -257):
            page = browser.new_context().new_page()
            cdp = page.context.new_cdp_session(page)
            cdp.send("WebAuthn.enable", {"enableUI": False})
            cdp.send("WebAuthn.addVirtualAuthenticator", {"options": {
                "protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
                "hasUserVerification": True, "isUserVerified": True,
                "automaticPresenceSimulation": True}})
            page.goto("http://localhost:18900/")
            made = page.evaluate(CREATE, [algorithm, "challenge of making"])
            used = page.evaluate(GET, "challenge of use")
            print(f"    {{{algorithm},\n     {c_text(made)},\n     {c_text(used)}}},")
            page.context.close()
        browser.close()
    print("};")


main()
