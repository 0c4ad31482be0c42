"""How long the tests wait for what comes by itself."""
import os
import time

# How much longer than without one a server under a sanitizer may take for anything.
PATIENCE = 6 if os.environ.get("BIZ_PRELOAD") else 1


def wait_until(condition, timeout=10.0, what="the condition"):
    """Calls condition() until it is true and gives its value back."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.02)
