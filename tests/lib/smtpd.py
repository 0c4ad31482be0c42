#!/usr/bin/env python3
"""A mail server for the tests (RFC 5321, STARTTLS by RFC 3207, AUTH PLAIN and LOGIN), on 127.0.0.1.

    smtpd.py JOURNAL [--port N] [--control FILE] [--cert PEM] [--implicit] [--auth USER:PASSWORD]
             [--offer EXTENSION]...

Prints the port on a line, then serves until it is ended. Each connection and each message it takes
is a line of JSON in JOURNAL; a message's `pieces` are its commands and its text as they came in, an
item for what was there at once (a record, under TLS). With --offer PIPELINING the answers to a piece
leave in one, too (RFC 2920 section 3.2). What it does to a message is the word in the control file,
or where that is absent or empty the part of the recipient before "@" or "+":

    refuse  550 to the recipient            grey    451 to the recipient
    hang    never answers the recipient     drop    takes the text and closes before the answer
    spam    554 after the text              full    452 after the text
    sender  553 to the sender               greet   554 instead of the greeting (control only)
    relay   554 5.7.1 to the recipient, meant for us
    policy  554 5.7.1 to the recipient, meant for it
    close   answers, then closes without a word
    stuck   as sender, and never answers QUIT
    lax     as refuse, and takes a text to nobody
    inject  answers the next command behind the answer to STARTTLS, in the clear (control only)
"""
import argparse
import base64
import json
import os
import socket
import socketserver
import ssl
import sys
import threading
import time


