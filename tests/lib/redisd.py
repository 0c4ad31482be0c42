"""A Redis for tests: started on a free port in a private folder, hurt, and stopped.

    with Redis() as redis:                    # Redis(password="...") for one that asks for it
        redis.url                             # redis://[:password@]127.0.0.1:PORT
        redis.do("CONFIG", "SET", "maxmemory", "1")
        redis.kill(); redis.start()           # kill -9, and again
        redis.freeze(); redis.resume()        # SIGSTOP, SIGCONT
"""
import os
import shutil
import signal
import subprocess
import time

from folders import private_folder
from ports import free_port


class Redis:
    def __init__(self, password=None, options=()):
        self.port = free_port()
        self.password, self.options, self.process, self.folder = password, list(options), None, None

    def __enter__(self):
        self.folder = private_folder("bizapi-redis-")
        return self.start()

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self):
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}"

    def start(self):
        secret = ["--requirepass", self.password] if self.password else []
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
             str(self.folder), "--save", "", "--logfile", str(self.folder / "log"), *secret,
             *self.options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while "PONG" not in self.do("PING"):
            assert self.process.poll() is None and time.monotonic() < end, "redis did not start"
            time.sleep(0.02)
        return self

    def do(self, *command):
        """The answer as redis-cli prints it."""
        return subprocess.run(
            ["redis-cli", "-p", str(self.port), *command], text=True, capture_output=True,
            env={**os.environ, "REDISCLI_AUTH": self.password or ""}, timeout=20).stdout.strip()

    def kill(self):
        if self.process is not None:
            self.resume()
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
