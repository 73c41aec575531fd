"""End to end: from when a provider is due to send until the database shows the effect, at rates that do not yield."""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import psycopg

from bench.client import quantile
from bench.figure import Figure, Measure, Place
from bench.load import steady
from bench.payments import ACCOUNT, write_requests
from bench.side import Side
from bench.stage import Stage

#: Seconds that everything has to be applied after the last one was sent, for a rate to be held.
GRACE = 1.0
#: Seconds after which a run is given up; a side that falls behind needs some to work off what it has.
PATIENCE = 60.0
#: A row is looked for again for so long (seconds) after a higher id was seen: transactions commit out of order.
OVERLAP = 0.3
#: Seconds between two looks: what is seen was committed at most this long ago.
LOOK = 0.004

_LATENCIES = (("half within", "p50", 0.5), ("99 % within", "p99", 0.99), ("99.9 % within", "p99.9", 0.999))


def figures() -> list[Figure]:
    """Latency at a rate that both hold, and the highest rate that each holds."""
    found = [
        Figure(f"end to end at a rate both hold, {said}", "ms", Place("our flow", word), Place("naive flow", word))
        for said, word, _ in _LATENCIES
    ]
    held = Place("our ladder", "held"), Place("naive ladder", "held")
    return [*found, Figure("end to end, highest rate without a growing backlog", "1/s", *held)]


def measures(stage: Stage) -> list[Measure]:
    """Latency in every round; the ladders once, they take minutes."""
    sizes = stage.sizes

    def latency(side: Side) -> Mapping[str, float]:
        found = _run(stage, side, sizes.flow_rate, sizes.flow_seconds)
        return {word: quantile(found.milliseconds, share) for _, word, share in _LATENCIES}

    def climb(side: Side, ladder: Sequence[int]) -> Mapping[str, float]:
        """Up until one is not held for some seconds, and down again until one is for a minute."""
        held = list(takewhile(lambda rate: holds(side, rate, sizes.ladder_seconds), ladder))
        while held and not holds(side, held[-1], sizes.held_seconds):
            held.pop()
        return {"held": held[-1] if held else 0}

    def holds(side: Side, rate: int, seconds: float) -> bool:
        return _run(stage, side, rate, seconds).is_held

    return [
        Measure("our flow", lambda: latency(stage.ours)),
        Measure("naive flow", lambda: latency(stage.naive)),
        Measure("our ladder", lambda: climb(stage.ours, sizes.ladder), once=True),
        Measure("naive ladder", lambda: climb(stage.naive, sizes.naive_ladder), once=True),
    ]


class Flow:
    """One run at one rate."""

    def __init__(self, milliseconds: list[float], is_held: bool) -> None:
        self.milliseconds = milliseconds
        self.is_held = is_held


def _run(stage: Stage, side: Side, rate: float, seconds: float) -> Flow:
    payments = side.payments.take(max(1, int(rate * seconds)))
    requests = write_requests(payments, ACCOUNT, stage.folder / "requests")
    side.open_door()
    due = {payment.id: number / rate for number, payment in enumerate(payments)}
    with side.beating(), side.connected() as connection:
        watch = Watch(connection, side)
        client = steady(side.port, requests, rate)
        deadline = time.monotonic() + seconds + PATIENCE
        while len(watch.seen) < len(due) and time.monotonic() < deadline:
            watch.look()
            time.sleep(LOOK)
    said = client.communicate(timeout=PATIENCE)[0]
    told: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    if told["refused"] or len(watch.seen) < len(due):
        raise RuntimeError(f"{len(due) - len(watch.seen)} of {len(due)} never arrived, {told['refused']} were refused")
    late = [(watch.seen[name] - told["began"] - at) * 1000 for name, at in due.items()]
    last = max(watch.seen.values()) - told["began"] - seconds
    return Flow(late, last <= GRACE)


class Watch:
    """When each new row of a side was first seen (unix seconds): committed, and not only written."""

    def __init__(self, connection: psycopg.Connection[Any], side: Side) -> None:
        self._connection = connection
        self._query = f"SELECT id, {side.key} FROM {side.table} WHERE id > %s".encode()
        self._low = side.newest(connection)
        self._highest: deque[tuple[float, int]] = deque([(0.0, self._low)])
        self.seen: dict[str, float] = {}

    def look(self) -> None:
        """Asks for what is new."""
        rows = self._connection.execute(self._query, (self._low,)).fetchall()
        now = time.time()
        for _, name in rows:
            self.seen.setdefault(name, now)
        self._highest.append((now, max((number for number, _ in rows), default=self._low)))
        while self._highest and self._highest[0][0] < now - OVERLAP:
            self._low = max(self._low, self._highest.popleft()[1])
