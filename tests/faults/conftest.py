"""The fixtures of tests/http, for the faults that a whole server meets."""
import pathlib
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
# pylint: disable=wrong-import-position,unused-import
from served import (api, log_guard, make_server, module_server, pytest_configure,  # noqa: E402,F401
                    server, smtp)
from patience import wait_until  # noqa: E402
from ports import free_port  # noqa: E402

# Their asserts, too, say what they compared.
pytest.register_assert_rewrite("ctl_kit", "mongo_kit")


# ---- servers that are not who they should be ----

def openssl(*arguments, cwd=None):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=cwd)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A CA of our own, and certificates: {name: (certificate and key)}."""
    folder = tmp_path_factory.mktemp("pki")
    (folder / "v1").mkdir()
    body = b'{"object": "balance"}'
    (folder / "v1/balance").write_bytes(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n"
                                        b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.crt",
            "-days", "30", cwd=folder)
    for name, host, days in (("good", "localhost", 30), ("expired", "localhost", -1),
                             ("wrong-host", "other.test", 30)):
        openssl("req", *key, "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=folder)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-copy_extensions", "copy", "-out", f"{name}.crt",
                "-days", days, cwd=folder)
    openssl("req", "-x509", *key, "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost", "-keyout", "self-signed.key", "-out",
            "self-signed.crt", "-days", "30", cwd=folder)
    return folder


@pytest.fixture
def tls_server(pki):
    """tls_server(certificate, option...): the port of an `openssl s_server` with it."""
    running = []

    def start(name, *options):
        port = free_port()
        running.append(subprocess.Popen(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", f"{name}.crt",
             "-key", f"{name}.key", "-HTTP", "-quiet", *options], cwd=pki,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 5, "s_server")
        return port

    yield start
    for process in running:
        process.kill()
        process.wait()
