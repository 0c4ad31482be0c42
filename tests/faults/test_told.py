"""No change of an account without its audit row and its mail, and neither without the change: workers
are killed before each step of each kind of change, on both stores. Whatever is there then is made
whole by the server itself; who asks again gets what they asked for; nothing is told twice."""
import os
import pathlib
import signal
import sys

import httpx
import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]
# pylint: disable=wrong-import-position
import stored  # noqa: E402
from client import new_ip  # noqa: E402
from kit import (OTHER_PASSWORD, PASSWORD, Admin, Person, Shim, login, once, row,  # noqa: E402
                 rows)
from mongo_proxy import Proxy  # noqa: E402
from patience import wait_until  # noqa: E402
from second import Authenticator, set_up  # noqa: E402

WAITS = "for new workers, and for the background job"

mongod = stored.mongod
pytestmark = pytest.mark.bz_may("AH00052", "BZ02", "BZ06", "BZ0570")

# What a step writes to: the outbox only where a mail is put in, and not where one is claimed.
STEPS = ("users", "sessions", "passkeys", "recovery_codes", "password_reset_tokens", "audit_log",
         "revoked_tokens")
MOST_TRIES = 40
ORIGIN = "https://portal.example.org"
CONF = f"BizApiRateLimit off\nBizApiFrontendURL {ORIGIN}/app"


class Sqlite:
    """Kills before the n-th commit."""
    kinds = property(lambda self: (NewPassword, EndedSession, CodeUsed, PasskeyAdded))

    def __init__(self, module_server):
        self.server = module_server(conf=CONF, start=False, mail=False)
        self.shim = Shim(self.server)
        self.server.start()

    def arm(self, number):
        self.shim.step.write_text(f"{number:9}")
        self.shim.step.chmod(0o666)

    def disarm(self):
        struck = not self.shim.step.exists()
        self.shim.step.unlink(missing_ok=True)
        return struck


class Mongo:
    """Kills at the n-th write, which is not done."""
    kinds = property(lambda self: (PasskeyRemoved, Disabled))

    def __init__(self, module_server):
        self.mongo = mongod.Mongo().__enter__()
        self.proxy = Proxy(self.mongo.port).__enter__()
        self.server = module_server(conf=CONF, store=self.mongo.uri_at(self.proxy.port), mail=False)

    def arm(self, number):
        self.proxy.strike(number, self.kill, STEPS)

    def kill(self):
        for pid in self.server.children():
            os.kill(pid, signal.SIGKILL)

    def disarm(self):
        struck = self.proxy.steps[0] == 0
        self.proxy.strike(0, None, ())
        return struck


@pytest.fixture(scope="module", params=[pytest.param(Sqlite, id="sqlite"), pytest.param(
    Mongo, id="mongodb", marks=pytest.mark.skipif(mongod.LEFT_OUT,
                                                  reason="left out: BIZAPI_NO_MONGO=1"))])
def killer(request, module_server):
    killer = request.param(module_server)
    killer.admin = Admin(killer.server)
    yield killer
    killer.server.stop()  # before its store goes
    if request.param is Mongo:
        killer.proxy.__exit__()
        killer.mongo.__exit__()


class Change:
    """One person and one change: what is asked, what tells whether it is done."""
    event = mail = None

    def __init__(self, killer):
        self.killer, self.server = killer, killer.server
        self.person = Person(self.server)
        self.user = self.person.document()["_id"]
        self.prepare()

    def prepare(self):
        pass

    def ask(self):
        raise NotImplementedError

    def is_done(self):
        raise NotImplementedError

    def again(self):
        """After a kill before it was done. Who was signed out on the way signs in anew."""
        answer = self.ask()
        assert answer.status < 300, answer

    def send(self, method, path, token=None, **more):
        return once(self.server, method, path, ip=new_ip(), token=token or self.person.access,
                    **more)

    def told(self):
        """(rows, mails)"""
        mails = [r for r in rows(self.server, "outbox", kind="security_notice", user_id=self.user)
                 if f'"{self.mail}"' in r["data"]]
        return (len(rows(self.server, "audit_log", event=self.event, user_id=self.user)),
                len(mails))

    def expected(self):
        return int(self.is_done()), int(self.is_done() and self.mail is not None)


