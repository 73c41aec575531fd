"""What 1,000 notifications cost each part of the system, end to end, at rates that it holds with ease.

From it follows how many cores, how much log and how much disk a larger rate asks for: docs/capacity.md.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg

from bench.figure import Figure, Measure, Place
from bench.load import PATIENCE, steady
from bench.payments import ACCOUNT, write_requests
from bench.side import Side, one
from bench.stage import Stage
from bench.usage import SERVERS, cpu_seconds, cpu_seconds_of_all

#: The parts whose CPU time is counted; the servers by the name of their processes, whoever else uses them meanwhile.
PARTS = ("receiver", "worker", "beat", "PostgreSQL", "RabbitMQ")
_SERVERS = {"PostgreSQL": SERVERS["postgres"], "RabbitMQ": SERVERS["rabbitmq"]}
#: What else is counted for 1,000: bytes of WAL, bytes by which the database grew, packs.
_KILOBYTES = ("WAL", "disk")
#: Rates (1/s) that docs/capacity.md answers for.
_ASKED = (1_000, 10_000, 100_000)
#: Of a core that is planned for work; the rest is for what comes in bursts.
_PLANNED = 0.6


def figures(rates: Sequence[int]) -> list[Figure]:
    """Each part's cost at each rate; and of everything, split over two databases and queues, beside one of each."""
    found = [
        Figure(f"1,000 notifications at {rates[1]:,}/s, two of everything beside one", "CPU s", *_split_places(rates))
    ]
    for rate in rates:
        at, said = f"our cost at {rate}/s", f"1,000 notifications at {rate:,}/s"
        found += [Figure(f"{said}, {part}", "CPU s", Place(at, part)) for part in PARTS]
        found += [Figure(f"{said}, {what}", "kB", Place(at, what)) for what in _KILOBYTES]
        found.append(Figure(f"{said}, packs", "packs", Place(at, "packs")))
    return found


def _split_places(rates: Sequence[int]) -> tuple[Place, Place]:
    return Place("our cost, split", "all"), Place(f"our cost at {rates[1]}/s", "all")


def measures(stage: Stage) -> list[Measure]:
    """In every round; the split once, it starts everything twice."""
    rates = stage.sizes.cost_rates
    whole = [
        Measure(f"our cost at {rate}/s", lambda rate=rate: _cost(stage, [stage.ours], rate))  # type: ignore[misc]
        for rate in rates
    ]
    return [*whole, Measure("our cost, split", lambda: _split(stage, rates[1]), once=True)]


def _split(stage: Stage, rate: int) -> Mapping[str, float]:
    """Half of the accounts here, half there: two receivers, queues, workers and databases, half of the rate each."""
    with stage.apart("first half") as first, stage.apart("second half") as second:
        return _cost(stage, [first, second], rate)


def _cost(stage: Stage, sides: Sequence[Side], rate: int) -> Mapping[str, float]:
    """Of `rate` notifications a second, over `sides` in equal parts."""
    share = rate // len(sides)
    count = int(share * stage.sizes.cost_seconds)
    with ExitStack() as stack:
        requests = [
            write_requests(side.payments.take(count), ACCOUNT, stage.folder / f"requests-{number}")
            for number, side in enumerate(sides)
        ]
        connections = [stack.enter_context(side.connected()) for side in sides]
        newest = [side.newest(connection) for side, connection in zip(sides, connections, strict=True)]
        before = _counted(sides, connections)
        with ExitStack() as beats:
            for side in sides:
                beats.enter_context(side.beating())
            clients = [steady(side.port, path, share) for side, path in zip(sides, requests, strict=True)]
            said = [client.communicate(timeout=PATIENCE)[0] for client in clients]
            for side, connection, seen in zip(sides, connections, newest, strict=True):
                side.wait_for(connection, seen, count)
        # What is written is read, vacuumed and checkpointed later by others: it is left out here.
        after = _counted(sides, connections)
    if not all('"refused": 0' in each for each in said):
        raise RuntimeError(f"not every delivery was answered with success: {said}")
    cost = {word: (after[word] - before[word]) / (count * len(sides)) * 1000 for word in after}
    return cost | {"all": sum(cost[part] for part in PARTS)}


def _counted(sides: Sequence[Side], connections: Sequence[psycopg.Connection[Any]]) -> dict[str, float]:
    """So far: the sides' processes and tables together, the servers once."""
    own: dict[str, list[float]] = {"receiver": [], "worker": [], "beat": []}
    for side in sides:
        processes = {"receiver": side.open_door(), "worker": side.worker, "beat": side.beat}
        for word, process in processes.items():
            own[word].append(cpu_seconds(process) if process else 0.0)
    return {
        **{word: sum(seconds) for word, seconds in own.items()},
        **{word: cpu_seconds_of_all(name) for word, name in _SERVERS.items()},
        "WAL": float(one(connections[0], "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")) / 1000,
        "disk": sum(float(one(each, "SELECT pg_database_size(current_database())")) for each in connections) / 1000,
        "packs": sum(float(one(each, "SELECT coalesce(sum(numbers), 0) FROM packs")) for each in connections),
    }


def table(lines: Sequence[Mapping[str, Any]], rates: Sequence[int]) -> str:
    """What the asked rates take, computed from the costs at the highest of `rates`; "" where one is missing."""
    said = f"1,000 notifications at {max(rates):,}/s, "
    cost = {line["name"].removeprefix(said): line["ours"] for line in lines if line["name"].startswith(said)}
    if not cost.keys() >= {*PARTS, *_KILOBYTES}:
        return ""
    head = f"| notifications/s | {' | '.join(f'cores of {part}' for part in PARTS)} | WAL, MB/s | disk, GB a day |\n"
    rows = [f"| {rate:,} | {' | '.join(_cells(cost, rate))} |\n" for rate in _ASKED]
    return head + "|---" * (len(PARTS) + 3) + "|\n" + "".join(rows)


def _cells(cost: Mapping[str, float], rate: int) -> list[str]:
    thousands = rate / 1000
    cores = [f"{cost[part] * thousands / _PLANNED:.1f}" for part in PARTS]
    return [*cores, f"{cost['WAL'] * thousands / 1000:,.1f}", f"{cost['disk'] * thousands * 86_400 / 1e6:,.0f}"]
