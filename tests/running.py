"""The processes of the Procfile, started as a user would, on servers that the test gives."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from honcho.environ import parse_procfile

ROOT = Path(__file__).parents[1]
SECRET = "whsec_uncommon_walrus_of_the_sea"
ACCOUNTS = """
[accounts.shop-crunchy]
provider = "stripe"
secrets = ["env:WALRUS"]
live = false
"""


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to clients: it must be free later, too."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(true: Callable[[], bool], what: str | Callable[[], str], seconds: float = 60.0) -> None:
    """Waits for something to become true; `what` is asked at the end. A bound, not a measurement."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(what() if callable(what) else what)
        time.sleep(0.1)


class Stack:
    """Processes by the Procfile's names, each in its own process group."""

    def __init__(self, folder: Path, database_url: str, broker_url: str, **environ: str) -> None:
        """Writes accounts.toml; starts nothing yet."""
        self.folder = folder
        self.port = free_port()
        (folder / "accounts.toml").write_text(ACCOUNTS)
        self.environ = os.environ | {
            "PAIDONCE_DATABASE_URL": database_url,
            "PAIDONCE_BROKER_URL": broker_url,
            "PAIDONCE_ACCOUNTS": str(folder / "accounts.toml"),
            "PAIDONCE_LOG_LEVEL": "INFO",
            "WALRUS": SECRET,
            "PORT": str(self.port),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **environ,
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where the receiver listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, *names: str) -> None:
        """Starts the Procfile's lines of these names."""
        lines = parse_procfile((ROOT / "Procfile").read_text()).processes
        for name in names:
            with (self.folder / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(
                    lines[name], shell=True, cwd=ROOT, env=self.environ, stdout=log, stderr=log, start_new_session=True
                )

    def wait_ready(self) -> None:
        """Until the receiver has a broker."""
        until(self._is_ready, lambda: f"receiver is not ready: {self.tail('web')}")

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def tail(self, name: str) -> str:
        """The last lines of a process."""
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    def kill(self, name: str) -> None:
        """SIGKILL to a process and its children."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """SIGTERM to everything, SIGKILL to what stays."""
        for process in self.running.values():
            process.terminate()
        for name in list(self.running):
            try:
                self.running[name].wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill(name)
        self.running.clear()


@contextmanager
def stack(folder: Path, database_url: str, broker_url: str, **environ: str) -> Iterator[Stack]:
    """A stack that is stopped in the end."""
    own = Stack(folder, database_url, broker_url, **environ)
    try:
        yield own
    finally:
        own.stop()
