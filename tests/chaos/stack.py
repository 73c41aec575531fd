"""The whole stack as processes on real servers: what may be killed, and what must stand again afterwards."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT

from .processes import Process, free_port, from_procfile, wait_until_answered

#: Seconds that a supervisor takes at most.
RESTART_AFTER = 0.3


class Stack:
    """Receivers, workers (two children each) and beats."""

    def __init__(
        self, environment: Mapping[str, str], folder: Path, *, receivers: int, workers: int, beats: int
    ) -> None:
        both = {**environment, "PAIDONCE_WORKERS": "2"}
        #: Names of processes that ended though nobody had killed them.
        self.died_alone: list[str] = []
        self._ports = [free_port() for _ in range(receivers)]
        self.receivers = [
            from_procfile("web", f"receiver-{number}", {**both, "PORT": str(port)}, folder)
            for number, port in enumerate(self._ports)
        ]
        self.workers = [from_procfile("worker", f"worker-{number}", both, folder) for number in range(workers)]
        self.beats = [from_procfile("beat", f"beat-{number}", both, folder) for number in range(beats)]

    @property
    def processes(self) -> Sequence[Process]:
        """All of them."""
        return [*self.receivers, *self.workers, *self.beats]

    def doors(self) -> list[str]:
        """Where the receivers listen."""
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    def pids(self) -> set[int]:
        """Of every process and its children."""
        running = [process for process in self.processes if process.is_running()]
        return set(itertools.chain.from_iterable((process.pid, *process.children()) for process in running))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Everything runs while the block does; nothing of it is left behind."""
        try:
            for process in self.processes:
                process.start()
            self.wait_for_doors()
            self.wait_for_pools()
            yield
        finally:
            for process in self.processes:
                process.kill()

    def wait_for_doors(self) -> None:
        """Until every receiver reaches its broker. Raises RuntimeError."""
        for process, door in zip(self.receivers, self.doors(), strict=True):
            wait_until_answered(f"{door}/readyz", process)

    def wait_for_pools(self) -> None:
        """Until every worker has its children. Raises RuntimeError."""
        deadline = time.monotonic() + 30
        while not all(process.children() for process in self.workers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"a worker does not start; see {self.workers[0].log.parent}")
            time.sleep(0.1)

    def revive(self) -> None:
        """Starts what is dead, whoever killed it."""
        for process in self.processes:
            if not process.is_running():
                if not process.was_killed:
                    self.died_alone.append(process.name)
                process.start()

    async def supervise(self) -> None:
        """Restarts what died, as every platform does; until cancelled."""
        while True:
            await asyncio.sleep(RESTART_AFTER)
            self.revive()

    def heal(self) -> None:
        """Lets go on what was stopped, starts what is dead, and waits until the doors are open."""
        for process in self.processes:
            process.send(SIGCONT)
        self.revive()
        self.wait_for_doors()
