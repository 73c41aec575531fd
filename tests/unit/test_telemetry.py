"""What a log line may hold, whoever writes it."""

import json
import subprocess
import sys

import pytest

#: In a process of its own: logging is configured once for all of it.
RAISES = """
import logging, sys
from worker.settings import Settings
from worker.telemetry import configure_logging

configure_logging(Settings(log_json=sys.argv[1] == "json"))
def fails():
    int("a buyer's words")
try:
    fails()
except ValueError:
    logging.getLogger("celery.worker").exception("Unrecoverable error")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_that_a_library_logs_is_its_type_and_its_places(form: str) -> None:
    """Where it was raised helps whoever reads it; its text may quote what a buyer wrote."""
    run = subprocess.run([sys.executable, "-c", RAISES, form], check=True, capture_output=True, text=True)
    assert "buyer" not in run.stderr
    assert run.stderr.count("\n") == (1 if form == "json" else 2)
    assert "<string>:10 <module> > <string>:8 fails" in run.stderr
    if form == "json":
        said = json.loads(run.stderr)
        assert (said["event"], said["error"], said["level"]) == ("Unrecoverable error", "ValueError", "error")
