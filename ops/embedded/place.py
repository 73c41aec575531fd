"""The directory that an embedded stack lives in, and the lock that keeps a second one out."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.output import fail


@dataclass(frozen=True, slots=True)
class Place:
    """Where each thing stands under `data`."""

    data: Path

    @property
    def postgres(self) -> Path:
        """PostgreSQL's own directory."""
        return self.data / "pg"

    @property
    def accounts(self) -> Path:
        """The merchant accounts."""
        return self.data / "accounts.toml"

    @property
    def keys(self) -> Path:
        """Their keys, readable by the owner alone."""
        return self.data / "keys"

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.data / "logs"

    @property
    def children(self) -> Path:
        """The processes that run, for whoever comes after a kill."""
        return self.data / "children.json"

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a process's log."""
        log = self.logs / f"{name}.log"
        return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:]) if log.exists() else ""


def default_data() -> Path:
    """`paidonce` under the user's data directory."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "paidonce"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "paidonce"


@contextmanager
def occupied(data: Path) -> Iterator[Place]:
    """The place at `data`, made if it is missing, for this process alone: the system drops the lock when it dies."""
    place = Place(data.expanduser().resolve())
    try:
        for folder in (place.data, place.logs, place.keys):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (place.data / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        fail(f"{place.data} cannot be used: {error.strerror}")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            fail(f"already running on {place.data} (process {lock.read().strip() or 'unknown'})")
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield place
