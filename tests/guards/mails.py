"""The mails: compiled templates against their sources, events against their words."""
import hashlib
import re

from guard import guard

SUMS = "conf/mail/src/compiled.sha256"
OUTBOX = "src/outbox/outbox.h"
_SOURCE, _OUT = "conf/mail/src/a.mjml", "conf/mail/a.html"


def _sum(text):
    return hashlib.sha256(text.encode()).hexdigest()


_SUMS = f"{_sum('b')}  a.html\n{_sum('a')}  src/a.mjml\n"


@guard(good={_SOURCE: "a", _OUT: "b", SUMS: _SUMS},
       bad=[{_SOURCE: "a ", _OUT: "b", SUMS: _SUMS}, {_SOURCE: "a", _OUT: "c", SUMS: _SUMS},
            {_SOURCE: "a", _OUT: "b", "conf/mail/b.html": "", SUMS: _SUMS},
            {_SOURCE: "a", _OUT: "b", "conf/mail/src/parts/b.mjml": "", SUMS: _SUMS},
            {_SOURCE: "a", SUMS: _SUMS}])
def a_mail_is_what_its_source_compiles_to(tree):
    """make mail-templates writes sums over both; nobody changes one without the other."""
    noted = dict(reversed(line.split("  ", 1)) for line in tree[SUMS].splitlines())
    there = {path.removeprefix("conf/mail/"): _sum(text) for path, text in tree.items()
             if path != SUMS and (path.startswith("conf/mail/src/") or
                                  re.fullmatch(r"conf/mail/\w+\.html", path))}
    return [f"conf/mail/{path}: is not what make mail-templates left"
            for path in sorted(noted.keys() | there.keys()) if noted.get(path) != there.get(path)]


_EVENTS = '#define NOTICE_A "a"\n'
_RAISED = {"src/auth/a.c": 'notice_tell(req, id, NOTICE_A, NULL);\n'}


@guard(good={OUTBOX: _EVENTS, "conf/mail/texts.en.ini": "[security_notice.a]\n", **_RAISED},
       bad=[{OUTBOX: _EVENTS, "conf/mail/texts.en.ini": "[security_notice.a]\n"},
            {OUTBOX: _EVENTS, "conf/mail/texts.en.ini": "[security_notice.a]\n", **_RAISED,
             "src/auth/b.c": 'factor_tell(req, store_doc_id(user), "b");\n'},
            {OUTBOX: _EVENTS, "conf/mail/texts.en.ini": "[security_notice.b]\n"},
            {OUTBOX: _EVENTS, "conf/mail/texts.en.ini": "[security_notice.a]\n",
             "conf/mail/texts.de.ini": "[security_notice]\n"},
            {OUTBOX: _EVENTS, "conf/mail/texts.en.ini": "[security_notice.a]\n",
             "src/auth/a.c": 'biz_json_set_str(data, "event", "b");\n'},
            {OUTBOX: "", "conf/mail/texts.en.ini": "[security_notice.a]\n"}])
def each_event_has_its_words(tree):
    """The names of outbox.h are the sections of every language; each is raised somewhere, and nobody
    writes another."""
    events = set(re.findall(r'#define NOTICE_\w+ "(\w+)"', tree[OUTBOX]))
    sources = {path: text for path, text in tree.items()
               if path.startswith("src/") and path != OUTBOX}
    wrong = [f"{path}: writes an event that is no NOTICE_ of {OUTBOX}"
             for path, text in sources.items()
             if re.search(r'biz_json_set_str\(\w+, "event", "'
                          r'|\b(notice_\w+|factor_tell|tell)\([^;{]*, "\w+"', text)]
    wrong += [f"{OUTBOX}: nothing raises {name}"
              for name in re.findall(r"#define (NOTICE_\w+)", tree[OUTBOX])
              if not any(re.search(rf"\b{name}\b", text) for text in sources.values())]
    for path, text in tree.items():
        if re.fullmatch(r"conf/mail/texts\.\w+\.ini", path):
            words = set(re.findall(r"^\[security_notice\.(\w+)\]", text, re.M))
            wrong += [f"{path}: has no [security_notice.{event}]" for event in events - words]
            wrong += [f"{path}: {event} is no event of {OUTBOX}" for event in words - events]
    return wrong
