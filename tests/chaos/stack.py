"""The whole stack as processes: what may be killed, and what must stand again afterwards."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT

from .machine import Machines
from .processes import Process, free_port, from_procfile, wait_until_answered

#: Seconds that a supervisor takes at most.
RESTART_AFTER = 0.3


class Stack:
    """Receivers with their ports, workers (two children each) and beats. `ready`: the path that says a door is open."""

    def __init__(
        self,
        receivers: Mapping[int, Process],
        workers: Sequence[Process],
        beats: Sequence[Process] = (),
        ready: str = "/readyz",
    ) -> None:
        self._doors = dict(receivers)
        self._ready = ready
        self.receivers, self.workers, self.beats = [*receivers.values()], [*workers], [*beats]
        #: Processes that ended though nobody had killed them, with their last words; those that did not end when asked.
        self.died_alone: list[str] = []
        self.did_not_end: list[str] = []

    @property
    def processes(self) -> Sequence[Process]:
        """All of them."""
        return [*self.receivers, *self.workers, *self.beats]

    def of(self, kind: str) -> Sequence[Process]:
        """Those of kind "receiver", "worker" or "beat"."""
        return {"receiver": self.receivers, "worker": self.workers, "beat": self.beats}[kind]

    def doors(self) -> list[str]:
        """Where the receivers listen."""
        return [f"http://127.0.0.1:{port}" for port in self._doors]

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
        for port, process in self._doors.items():
            wait_until_answered(f"http://127.0.0.1:{port}{self._ready}", process)

    def wait_for_pools(self) -> None:
        """Until every worker has its children. Raises RuntimeError."""
        deadline = time.monotonic() + 60
        while not all(process.children() for process in self.workers):
            if time.monotonic() > deadline:
                raise RuntimeError(f"a worker does not start; see {self.workers[0].log.parent}")
            time.sleep(0.1)

    def revive(self) -> None:
        """Starts what is dead, whoever killed it."""
        for process in self.processes:
            if not process.is_running():
                if not process.was_killed:
                    self.died_alone.append(f"{process.name}: {process.last_words()}")
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


def our_stack(
    environment: Mapping[str, str],
    folder: Path,
    *,
    receivers: int,
    workers: int,
    beats: int,
    children: int = 2,
    machines: Machines | None = None,
) -> Stack:
    """The product, by the Procfile's own commands; each process on a machine of its own where there are `machines`."""
    both = {**environment, "PAIDONCE_WORKERS": str(children)}
    ports = [free_port() for _ in range(receivers)]

    def process(kind: str, name: str, settings: Mapping[str, str]) -> Process:
        return from_procfile(kind, name, settings, folder, machines.new(name) if machines else None)

    return Stack(
        {port: process("web", f"receiver-{number}", {**both, "PORT": str(port)}) for number, port in enumerate(ports)},
        [process("worker", f"worker-{number}", both) for number in range(workers)],
        [process("beat", f"beat-{number}", both) for number in range(beats)],
    )
