"""What the tables' own settings are worth: ours beside PostgreSQL's defaults, on the same work."""

import statistics
from collections.abc import Mapping
from typing import Any

import psycopg

from bench.figure import Figure, Measure, Place
from bench.side import Side, one
from bench.sizes import PACKS
from bench.stage import Stage

_PACK, _AT = PACKS[2], 2
#: Drains of which the median counts.
_TIMES = 3
#: What models/ sets is taken back, and what was written under it is written anew.
_DEFAULTS = (
    "ALTER TABLE notifications RESET (fillfactor, autovacuum_vacuum_scale_factor)",
    "ALTER TABLE orders RESET (fillfactor)",
    "DROP INDEX ix__notifications__open, ix__outbox__waiting, ix__cases__open",
    "CREATE INDEX ON notifications (next_attempt_at)",
    "CREATE INDEX ON outbox (relayed_at, id)",
    "CREATE INDEX ON cases (status, opened_at)",
    "VACUUM (FULL, ANALYZE) orders",
)
_WORDS = (
    ("first deliveries", "1/s", "applied"),
    ("the same again", "1/s", "duplicates"),
    ("updates in place", "of 1", "hot"),
    ("disk for 1,000", "kB", "disk"),
)


def figures() -> list[Figure]:
    """Ours beside the defaults."""
    return [
        Figure(
            f"tables as ours are beside default ones, {said}",
            unit,
            Place("our tables", word),
            Place("plain tables", word),
        )
        for said, unit, word in _WORDS
    ]


def measures(stage: Stage) -> list[Measure]:
    """Both once, with drains repeated inside."""
    return [
        Measure("our tables", lambda: _run(stage, ()), once=True),
        Measure("plain tables", lambda: _run(stage, _DEFAULTS), once=True),
    ]


def _run(stage: Stage, changes: tuple[str, ...]) -> Mapping[str, float]:
    count = stage.sizes.drained[_AT]
    with stage.apart("plain" if changes else "set") as side, side.connected() as connection:
        for change in changes:
            connection.execute(change.encode())
        before = _bytes(connection)
        firsts, agains = [], []
        for _ in range(_TIMES):
            payments = side.payments.take(count)
            firsts.append(side.drain(payments, _PACK)["applied"])
            agains.append(side.drain(side.payments.take(2), _PACK, old=payments)["applied"])
        return {
            "applied": statistics.median(firsts),
            "duplicates": statistics.median(agains),
            "hot": _in_place(side, connection),
            "disk": (_bytes(connection) - before) / _TIMES / count,
        }


def _bytes(connection: psycopg.Connection[Any]) -> int:
    return int(one(connection, "SELECT pg_database_size(current_database())"))


def _in_place(side: Side, connection: psycopg.Connection[Any]) -> float:
    """The share of updates that wrote no index (HOT), over notifications and orders."""
    side.wait_until_idle()
    connection.execute("SELECT pg_stat_force_next_flush()")
    which = "relname IN ('notifications', 'orders')"
    return float(one(connection, f"SELECT sum(n_tup_hot_upd) / sum(n_tup_upd) FROM pg_stat_user_tables WHERE {which}"))
