"""Forked children that run one piece of the worker's code on a real database, and what may be done to them.

A fork takes a hundredth of a second where a Celery worker takes two, and for what happens inside a transaction Celery
adds nothing. What it adds, acknowledging and delivering again, is tried on the whole stack in test_stack_points.py.
"""

import gc
import os
import signal
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from domain.errors import DatabaseAway
from worker import failpoint

#: How a child ends: done; handed back to the broker; something else left the task, which goes to the quarantine.
DONE, HANDED_BACK, RAISED = 0, 11, 12


class Child:
    """A process that runs `job`, heeding `plan` (a path, or nothing)."""

    def __init__(self, job: Callable[[], object], plan: Path | None = None) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            _live(job, plan)
        self._status: int | None = None

    def ended(self) -> bool:
        """Whether it is over."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is not None

    def end(self, seconds: float = 40.0) -> int:
        """Waits: its exit code, or minus the signal that ended it."""
        soon(self.ended, f"child {self.pid} hangs", seconds)
        return os.waitstatus_to_exitcode(self._status or 0)

    def send(self, number: signal.Signals) -> None:
        """A signal, if it still lives."""
        if not self.ended():
            os.kill(self.pid, number)

    def bury(self) -> None:
        """Nothing of it stays."""
        with suppress(ChildProcessError):
            self.send(signal.SIGKILL)
            self.end()


def _live(job: Callable[[], object], plan: Path | None) -> NoReturn:
    # What the parent dropped must not be finished here: libpq would say good-bye in the parent's name.
    gc.disable()
    _close_sockets()
    code = RAISED
    try:
        if plan is not None:
            failpoint.arm(str(plan))
        job()
        code = DONE
    except DatabaseAway:
        code = HANDED_BACK
    except BaseException as error:  # noqa: BLE001 - the parent asks for the code
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _close_sockets() -> None:
    """A proxy's too: as long as one process holds them, nobody finds them closed."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.close(number)


def is_stopped(pid: int) -> bool:
    """Whether a process stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stop_at(child: Child, plan: Path) -> bool:
    """Waits until `child` stands still at the point of `plan`; False if it ended without passing it."""
    taken = Path(f"{plan}.{child.pid}")
    soon(lambda: child.ended() or (taken.exists() and is_stopped(child.pid)), f"child {child.pid} never stops")
    return not child.ended()


def soon(true: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Waits for something that takes milliseconds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.005)
