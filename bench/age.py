"""What years bring: a table of ten million rows, and a million expired ones that go while traffic runs."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import psycopg

from bench.figure import Figure, Measure, Place
from bench.load import PATIENCE
from bench.side import Side, one
from bench.sizes import PACKS, Sizes
from bench.stage import Stage

_PACK, _AT = PACKS[2], 2
#: Drains at each size, of which the median counts.
_TIMES = 3
_COLUMNS = (
    "provider, account, notification_id, digest, kind, provider_kind, order_no, transaction_id, amount, currency,"
    " cumulative, foreign_fields, occurred_at, key_id, verified_at, received_at, expires_at, status, reason,"
    " processed_at"
)
#: Indexes that a big load is better off without; they are made anew behind it.
_BIG = 2_000_000


def figures(sizes: Sizes) -> list[Figure]:
    """Ours beside itself on a young table, and a purge in windows beside one DELETE."""
    young, *older = sizes.grown
    found = [
        Figure(
            f"growth, worker on {rows:,} rows beside {young:,}",
            "1/s",
            Place("growth", str(rows)),
            Place("growth", str(young)),
        )
        for rows in older
    ]
    longest = Place("purge", "longest")
    purge = f"purge of {sizes.expired:,} rows"
    return [
        *found,
        Figure(f"{purge}, worker meanwhile beside alone", "1/s", Place("purge", "beside"), Place("purge", "alone")),
        Figure(f"{purge}, longest statement beside one DELETE", "ms", longest, Place("purge", "delete")),
        Figure(f"{purge}, rows gone", "1/s", Place("purge", "gone")),
    ]


def measures(stage: Stage) -> list[Measure]:
    """Both once: they take minutes."""
    return [
        Measure("purge", lambda: _purge(stage), once=True),
        Measure("growth", lambda: _growth(stage), once=True),
    ]


def _growth(stage: Stage) -> Mapping[str, float]:
    found = {}
    with stage.apart("grown") as side, side.connected() as connection:
        there = 0
        for rows in stage.sizes.grown:
            _age(connection, there + 1, rows, days=1)
            there = rows
            side.drain(side.payments.take(stage.sizes.drained[_AT] // 4), _PACK)
            found[str(rows)] = _drained(stage, side)
    return found


def _purge(stage: Stage) -> Mapping[str, float]:
    with stage.apart("purged") as side, side.connected() as connection:
        _age(connection, 1, stage.sizes.expired, days=60)
        alone = _drained(stage, side)
        purger = subprocess.Popen(
            [sys.executable, "-m", "bench.purger"],
            env={**os.environ, **side.environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        beside = []
        while purger.poll() is None:
            beside.append(side.drain(side.payments.take(stage.sizes.drained[_AT]), _PACK)["applied"])
        told = json.loads(purger.communicate(timeout=PATIENCE)[0].strip().splitlines()[-1])
        _age(connection, 1, stage.sizes.expired, days=60)
        return {
            "alone": alone,
            "beside": statistics.median(beside[:-1] or beside),
            "longest": told["longest"],
            "gone": told["gone"] / told["seconds"],
            "delete": _one_delete(connection),
        }


def _drained(stage: Stage, side: Side) -> float:
    count = stage.sizes.drained[_AT]
    return statistics.median(side.drain(side.payments.take(count), _PACK)["applied"] for _ in range(_TIMES))


def _one_delete(connection: psycopg.Connection[Any]) -> float:
    """What is usual: DELETE .. WHERE received_at < .., all at once. Milliseconds."""
    began = time.monotonic()
    connection.execute("DELETE FROM notifications WHERE received_at < now() - interval '45 days'")
    return (time.monotonic() - began) * 1000


def _age(connection: psycopg.Connection[Any], first: int, last: int, *, days: int) -> None:
    """Settled rows <first>..<last> that were received `days` ago."""
    kept = _without_indexes(connection) if last - first > _BIG else []
    connection.execute(
        f"INSERT INTO notifications ({_COLUMNS}) SELECT 'stripe', 'shop-old', 'evt_' || lpad(g::text, 24, '0'),"
        " repeat('d', 64), 'payment', 'payment_intent.succeeded', 'P' || g, 'pi_' || g, 1000, 'EUR', false, '',"
        f" past, 'key', past, past, past + interval '1 day', 'applied', 'payment', past"
        f" FROM generate_series({first}, {last}) AS g, (SELECT now() - interval '{days} days' AS past) AS t".encode()
    )
    for definition in kept:
        connection.execute(definition.encode())
    connection.execute("VACUUM (ANALYZE) notifications")
    connection.execute("CHECKPOINT")


def _without_indexes(connection: psycopg.Connection[Any]) -> list[str]:
    """Drops the plain indexes of `notifications`; what makes them again. Constraints stay."""
    plain = (
        "SELECT coalesce(json_object_agg(i.indexname, i.indexdef), '{}') FROM pg_indexes AS i"
        " WHERE i.tablename = 'notifications' AND i.indexname LIKE 'ix%%'"
    )
    found: dict[str, str] = one(connection, plain)
    for name in found:
        connection.execute(f"DROP INDEX {name}".encode())
    return list(found.values())
