"""Second factors for tests: an authenticator app (oathtool, which shares no code with us), and a
passkey in software (python3-cryptography), which can lie in every way that a real one does not."""
import base64
import hashlib
import json
import os
import re
import struct
import subprocess
import time
import urllib.parse

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from client import new_ip
from kit import change, login

STEP = 30


def app_code(secret, steps=0, seconds=None):
    """The code that an app with this secret shows, `steps` from now. Not in the last seconds of a
    step, so that it is still what it says when the server reads it."""
    now = time.time()
    if now % STEP > STEP - 4:
        time.sleep(STEP - now % STEP + 0.1)
    when = int(time.time() if seconds is None else seconds) + steps * STEP
    return subprocess.run(["oathtool", "--totp", "-b", "-N", f"@{when}", secret],
                          capture_output=True, text=True, check=True).stdout.strip()


def wrong_code(secret):
    """Six digits that are the code of no step around now."""
    near = {app_code(secret, steps) for steps in range(-3, 4)}
    return next(code for code in ("000000", "111111", "222222", "333333", "444444", "555555",
                                  "666666", "777777") if code not in near)


def set_up(person):
    """Gives the person an authenticator app; (secret, recovery codes). Its first code is the one
    before the present one, so that two more can be used at once."""
    setup = person.api.post("/auth/2fa/setup", token=person.access)
    assert setup.status == 200, setup
    secret = setup.data["secret"]
    done = person.api.post("/auth/2fa/enable", token=person.access,
                           json={"code": app_code(secret, -1)})
    assert done.status == 200, done
    return secret, done.data["recovery_codes"]


def rewind(person):
    """Lets every code be used again, as if time had passed."""
    assert change(person.server, "users", {"_id": person.tokens["user"]["id"]},
                  totp_last_step=1) == 1


def age(person, minutes=11):
    """The person's session was begun so long ago."""
    old = int((time.time() - minutes * 60) * 1000)
    assert change(person.server, "sessions", {"user_id": person.tokens["user"]["id"]},
                  created_at=old, proved_at=None) >= 1


def first_step(person):
    """The ticket that the password buys."""
    answer = login(person.api, person.email, person.password)
    assert answer.status == 200 and answer.data["mfa_required"] is True, answer
    return answer.data


def second_step(person, ticket=None, **proof):
    return person.api.post("/auth/login/mfa", ip=new_ip(), json={
        "mfa_token": ticket or first_step(person)["mfa_token"], **proof})


# ---- WebAuthn ----

def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def cbor(value):
    """RFC 8949, as much of it as an authenticator says."""
    def head(major, n):
        for size, mark, form in ((24, None, None), (1 << 8, 24, ">B"), (1 << 16, 25, ">H"),
                                 (1 << 32, 26, ">I")):
            if n < size:
                return bytes([major << 5 | (n if mark is None else mark)]) + (
                    b"" if form is None else struct.pack(form, n))
        raise ValueError(n)
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


class Authenticator:
    """One credential. What it says can be changed by the keyword arguments of create() and get()."""

    def __init__(self, algorithm=-7, origin=None, rp_id=None):
        self.algorithm, self.origin, self.rp_id = algorithm, origin, rp_id
        self.id, self.count, self.user = os.urandom(32), 0, None
        if algorithm == -7:
            self.key = ec.generate_private_key(ec.SECP256R1())
        elif algorithm == -8:
            self.key = ed25519.Ed25519PrivateKey.generate()
        else:
            self.key = rsa.generate_private_key(65537, 2048)

    def cose(self):
        public = self.key.public_key()
        if self.algorithm == -7:
            n = public.public_numbers()
            return {1: 2, 3: -7, -1: 1, -2: n.x.to_bytes(32, "big"), -3: n.y.to_bytes(32, "big")}
        if self.algorithm == -8:
            return {1: 1, 3: -8, -1: 6, -2: public.public_bytes(
                serialization.Encoding.Raw, serialization.PublicFormat.Raw)}
        n = public.public_numbers()
        return {1: 3, 3: -257, -1: n.n.to_bytes(256, "big"), -2: n.e.to_bytes(3, "big")}

    def sign(self, data):
        if self.algorithm == -7:
            return self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        if self.algorithm == -8:
            return self.key.sign(data)
        return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def client_data(self, kind, asked, **lies):
        return json.dumps({"type": kind, "challenge": asked, "origin": self.origin,
                           "crossOrigin": False, **lies}).encode()

    def create(self, options, flags=0x45, rp_id=None, client=None, attestation=None, cose=None,
               credential_id=None, fmt="none", statement=None):
        self.user = unb64(options["user"]["id"])
        client_data = self.client_data("webauthn.create", options["challenge"], **(client or {}))
        held = credential_id or self.id
        auth_data = (hashlib.sha256((rp_id or self.rp_id).encode()).digest() + bytes([flags]) +
                     struct.pack(">I", self.count))
        if flags & 0x40:
            auth_data += (bytes(16) + struct.pack(">H", len(held)) + held +
                          cbor(cose or self.cose()))
        if statement == "self":
            statement = {"alg": self.algorithm,
                         "sig": self.sign(auth_data + hashlib.sha256(client_data).digest())}
        made = cbor({"fmt": fmt, "attStmt": statement or {}, "authData": auth_data})
        return {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key",
                "clientExtensionResults": {},
                "response": {"clientDataJSON": b64(client_data),
                             "attestationObject": b64(attestation or made),
                             "transports": ["internal", "hybrid", "teleport"]}}

    def get(self, options, flags=0x05, rp_id=None, client=None, count=None, handle=True,
            signature=None, key=None):
        client_data = self.client_data("webauthn.get", options["challenge"], **(client or {}))
        self.count = self.count + 1 if count is None else count
        auth_data = (hashlib.sha256((rp_id or self.rp_id).encode()).digest() + bytes([flags]) +
                     struct.pack(">I", self.count))
        signed = (key or self).sign(auth_data + hashlib.sha256(client_data).digest())
        return {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key",
                "clientExtensionResults": {},
                "response": {"clientDataJSON": b64(client_data),
                             "authenticatorData": b64(auth_data),
                             "signature": b64(signature or signed),
                             "userHandle": b64(self.user) if handle else None}}


def qr_modules(svg):
    """The dark modules of a picture of ours: ({(x, y)}, its width)."""
    width = int(re.search(r'viewBox="0 0 (\d+) ', svg).group(1))
    dark = set()
    for x, y, run in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", svg):
        dark |= {(int(x) + i, int(y)) for i in range(int(run))}
    return dark, width


def uri_parts(uri):
    """(label, {parameter: value}) of an otpauth URI."""
    parts = urllib.parse.urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    return (urllib.parse.unquote(parts.path[1:]),
            {k: v for k, (v,) in urllib.parse.parse_qs(parts.query).items()})
