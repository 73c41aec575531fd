"""What a run started does not outlive it, however it ends: a second process waits for its end and clears up.

Every process of a run carries the run's folder in its environment, or stands in it (Redis writes its title over its
environment); nothing else is ever touched.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL

#: Names the run's folder in the environment of each of its processes.
MARK = "PAIDONCE_CHAOS_RUN"
_KEEP = b"keep\n"


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """While the block runs, a kill -9 of this process too ends everything that it started and removes `folder`."""
    command = [sys.executable, str(Path(__file__)), str(folder)]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    os.environ[MARK] = str(folder)
    try:
        yield
    finally:
        del os.environ[MARK]
        sweep(folder)
        # What happens to the folder from here on is the run's own affair.
        with suppress(BrokenPipeError, subprocess.TimeoutExpired):
            watcher.communicate(_KEEP, timeout=20)
        watcher.kill()
        watcher.wait()


def sweep(folder: Path) -> None:
    """Kills every process of the run in `folder`, but not the caller; returns when none is left."""
    deadline = time.monotonic() + 10
    while (left := marked(folder)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        time.sleep(0.05)


def marked(folder: Path) -> list[int]:
    """The processes of the run in `folder`, the caller and the dead left out."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_dead = b") Z " in (place / "stat").read_bytes()
            if int(place.name) != os.getpid() and not is_dead and _belongs(place, folder):
                found.append(int(place.name))
    return found


def _belongs(place: Path, folder: Path) -> bool:
    stands_in = str((place / "cwd").readlink())
    if stands_in == str(folder) or stands_in.startswith(f"{folder}/"):
        return True
    return f"{MARK}={folder}".encode() in (place / "environ").read_bytes().split(b"\0")


if __name__ == "__main__":
    if sys.stdin.buffer.read() != _KEEP:
        sweep(Path(sys.argv[1]))
        shutil.rmtree(sys.argv[1], ignore_errors=True)
