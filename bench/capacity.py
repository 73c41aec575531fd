"""What 1,000 notifications cost each part of the system, end to end, at rates that it holds with ease.

From it follows how many cores, how much log and how much disk a larger rate asks for: docs/capacity.md.
"""

from collections.abc import Mapping, Sequence
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
    """Each part's cost at each rate."""
    found = []
    for rate in rates:
        at, said = f"our cost at {rate}/s", f"1,000 notifications at {rate:,}/s"
        found += [Figure(f"{said}, {part}", "CPU s", Place(at, part)) for part in PARTS]
        found += [Figure(f"{said}, {what}", "kB", Place(at, what)) for what in _KILOBYTES]
        found.append(Figure(f"{said}, packs", "packs", Place(at, "packs")))
    return found


def measures(stage: Stage) -> list[Measure]:
    """In every round."""
    return [
        Measure(f"our cost at {rate}/s", lambda rate=rate: _cost(stage, stage.ours, rate))  # type: ignore[misc]
        for rate in stage.sizes.cost_rates
    ]


def _cost(stage: Stage, side: Side, rate: int) -> Mapping[str, float]:
    payments = side.payments.take(int(rate * stage.sizes.cost_seconds))
    requests = write_requests(payments, ACCOUNT, stage.folder / "requests")
    side.open_door()
    with side.connected() as connection:
        newest, before = side.newest(connection), _counted(side, connection)
        with side.beating():
            said = steady(side.port, requests, rate).communicate(timeout=PATIENCE)[0]
            side.wait_for(connection, newest, len(payments))
        # What is written is read, vacuumed and checkpointed later by others: it is left out here.
        after = _counted(side, connection)
    if '"refused": 0' not in said:
        raise RuntimeError(f"not every delivery was answered with success: {said}")
    return {word: (after[word] - before[word]) / len(payments) * 1000 for word in after}


def _counted(side: Side, connection: psycopg.Connection[Any]) -> dict[str, float]:
    own = {"receiver": side.open_door(), "worker": side.worker, "beat": side.beat}
    return {
        **{word: cpu_seconds(process) for word, process in own.items() if process},
        **{word: cpu_seconds_of_all(name) for word, name in _SERVERS.items()},
        "WAL": float(one(connection, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")) / 1000,
        "disk": float(one(connection, "SELECT pg_database_size(current_database())")) / 1000,
        "packs": float(one(connection, "SELECT coalesce(sum(numbers), 0) FROM packs")),
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
