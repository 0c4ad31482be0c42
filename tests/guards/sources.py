"""What may stand in the C sources: lengths, calls, comparisons, logs, copies."""
import re
from collections import defaultdict

from guard import c_files, found, guard, line_of, without_comments, without_texts

FILE_LINES, FUNCTION_LINES, WINDOW = 600, 80, 10
# The one file of a library cannot be cut without a second file for the library.
LONGER = {"src/limit/redis.c": 620}


@guard(good={"src/a.c": "x\n" * 600, "tests/unit/test_a.c": "x\n" * 900},
       bad=[{"src/a.c": "x\n" * 601}, {"src/core/a.h": "x\n" * 601},
            {"mod_bizapi.c": "x\n" * 601}, {"src/limit/redis.c": "x\n" * 621}])
def no_source_is_longer_than_600_lines(tree):
    return [f"{path}: {text.count(chr(10))} lines, {LONGER.get(path, FILE_LINES)} are allowed"
            for path, text in c_files(tree) if text.count("\n") > LONGER.get(path, FILE_LINES)]


@guard(good={"src/a.c": "int f(void)\n{\n" + "    x;\n" * 78 + "}\n"},
       bad=[{"src/a.c": "int f(void)\n{\n" + "    x;\n" * 80 + "}\n"}])
def no_function_is_longer_than_80_lines(tree):
    wrong = []
    for path, text in c_files(tree):
        begin = None
        for number, line in enumerate(text.splitlines(), 1):
            if line == "{":
                begin = number
            elif line == "}" and begin is not None:
                if number - begin + 1 > FUNCTION_LINES:
                    wrong.append(f"{path}:{begin}: a function of {number - begin + 1} lines")
                begin = None
    return wrong


@guard(good={"src/core/a.c": "/* a.c: what it is. */\nint x;\n"},
       bad=[{"src/core/a.c": "int x;\n"}, {"src/core/a.c": "/* b.c: what it is. */\n"},
            {"src/core/a.h": "#ifndef A\n"}])
def a_file_begins_with_what_it_is(tree):
    return [f"{path}: does not begin with /* {path.rsplit('/', 1)[-1]}: what it is"
            for path, text in c_files(tree)
            if not re.match(rf"/\* {re.escape(path.rsplit('/', 1)[-1].removesuffix('.c'))}(\.c)?: ",
                            text)]


NEVER = ("strcpy strcat stpcpy sprintf vsprintf gets atoi atol atoll atof sscanf strtok system popen "
         "execl execlp execv execvp execve alloca rand srand random drand48 setenv putenv unsetenv "
         "mktemp tmpnam tempnam localtime gmtime ctime asctime inet_ntoa "
         "apr_generate_random_bytes json_loads bson_new_from_json regcomp longjmp setjmp").split()


@guard(good={"src/a.c": 'apr_snprintf(b, n, "system(x)"); /* strcpy(a, b) */ my_system(x);\n'
                        "system ? a : b; localtime_r(a, b); ctx->random(x);\n"},
       bad=[{"src/a.c": f"x = {name} (y);\n"} for name in NEVER])
def no_function_that_this_tree_avoids(tree):
    pattern = r"(?<![\w>.])(" + "|".join(NEVER) + r")\s*\("
    return [line for path, text in c_files(tree)
            for line in found(path, without_texts(text), pattern, "is not used here")]


SECRET = r"\b\w*(password|token|secret|digest|signature|refresh_hash|_mac\b|hmac)\w*\b"
# Names of secrets, and of what looks like one; not the secrets themselves.
NAMES = r"integration_secrets\[i\]|kind->by_token|\w*token_?(type|name|len|class)\w*"
COMPARE = r"\b(memcmp|strcmp|strncmp|strcasecmp|strncasecmp|apr_strnatcmp)\s*\("


