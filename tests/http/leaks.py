"""No secret in any log, answer or core status page: what a test sends, gets or configures as a secret
is remembered for its server, and every log of that server is searched when it closes, and with them
what mod_status and mod_info told at its end; every answer is searched for what is configured. Called
by harness.py and client.py.

A token is searched in parts, so that a piece of it is found too; its parts that are no secret (a
session's id, the header of every JWT) are left out."""
import json as jsonlib
import pathlib
import re

SECRET_FIELDS = {"password", "new_password", "current_password", "token", "refresh_token",
                 "access_token", "device_token", "mfa_token", "recovery_code",
                 "recovery_codes", "secret", "otpauth_uri"}
SECRET_VARIABLES = re.compile(r"(SECRET|_KEY|TOKEN|PASSWORD)")
SECRET_IN_FILE = re.compile(r"BizApiSecret\s+\w+\s+\"?file:([^\s\"]+)")
SECRET_IN_URL = re.compile(r"\w+://[^\s:/@]*:([^\s/@]+)@")
LINK = re.compile(r"#token=([\w.~-]+)")
LEAST = 8  # shorter ones stand in every log by accident, as does the password "password"


def parts(secret):
    """What of it must not be found."""
    pieces = secret.split(".")
    if len(pieces) >= (2 if secret.startswith("dev_") else 3) and all(re.fullmatch(r"[\w-]*", piece) for piece in pieces):
        return [p for p in pieces if len(p) >= 20 and not p.startswith(("eyJhbGci", "ses_", "dev_"))]
    return [secret] if len(secret) >= LEAST and secret not in SECRET_FIELDS else []


def in_json(value, found=None):
    """The secrets of a body: what stands under SECRET_FIELDS, at any depth."""
    found = set() if found is None else found
    if isinstance(value, dict):
        for name, each in value.items():
            if name in SECRET_FIELDS and isinstance(each, str):
                found.update(parts(each))
            elif name in SECRET_FIELDS and isinstance(each, list):
                found.update(text for text in each if isinstance(text, str))
            else:
                in_json(each, found)
    elif isinstance(value, list):
        for each in value:
            in_json(each, found)
    return found


def in_bytes(body):
    if not any(field.encode() in body for field in SECRET_FIELDS):
        return set()
    try:
        return in_json(jsonlib.loads(body))
    except (ValueError, RecursionError):
        return set()


def in_setup(env, conf):
    """The secrets of a server's variables, of the files that its configuration names, and of the
    addresses in it."""
    found = {value for name, value in env.items()
             if SECRET_VARIABLES.search(name) and len(value) >= LEAST}
    for path in map(pathlib.Path, SECRET_IN_FILE.findall(conf)):
        if path.is_file():
            found.update(value for value in path.read_text(errors="replace").split("\n")[:1]
                         if len(value) >= LEAST)
    for text in (conf, *env.values()):
        found.update(password for password in SECRET_IN_URL.findall(text)
                     if len(password) >= LEAST)
    return found


def in_answer(answer, configured):
    """What is configured and stands in an answer: ["sk_t..."]."""
    heads = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    return [f"{secret[:4]}..." for secret in configured
            if secret.encode() in answer.body or secret in heads]


def in_mails(folder):
    """The tokens of the links in the mails that a server wrote into a folder."""
    found = set()
    for path in folder.glob("*.eml"):
        text = path.read_text(errors="replace").replace("=\n", "").replace("=3D", "=")
        for token in LINK.findall(text):
            found.update(parts(token))
    return found


def search(folder, secrets):
    """["error.log:12: ...a secret of 43 characters..."], the secret itself shortened."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text = path.read_text(errors="replace")
        for secret in secrets:
            at = text.find(secret)
            if at >= 0:
                line = text.count("\n", 0, at) + 1
                found.append(f"{path.name}:{line} holds a secret of {len(secret)} characters, "
                             f"{secret[:4]}...")
    return found