class NewPassword(Change):
    event, mail = "authn_password_change", "password_changed"

    def ask(self):
        return self.send("POST", "/auth/change-password", json={
            "current_password": PASSWORD, "new_password": OTHER_PASSWORD})

    def is_done(self):
        return self.person.document()["session_epoch"] > 1


class EndedSession(Change):
    event = "session_ended"

    def prepare(self):
        login(self.person.api, self.person.email, PASSWORD)
        listed = self.person.api.get("/auth/sessions", token=self.person.access).data
        self.other = next(s["id"] for s in listed if not s["current"])

    def ask(self):
        return self.send("DELETE", f"/auth/sessions/{self.other}")

    def is_done(self):
        return row(self.server, "sessions", _id=self.other)["revoked_at"] is not None


class CodeUsed(Change):
    event, mail = "authn_recovery_code_used", "recovery_code_used"

    def prepare(self):
        _, codes = set_up(self.person)
        self.code = codes[0]

    def ask(self):
        return self.send("POST", "/auth/reauthenticate", json={"recovery_code": self.code})

    def is_done(self):
        return any(r["used_at"] for r in rows(self.server, "recovery_codes", user_id=self.user))


class PasskeyAdded(Change):
    event, mail = "authn_passkey_added", "passkey_added"

    def prepare(self):
        self.key = Authenticator(-7, ORIGIN, "portal.example.org")

    def ask(self):
        options = self.person.api.post("/auth/passkeys/register/options",
                                       token=self.person.access)
        return self.send("POST", "/auth/passkeys/register/verify",
                         json={"credential": self.key.create(options.data)})

    def is_done(self):
        return bool(rows(self.server, "passkeys", user_id=self.user))


class PasskeyRemoved(PasskeyAdded):
    event, mail = "authn_passkey_removed", "passkey_removed"

    def prepare(self):
        super().prepare()
        self.id = PasskeyAdded.ask(self).data["passkey"]["id"]

    def ask(self):
        return self.send("DELETE", f"/auth/passkeys/{self.id}")

    def is_done(self):
        return not super().is_done()


class Disabled(Change):
    event = "user_disabled"

    def ask(self):
        return self.send("PATCH", f"/admin/users/{self.user}", token=self.killer.admin.access,
                         json={"disabled": True})

    def is_done(self):
        return bool(self.person.document()["disabled"])


def is_calm(server):
    return not [r for table in ("users", "sessions", "passkeys", "recovery_codes")
                for r in rows(server, table) if r["untold"]]


def steps_of(killer, kind):
    """One try for each step before which a worker was killed, and the one that came through."""
    tries, number = [], 1
    while len(tries) < MOST_TRIES:
        change = kind(killer)
        if number == 1:
            wait_until(lambda: is_calm(killer.server), 15, "the background job")
        killer.arm(number)
        try:
            answer = change.ask()
        except httpx.HTTPError:
            answer = None
        struck = killer.disarm()
        wait_until(killer.server.answers, 20, "a worker")
        tries.append(change)
        assert answer is None or answer.status < 300, answer
        if not struck:
            return tries
        number += answer is None  # else it was the background job that was killed
    raise AssertionError("it never came through")


def test_a_kill_before_each_step(killer):
    """All kinds first: what is left of them is told within the same seconds."""
    kinds = [steps_of(killer, kind) for kind in killer.kinds]
    for tries in kinds:
        assert len(tries) >= 4  # the change, its row, the field emptied; mostly a mail
        assert [change.is_done() for change in tries].count(True) >= 2
    tries = [change for tries in kinds for change in tries]
    # A commit whose process was killed before it was durable may be there all the same.
    assert False in [change.is_done() for change in tries]
    wait_until(lambda: all(change.told() == change.expected() for change in tries), 15,
               "the rows and mails of what was done")
    for change in tries:
        if not change.is_done():
            change.again()
    assert [change.told() for change in tries] == [change.expected() for change in tries]
    assert all(change.is_done() for change in tries)
    wait_until(lambda: is_calm(killer.server), 15, "its end")
