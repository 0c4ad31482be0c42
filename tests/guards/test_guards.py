"""Runs every guard over the tree, and over its samples: a guard that cannot fail guards nothing."""
import ast
import os
import pathlib
import subprocess

import pytest

import documents  # noqa: F401 pylint: disable=unused-import
import layers  # noqa: F401 pylint: disable=unused-import
import mails  # noqa: F401 pylint: disable=unused-import
import pytests  # noqa: F401 pylint: disable=unused-import
import sources
from guard import GUARDS, REPO, real_tree

BUILD = pathlib.Path(os.environ.get("BIZ_BUILD") or REPO / "build")
NAMES = [function.__name__ for function, _, _ in GUARDS]


@pytest.fixture(scope="module")
def tree():
    return real_tree()


@pytest.mark.parametrize("number", range(len(GUARDS)), ids=NAMES)
def test_the_tree_keeps(tree, number):
    wrong = GUARDS[number][0](tree)
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("number", range(len(GUARDS)), ids=NAMES)
def test_a_good_sample_passes(number):
    function, good, _ = GUARDS[number]
    assert not function(good)


@pytest.mark.parametrize("number, sample", [
    (n, s) for n, (_, _, bad) in enumerate(GUARDS) for s in range(len(bad))],
    ids=lambda v: str(v))
def test_a_bad_sample_fails(number, sample):
    function, _, bad = GUARDS[number]
    assert function(bad[sample]), f"{function.__name__} sees nothing in {bad[sample]}"


def test_the_tree_is_the_whole_tree(tree):
    for path in ("mod_bizapi.c", "src/routes.c", "conf/bizapi.conf", "README.md", "Makefile",
                 "htdocs/index.html", "tests/guards/guard.py"):
        assert path in tree
    assert not [path for path in tree if path.startswith(("build/", ".git/", ".run/"))]


def test_every_guard_is_here():
    """A module of guards that nobody imports is never run."""
    defined = [node.name for path in pathlib.Path(__file__).parent.glob("*.py")
               for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
               if isinstance(node, ast.FunctionDef) and any(
                   isinstance(d, ast.Call) and getattr(d.func, "id", "") == "guard"
                   for d in node.decorator_list)]
    assert sorted(defined) == sorted(NAMES) and len(set(NAMES)) == len(NAMES)


# ---- the module as it is built ----

def test_only_the_module_record_is_exported():
    done = subprocess.run(["nm", "-D", "--defined-only", BUILD / "mod_bizapi.so"], text=True,
                          capture_output=True, check=True)
    assert sources.exported(done.stdout) == sources.EXPORTED


def test_another_export_would_be_seen():
    assert sources.exported("0000 D bizapi_module\n") == sources.EXPORTED
    assert sources.exported("0000 D bizapi_module\n0010 T store_get\n") != sources.EXPORTED
    assert sources.exported("") != sources.EXPORTED