class Talk(socketserver.BaseRequestHandler):
    def setup(self):
        self.tls = self.user = self.sender = self.lax = None
        self.to, self.pieces = [], []
        self.read, self.answers = b"", b""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        if self.server.options.implicit:
            self.start_tls()

    def start_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.options.cert)
        self.request = context.wrap_socket(self.request, server_side=True)
        self.tls = self.request.version()

    def say(self, line):
        self.answers += line.encode() + b"\r\n"
        if not (self.read and "PIPELINING" in self.server.options.offer):
            self.flush()

    def flush(self):
        self.request.sendall(self.answers)
        self.answers = b""

    def line(self):
        """The next one, with its end; b"" where there is none any more."""
        while b"\n" not in self.read:
            self.flush()
            piece = self.request.recv(65536)
            if not piece:
                return b""
            self.pieces.append(piece.decode("latin-1"))
            self.read += piece
        line, end, self.read = self.read.partition(b"\n")
        return line + end

    def mode(self, address=""):
        try:
            with open(self.server.options.control) as f:
                word = f.read().strip()
        except (OSError, TypeError):
            word = ""
        return word or address.partition("@")[0].partition("+")[0]

    def handle(self):
        self.server.note(event="connect")
        try:
            self.talk()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            self.server.note(event="lost")

    def talk(self):
        self.say("554 5.3.2 not now" if self.mode() == "greet" else "220 smtpd.test ESMTP")
        while line := self.line():
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            act = getattr(self, "do_" + verb.lower(), None)
            if act is None:
                self.say("502 5.5.1 unknown")
            elif act(rest) == "end":
                self.flush()
                return

    def do_ehlo(self, rest):
        options = self.server.options
        lines = ["smtpd.test"]
        if options.cert and not self.tls:
            lines.append("STARTTLS")
        if options.auth:
            lines.append("AUTH PLAIN LOGIN")
        lines += ["8BITMIME", *options.offer]
        for i, word in enumerate(lines):
            self.say("250%s%s" % ("-" if i < len(lines) - 1 else " ", word))

    do_helo = do_ehlo

    def do_starttls(self, rest):
        self.read = b""  # what was said before TLS does not count in it (RFC 3207 section 4)
        more = "\r\n250-smtpd.test\r\n250 PIPELINING" if self.mode() == "inject" else ""
        self.say("220 go on" + more)
        self.start_tls()

    def do_auth(self, rest):
        how, _, first = rest.partition(" ")
        if how.upper() == "PLAIN":
            if not first:
                self.say("334 ")
                first = self.line().decode().strip()
            given = base64.b64decode(first).split(b"\0")[1:]
        else:
            given = []
            for prompt in ("VXNlcm5hbWU6", "UGFzc3dvcmQ6"):
                self.say("334 " + prompt)
                given.append(base64.b64decode(self.line()))
        if b":".join(given).decode() == self.server.options.auth:
            self.user = given[0].decode()
            self.say("235 2.7.0 welcome")
        else:
            self.say("535 5.7.8 wrong password " + given[1].decode())

    def do_mail(self, rest):
        del self.pieces[:-1]
        self.sender, self.to, self.lax = rest, [], False
        if self.mode() in ("sender", "stuck"):
            self.say("553 5.7.1 <sender@example.com> may not send")
        elif self.server.options.auth and not self.user:
            self.say("530 5.7.0 authentication required")
        else:
            self.say("250 2.1.0 ok")

    def do_rcpt(self, rest):
        address = rest.partition("<")[2].partition(">")[0]
        mode = self.mode(address)
        self.lax = mode == "lax"
        if mode in ("refuse", "lax"):
            self.say("550 5.1.1 <%s>: no such user" % address)
        elif mode == "relay":
            self.say("554 5.7.1 <%s>: Relay access denied" % address)
        elif mode == "policy":
            self.say("554 5.7.1 <%s>: Recipient address rejected: Access denied" % address)
        elif mode == "grey":
            self.say("451 4.7.1 <%s>: try again later" % address)
        elif mode == "hang":
            self.flush()
            time.sleep(60)
            return "end"
        else:
            self.to.append(address)
            self.say("250 2.1.5 ok")
        return None

    def do_data(self, rest):
        if not self.to and not self.lax:
            self.say("503 5.5.1 no recipient")
            return None
        self.say("354 go on")
        data = b""
        while (line := self.line()) != b".\r\n":
            if not line:
                return "end"
            data += line[1:] if line.startswith(b".") else line
        mode = self.mode(*self.to)
        if not self.to:
            self.server.note(event="nobody", data=data.decode("latin-1"))
            self.say("554 5.5.1 no recipient")
            return None
        if mode == "spam":
            self.say("554 5.7.1 message refused")
            return None
        if mode == "full":
            self.say("452 4.3.1 no space")
            return None
        self.server.note(event="message", sender=self.sender, to=self.to, tls=self.tls,
                         user=self.user, data=data.decode("latin-1"), pieces=self.pieces)
        if mode == "drop":
            return "end"
        self.say("250 2.0.0 taken")
        return "end" if mode == "close" else None

    def do_rset(self, rest):
        self.to, self.lax = [], False
        self.say("250 2.0.0 ok")

    def do_noop(self, rest):
        self.say("250 2.0.0 ok")

    def do_quit(self, rest):
        if self.mode() == "stuck":
            time.sleep(60)
        self.server.note(event="quit")
        self.say("221 2.0.0 bye")
        return "end"


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    lock = threading.Lock()

    def note(self, **line):
        with self.lock, open(self.options.journal, "a") as f:
            f.write(json.dumps(line, sort_keys=True) + "\n")

    def handle_error(self, request, client_address):
        self.note(event="error", what=repr(sys.exc_info()[1]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("journal")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control")
    parser.add_argument("--cert", help="certificate and key in one file: offers STARTTLS")
    parser.add_argument("--implicit", action="store_true", help="TLS from the first byte")
    parser.add_argument("--auth")
    parser.add_argument("--offer", action="append", default=[], help="a line more in the answer to EHLO")
    Server.options = parser.parse_args()
    with open(Server.options.journal, "a"):
        pass
    with Server(("127.0.0.1", Server.options.port), Talk) as server:
        print(server.server_address[1], flush=True)
        parent = os.getppid()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        while os.getppid() == parent:  # ends with the test that started it
            time.sleep(0.2)


if __name__ == "__main__":
    main()
