"""The fixtures of tests/http, for requests that contracts judge."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
# pylint: disable=wrong-import-position,unused-import
from served import (api, log_guard, make_server, module_server, pytest_configure,  # noqa: E402,F401
                    server)
