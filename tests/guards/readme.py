#!/usr/bin/python3
"""The table of routes in README.md, made from src/routes.c. `make docs` runs this file; a guard says
when the table is old."""
import pathlib
import re

HEAD = "| method, path under /api/v1 | |\n|---|---|"
WHO = {"BIZ_ANYONE": "anyone", "BIZ_SIGNED_IN": "signed in", "BIZ_STAFF": "staff",
       "BIZ_ADMIN": "admin"}
ROW = re.compile(r'\{"([A-Z]+)",\s*API "([^"]+)",\s*(\w+),\s*(BIZ_\w+),\s*([\w |]+),\s*(\w+),'
                 r'\s*((?:"[^"]*"\s*)+)')


def routes(source):
    """[(method, path, who, summary)] in the order of the table."""
    table = source[source.index("biz_routes[]"):]
    found = [(method, path, WHO[who], "".join(re.findall(r'"([^"]*)"', summary)))
             for method, path, _, who, _, _, summary in ROW.findall(table)]
    rows = len(re.findall(r'\{"[A-Z]+",', table))
    assert len(found) == rows, f"{rows} rows in the route table, {len(found)} of them read"
    return found


def with_routes(text, source):
    """The README with its table made anew."""
    before, after = text.split(HEAD, 1)
    rest = re.sub(r"\A(\n\|[^\n]*)*", "", after)
    rows = "".join(f"\n| {method} {path} | {summary} ({who}) |"
                   for method, path, who, summary in routes(source))
    return before + HEAD + rows + rest


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parents[2]
    readme = root / "README.md"
    readme.write_text(with_routes(readme.read_text(encoding="utf-8"),
                                  (root / "src/routes.c").read_text(encoding="utf-8")),
                      encoding="utf-8")
