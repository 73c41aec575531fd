"""A TCP proxy between our processes and the broker: it stands still, swallows one direction, or resets everybody."""

import subprocess
import sys
from pathlib import Path
from threading import Lock

from .processes import free_port

_FORWARD = Path(__file__).with_name("forward.py")


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target` from start() to close().

    In a process of its own: as a thread it waited for the interpreter whenever the load or the verdict was at work, and
    every answer of the broker with it.
    """

    def __init__(self, target: int) -> None:
        self.target, self.port = target, free_port()
        self._process: subprocess.Popen[str] | None = None
        self._one = Lock()

    def start(self) -> None:
        """Opens its port."""
        command = [sys.executable, str(_FORWARD), str(self.port), str(self.target)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._wait()

    def close(self) -> None:
        """Drops everybody."""
        if self._process is not None:
            self._process.communicate(timeout=10)

    def hold(self, *directions: str) -> None:
        """Nothing passes in "up" (to the broker) or "down"; what comes waits, and the connections stay."""
        self._order("hold", *directions)

    def swallow(self, direction: str) -> None:
        """What comes in `direction` is lost, as in a broken network; only reset() may follow."""
        self._order("swallow", direction)

    def flow(self) -> None:
        """Everything passes again."""
        self._order("flow")

    def reset(self) -> None:
        """RST to both sides of every connection."""
        self._order("reset")

    def _order(self, *words: str) -> None:
        with self._one:
            if self._process is None or self._process.stdin is None:
                raise RuntimeError("the proxy was not started")
            self._process.stdin.write(" ".join(words) + "\n")
            self._process.stdin.flush()
            self._wait()

    def _wait(self) -> None:
        if self._process is None or self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError("the proxy has ended")
