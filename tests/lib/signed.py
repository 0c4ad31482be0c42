"""Webhooks as Stripe, Twilio and SendGrid sign them, by the words of their documentation."""
import base64
import hashlib
import hmac
import json
import time
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FORM = "application/x-www-form-urlencoded"


def stripe(secret, body, at=None, scheme="v1", more=""):
    """The headers of an event."""
    at = int(time.time()) if at is None else at
    mac = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "Stripe-Signature": f"t={at},{more}{scheme}={mac}"}


def twilio(token, url, fields):
    """(headers, body) of a form; `url` as Twilio calls it."""
    text = url + "".join(name + value for name, value in sorted(fields.items()))
    mac = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return ({"Content-Type": FORM, "X-Twilio-Signature": base64.b64encode(mac).decode()},
            urlencode(fields).encode())


class SendGrid:
    """One with a key of its own; `public` is what its page shows."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = base64.b64encode(self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).decode()

    def pem(self):
        """The private key."""
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()).decode()

    def sign(self, events, at=None):
        """(headers, body)"""
        body = json.dumps(events).encode() + b"\r\n"
        at = str(int(time.time()) if at is None else at)
        signature = self.key.sign(at.encode() + body, ec.ECDSA(hashes.SHA256()))
        return ({"Content-Type": "application/json",
                 "X-Twilio-Email-Event-Webhook-Timestamp": at,
                 "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode()},
                body)
