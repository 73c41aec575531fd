"""What is measured, and in which order: each round measures everything once, ours and the peer by turns."""

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench import floor
from bench.payments import Payments, write_requests
from bench.side import Side

PACKS = (1, 10, 50, 200)
CONNECTIONS = (1, 32, 128)
PAIR_CONNECTIONS = 64
#: Measurements of the database without any process of either side.
SQL_ALONE = ("pgbench", "set-based")


@dataclass(frozen=True)
class Sizes:
    """How much is measured: enough for about `seconds` of work each on a small machine."""

    orders: int
    rounds: int
    #: Notifications for a drain in packs of PACKS.
    drained: tuple[int, ...]
    #: Notifications for a drain of the peer.
    peer_drained: int
    #: Of a load, a pgbench run.
    seconds: float
    #: Of a load that is applied at the same time.
    pair_seconds: float
    #: Requests at hand for a load on 1 connection, and on more.
    requests: tuple[int, int]


FULL = Sizes(100_000, 3, (500, 3_000, 8_000, 12_000), 600, 3.0, 6.0, (6_000, 48_000))
QUICK = Sizes(2_000, 1, (30, 100, 200, 400), 40, 1.0, 1.0, (1_500, 6_000))

#: One measurement: its figures by name.
Measure = Callable[[], Mapping[str, float]]
#: Where a figure comes from: (measurement, figure in it).
Place = tuple[str, str]


class Figure(NamedTuple):
    """One line of the report."""

    name: str
    unit: str
    ours: Place
    peer: Place


def figures() -> list[Figure]:
    """Every figure there is."""
    found = [
        Figure(
            f"worker, packs of {pack}", "1/s", (f"our worker, packs of {pack}", "applied"), ("peer worker", "applied")
        )
        for pack in PACKS
    ]
    best = (f"our worker, packs of {PACKS[-1]}", "applied")
    pgbench = f"worker, packs of {PACKS[-1]}, beside pgbench, a transaction each, {floor.PGBENCH_CLIENTS} clients"
    sets = f"worker, packs of {PACKS[-1]}, beside set-based SQL, {floor.SET_SIZE} per transaction, 1 connection"
    found += [Figure(pgbench, "1/s", best, ("pgbench", "applied")), Figure(sets, "1/s", best, ("set-based", "applied"))]
    for count in CONNECTIONS:
        ours, peer, name = f"our receiver, {count}", f"peer receiver, {count}", f"receiver, {count} connections"
        found.append(Figure(f"{name}, answered", "1/s", (ours, "answered"), (peer, "answered")))
        found.append(Figure(f"{name}, half within", "ms", (ours, "p50"), (peer, "p50")))
    for word in ("answered", "applied"):
        name = f"receiver and worker together, {PAIR_CONNECTIONS} connections, {word}"
        found.append(Figure(name, "1/s", ("our pair", word), ("peer pair", word)))
    return found


def measures(
    ours: Side, peer: Side, bare: str, *, payments: Payments, sizes: Sizes, folder: Path
) -> dict[str, Measure]:
    """Every measurement, in the order of a round. `bare` is a database with our tables and no process at work."""
    found: dict[str, Measure] = {}

    def drain(side: Side, count: int, pack: int) -> Measure:
        return lambda: {"applied": side.drain(payments.take(count), pack)}

    def load(side: Side, connections: int) -> Measure:
        count = sizes.requests[connections > 1]
        return lambda: side.load(_requests(payments, count, folder), connections, sizes.seconds)

    def pair(side: Side) -> Measure:
        count = sizes.requests[1]
        return lambda: side.load_and_apply(_requests(payments, count, folder), PAIR_CONNECTIONS, sizes.pair_seconds)

    for place, (pack, count) in enumerate(zip(PACKS, sizes.drained, strict=True)):
        found[f"our worker, packs of {pack}"] = drain(ours, count, pack)
        if place == 0:
            found["peer worker"] = drain(peer, sizes.peer_drained, 1)
        if place == 2:
            found["pgbench"] = lambda: {"applied": floor.per_row(bare, sizes.orders, sizes.seconds, folder)}
    found["set-based"] = lambda: {"applied": floor.set_based(bare, sizes.orders, sizes.seconds)}
    for connections in CONNECTIONS:
        found[f"our receiver, {connections}"] = load(ours, connections)
        found[f"peer receiver, {connections}"] = load(peer, connections)
    found["our pair"], found["peer pair"] = pair(ours), pair(peer)
    return found


def _requests(payments: Payments, count: int, folder: Path) -> Path:
    path = folder / "requests"
    write_requests(payments.take(count), path)
    return path


def run_rounds(found: Mapping[str, Measure], wanted: Sequence[Figure], rounds: int) -> dict[Place, float]:
    """The median of every round, of what the wanted figures need."""
    needed = {place[0] for figure in wanted for place in (figure.ours, figure.peer)}
    values: defaultdict[Place, list[float]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for name, measure in found.items():
            if name in needed:
                for word, value in measure().items():
                    values[name, word].append(value)
                said = ", ".join(f"{word} {values[name, word][-1]:,.1f}" for at, word in values if at == name)
                print(f"round {number}/{rounds}: {name}: {said}", file=sys.stderr, flush=True)
    return {place: statistics.median(each) for place, each in values.items()}


def line(figure: Figure, medians: Mapping[Place, float]) -> dict[str, Any]:
    """The figure as it is printed."""
    ours, peer = medians[figure.ours], medians[figure.peer]
    return {
        "name": figure.name,
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "ratio": round(ours / peer, 3),
        "unit": figure.unit,
    }
