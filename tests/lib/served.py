"""The fixtures of tests/http for the other levels: a conftest.py takes from here what it wants."""
import importlib.util
import pathlib
import sys

_HTTP = pathlib.Path(__file__).resolve().parents[1] / "http"
sys.path.insert(0, str(_HTTP))
# By its path: two modules of the name conftest cannot be imported.
_spec = importlib.util.spec_from_file_location("http_conftest", _HTTP / "conftest.py")
_http = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_http)
pytest_configure, log_guard = _http.pytest_configure, _http.log_guard
make_server, module_server = _http.make_server, _http.module_server
server, api, smtp = _http.server, _http.api, _http.smtp
