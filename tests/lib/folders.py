"""Folders for the servers of tests."""
import os
import pathlib
import shutil
import tempfile


def private_folder(prefix):
    """A new one, in memory where there is room: a killed server is no power cut, so what it wrote needs
    no disk, and a disk that is busy for seconds would be taken for a server that is slow."""
    memory = pathlib.Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30
    return pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=memory if roomy else "/tmp"))
