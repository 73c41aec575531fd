"""Named points at which a test has a process die, stand still or raise. Off, a point is a call of an empty function.

`PAIDONCE_FAILPOINTS=<point>:<nth>:<action>` strikes a process at its nth passing of the point, once. A path instead
names a file with such words, read at every point: whoever strikes first renames it to `<path>.<pid>`, so that of many
processes one is struck and the test knows which. docs/failpoints.md has the points and what they cost.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from domain.errors import ConfigurationError

log = structlog.get_logger()

VARIABLE = "PAIDONCE_FAILPOINTS"


class Struck(Exception):
    """A failpoint raised."""


def _nothing(point: str) -> None:
    """What a point is in production."""


#: Passes the point of a name, as `settle.written`.
at: Callable[[str], None] = _nothing


def arm(plan: str) -> None:
    """From now on points heed `plan`, in the words of PAIDONCE_FAILPOINTS. Raises ConfigurationError."""
    global at  # noqa: PLW0603 - resolved once, so that a point asks nothing when it is off
    at = (_Filed(Path(plan)) if plan.startswith("/") else _Named(plan)).passed


def refuse_live(dialects: Mapping[str, Any]) -> None:
    """Says loudly that points are armed. Raises ConfigurationError where one of `dialects` is a live account."""
    if at is _nothing:
        return
    if live := sorted(name for name, dialect in dialects.items() if dialect.live):
        raise ConfigurationError(VARIABLE, "is for tests; live accounts are", *live)
    log.critical("failpoints armed: this process is made to fail")


class _Named:
    """One plan for this process."""

    def __init__(self, plan: str) -> None:
        self._point, self._nth, self._act = _read(plan)
        self._passed = 0

    def passed(self, point: str) -> None:
        """Strikes if this is the point and the time."""
        if point == self._point:
            self._passed += 1
            if self._passed == self._nth:
                self._act()


class _Filed:
    """The plan that stands in a file just now; passings are counted anew for each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = 0
        self._passed: Counter[str] = Counter()

    def passed(self, point: str) -> None:
        """Strikes if this is the point and the time, and nobody was faster."""
        try:
            stamp, plan = self._path.stat().st_mtime_ns, self._path.read_text()
        except FileNotFoundError:
            return
        if stamp != self._stamp:
            self._stamp = stamp
            self._passed.clear()
        self._passed[point] += 1
        wanted, nth, act = _read(plan)
        if point == wanted and self._passed[point] == nth and self._is_ours():
            act()

    def _is_ours(self) -> bool:
        try:
            self._path.rename(f"{self._path}.{os.getpid()}")
        except FileNotFoundError:
            return False
        return True


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    """Until somebody sends SIGCONT: sessions, connections and the network are the test's to break meanwhile."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise() -> None:
    raise Struck


_ACTIONS: Mapping[str, Callable[[], None]] = {"kill": _kill, "stop": _stop, "raise": _raise}


def _read(plan: str) -> tuple[str, int, Callable[[], None]]:
    point, nth, action = (*plan.strip().split(":"), "", "")[:3]
    if not point or not nth.isdigit() or action not in _ACTIONS:
        raise ConfigurationError(VARIABLE, f"{plan.strip()!r} is not <point>:<nth>:<{'|'.join(_ACTIONS)}>")
    return point, int(nth), _ACTIONS[action]


if VARIABLE in os.environ:
    arm(os.environ[VARIABLE])
