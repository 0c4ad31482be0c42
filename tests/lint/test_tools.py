"""What tools say of the sources: clang-format, clang-tidy (and with it the warnings of clang), cppcheck
and shellcheck, as the Makefile asks them. `make lint` asks more: it waits for clang-tidy's analyzer."""
import os
import pathlib
import shutil
import subprocess

import pytest

WAITS = "takes what the other jobs leave of the processors"
REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BIZ_BUILD") or REPO / "build")
TARGETS = ("check-format", "check-shell", "check-cppcheck", "check-tidy")
GOOD = "/* mod_bizapi.c: a sample. */\nint bizapi_sample(int a);\n\nint bizapi_sample(int a)\n{\n%s}\n"
# Each compiles.
BAD = {
    "check-format": {"mod_bizapi.c": GOOD % "  return a;\n"},
    "check-shell": {"tests/bare": "#!/bin/sh\nrm -rf $1\n"},
    "check-cppcheck": {"mod_bizapi.c": GOOD % "    int b[2] = {a, a};\n\n    return b[2];\n"},
    "check-tidy": {"mod_bizapi.c": GOOD % "    if (a > 0);\n    return a;\n"},
}


def ask(target, folder=REPO, build=BUILD):
    """(whether it is content, what it says)"""
    done = subprocess.run(["nice", "-n", "19", "make", "-s", f"-j{os.cpu_count() or 2}", "-f",
                           REPO / "Makefile", f"B={build}", target], cwd=folder, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", TARGETS)
def test_the_sources_pass(target):
    content, words = ask(target)
    assert content, words[-8000:]


@pytest.fixture
def sample(tmp_path):
    for name in (".clang-tidy", ".clang-format", "tests/cppcheck.supp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    (tmp_path / "src").mkdir()
    (tmp_path / "mod_bizapi.c").write_text(GOOD % "    return a;\n")
    (tmp_path / "tests/bare").write_text('#!/bin/sh\nrm -rf "$1"\n')
    return tmp_path


@pytest.mark.parametrize("target", TARGETS)
def test_it_sees_what_is_wrong(sample, target):
    content, words = ask(target, sample, "out")
    assert content, words
    for name, text in BAD[target].items():
        (sample / name).write_text(text)
    content, words = ask(target, sample, "out")
    assert not content and list(BAD[target])[0] in words
