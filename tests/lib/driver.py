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
                    *BUILD.glob("pools.o"), BUILD / "libbizapi.a",
                    *words("pkg-config", "--libs", *libraries.split()),
                    *words("apr-1-config", "--link-ld", "--libs"),
                    *words("apu-1-config", "--link-ld"), "-lm", "-lpthread"], check=True)
    return out


def environment():
    """For what build() made, and for bizapictl: AddressSanitizer is as strict with them as tests/run
    is with the other programs."""
    env = dict(os.environ)
    if "ASAN_OPTIONS" in env:
        env["ASAN_OPTIONS"] += ":detect_leaks=1:strict_string_checks=1"
    return env
