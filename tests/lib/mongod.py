#!/usr/bin/env python3
"""A MongoDB for tests: started on a free port in a private folder, hurt, and stopped.

    with Mongo() as mongo:                      # a replica set of one; Mongo(standalone=True): none
        store = mongo.uri                       # mongodb://127.0.0.1:PORT/bizapi_test?...
        mongo.client().bizapi_test.users...     # pymongo
        mongo.kill(); mongo.start()             # kill -9, and again over the same data
        mongo.freeze(); mongo.resume()          # SIGSTOP, SIGCONT
        mongo.fail(["insert"], errorCode=91, times=1)
        mongo.step_down(3)

    with MongoSet() as three:                   # needs a mongod; three.primary() is a Mongo

Which server: BIZAPI_TEST_MONGO_URI (each Mongo is a new database there, which is removed; what would
hurt the server is skipped), else mongod on PATH, else
SecantusDB from tests/requirements.txt, which `make test` puts into build/venv. With none of them,
find() raises Missing, and the test fails with what to install; BIZAPI_NO_MONGO=1 leaves out what
needs a MongoDB, and says so.

As a program it runs a command on a store of its own, or waits without one:
    tests/lib/mongod.py [--standalone] [COMMAND...]     # BIZAPI_TEST_STORE is set for it
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse

from folders import private_folder
from ports import free_port

REPO = pathlib.Path(__file__).resolve().parents[2]
DATABASE = "bizapi_test"
LEFT_OUT = os.environ.get("BIZAPI_NO_MONGO") == "1"
SECANTUS_SET, MONGOD_SET = "secantus", "rs0"


class Missing(Exception):
    pass


def find():
    """("uri", text), ("mongod", program) or ("secantus", program)."""
    if os.environ.get("BIZAPI_TEST_MONGO_URI"):
        return "uri", os.environ["BIZAPI_TEST_MONGO_URI"]
    if shutil.which("mongod"):
        return "mongod", shutil.which("mongod")
    for program in (REPO / "build/venv/bin/secantusd-py", shutil.which("secantusd-py")):
        if program and os.access(program, os.X_OK):
            return "secantus", str(program)
    raise Missing("no MongoDB to test with: run `make test`, which installs tests/requirements.txt "
                  "into build/venv, or put a mongod on PATH, or set BIZAPI_TEST_MONGO_URI; "
                  "BIZAPI_NO_MONGO=1 leaves these tests out")


def pymongo():
    try:
        import pymongo as module
    except ImportError:
        raise Missing("pymongo is missing: apt-get install python3-pymongo, or run the tests by "
                      "`make test`, which has it in build/venv") from None
    return module


class Mongo:
    def __init__(self, standalone=False, port=None, certificate=None, of_set=False):
        """`certificate`: a file with certificate and key; then it speaks TLS alone, as localhost.
        `of_set`: a member of MongoSet."""
        self.kind, self.program = find()
        self.standalone, self.certificate, self.of_set = standalone, certificate, of_set
        self.name = f"{DATABASE}_{os.urandom(5).hex()}"  # of the database on a server of others
        self.more = []  # options of the server, from the next start on
        self.port = port or free_port()
        self.process = None
        self.folder = None
        self.clients = []

    # ---- life ----

    def __enter__(self):
        if self.kind != "uri":
            self.folder = private_folder("bizapi-mongo-")
            try:
                self.start()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_):
        if self.kind == "uri":
            client = self.client()
            for name in client.list_database_names():
                if name.startswith(self.name):
                    client.drop_database(name)
        for client in self.clients:
            client.close()
        self.stop(signal.SIGKILL)  # nobody wants the data: no need to wait until it is all written
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def empty(self):
        """As new for the next test, without the second that a start takes: it runs, no harm is left,
        the database is gone."""
        for client in self.clients:
            client.close()
        self.clients = []
        if self.kind != "uri":
            self.resume()
            if self.process is None:
                self.start()
            self.calm()
        self.client().drop_database(self.database().name)

    @property
    def replica_set(self):
        if self.standalone or self.kind == "uri":
            return None
        return SECANTUS_SET if self.kind == "secantus" else MONGOD_SET

    @property
    def uri(self):
        if self.kind == "uri":
            return self.foreign_uri()
        return self.uri_at(self.port, "&".join(filter(None, (
            self.replica_set and f"replicaSet={self.replica_set}",
            self.certificate and f"tls=true&tlsCAFile={self.certificate}"))))

    def foreign_uri(self):
        """BIZAPI_TEST_MONGO_URI, with a database of our own; who signs in does so where it says."""
        parts = urllib.parse.urlsplit(self.program)
        query = parts.query
        if "@" in parts.netloc and "authSource=" not in query:
            query = "&".join(filter(None, (query, f"authSource={parts.path.strip('/') or 'admin'}")))
        return urllib.parse.urlunsplit(parts._replace(path=f"/{self.name}", query=query))

    def uri_at(self, port, options="", database=DATABASE):
        """The same server by way of another port (a proxy); the members it names are not asked."""
        if port != self.port:
            options = "&".join(filter(None, ("directConnection=true", options)))
        host = "localhost" if self.certificate else "127.0.0.1"
        return f"mongodb://{host}:{port}/{database}" + (f"?{options}" if options else "")

    def uri_of(self, database):
        """Another database of the same server."""
        if self.kind == "uri":
            return self.uri.replace(f"/{self.name}", f"/{self.name}_{database}", 1)
        return self.uri.replace(f"/{DATABASE}", f"/{database}", 1)

    def command(self):
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        if self.kind == "mongod":
            command = [self.program, "--port", str(self.port), "--dbpath", str(data), "--bind_ip",
                       "127.0.0.1", "--setParameter", "enableTestCommands=1", "--setParameter",
                       "ttlMonitorSleepSecs=1"]
            if self.certificate:
                command += ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", self.certificate]
            return command + self.more + ([] if self.standalone else ["--replSet", MONGOD_SET])
        command = [self.program, "--port", str(self.port), "--storage-path", str(data),
                   "--enable-test-commands", "--cache-size", "128M"]
        if self.certificate:
            command += ["--tls-cert-file", self.certificate, "--tls-key-file", self.certificate]
        return command + self.more + (["--standalone"] if self.standalone else [])

    def start(self):
        self.controlled()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                log = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.program} did not start:\n{log}")
            time.sleep(0.02)
        return self

    def answers(self):
        """Up, and ready for writes; makes the replica set where it is not there yet."""
        module = pymongo()
        tls = {"tls": True, "tlsAllowInvalidCertificates": True} if self.certificate else {}
        client = module.MongoClient("127.0.0.1", self.port, directConnection=True,
                                    serverSelectionTimeoutMS=300, connectTimeoutMS=300,
                                    socketTimeoutMS=2000, **tls)
        try:
            if client.admin.command("hello").get("isWritablePrimary") or self.of_set:
                return True
            if self.kind == "mongod" and not self.standalone:
                member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
                client.admin.command("replSetInitiate", {"_id": MONGOD_SET, "members": [member]})
        except module.errors.PyMongoError:
            pass
        finally:
            client.close()
        return False

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.resume()
        self.process.send_signal(how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self):
        self.controlled()
        self.stop(signal.SIGKILL)

    def restart(self):
        self.stop()
        self.start()

    def controlled(self):
        if self.kind == "uri":
            why = "the server of BIZAPI_TEST_MONGO_URI is not ours to start or hurt"
            if "pytest" in sys.modules:
                sys.modules["pytest"].skip(why)
            raise RuntimeError(why)

    # ---- harm ----

    def freeze(self):
        self.controlled()
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)

    def client(self):
        client = pymongo().MongoClient(self.uri, serverSelectionTimeoutMS=5000)
        self.clients.append(client)
        return client

    def database(self):
        return self.client().get_default_database()

    def admin(self, *command, **options):
        client = pymongo().MongoClient("127.0.0.1", self.port, directConnection=True,
                                       serverSelectionTimeoutMS=5000)
        try:
            return client.admin.command(*command, **options)
        finally:
            client.close()

    def fail(self, commands, times=1, **data):
        """MongoDB's fail point failCommand: errorCode=, closeConnection=True, blockConnection=True
        with blockTimeMS=, writeConcernError={...}. times=None: until calm()."""
        self.controlled()
        mode = "alwaysOn" if times is None else {"times": times}
        self.admin({"configureFailPoint": "failCommand", "mode": mode,
                    "data": {"failCommands": list(commands), **data}})

    def calm(self):
        self.admin({"configureFailPoint": "failCommand", "mode": "off"})

    def step_down(self, seconds):
        """Not primary for so many seconds."""
        self.controlled()
        module = pymongo()
        try:
            self.admin({"replSetStepDown": seconds, "force": True})
        except module.errors.AutoReconnect:
            pass  # old servers close the connection


class MongoSet:
    """Three mongod that elect their primary; quick to notice that one is gone."""
    standalone = False

    def __enter__(self):
        self.members, self.clients = [Mongo(of_set=True) for _ in range(3)], []
        try:
            for member in self.members:
                member.__enter__()
            self.members[0].admin({"replSetInitiate": {
                "_id": MONGOD_SET, "settings": {"electionTimeoutMillis": 1500,
                                                "heartbeatIntervalMillis": 300},
                "members": [{"_id": i, "host": f"127.0.0.1:{m.port}"}
                            for i, m in enumerate(self.members)]}})
            self.primary()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.close()
        for member in self.members:
            member.__exit__()

    @property
    def uri(self):
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/{DATABASE}?replicaSet={MONGOD_SET}"

    def database(self):
        self.clients.append(pymongo().MongoClient(self.uri, serverSelectionTimeoutMS=10000))
        return self.clients[-1].get_default_database()

    def primary(self, other_than=None):
        """The member that takes writes, once there is one."""
        module = pymongo()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for member in self.members:
                try:
                    if member.process is not None and member is not other_than and \
                            member.admin("hello").get("isWritablePrimary"):
                        return member
                except module.errors.PyMongoError:
                    pass
            time.sleep(0.05)
        raise RuntimeError("no member of the replica set became primary")


def main():
    arguments = sys.argv[1:]
    standalone = arguments[:1] == ["--standalone"]
    command = arguments[standalone:]
    if LEFT_OUT:
        print("left out: BIZAPI_NO_MONGO=1", file=sys.stderr)
        return 0
    try:
        with Mongo(standalone) as mongo:
            if not command:
                print(mongo.uri, flush=True)
                signal.pause()
            env = {**os.environ, "BIZAPI_TEST_STORE": mongo.uri}
            return subprocess.run(command, env=env).returncode
    except Missing as e:
        print(e, file=sys.stderr)
    except KeyboardInterrupt:
        pass
    return 1


if __name__ == "__main__":
    sys.exit(main())
