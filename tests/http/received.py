"""The mails that a server of the tests has written with the file transport, and what stands in them."""
import email
import email.policy
import pathlib
import re

from patience import wait_until


def text_of(message):
    """The plain part of a message."""
    return message.get_body(("plain",)).get_content()


def html_of(message):
    return message.get_body(("html",)).get_content()


def token_of(message, page=None):
    """The token in the fragment of the link in a mail; `page`: of the link to that page."""
    found = re.search(r"https?://\S*?" + re.escape(page or "") + r"\S*#token=([\w.~-]+)",
                      text_of(message))
    assert found, f"no link with a token in: {text_of(message)!r}"
    return found.group(1)


class Mailbox:
    """The folder of the file transport. Each message is given out once."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.seen = set()

    def all(self, to=None, subject=None):
        """[(path, message)], oldest first, those given out already too."""
        found = []
        for path in sorted(self.folder.glob("*.eml"), key=lambda p: p.stat().st_mtime_ns):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            addresses = [a.addr_spec for a in message["To"].addresses]
            if to and to.lower() not in [a.lower() for a in addresses]:
                continue
            if subject and not re.search(subject, message["Subject"]):
                continue
            found.append((path, message))
        return found

    def new(self, to=None, subject=None):
        return [(p, m) for p, m in self.all(to, subject) if p not in self.seen]

    def wait(self, to=None, subject=None, timeout=10.0):
        """The oldest message to `to` that was not given out yet."""
        path, message = wait_until(lambda: self.new(to, subject), timeout,
                                   f"a mail to {to} ({subject or 'any subject'})")[0]
        self.seen.add(path)
        return message
