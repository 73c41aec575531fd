"""What the database itself sets, with the same tables: one transaction per notification, and one per 200.

Neither verifies a signature, reads a queue or decides anything: a floor to rise above, and a ceiling to come near.
"""

import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import psycopg

from bench.payments import ACCOUNT, AMOUNT, CURRENCY
from bench.usage import SERVERS, cpu_seconds_of_all

PGBENCH_CLIENTS = 16
SET_SIZE = 200

_KEY = f"x.provider = 'stripe' AND x.account = '{ACCOUNT}' AND x.notification_id = n"
_ORDER = f"x.account = '{ACCOUNT}' AND x.order_no = o"
#: GIVEN stands for the notifications of one transaction: id n, order o, transaction t.
STATEMENTS = (
    "INSERT INTO notifications (provider, account, notification_id, digest, kind, provider_kind, order_no,"
    " transaction_id, amount, currency, cumulative, foreign_fields, occurred_at, key_id, verified_at, received_at,"
    f" expires_at) SELECT 'stripe', '{ACCOUNT}', n, repeat('d', 64), 'payment', 'payment_intent.succeeded', o, t,"
    f" {AMOUNT}, '{CURRENCY}', false, '', now(), 'key', now(), now(), now() + interval '1 day' FROM GIVEN"
    " ON CONFLICT DO NOTHING",
    f"SELECT x.* FROM notifications AS x JOIN GIVEN ON {_KEY}"
    " ORDER BY x.provider, x.account, x.notification_id FOR UPDATE OF x",
    f"INSERT INTO payloads SELECT now(), 'stripe', '{ACCOUNT}', n, repeat('d', 64), '{{}}', repeat('b', 600)::bytea"
    " FROM GIVEN",
    f"SELECT x.* FROM orders AS x JOIN GIVEN ON {_ORDER} ORDER BY x.account, x.order_no FOR UPDATE OF x",
    "INSERT INTO ledger_entries (provider, account, transaction_id, kind, order_id, notification_row, amount, currency)"
    f" SELECT 'stripe', '{ACCOUNT}', t, 'payment', x.id, 0, {AMOUNT}, '{CURRENCY}'"
    f" FROM GIVEN JOIN orders AS x ON {_ORDER} ON CONFLICT DO NOTHING",
    "INSERT INTO transitions (order_id, seq, from_status, to_status, kind, notification_row)"
    f" SELECT x.id, x.version + 1, 'pending', 'paid', 'payment', 0 FROM GIVEN JOIN orders AS x ON {_ORDER}",
    f"INSERT INTO outbox (name, account, order_no, body) SELECT 'order.paid', '{ACCOUNT}', o,"
    f" json_build_object('order_no', o, 'paid', {AMOUNT}) FROM GIVEN",
    f"UPDATE orders AS x SET status = 'paid', paid = paid + {AMOUNT}, version = version + 1, updated_at = now()"
    f" FROM GIVEN WHERE {_ORDER}",
    "UPDATE notifications AS x SET status = 'applied', reason = 'payment', processed_at = now()"
    f" FROM GIVEN WHERE {_KEY}",
)
_ONE = "(VALUES ('evt_' || (:n)::bigint::text, 'O' || (:o)::bigint::text, 'pi_' || (:n)::bigint::text)) AS g (n, o, t)"
_MANY = "unnest(%(n)s::text[], %(o)s::text[], %(t)s::text[]) AS g (n, o, t)"


def pgbench_is_missing() -> str | None:
    """Why the floor cannot be measured here, or None."""
    return None if shutil.which("pgbench") else "pgbench is not on this machine"


def per_row(database: str, orders: int, seconds: float, folder: Path) -> dict[str, float]:
    """pgbench, prepared statements, one transaction per notification on 16 connections.

    {applied (1/s), postgres (CPU seconds for 1,000)}.
    """
    lines = [f"\\set o random(1, {orders})", "\\set n random(1, 1000000000000000)", "BEGIN;"]
    lines += [statement.replace("GIVEN", _ONE) + ";" for statement in STATEMENTS]
    script = folder / "per_row.sql"
    script.write_text("\n".join([*lines, "COMMIT;"]) + "\n")
    # Warm as the sides are: plans made for empty tables cost more than twice as much.
    _pgbench(database, script, 1)
    _analyze(database)
    used = cpu_seconds_of_all(SERVERS["postgres"])
    rate = _pgbench(database, script, max(1, round(seconds)))
    used = cpu_seconds_of_all(SERVERS["postgres"]) - used
    return {"applied": rate, "postgres": used / (rate * max(1, round(seconds))) * 1000}


def _pgbench(database: str, script: Path, seconds: int) -> float:
    """Transactions a second."""
    size = ["-c", str(PGBENCH_CLIENTS), "-j", "2", "-T", str(seconds)]
    command = ["pgbench", "-n", "-M", "prepared", *size, "-f", str(script), database]
    end = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    found = re.search(r"^tps = ([0-9.]+)", end.stdout, re.MULTILINE)
    if end.returncode != 0 or found is None:
        raise RuntimeError(f"pgbench: {end.stderr.strip().splitlines()[-1:]}")
    return float(found[1])


def set_based(database: str, orders: int, seconds: float) -> dict[str, float]:
    """The same statements on arrays, one connection, 200 notifications per transaction; figures as above."""
    statements = [statement.replace("GIVEN", _MANY).encode() for statement in STATEMENTS]
    _analyze(database)
    done, began, used = 0, time.monotonic(), cpu_seconds_of_all(SERVERS["postgres"])
    with psycopg.connect(database) as connection, connection.cursor() as cursor:
        while time.monotonic() - began < seconds:
            facts = _facts(orders)
            for statement in statements:
                cursor.execute(statement, facts)
                if cursor.description:
                    cursor.fetchall()
            connection.commit()
            done += SET_SIZE
    used = cpu_seconds_of_all(SERVERS["postgres"]) - used
    return {"applied": done / (time.monotonic() - began), "postgres": used / done * 1000}


def _analyze(database: str) -> None:
    """As for the sides: fresh statistics, no plans from when the tables were empty."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ANALYZE")


def _facts(orders: int) -> dict[str, list[str]]:
    numbers = [random.getrandbits(60) for _ in range(SET_SIZE)]
    return {
        "n": [f"evt_{number}" for number in numbers],
        "o": [f"O{order}" for order in random.sample(range(1, orders + 1), SET_SIZE)],
        "t": [f"pi_{number}" for number in numbers],
    }
