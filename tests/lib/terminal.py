"""A program on a terminal of its own, for tests of what it shows there."""
import os
import pty
import subprocess


def run(command, env):
    """(what the terminal on its stderr got, its stdout); it must end well within a minute."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=slave,
                               stdin=subprocess.DEVNULL, text=True)
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    out = process.stdout.read()
    assert process.wait(60) == 0
    return shown.decode(), out
