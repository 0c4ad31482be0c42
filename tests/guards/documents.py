"""What the sources say and what the documents say about them: directives, variables, numbers,
routes, pages, and what no file may hold."""
import math
import re

import readme
from guard import c_files, found, guard, line_of, without_comments

CONFIG, CONF, ENV, ERRORS = ("src/httpd/config.c", "conf/bizapi.conf", "conf/env.example",
                             "docs/ERRORS.md")

# ---- directives ----


def directives(config):
    table = config.split("bizapi_directives[]", 1)[1].split("{NULL}", 1)[0]
    return re.findall(r'(\w+)\("(BizApi\w+)"', table)


def string_members(config):
    """[(member, directive, variable or None)]"""
    block = re.search(r"#define STRING_MEMBERS\(M\)(.*?)\n\n", config, re.S).group(1)
    return [(m, d, v.strip('"') if v != "NULL" else None) for m, d, v in
            re.findall(r'M\((\w+), "(\w+)", ("\w+"|NULL)\)', block)]


_CONFIG = '''
#define STRING_MEMBERS(M)   \\
    M(store, "BizApiStore", "BIZAPI_STORE") \\
    M(mail, "BizApiMail", NULL)

typedef struct {
    int rules_off; /* BizApiRateLimit off */
    unsigned slots; /* 0: not given */
    const server_rec *own;
} server_conf;
void *bizapi_server_merge(apr_pool_t *pool, void *base_, void *add_)
{
    STRING_MEMBERS(MERGE_)
    conf->rules_off = base->rules_off;
    conf->slots = base->slots;
}
const command_rec bizapi_directives[] = {
    TEXT("BizApiStore", "x"),
    TEXT("BizApiMail", "x"),
    AP_INIT_TAKE1("BizApiRateSlots", set_slots, NULL, RSRC_CONF, "x"),
    {NULL}};
'''
_CONF = "#BizApiStore sqlite:x\n# Environment: BIZAPI_STORE.\nBizApiMail off\n#BizApiRateSlots 1\n"
_USED = {"tests/http/test_a.py": "BizApiStore BizApiMail BizApiRateSlots"}


@guard(good={CONFIG: _CONFIG, CONF: _CONF, **_USED},
       bad=[{CONFIG: _CONFIG, CONF: _CONF.replace("#BizApiRateSlots 1", ""), **_USED},
            {CONFIG: _CONFIG, CONF: _CONF + "#BizApiNew 1\n", **_USED},
            {CONFIG: _CONFIG, CONF: _CONF.replace("BIZAPI_STORE", "STORE"), **_USED},
            {CONFIG: _CONFIG, CONF: _CONF, "tests/http/test_a.py": "BizApiStore BizApiMail"}])
def each_directive_is_in_the_reference_configuration_and_in_a_test(tree):
    declared = [name for _, name in directives(tree[CONFIG])]
    told = re.findall(r"^#?(BizApi\w+)\b", tree[CONF], re.M)
    tests = "\n".join(text for path, text in tree.items() if path.startswith("tests/") and
                      not path.startswith("tests/guards/"))
    wrong = [f"{CONF}: {name} is not in it" for name in declared if name not in told]
    wrong += [f"{CONF}: {name} is no directive" for name in set(told) - set(declared)]
    wrong += [f"{CONF}: says nothing of the variable {variable} of {name}"
              for _, name, variable in string_members(tree[CONFIG])
              if variable and not re.search(rf"\b{variable}\b", tree[CONF])]
    wrong += [f"{name}: no test uses it" for name in declared
              if not re.search(rf"\b{name}\b", tests)]
    return wrong


@guard(good={CONFIG: _CONFIG},
       bad=[{CONFIG: _CONFIG.replace("    conf->slots = base->slots;\n", "")},
            {CONFIG: _CONFIG.replace("    const server_rec *own;", "    long fresh;")},
            {CONFIG: _CONFIG.replace("    STRING_MEMBERS(MERGE_)\n", "")},
            {CONFIG: _CONFIG.replace('TEXT("BizApiMail", "x"),', "")},
            {CONFIG: _CONFIG.replace('M(mail, "BizApiMail", NULL)', 'M(m, "BizApiOther", NULL)')}])
