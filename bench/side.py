"""One side of the comparison: its worker, its door, its database and its queue. Ours and the peers are these."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kombu
import psycopg

from bench.load import PATIENCE, saturate
from bench.payments import Payment, Payments
from bench.usage import SERVERS, cpu_seconds, cpu_seconds_of_all, resident
from tests.chaos.processes import Process, wait_until_answered


@dataclass(frozen=True)
class Side:
    """`table` has a row per notification, its id in column `key`, written with its effect.

    `fill(payments, pack)` fills the queue. GET `ready` is answered when the door is open.
    """

    database: str
    broker: str
    table: str
    key: str
    queue: str
    worker: Process
    payments: Payments
    fill: Callable[[Sequence[Payment], int], None]
    door: Process | None = None
    port: int = 0
    ready: str = ""
    #: Sends the periodic tasks while this side is measured; its worker relays the outbox then. A peer has none.
    beat: Process | None = None
    #: What its processes are told.
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, warm: int) -> None:
        """Starts the worker and lets it apply `warm` payments, so that nothing is measured cold."""
        self.worker.start()
        if self.beat:
            self.beat.start()
        with self.beating(), self.connected() as connection:
            self.fill(self.payments.take(warm), 1)
            self.wait_for(connection, 0, warm)

    def open_door(self) -> Process:
        """The receiver, started when it is first needed."""
        if self.door is None:
            raise RuntimeError(f"{self.worker.name} has no door")
        if not self.door.is_running():
            self.door.start()
            wait_until_answered(f"http://127.0.0.1:{self.port}{self.ready}", self.door)
        return self.door

    def stop(self) -> None:
        """Ends every process."""
        for process in (self.door, self.beat, self.worker):
            if process is not None:
                process.stop()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat runs while the block does, and on until everything is told: nothing is left for the others' turns."""
        if self.beat is None:
            yield
            return
        self.beat.send(signal.SIGCONT)
        yield
        deadline = time.monotonic() + PATIENCE
        with self.connected() as connection:
            while one(connection, "SELECT EXISTS (SELECT FROM outbox WHERE relayed_at IS NULL)"):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self.worker.name} does not relay; see {self.worker.log}")
                time.sleep(0.05)
        self.beat.send(signal.SIGSTOP)

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection to its database, without a transaction."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            yield connection

    def drain(self, payments: Sequence[Payment], pack: int, *, old: Sequence[Payment] = ()) -> dict[str, float]:
        """From when the worker may begin until the last one is seen applied: applied (1/s), and CPU seconds for 1,000.

        {applied, cpu (the worker's), postgres, rabbitmq}.
        `old` were applied before, and stand in the queue in front of `payments`, in packs of the same size.
        """
        count = len(payments) + len(old)
        with self.beating(), self.connected() as connection, self._held_back() as begin:
            newest = self.newest(connection)
            if old:
                self.fill(old, pack)
            self.fill(payments, pack if not old else 1)
            # As autovacuum does every minute: a table filled from nothing in seconds would keep its first plans.
            connection.execute(f"ANALYZE {self.table}, orders".encode())
            used, began = self._used(), begin()
            self.wait_for(connection, newest, len(payments))
            seconds = time.monotonic() - began
            cost = {part: (now - used[part]) / count * 1000 for part, now in self._used().items()}
            return {"applied": count / seconds, **cost}

    def _used(self) -> dict[str, float]:
        """CPU seconds so far: its worker's, and those of the servers, which nobody else keeps busy meanwhile."""
        servers = {part: cpu_seconds_of_all(name) for part, name in SERVERS.items()}
        return {"cpu": cpu_seconds(self.worker), **servers}

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

    def newest(self, connection: psycopg.Connection[Any]) -> int:
        """The highest id of the table."""
        return int(one(connection, f"SELECT coalesce(max(id), 0) FROM {self.table}"))

    def wait_for(self, connection: psycopg.Connection[Any], newest: int, count: int) -> None:
        """Until `count` rows have come after id `newest`. Raises RuntimeError when that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while int(one(connection, f"SELECT count(*) FROM {self.table} WHERE id > {newest}")) < count:
            if time.monotonic() > deadline or not self.worker.is_running():
                raise RuntimeError(f"{self.worker.name} applied too little; see {self.worker.log}")
            time.sleep(0.05)

    def load(self, requests: Path, connections: int, seconds: float) -> dict[str, float]:
        """Deliveries answered with success while nobody applies them; what 1,000 cost the door, and its memory."""
        door = self.open_door()
        self.worker.send(signal.SIGSTOP)
        try:
            used = cpu_seconds(door)
            found = saturate(self.port, requests, connections, seconds, again=True)
            cost = (cpu_seconds(door) - used) / found["count"] * 1000
            return {**found, "cpu": cost, "rss": resident(door)}
        finally:
            self.forget_queue()
            self.worker.send(signal.SIGCONT)
            self.wait_until_idle()

    def load_and_apply(self, requests: Path, connections: int, seconds: float) -> dict[str, float]:
        """The same with the worker at work: answered, and applied in the same seconds, per second."""
        self.open_door()
        with self.beating(), self.connected() as connection:
            began = one(connection, "SELECT clock_timestamp()")
            answers = saturate(self.port, requests, connections, seconds, again=False)
            ended = one(connection, "SELECT clock_timestamp()")
            between = f"SELECT count(*) FROM {self.table} WHERE processed_at BETWEEN %s AND %s"
            applied = int(one(connection, between, began, ended)) / (ended - began).total_seconds()
        self.forget_queue()
        self.wait_until_idle()
        return {**answers, "applied": applied}

    def forget_queue(self) -> None:
        """What nobody has taken is gone."""
        with kombu.Connection(self.broker) as connection:
            connection.default_channel.queue_purge(self.queue)

    def wait_until_idle(self) -> None:
        """What the worker had in hand is applied too; its table stands still afterwards."""
        with self.connected() as connection:
            before, now = -1, self.newest(connection)
            while now != before:
                time.sleep(0.4)
                before, now = now, self.newest(connection)


def one(connection: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    """The first value of the first row."""
    row = connection.execute(query.encode(), parameters).fetchone()
    return row[0] if row else None
