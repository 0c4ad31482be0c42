"""Tests that could not fail: a test without an assertion, a program without a test."""
import ast
import re

from guard import guard

# Names of helpers that assert, or that raise where something is wrong.
CHECKS = re.compile(r"check\w*|assert\w*|raises|wait\w*|expect\w*|must\w*|fail|validate")


def asserts(function, helpers):
    """Directly, or through a function of `helpers`."""
    for node in ast.walk(function):
        if isinstance(node, (ast.Assert, ast.Raise)):
            return True
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else \
                getattr(node.func, "id", "")
            if CHECKS.fullmatch(name) or name in helpers:
                return True
    return False


def asserting_helpers(module):
    """The functions of a module that assert, or call one that does."""
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)
                 and not node.name.startswith("test_")]
    helpers, before = set(), -1
    while len(helpers) != before:
        before = len(helpers)
        helpers |= {f.name for f in functions if asserts(f, helpers)}
    return helpers


def must_log(function):
    """@pytest.mark.bz(...): the fixture asserts."""
    return any(isinstance(d, ast.Call) and getattr(d.func, "attr", "") == "bz"
               for d in function.decorator_list)


@guard(good={"tests/a/test_a.py": "def test_x():\n    assert f()\n"
                                  "def test_y():\n    check_error(f())\n"
                                  "@pytest.mark.bz('BZ0101')\ndef test_z():\n    f()\n"
                                  "def refused(x):\n    assert x\n"
                                  "def all_refused(x):\n    refused(x)\n"
                                  "def test_u():\n    all_refused(1)\n"},
       bad=[{"tests/a/test_a.py": "def test_x():\n    f()\n"},
            {"tests/a/test_a.py": "class A:\n    def test_x(self):\n        pass\n"},
            {"tests/a/test_a.py": "def test_x():\n    assert 1\ndef test_x():\n    assert 2\n"}])
def each_python_test_can_fail(tree):
    wrong = []
    for path, text in tree.items():
        if not re.fullmatch(r"tests/\w+/test_\w+\.py", path):
            continue
        seen, module = set(), ast.parse(text)
        helpers = asserting_helpers(module)
        for node in ast.walk(module):
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            if not asserts(node, helpers) and not must_log(node):
                wrong.append(f"{path}:{node.lineno}: {node.name} asserts nothing")
            if node.name in seen:
                wrong.append(f"{path}:{node.lineno}: {node.name} hides another of its name")
            seen.add(node.name)
    return wrong


_MAIN = "static void test_a(void **s) { assert_true(f()); }\n" \
        "int main(void) { cmocka_unit_test(test_a); cmocka_run_group_tests(t, 0, 0); }\n"


@guard(good={"tests/unit/test_a.c": _MAIN},
       bad=[{"tests/unit/test_a.c": _MAIN.replace("cmocka_unit_test(test_a);", "")},
            {"tests/unit/test_a.c": _MAIN.replace("cmocka_run_group_tests", "run")},
            {"tests/unit/test_a.c": _MAIN.replace("assert_true", "see")}])
def each_c_test_is_run_and_asserts(tree):
    wrong = []
    for path, text in tree.items():
        if not re.fullmatch(r"tests/\w+/test_\w+\.c", path) or path.startswith("tests/fuzz/"):
            continue
        if "cmocka_run_group_tests" not in text or "assert_" not in text:
            wrong.append(f"{path}: runs no tests, or asserts nothing")
        for name in re.findall(r"^static void (test_\w+|\w+_test)\(void \*\*\w+\)\s*\{", text, re.M):
            if len(re.findall(rf"\b{name}\b", text)) < 2:
                wrong.append(f"{path}: {name} is never run")
    return wrong


_TARGET = "int LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)\n{\n    FUZZ_CHECK(f(d, n));\n}\n"


@guard(good={"tests/fuzz/test_a.c": _TARGET},
       bad=[{"tests/fuzz/test_a.c": _TARGET.replace("FUZZ_CHECK", "see")},
            {"tests/fuzz/test_a.c": _TARGET.replace("LLVMFuzzerTestOneInput", "main")}])
def each_fuzz_target_checks_something(tree):
    return [f"{path}: is no target, or checks nothing with FUZZ_CHECK()"
            for path, text in tree.items() if re.fullmatch(r"tests/fuzz/test_\w+\.c", path)
            and not ("LLVMFuzzerTestOneInput(" in text and "FUZZ_CHECK(" in text)]