def each_directive_is_merged(tree):
    """Every member of server_conf is named in the merge, and the texts are those of the table."""
    config = without_comments(tree[CONFIG])
    merge = config.split("bizapi_server_merge", 1)[1].split("\n}\n", 1)[0]
    struct = re.search(r"typedef struct \{(.*?)\} server_conf;", config, re.S).group(1)
    members = [name for names in re.findall(r"^    [\w ]+?((?:\*?\w+(?:, )?)+);\s*$", struct, re.M)
               for name in names.replace("*", "").split(", ")]
    wrong = [f"{CONFIG}: the merge forgets {name}" for name in members
             if name not in ("own", "serves") and not re.search(rf"conf->{name}\b", merge)]
    if "STRING_MEMBERS(" not in merge:
        wrong.append(f"{CONFIG}: the merge forgets STRING_MEMBERS")
    texts = {name for kind, name in directives(config) if kind == "TEXT"}
    in_table = {name for _, name, _ in string_members(config)}
    wrong += [f"{CONFIG}: {name} is a TEXT, but not in STRING_MEMBERS" for name in texts - in_table]
    wrong += [f"{CONFIG}: {name} is in STRING_MEMBERS, but no TEXT" for name in in_table - texts]
    return wrong


# ---- variables ----

# Where names of variables stand in tables, and are read in a loop.
HOSTS_FILE = "src/integrations/client_slot.c"
TABLES = (("src/integrations/registry.c", r"\bintegrations\[[^\]]*\] ="),
          ("src/integrations/registry.c", r"\bintegration_secrets\[[^\]]*\] ="),
          (HOSTS_FILE, r"\bclient_hosts\[[^\]]*\] ="))


def variables(tree):
    read = {variable for _, _, variable in string_members(tree[CONFIG]) if variable}
    for _, text in c_files(tree):
        read |= set(re.findall(r'getenv\("(\w+)"\)', text))
    for path, table in TABLES:
        read |= set(re.findall(r'"([A-Z][A-Z0-9]*_[A-Z0-9_]+)"',
                               re.split(table, tree[path], 1)[1].split("};", 1)[0]))
    return read


_REGISTRY = ('integrations[] = {{"x", {"X_KEY", NULL}, "words"}};\n'
             'integration_secrets[] = {"X_KEY", "X_SECRET", NULL};\n')
_HOSTS = 'client_hosts[N] = {[X] = {"x", "X_API_BASE", "https://x"}};\n'
_ENV = "BIZAPI_STORE=\nX_KEY=\nX_SECRET=\nX_API_BASE=\nOTHER_ONE=1\n"


def _variables(env=_ENV, registry=_REGISTRY):
    return {CONFIG: _CONFIG, "src/integrations/registry.c": registry, HOSTS_FILE: _HOSTS, ENV: env,
            "src/a.c": 'getenv("OTHER_ONE")'}


@guard(good=_variables(),
       bad=[_variables(_ENV.replace("X_KEY=\n", "")), _variables(_ENV.replace("BIZAPI", "B")),
            _variables(_ENV + "NEW_ONE=\n"), _variables(_ENV.replace("OTHER_ONE=1\n", "")),
            _variables(_ENV + "X_KEY=\n"), _variables(_ENV.replace("X_SECRET=\n", "")),
            _variables(_ENV.replace("X_API_BASE=\n", ""))])
def each_variable_that_is_read_is_in_env_example(tree):
    told = re.findall(r"^([A-Z]\w+)=", tree[ENV], re.M)
    read = variables(tree)
    return ([f"{ENV}: {name} is not in it" for name in sorted(read - set(told))] +
            [f"{ENV}: nothing reads {name}" for name in sorted(set(told) - read)] +
            [f"{ENV}: {name} stands twice" for name in sorted(set(told)) if told.count(name) > 1])


# ---- numbers ----

