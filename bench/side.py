"""One side of the comparison: its worker, its door, its database and its queue. Ours and the peer are two of these."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kombu
import psycopg

from bench.payments import Payment
from tests.chaos.processes import Process, wait_until_answered

#: Nothing that is measured takes longer; then something is broken.
PATIENCE = 60.0


@dataclass(frozen=True)
class Side:
    """`send(payments, pack)` fills the queue; `table` has a row per applied notification, written with its effect.

    GET `ready` is answered when the door is open.
    """

    database: str
    broker: str
    table: str
    queue: str
    worker: Process
    door: Process
    port: int
    ready: str
    send: Callable[[Sequence[Payment], int], None]

    def start(self, payments: Sequence[Payment], *, door: bool) -> None:
        """Starts the processes and lets the worker apply `payments`, so that nothing is measured cold."""
        self.worker.start()
        if door:
            self.door.start()
            wait_until_answered(f"http://127.0.0.1:{self.port}{self.ready}", self.door)
        self.send(payments, 1)
        with psycopg.connect(self.database, autocommit=True) as connection:
            self._wait_for(connection, 0, len(payments))

    def stop(self) -> None:
        """Ends both processes."""
        self.door.stop()
        self.worker.stop()

    def drain(self, payments: Sequence[Payment], pack: int) -> float:
        """Notifications applied per second, from the moment the worker may begin until the last one is seen applied."""
        with psycopg.connect(self.database, autocommit=True) as connection, self._held_back() as begin:
            newest = self._newest(connection)
            self.send(payments, pack)
            # As autovacuum does every minute: a table filled from nothing in seconds would keep its first plans.
            connection.execute("ANALYZE")
            began = begin()
            self._wait_for(connection, newest, len(payments))
            return len(payments) / (time.monotonic() - began)

    @contextmanager
    def _held_back(self) -> Iterator[Callable[[], float]]:
        """The worker stands still, warm and connected, until the yielded function is called; it says when."""
        self.worker.send(signal.SIGSTOP)

        def begin() -> float:
            now = time.monotonic()
            self.worker.send(signal.SIGCONT)
            return now

        try:
            yield begin
        finally:
            self.worker.send(signal.SIGCONT)

    def _newest(self, connection: psycopg.Connection[Any]) -> int:
        return int(_one(connection, f"SELECT coalesce(max(id), 0) FROM {self.table}"))

    def _wait_for(self, connection: psycopg.Connection[Any], newest: int, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while int(_one(connection, f"SELECT count(*) FROM {self.table} WHERE id > {newest}")) < count:
            if time.monotonic() > deadline or not self.worker.is_running():
                raise RuntimeError(f"{self.worker.name} applied too little; see {self.worker.log}")
            time.sleep(0.05)

    def load(self, requests: Path, connections: int, seconds: float) -> dict[str, float]:
        """Deliveries answered with success while nobody applies them: per second, and the median in milliseconds."""
        self.worker.send(signal.SIGSTOP)
        try:
            return _load(self.port, requests, connections, seconds)
        finally:
            self._forget_queue()
            self.worker.send(signal.SIGCONT)
            self._wait_until_idle()

    def load_and_apply(self, requests: Path, connections: int, seconds: float) -> dict[str, float]:
        """The same with the worker at work: answered, and applied in the same seconds, per second."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            began = _one(connection, "SELECT clock_timestamp()")
            answers = _load(self.port, requests, connections, seconds)
            ended = _one(connection, "SELECT clock_timestamp()")
            between = f"SELECT count(*) FROM {self.table} WHERE processed_at BETWEEN %s AND %s"
            applied = int(_one(connection, between, began, ended)) / (ended - began).total_seconds()
        self._forget_queue()
        self._wait_until_idle()
        return {**answers, "applied": applied}

    def _forget_queue(self) -> None:
        with kombu.Connection(self.broker) as connection:
            connection.default_channel.queue_purge(self.queue)

    def _wait_until_idle(self) -> None:
        """What the worker had in hand is applied too; its table stands still afterwards."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            before, now = -1, self._newest(connection)
            while now != before:
                time.sleep(0.4)
                before, now = now, self._newest(connection)


def _one(connection: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    row = connection.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None


def _load(port: int, requests: Path, connections: int, seconds: float) -> dict[str, float]:
    """By wrk, or bench.client without it. Raises RuntimeError when a request was not answered with success."""
    if shutil.which("wrk"):
        script, url = Path(__file__).with_name("post.lua"), f"http://127.0.0.1:{port}"
        words = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "--latency"]
        command = [*words, "-s", str(script), url, "--", str(requests)]
    else:
        command = [sys.executable, "-m", "bench.client", "127.0.0.1", str(port), str(requests)]
        command += [str(connections), str(seconds)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout
    found: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    if found["refused"] or found["broken"] or not found["answered"]:
        raise RuntimeError(f"not every delivery was answered with success: {found}")
    return {"answered": found["answered"] / found["seconds"], "p50": found["p50_ms"]}
