"""What src/store/schema.h and schema.c declare, for tests that look below the store.

    FIELDS = {collection: {field: "STR", "INT", "BOOL", "TIME" or "JSON"}}, the common ones first
    UNIQUE = {collection: {fields of unique indexes}}
"""
import pathlib
import re

REPO = pathlib.Path(__file__).resolve().parents[2]
COMMON = {"_id": "STR", "version": "INT", "created_at": "TIME", "updated_at": "TIME"}


def read():
    header = (REPO / "src/store/schema.h").read_text()
    source = (REPO / "src/store/schema.c").read_text()
    lists, names, fields, unique, enums = {}, {}, {}, {}, {}
    for name, body in re.findall(r"#define (STORE_\w+)\(F\)((?:.*\\\n)*.*\n)", header):
        found = re.findall(r'F\((\w+),\s*"(\w+)",\s*(\w+)\)', body)
        lists[name] = {field: kind for _, field, kind in found}
        names.update({enum: field for enum, field, _ in found})
    for enum, name, of, flags in re.findall(
            r'C\((COLL_\w+),\s*"(\w+)",\s*"\w+",\s*(\w+),\s*([^,]+),', header):
        common = COMMON if "STORE_NO_VERSION" not in flags else {
            each: COMMON[each] for each in ("_id", "created_at")}
        fields[name], unique[name], enums[enum] = {**common, **lists[of]}, set(), name
    for enum, of in re.findall(r'\{"\w+",\s*(COLL_\w+),\s*\{([^}]+)\},\s*1\}', source):
        unique[enums[enum]].update(names[each.strip()] for each in of.split(","))
    return fields, unique


FIELDS, UNIQUE = read()
