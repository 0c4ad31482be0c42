"""Builds a C program of a test's own on the library, as the Makefile links a test."""
import os
import pathlib
import re
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BIZ_BUILD") or REPO / "build")


def words(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def build(source, out):
    """`source` compiled with warnings as errors; gives `out` back."""
    libraries = re.search(r"^LIBS_PC = ((?:.*\\\n)*.*)$", (REPO / "Makefile").read_text(),
                          re.M).group(1).replace("\\\n", " ")
    subprocess.run(["cc", "-std=gnu11", "-g", "-O1", "-Wall", "-Werror", f"-I{REPO}/src",
                    *os.environ.get("BIZ_CFLAGS", "").split(),  # what a sanitizer wants
                    *words("apr-1-config", "--includes", "--cppflags"),
                    *words("apu-1-config", "--includes"), "-o", out, source,
                    BUILD / "libbizapi.a", *words("pkg-config", "--libs", *libraries.split()),
                    *words("apr-1-config", "--link-ld", "--libs"),
                    *words("apu-1-config", "--link-ld"), "-lm", "-lpthread"], check=True)
    return out