BLOCKS = {"core": "01", "store": "02", "limit": "03", "cors": "04", "auth": "05", "mail": "06",
          "outbox": "06", "audit": "05", "net": "07", "integrations": "08", "cli": "09"}
LEVELS = {"ERR": "error", "WARN": "warn", "WARNING": "warn", "NOTICE": "notice", "INFO": "info",
          "DEBUG": "debug", "EMERG": "emerg", "ALERT": "alert", "CRIT": "crit"}


def numbers(tree):
    """[(number, path, line, level or None)] of every BZ(nnnn) in the code."""
    every = []
    for path, text in c_files(tree):
        code = without_comments(text)
        for m in re.finditer(r"\bBZ\((\w+)\)", code):
            if code[:m.start()].rstrip().endswith("#define"):
                continue
            statement = re.split(r"[;{}]", code[:m.start()])[-1]
            level = re.search(r"\b(?:BIZ_LOG|APLOG)_(ERR|WARN|WARNING|NOTICE|INFO|DEBUG|EMERG|"
                              r"ALERT|CRIT)\b", statement)
            every.append((m.group(1), path, line_of(code, m.start()),
                          LEVELS[level.group(1)] if level else None))
    return every


def rows(text):
    return re.findall(r"^\| (BZ\w+) \| ([^|]+) \| (.+) \| (.+) \|$", text, re.M)


_NUMBERED = ('#define BZ(n) "BZ" #n ": " /* BZ(0777) */\n'
             'biz_log(BIZ_LOG_WARN, 0, BZ(0101) "x");\nbiz_log(BIZ_LOG_ERR, 0, BZ(0102) "y");\n')
_ROWS = "| number | level | line | meaning |\n|---|---|---|---|\n" \
        "| BZ0101 | warn | x | do this |\n| BZ0102 | error | y | do that |\n"


@guard(good={"src/core/a.c": _NUMBERED, ERRORS: _ROWS},
       bad=[{"src/core/a.c": _NUMBERED + 'BZ(0101) "z"', ERRORS: _ROWS},
            {"src/core/a.c": _NUMBERED + 'BZ(0103) "z"', ERRORS: _ROWS},
            {"src/core/a.c": _NUMBERED, ERRORS: _ROWS + "| BZ0103 | warn | x | nothing |\n"},
            {"src/core/a.c": _NUMBERED, ERRORS: _ROWS + "| BZ0102 | error | y | twice |\n"},
            {"src/core/a.c": _NUMBERED, ERRORS: _ROWS.replace("warn", "error")},
            {"src/store/a.c": _NUMBERED, ERRORS: _ROWS},
            {"src/core/a.c": _NUMBERED, ERRORS: "\n".join(_ROWS.splitlines()[::-1]) + "\n"},
            {"src/core/a.c": _NUMBERED.replace("0101", "101"), ERRORS: _ROWS},
            {"src/core/a.c": _NUMBERED, ERRORS: _ROWS.replace("| do that |", "|  |")}])
def each_number_is_unique_and_explained(tree):
    wrong, seen = [], {}
    told = rows(tree.get(ERRORS, ""))
    levels = {number: level.strip() for number, level, _, _ in told}
    for number, path, line, level in numbers(tree):
        where, name = f"{path}:{line}", f"BZ{number}"
        if not re.fullmatch(r"\d{4}", number):
            wrong.append(f"{where}: {name} has not four digits")
        if name in seen:
            wrong.append(f"{where}: {name} is used at {seen[name]} too")
        seen.setdefault(name, where)
        block = BLOCKS.get(path.split("/")[1] if path.count("/") > 1 else "")
        if block and not number.startswith(block):
            wrong.append(f"{where}: {name}, but the numbers of this folder begin with {block}")
        if name not in levels:
            wrong.append(f"{ERRORS}: no row for {name} of {where}")
        elif level and levels[name] != level:
            wrong.append(f"{ERRORS}: {name} is {level}, not {levels[name]}")
    for number, _, text, meaning in told:
        if number not in seen:
            wrong.append(f"{ERRORS}: nothing says {number}")
        if not text.strip() or not meaning.strip():
            wrong.append(f"{ERRORS}: {number} has an empty cell")
    order = [number for number, _, _, _ in told]
    if order != sorted(set(order)):
        wrong.append(f"{ERRORS}: the rows are not in order, or one stands twice")
    return wrong


