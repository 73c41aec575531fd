"""Where a run's own servers stand: a data directory and a port for each, and a user that may run them."""

import os
import pwd
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .machine import Machines
from .processes import Process
from .servers import ServerMissing

#: Who runs the servers where we are root: PostgreSQL refuses to be root, and none of them needs to be.
UNPRIVILEGED = ("postgres", "nobody")
#: Where packages put what is not on everybody's PATH.
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/lib/rabbitmq/bin", "/usr/local/bin", "/usr/sbin", "/opt/rabbitmq/sbin")


class Ground:
    """A folder of the run's own, under which each server gets its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = _unprivileged()
        folder.chmod(0o755)
        #: Under each server, and under whatever else stands on this ground.
        self.machines = Machines(folder)

    def place(self, name: str) -> Path:
        """A data directory that the servers' user owns."""
        path = self.folder / name
        path.mkdir()
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        """Makes `path` the servers' user's."""
        if self.user:
            shutil.chown(path, self.user)

    def process(self, name: str, command: Sequence[str], environment: Mapping[str, str], place: Path) -> Process:
        """A server's process, not started yet."""
        return Process(name, command, environment, place, user=self.user, machine=self.machines.new(place.name))


def find(binary: str, server: str) -> str:
    """The newest `binary` of this machine. Raises ServerMissing.

    On the packages' own paths first: Debian's `rabbitmq-server` on the PATH is a wrapper that leads to its own node.
    """
    for pattern in PLACES:
        for path in sorted(Path("/").glob(f"{pattern[1:]}/{binary}"), reverse=True):
            if os.access(path, os.X_OK):
                return str(path)
    if path_of := shutil.which(binary):
        return path_of
    raise ServerMissing(server, binary, "its binary is not on this machine")


def wait_for_port(port: int, process: Process, seconds: float = 60) -> None:
    """Until 127.0.0.1:`port` takes connections. Raises RuntimeError when `process` ends or `seconds` pass."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.is_running():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.name} does not start; see {process.log}")


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServerMissing("PostgreSQL", "initdb", "root may not run it, and there is no other user here")
