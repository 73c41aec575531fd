"""A server that a test needs and that is not there."""

import os

import pytest


def missing(server: str, why: object) -> None:
    """Skips at home, fails in CI: a suite that skips everything proves nothing."""
    reason = f"{server} is not there: {str(why).splitlines()[0] if str(why) else type(why).__name__}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
