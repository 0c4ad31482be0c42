"""Holds answers against the API's own description of itself, GET /api/v1/openapi.json. Called by
client.Api for every answer under /api/v1: a status, a code or a member that is not in the document
fails the test that met it.

The document lets members be added; here it is read strictly, so that none is added unseen."""
import functools
import re
import threading
from urllib.parse import unquote, urlsplit

try:
    from jsonschema import Draft202012Validator
except ImportError:
    Draft202012Validator = None

PREFIX = "/api/v1"
# Sent where the document says so, and only there.
HEADERS = ("ETag", "Retry-After", "WWW-Authenticate", "Idempotent-Replayed", "Cache-Control")
# Said of paths and methods that have no operation.
ELSEWHERE = ("NOT_FOUND", "METHOD_NOT_ALLOWED", "RATE_LIMITED")

_lock = threading.Lock()


class Undocumented(AssertionError):
    """An answer that the document does not know."""


class Document:
    def __init__(self, document):
        self.document = inline(document, document)
        self.operations = []
        for path, item in self.document["paths"].items():
            pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", re.escape(path).replace(r"\{", "{")
                                        .replace(r"\}", "}")))
            for method, operation in item.items():
                self.operations.append((method.upper(), pattern, operation))
        self.validator = functools.lru_cache(None)(self._validator)

    def find(self, method, path):
        method = "GET" if method == "HEAD" else method
        for its_method, pattern, operation in self.operations:
            if its_method == method and pattern.fullmatch(path):
                return operation
        return None

    def _validator(self, operation_id, status):
        for _, _, operation in self.operations:
            if operation["operationId"] == operation_id:
                content = operation["responses"][status]["content"]["application/json"]
                return Draft202012Validator(strict(content["schema"]))
        raise KeyError(operation_id)

    @functools.cached_property
    def _elsewhere(self):
        """An error outside of all operations: those of Apache's core, and ours."""
        core = self.document["components"]["responses"]["Core"]
        error, codes = core["content"]["application/json"]["schema"]["allOf"]
        codes = codes["properties"]["error"]["properties"]["code"]["enum"]
        return Draft202012Validator(strict({"allOf": [error, {"properties": {"error": {
            "properties": {"code": {"enum": [*codes, *ELSEWHERE]}}}}}]}))

    def check(self, method, path, answer):
        """Raises Undocumented. `path` is below /api/v1, as it was asked for."""
        if method == "OPTIONS":
            return
        plain = plain_path(path)
        operation = self.find(method, plain) if plain else None
        where = f"{method} {PREFIX}{path}: {answer.status}"
        if operation is None:
            if answer.status < 400:
                raise Undocumented(f"{where}, but there is no such operation")
            if method != "HEAD":
                complain(where, self._elsewhere, answer)
            return
        status = str(answer.status)
        if status not in operation["responses"]:
            if answer.status < 400:
                raise Undocumented(f"{where} is no status of this operation")
            status = "default"
        response = operation["responses"][status]
        check_headers(where, response, status, answer)
        if "content" not in response:
            if answer.body:
                raise Undocumented(f"{where} has a body")
        elif "application/json" not in response["content"]:
            if answer.headers["content-type"] not in response["content"]:
                raise Undocumented(f"{where} is {answer.headers['content-type']}")
        elif method != "HEAD":
            complain(where, self.validator(operation["operationId"], status), answer)


def check_headers(where, response, status, answer):
    documented = response.get("headers", {})
    for name in HEADERS:
        if name in answer.headers and name not in documented and not (
                name == "Cache-Control" and answer.status >= 400):
            raise Undocumented(f"{where} has the header {name}")
        if name in documented and name not in answer.headers and not (
                name == "Idempotent-Replayed" or status == "default"):
            raise Undocumented(f"{where} has no header {name}")


def complain(where, validator, answer):
    try:
        body = answer.json
    except ValueError:
        raise Undocumented(f"{where} is not JSON: {answer.text[:200]!r}") from None
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
    if errors:
        raise Undocumented(f"{where}, against its document: " + "; ".join(errors))


def plain_path(path):
    """The path as the server reads it; None where it is written in a way that only few would."""
    path = urlsplit(path).path
    if "%2f" in path.lower():
        return None
    path = unquote(path)
    return path if re.fullmatch(r"(/[\w.~:-]+)+", path) else None


def inline(node, document):
    """Every $ref replaced by what it stands for."""
    if isinstance(node, list):
        return [inline(each, document) for each in node]
    if not isinstance(node, dict):
        return node
    found = {key: inline(value, document) for key, value in node.items() if key != "$ref"}
    if "$ref" in node:
        target = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        found = {**inline(target, document), **found}
    return found


def strict(schema):
    """The schema without room for members that it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if found.get("type") == "object" and "properties" in found:
        found["additionalProperties"] = False
    return found


@functools.lru_cache(1)
def _document():
    """Asked once, of a server of its own: no test's server sees a request that is not its test's."""
    from harness import Server  # pylint: disable=import-outside-toplevel,cyclic-import
    server = Server()
    try:
        answer = server.api().request("GET", "/openapi.json", undocumented=True)
        assert answer.status == 200, answer
        return Document(answer.json)
    finally:
        server.close()


def check(method, path, answer):
    if Draft202012Validator is None:
        return
    with _lock:
        document = _document()
    document.check(method, path, answer)
