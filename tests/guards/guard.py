"""What a guard is. A guard reads the tree as {path: text} and says what is wrong, a line of English
each. It is shown able to fail: every guard brings samples, small trees of which it must say
something, and a good one of which it must say nothing.

    @guard(good={"a.txt": "fine"}, bad=[{"a.txt": "wrong"}])
    def no_wrong_words(tree):
        return [f"{path}: a wrong word" for path, text in tree.items() if "wrong" in text]

test_guards.py runs all of them. A guard of a file that nobody else may read belongs in here; what
needs a running server belongs in tests/http.
"""
import pathlib
import re
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[2]
GUARDS = []


def guard(good, bad):
    def register(function):
        GUARDS.append((function, good, bad))
        return function
    return register


def real_tree():
    """Every text file that is, or is about to be, under version control."""
    listed = subprocess.run(["git", "-c", f"safe.directory={REPO}", "ls-files", "-z", "--cached",
                             "--others", "--exclude-standard"], cwd=REPO, capture_output=True)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
    else:
        names = [str(p.relative_to(REPO)) for p in REPO.rglob("*") if p.is_file()
                 and not {"build", ".git", ".run", "__pycache__"} & set(p.parts)]
    tree = {}
    # Inputs of the fuzzers are whatever they are.
    for name in sorted(name for name in names if not name.startswith("tests/fuzz/corpus/")):
        try:
            tree[name] = (REPO / name).read_text(encoding="utf-8")
        except (FileNotFoundError, IsADirectoryError):
            continue
        except UnicodeDecodeError:
            tree[name] = None
    return {name: text for name, text in tree.items() if text is not None}


# ---- C ----

_TOKENS = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(found):
    """As many line ends as before, and nothing else."""
    return " " + "\n" * found.group().count("\n")


def without_comments(text):
    return _TOKENS.sub(lambda m: blank(m) if m.group()[0] == "/" else m.group(), text)


def without_texts(text):
    """No comments, and nothing between quotes."""
    return _TOKENS.sub(lambda m: blank(m) if m.group()[0] == "/" else m.group()[0] * 2, text)


def c_files(tree, *folders):
    """(path, text) of the C files below the folders; of the product's own without any."""
    return [(path, text) for path, text in tree.items() if path.endswith((".c", ".h")) and (
        path.startswith(folders) if folders else path.startswith("src/") or "/" not in path)]


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def found(path, text, pattern, why, flags=0):
    """["path:line: why: what was found"] for every match."""
    return [f"{path}:{line_of(text, m.start())}: {why}: {m.group().strip()[:80]}"
            for m in re.finditer(pattern, text, flags)]