def arguments_at(text, position):
    """The text between the parenthesis that opens at position and its end."""
    depth = 0
    for end in range(position, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            return text[position + 1:end]
    return text[position:]


@guard(good={"src/a.c": 'strcmp(name, "token"); biz_same_text(token, expected); strcmp(a, b) != 0;\n'
                        'strcmp(token, "shm");\n'},
       bad=[{"src/a.c": "if (!strcmp(refresh_token, expected))\n"},
            {"src/a.c": "memcmp(digest, other, 32)\n"},
            {"src/a.c": "strcmp(store_str(doc, RESET), biz_hex(pool, my_secret, 3))\n"}])
def secrets_are_compared_in_constant_time(tree):
    """By their names; a comparison with a literal is not one of secrets."""
    wrong = []
    for path, text in c_files(tree):
        code = without_texts(text)
        for call in re.finditer(COMPARE, code):
            arguments = arguments_at(code, call.end() - 1)
            if re.search(SECRET, re.sub(NAMES, "", arguments), re.I) and '""' not in arguments:
                wrong.append(f"{path}:{line_of(code, call.start())}: use biz_same(): "
                             f"{call.group()}{arguments[:60]})")
    return wrong


LOGGED = r"\b(password|new_password|token|access|refresh|secret|body|refresh_token|jwk\w*|api_key)\b"


@guard(good={"src/a.c": 'biz_log(BIZ_LOG_WARN, 0, BZ(0501) "a token of %s", user_id);\n'},
       bad=[{"src/a.c": 'biz_log(BIZ_LOG_WARN, 0, BZ(0501) "for %s",\n   token);\n'},
            {"src/a.c": 'ap_log_error(APLOG_MARK, 0, 0, s, "%s", b->secret);\n'},
            {"src/a.c": 'biz_log(BIZ_LOG_DEBUG, 0, "%s", biz_field_str(req, "password"));\n'}])
def no_secret_is_an_argument_of_a_log_line(tree):
    wrong = []
    for path, text in c_files(tree):
        # The names of fields stand between quotes and stay; sentences go.
        code = re.sub(r'"((?:\\.|[^"\\\n])*)"',
                      lambda m: m.group() if re.fullmatch(r"\w+", m.group(1)) else '""',
                      without_comments(text))
        for call in re.finditer(r"\b(biz_log|ap_log_\w+)\s*\(", code):
            arguments = arguments_at(code, call.end() - 1)
            if re.search(LOGGED, arguments):
                wrong.append(f"{path}:{line_of(code, call.start())}: logs {arguments[:80]}")
    return wrong


@guard(good={"src/a.c": 'biz_json_set_str(json, "a", "b");\n',
             "src/httpd/handler.c": 'static const char limited_body[] = "{\\"success\\":false}";\n'},
       bad=[{"src/a.c": 'x = "{\\"a\\":1}";\n'}])
def json_is_made_by_the_library(tree):
    """But for the one answer that must cost nothing, and what OpenAPI's text says about JSON."""
    wrong = []
    for path, text in c_files(tree):
        for line in found(path, without_comments(text), r'.*\{\\".*', "JSON by hand"):
            if "limited_body" not in line and "Success is" not in line and \
                    '{\\"success\\":false,\\"error\\":{\\"code\\",' not in line:
                wrong.append(line)
    return wrong


def significant(text):
    """[(line number, line)] without what two files may well share."""
    for number, line in enumerate(without_comments(text).splitlines(), 1):
        line = " ".join(line.split())
        if line and not line.startswith("#include"):
            yield number, line


_TEN = "".join(f"    call_{i}(x);\n" for i in range(10))


@guard(good={"src/a.c": _TEN, "src/b.c": _TEN.replace("call_5", "other"),
             "src/c.c": "/*\n" + "same\n" * 20 + "*/\n", "src/d.c": "/*\n" + "same\n" * 20 + "*/\n"},
       bad=[{"src/a.c": _TEN, "src/b.c": "int x;\n" + _TEN}, {"src/a.c": _TEN + "}\n" + _TEN},
            {"src/a.c": _TEN, "mod_bizapi.c": _TEN.replace("    ", "\t")}])
def no_two_places_share_ten_lines(tree):
    places = defaultdict(list)
    for path, text in c_files(tree):
        lines = list(significant(text))
        for i in range(len(lines) - WINDOW + 1):
            key = "\n".join(line for _, line in lines[i:i + WINDOW])
            places[key].append((path, lines[i][0]))
    wrong, last = [], None
    for where in places.values():
        if len(where) < 2:
            continue
        if last is None or [(p, n) for p, n in where] != [(p, n + 1) for p, n in last]:
            wrong.append("ten lines at " + " and ".join(f"{p}:{n}" for p, n in where[:4]))
        last = where
    return wrong


EXPORTED = {"bizapi_module"}


def exported(nm_output):
    """The names in what `nm -D --defined-only` says."""
    return {line.split()[-1] for line in nm_output.splitlines() if line.strip()}
