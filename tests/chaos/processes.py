"""Our processes as the Procfile starts them, each in a session of its own, so that it and its children die together."""

import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .machine import Machine

ROOT = Path(__file__).parents[2]


class Process:
    """One process with its children. Its output is appended to `<folder>/<name>.log`.

    `user`: who it runs as, in `folder`; PostgreSQL refuses to run as root. `machine`: its clock and its disk.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        user: str | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.name = name
        self.machine = machine
        self.log = folder / f"{name}.log"
        self._command = command
        self._environment = _with_this_python({**environment, **(machine.environment if machine else {})})
        self._somebody: dict[str, Any] = as_user(user)
        self._folder = folder if user else ROOT
        self._popen: subprocess.Popen[bytes] | None = None
        #: Whether we ended it ourselves.
        self.was_killed = False

    def start(self) -> None:
        """Starts it, again after a kill."""
        self.was_killed = False
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._somebody,
            )

    @property
    def pid(self) -> int:
        """Also the id of its process group."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.pid

    def is_running(self) -> bool:
        """Whether its first process lives, stopped or not."""
        return self._popen is not None and self._popen.poll() is None

    def exit_code(self) -> int | None:
        """How it ended; negative: by that signal. None while it runs."""
        return None if self._popen is None else self._popen.poll()

    def last_words(self) -> str:
        """The newest line of its log that says more than information."""
        lines = self.log.read_text(errors="replace")[-20_000:].splitlines()
        grave = [line for line in lines if "critical" in line or "Error" in line]
        return (grave or lines or [""])[-1][:300]

    def children(self) -> list[int]:
        """The pool of a worker."""
        found = subprocess.run(["pgrep", "-P", str(self.pid)], capture_output=True, text=True, check=False).stdout
        return sorted(map(int, found.split()))

    def send(self, number: signal.Signals) -> None:
        """A signal to the whole group, if there still is one."""
        if self._popen is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    def ask(self, number: signal.Signals, seconds: float) -> bool:
        """A signal to its first process alone, which ends it; False, and a kill, if it has not ended in `seconds`."""
        self.was_killed = True
        if self._popen is not None and self.is_running():
            self._popen.send_signal(number)
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                return False
        return True

    def kill(self) -> None:
        """By kill -9, children too; no one gets to clean up."""
        self.was_killed = True
        self.send(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()

    def stop(self, seconds: float = 10) -> None:
        """SIGTERM, as a platform does, and after `seconds` a kill."""
        if self._popen is not None and self.is_running():
            self.send(signal.SIGCONT)
            self._popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(seconds)
        self.kill()


def as_user(user: str | None) -> dict[str, Any]:
    """Arguments of subprocess for running as `user`, where that is not ourselves."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def from_procfile(
    kind: str, name: str, environment: Mapping[str, str], folder: Path, machine: Machine | None = None
) -> Process:
    """Process `kind` ("web", "worker", "beat") with the very command of the Procfile."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    command = next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{kind}:"))
    return Process(name, ["sh", "-c", command], environment, folder, machine=machine)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, and that stays free while its owner is dead.

    Below the ephemeral ports: a client's own end may sit on one of those, and even connect to itself.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until_answered(url: str, process: Process, seconds: float = 30) -> None:
    """Until GET `url` is answered 200. Raises RuntimeError when `process` ends or `seconds` pass."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.is_running():
        with suppress(OSError), urllib.request.urlopen(url, timeout=1):  # noqa: S310 - 127.0.0.1
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.name} does not answer; see {process.log}")


def _with_this_python(environment: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, **environment, "PATH": path}