# ---- what is kept, and how much is taken ----

SCHEMA, DATA, CRYPTO, LIMITS = ("src/store/schema.h", "docs/DATA.md", "docs/CRYPTO.md",
                                "docs/LIMITS.md")
BIZ = "src/core/biz.h"
_SCHEMA = 'C(COLL_A, "aa", "a", STORE_A, 0, 0) \\\n C(COLL_B, "bb", "b", STORE_B, 0, B_EXPIRES_AT)\n'
_DATA = ("| collection | class | what | kept |\n|---|---|---|---|\n| `aa` | P | x | y |\n"
         "| `bb` | T | x | y |\n")


@guard(good={SCHEMA: _SCHEMA, DATA: _DATA},
       bad=[{SCHEMA: _SCHEMA, DATA: _DATA.replace("`bb`", "`cc`")}, {SCHEMA: _SCHEMA, DATA: ""},
            {SCHEMA: _SCHEMA, DATA: _DATA + "| `aa` | P | x | z |\n"},
            {SCHEMA: _SCHEMA, DATA: _DATA.replace("| P | x |", "| P | |")}])
def each_collection_is_in_the_inventory_of_data(tree):
    kept = re.findall(r'\bC\(COLL_\w+,\s*"(\w+)"', tree[SCHEMA])
    told = re.findall(r"^\| `(\w+)` \| [A-Z ]+ \| [^|\s][^|]* \| [^|\s][^|]* \|$", tree[DATA], re.M)
    return ([f"{DATA}: no whole row for the collection {name}" for name in kept if name not in told] +
            [f"{DATA}: {name} is no collection" for name in told if name not in kept] +
            [f"{DATA}: {name} stands twice" for name in set(told) if told.count(name) > 1])


_KEYS = 'biz_derive_key(master, "bizapi x v1", keys->x);\n#define L "bizapi y v1"\n'


@guard(good={"src/auth/keys.c": _KEYS, CRYPTO: "| `bizapi x v1` | a | b |\n| `bizapi y v1` | a | b |\n"},
       bad=[{"src/auth/keys.c": _KEYS, CRYPTO: "| `bizapi x v1` | a | b |\n"},
            {"src/auth/keys.c": _KEYS, CRYPTO: "| `bizapi x v1` | a | b |\n| `bizapi y v1` | a | b |\n"
                                               "| `bizapi z v1` | a | b |\n"}])
def each_key_is_in_the_inventory_of_keys(tree):
    derived = {label for path, text in c_files(tree) if path.startswith("src/")
               for label in re.findall(r'"(bizapi [a-z ]+ v\d+)"', without_comments(text))}
    told = set(re.findall(r"^\| `(bizapi [a-z ]+ v\d+)` \|", tree[CRYPTO], re.M))
    return ([f"{CRYPTO}: no row for the key \"{label}\"" for label in sorted(derived - told)] +
            [f"{CRYPTO}: nothing derives \"{label}\"" for label in sorted(told - derived)])


_TYPES = "    BIZ_FIELD_A, /* x */\n    BIZ_FIELD_B\n} biz_field_type;\n"
_LIMITS = "| `A`, `B` | rule |\n\n| tries | 5 | `TRIES` |\n| seconds | 300 | `SECONDS` |\n"
_LIMITED = {BIZ: _TYPES, "src/auth/a.h": "enum { TRIES = 5, SECONDS = 5 * 60 };\n"}


@guard(good={**_LIMITED, LIMITS: _LIMITS},
       bad=[{**_LIMITED, LIMITS: _LIMITS.replace("| 5 |", "| 6 |")},
            {**_LIMITED, LIMITS: _LIMITS.replace("`TRIES`", "`TRY`")},
            {**_LIMITED, LIMITS: _LIMITS.replace("`A`, `B`", "`A`")},
            {**_LIMITED, "src/auth/b.c": "enum { TRIES = 6 };\n", LIMITS: _LIMITS}])
