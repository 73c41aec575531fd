"""Copies of the source tree in which something is turned off, and tests run there."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", ".coverage*"
)
#: Seconds for the tests of one switch; a run that hangs is not red.
PATIENCE = 300


class Ending(NamedTuple):
    """How a run of tests ended: pytest's exit code, seconds, and the line that says why."""

    code: int
    seconds: float
    why: str

    @property
    def is_red(self) -> bool:
        """A test failed. That none was found, or that pytest itself broke, is not red."""
        return self.code == 1

    @property
    def is_green(self) -> bool:
        """Every test passed."""
        return self.code == 0


def copied(root: Path, to: Path) -> Path:
    """The tree at `root` without environments and caches."""
    shutil.copytree(root, to, ignore=_LEFT_OUT)
    return to


def ending_of(copy: Path, tests: Sequence[str], patience: float = PATIENCE) -> Ending:
    """Runs `tests` on the code of `copy`, with this environment's libraries, until the first is red."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {
        # Before the editable installation, for our processes too.
        "PYTHONPATH": str(copy),
        "PAIDONCE_TEST_FAILPOINTS": "all",
        # A server that is missing must not pass for a test that saw nothing.
        "CI": "true",
    }
    began = time.monotonic()
    try:
        end = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        return Ending(-1, time.monotonic() - began, "hangs")
    return Ending(end.returncode, time.monotonic() - began, _why(end.stdout))


def _why(said: str) -> str:
    """Pytest's first line of an error, else its last line."""
    errors = re.findall(r"^E +(\S.*)$", said, re.MULTILINE)
    lines = said.strip().splitlines() or [""]
    return str((errors or lines[-1:])[0])[:100]
