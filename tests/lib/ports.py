"""Ports for the servers of tests."""
import random
import socket

_held = []


def free_port():
    """A port of 127.0.0.1 that belongs to this process until it ends: whoever sets SO_REUSEADDR, as
    servers do, may listen on it; nobody else gets it, also while such a server is being restarted.
    It lies below those that outgoing connections get."""
    while True:
        s, port = socket.socket(), random.randrange(10000, 32000)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            s.close()
            continue
        # Only now: else another process' bind above would succeed as well.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(s)
        return port