def each_limit_is_what_the_code_has(tree):
    code = "\n".join(without_comments(text) for path, text in c_files(tree) if path.startswith("src/"))
    wrong = []
    for value, name in re.findall(r"^\| [^|]+ \| (\d+) \| `(\w+)` \|$", tree[LIMITS], re.M):
        there = set(re.findall(rf"\b{name} = (\d+(?: \* \d+)*)\s*[,}}]", code))
        if {math.prod(map(int, each.split("*"))) for each in there} != {int(value)}:
            wrong.append(f"{LIMITS}: {name} is {' and '.join(there) or 'nowhere'}, not {value}")
    types = set(re.findall(r"^    BIZ_FIELD_(\w+)", tree[BIZ], re.M))
    told = set(re.findall(r"`(\w+)`", " ".join(
        re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", tree[LIMITS], re.M))))
    return wrong + [f"{LIMITS}: says nothing of the type {name}" for name in sorted(types - told)]


# ---- routes ----

_ROUTES = ('const biz_route biz_routes[] = {\n'
           '    {"GET", API "/auth/me", auth_me, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_LIST, NULL,\n'
           '     "The user", "User", 0},\n'
           '    {"DELETE", API "/auth/sessions/{id}", f, BIZ_ANYONE, 0, x_fields, "End",\n'
           '     "=ended", 0},\n    {NULL}};\n')
_README = (f"words\n\n{readme.HEAD}\n| GET /auth/me | The user (signed in) |\n"
           "| DELETE /auth/sessions/{id} | End (anyone) |\n\nmore words\n")
_ROUTE_TESTS = {"tests/http/test_a.py": 'get("/auth/me") delete(f"/auth/sessions/{x}")'}


def _routes(text=_README, tests=None):
    return {"src/routes.c": _ROUTES, "README.md": text, **(tests or _ROUTE_TESTS)}


@guard(good=_routes(),
       bad=[_routes(_README.replace("The user", "The users")),
            _routes(_README.replace("| GET /auth/me | The user (signed in) |\n", "")),
            _routes(_README.replace("signed in", "anyone")),
            _routes(_README.replace("\n\nmore", "\n| GET /auth/you | You (anyone) |\n\nmore"))])
def the_route_table_of_the_readme_is_that_of_the_source(tree):
    if tree["README.md"] == readme.with_routes(tree["README.md"], tree["src/routes.c"]):
        return []
    return ["README.md: the table of routes is old; run make docs"]


@guard(good=_routes(),
       bad=[_routes(tests={"tests/http/test_a.py": 'get("/auth/me")'}),
            _routes(tests={"tests/http/kit.py": '"/auth/me" "/auth/sessions/{id}"'})])
def each_route_is_named_in_a_test(tree):
    tests = "\n".join(text for path, text in tree.items()
                      if re.fullmatch(r"tests/(http|browser|faults)/test_\w+\.py", path))
    return [f"src/routes.c: no test asks {method} {path}"
            for method, path, _, _ in readme.routes(tree["src/routes.c"])
            if not re.search(re.escape(path.split("{")[0]) + (r"\b" if "{" not in path else ""),
                             tests)]


# ---- pages ----

PAGE = (r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\s*\(|new Function\b|"
        r"set(Timeout|Interval)\(\s*[\"'`]|\bon(click|load|error|submit|input|change)\s*=|"
        r"javascript:|<style\b|\sstyle=|<script(?![^>]*\bsrc=)|localStorage\.\w+.*[pP]assword|"
        r"(src|href|action)=[\"'](https?:)?//|@import|url\(\s*[\"']?(https?:)?//")


@guard(good={"htdocs/a.html": '<script src="app.js" defer></script><a href="/x">x</a>'
                              '<svg xmlns="http://www.w3.org/2000/svg"></svg>'},
       bad=[{"htdocs/a.js": "x.innerHTML = y"}, {"htdocs/a.html": "<script>x()</script>"},
            {"htdocs/a.html": '<a onclick="x()">'}, {"htdocs/a.html": '<p style="x">'},
            {"htdocs/a.js": "eval (x)"}, {"htdocs/a.js": 'setTimeout("x()", 1)'},
            {"htdocs/a.html": '<img src="https://other.test/x.png">'},
            {"htdocs/a.css": "@import 'x'"}, {"htdocs/a.html": '<a href="javascript:x">'}])
def pages_make_no_markup_from_text_and_load_nothing_foreign(tree):
    return [line for path, text in tree.items() if path.startswith("htdocs/")
            for line in found(path, text, PAGE, "is not for a page")]


# ---- every file ----

# Built from parts, so that this file does not hold them.
MACHINE = r"(?<![\w.$}/-])/(" + "work" + "|" + "root" + r"|home/\w+)(?=/|\b)"
HOSTS = "|".join(a + r"\." + b for a, b in (
    ("py" + "pi", "org"), ("python" + "hosted", "org"), ("registry.np" + "mjs", "org"),
    ("np" + "mjs", "com"), ("crates", "io"), ("proxy.go" + "lang", "org"),
    ("deb.deb" + "ian", "org"), ("docker", "io"), ("ruby" + "gems", "org")))
UNFINISHED = r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "HA" + "CK", "lorem" +
                                " ipsum", "tb" + "d")) + r")\b"
# A chroot's own root, and root's home on any machine.
MACHINE_EXCEPT = {"tests/bare", "conf/quickstart/run"}


@guard(good={"a.md": "at /var/lib/apache2 and $folder/" + "root/x, a/" + "work/b"},
       bad=[{"a.md": "at /" + "work/main"}, {"a.py": "'/" + "root'"},
            {"a": "cd /" + "home/me/x"}, {"a.md": "../sha" + "red/spec"}])
def no_path_of_a_machine(tree):
    return [line for path, text in tree.items() if path not in MACHINE_EXCEPT
            for line in found(path, text, MACHINE + r"|\.\./sha" + "red", "a path of one machine")]


@guard(good={"a": "from a registry"}, bad=[{"a": "https://py" + "pi.org/x"},
                                           {"a": "files.python" + "hosted.org"}])
def no_host_of_a_registry(tree):
    return [line for path, text in tree.items()
            for line in found(path, text, HOSTS, "a registry's host")]


@guard(good={"a": "method"}, bad=[{"a.c": "/* TO" + "DO: later */"}, {"a.py": "# FIX" + "ME"}])
def nothing_is_left_for_later(tree):
    return [line for path, text in tree.items() if path != "conf/common-passwords.txt"
            for line in found(path, text, UNFINISHED, "something left for later")]


GERMAN = r"\b(und|nicht|oder|wird|werden|eine[rmns]?|für|über|auch|dass|Datei|Fehler|siehe)\b"


@guard(good={"src/a.c": "/* and not or */", "tests/http/a.py": "und"},
       bad=[{"src/a.c": "/* und nicht */"}, {"docs/a.md": "siehe oben"}])
def what_people_read_is_english(tree):
    return [line for path, text in tree.items()
            if path.startswith(("src/", "docs/", "htdocs/", "conf/")) and "password" not in path
            and not re.fullmatch(r"conf/mail/texts\.(?!en\.)\w+\.ini", path)
            or path in ("README.md", "CHANGES.md", "SECURITY.md", "Makefile", "mod_bizapi.c")
            for line in found(path, text, GERMAN, "not English")]


@guard(good={"a.py": "x = 1\n", "b.c": "\tx;\n\ny;\n"}, bad=[{"a.py": "x = 1 \n"}, {"a.py": "x = 1"},
                                                         {"a.c": "x;\r\ny;\n"}, {"a.c": "x;\n\n\n"}])
def lines_end_where_they_end(tree):
    wrong = []
    for path, text in tree.items():
        if path.endswith((".svg", ".txt", "LICENSE")) or not text:
            continue
        wrong += found(path, text, r"[ \t\r]+$", "white space at the end of a line", re.M)
        if not text.endswith("\n") or text.endswith("\n\n"):
            wrong.append(f"{path}: ends without a newline, or with an empty line")
    return wrong
