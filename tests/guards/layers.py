"""Who may include whom: the layers of docs/ARCHITECTURE.md, and one file for each library."""
import posixpath
import re

from guard import c_files, guard, without_comments

ARCHITECTURE = "docs/ARCHITECTURE.md"


def layers(tree):
    """{folder or file: rank} as the block under "## Layers" has it, the top line first; the last
    line is the command line's."""
    block = tree[ARCHITECTURE].split("## Layers", 1)[1].split("```")[1]
    lines = []
    for line in block.strip().splitlines():
        names = re.split(r"  +", line)[0].split()
        lines.append([("" if "/" in name or name == "mod_bizapi.c" else "src/") + name.rstrip("/")
                      for name in names])
    ranks = {}
    for rank, names in enumerate(reversed(lines)):
        for name in names:
            # routes.c stands for every file of src/ itself.
            ranks["src" if re.fullmatch(r"src/\w+\.[ch]", name) else name] = rank
    return ranks


def place(path):
    return path if path == "mod_bizapi.c" else posixpath.dirname(path)


def includes(path, text):
    """(path of the included file, its name as written, whether it is in angle brackets)"""
    for bracket, name in re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]',
                                    without_comments(text), re.M):
        local = posixpath.join(posixpath.dirname(path), name)
        yield (local, name, bracket == "<")


_LAYERS = """## Layers
```
mod_bizapi.c                 the record
src/httpd/                   glue
src/routes.c dispatch.c      the table
src/auth/                    accounts
src/store/ src/limit/
src/core/                    words
src/cli/                     the command line
```
"""


@guard(good={ARCHITECTURE: _LAYERS, "mod_bizapi.c": '#include "src/httpd/glue.h"\n',
             "src/httpd/glue.h": '#include "auth/auth.h"\n', "src/auth/auth.h": "",
             "src/cli/a.c": '#include "auth/auth.h"\n', "src/store/a.c": '#include "a.h"\n',
             "src/store/a.h": '#include "limit/l.h"\n', "src/limit/l.h": "",
             "src/routes.c": '#include "auth/auth.h"\n'},
       bad=[{ARCHITECTURE: _LAYERS, "src/core/a.c": '#include "store/a.h"\n', "src/store/a.h": ""},
            {ARCHITECTURE: _LAYERS, "src/auth/a.c": '#include "routes.h"\n', "src/routes.h": ""},
            {ARCHITECTURE: _LAYERS, "src/cli/a.c": '#include "httpd/a.h"\n', "src/httpd/a.h": ""},
            {ARCHITECTURE: _LAYERS, "src/auth/a.c": '#include "cli/a.h"\n', "src/cli/a.h": ""},
            {ARCHITECTURE: _LAYERS, "src/auth/a.c": '#include "../core/b.h"\n', "src/core/b.h": ""},
            {ARCHITECTURE: _LAYERS, "src/new/a.c": '#include "core/a.h"\n', "src/core/a.h": ""}])
def a_file_includes_only_from_its_own_layer_and_below(tree):
    wrong, ranks = [], layers(tree)
    for path, text in c_files(tree):
        mine = place(path)
        if mine not in ranks:
            wrong.append(f"{path}: {mine} is in no layer of {ARCHITECTURE}")
            continue
        for local, name, angle in includes(path, text):
            if angle:
                continue
            target = next((t for t in (local, f"src/{name}", name) if t in tree), None)
            if target is None or ".." in name:
                wrong.append(f"{path}: includes {name}, which is not there by that name")
                continue
            its = place(target)
            if mine == "src/cli":
                allowed = its not in ("src/httpd", "mod_bizapi.c")
            else:
                allowed = its != "src/cli" and ranks.get(its, 99) <= ranks[mine]
            if not allowed:
                wrong.append(f"{path}: {mine} includes {target} of a higher layer")
    return wrong


# ---- the world outside ----

HTTPD = r"httpd|http_\w+|ap_\w+|util_\w+|mod_\w+|mpm_common|unixd|scoreboard"
# Header -> the files that may include it.
LIBRARIES = {
    r"jansson\.h": r"src/core/(json|jose)\.c",
    r"cjose/.*": r"src/core/jose\.c",
    r"openssl/.*": r"src/core/crypto\.c",
    r"sodium\.h": r"src/core/password\.c",
    r"unicode/.*": r"src/core/locale\.c",
    r"curl/.*": r"src/net/curl\.c",
    r"(mongoc|bson)/.*": r"src/store/mongo\w*\.[ch]",
    r"sqlite3\.h": r"src/store/sqlite\w*\.[ch]",
    r"hiredis/.*": r"src/limit/redis\.c",
    r"gmime/.*": r"src/mail/message\.c",
    r"libical/.*": r"src/mail/calendar\.c",
    r"crypt\.h": r"src/core/password\.c",
    r"qrencode\.h": r"src/core/qr\.c",
    r"cbor\.h": r"src/core/attestation\.c",
    r"fido(/\w+)?\.h": r"src/core/webauthn\.c",
    rf"({HTTPD})\.h": r"src/httpd/\w+\.[ch]|mod_bizapi\.c",
    # Who includes these two includes the library.
    r"(.*/)?mongo_private\.h": r"src/store/mongo\w*\.c",
    r"(.*/)?sqlite\.h": r"src/store/sqlite\w*\.c",
}
SYSTEM = re.compile(
    r"apr_\w+\.h|(sys|netinet|arpa|linux)/\w+\.h|assert\.h|ctype\.h|dirent\.h|errno\.h|fcntl\.h|"
    r"inttypes\.h|limits\.h|netdb\.h|poll\.h|pthread\.h|pwd\.h|grp\.h|sched\.h|signal\.h|stdarg\.h|"
    r"stdatomic\.h|stdbool\.h|stddef\.h|stdint\.h|stdio\.h|stdlib\.h|string\.h|strings\.h|"
    r"termios\.h|time\.h|unistd\.h|math\.h|ftw\.h|getopt\.h")


@guard(good={"src/core/json.c": "#include <jansson.h>\n#include <string.h>\n",
             "src/httpd/a.c": "#include <http_log.h>\n", "src/store/sqlite.h": "#include <sqlite3.h>\n",
             "src/store/sqlite_sql.c": '#include "sqlite.h"\n', "mod_bizapi.c": "#include <httpd.h>\n",
             "src/auth/a.c": "/* #include <jansson.h> */\n"},
       bad=[{"src/auth/a.c": "#include <jansson.h>\n"}, {"src/core/a.c": "#include <httpd.h>\n"},
            {"src/cli/a.c": "#include <http_config.h>\n"}, {"src/net/a.c": "#include <curl/curl.h>\n"},
            {"src/store/store.c": '#include "sqlite.h"\n'}, {"src/auth/a.c": "#include <ldap.h>\n"},
            {"src/store/plan.c": "# include <bson/bson.h>\n"}])
def one_library_has_one_file(tree):
    wrong = []
    for path, text in c_files(tree):
        for _, name, angle in includes(path, text):
            rule = next((files for header, files in LIBRARIES.items()
                         if re.fullmatch(header, name)), None)
            if rule is not None and not re.fullmatch(rule, path):
                wrong.append(f"{path}: includes {name}, which belongs to {rule}")
            elif rule is None and angle and not SYSTEM.fullmatch(name):
                wrong.append(f"{path}: includes <{name}>, a library that has no file yet")
    return wrong
