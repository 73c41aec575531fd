"""After a run: what was acknowledged against what stands in the database, and the product's own audit."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from .planned import Order
from .processes import ROOT

#: Verdicts with which a notification of ours may end without effect though it was genuine: a person has its case.
IN_FRONT_OF_A_PERSON = ("dead", "expired", "failed")


@dataclass
class Findings:
    """What is wrong, each as something a person can look up; all empty when nothing is."""

    #: Acknowledged, and neither a row nor a case.
    lost: list[tuple[str, str]] = field(default_factory=list)
    #: Orders that more happened to than was said: their totals, or two effects of one notification.
    double_applied: list[tuple[Any, ...]] = field(default_factory=list)
    #: Orders that less happened to, though no case explains it.
    under_applied: list[tuple[Any, ...]] = field(default_factory=list)
    #: Not genuine, and acknowledged or stored as if it were.
    forged_accepted: list[tuple[str, str]] = field(default_factory=list)
    #: Rows still without a verdict.
    unsettled: list[tuple[Any, ...]] = field(default_factory=list)
    #: Rows that break each invariant.
    invariants: dict[str, int] = field(default_factory=dict)
    #: Notifications that could not be applied and do not stand in front of a person.
    poison_missing: list[str] = field(default_factory=list)
    #: Unreadable broker messages that were confirmed and are not in the quarantine.
    not_quarantined: list[str] = field(default_factory=list)
    #: Genuine notifications of sound orders that were given up all the same: not lost, but a person's work for nothing.
    given_up: list[tuple[Any, ...]] = field(default_factory=list)
    #: Outbox rows that the shop was never told, and those told before an earlier one of the same order.
    untold: list[int] = field(default_factory=list)
    told_too_early: list[int] = field(default_factory=list)
    #: What the watch saw broken while the faults fell: invariant -> rows.
    breaches: dict[str, list[Any]] = field(default_factory=dict)
    #: Cases by kind: not wrong, but worth a look.
    cases: dict[str, int] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether the promise held."""
        wrong = (self.lost, self.double_applied, self.under_applied, self.forged_accepted, self.unsettled)
        more = (self.poison_missing, self.not_quarantined, self.breaches, self.untold, self.told_too_early)
        return not any(wrong) and not any(more) and bool(self.invariants) and not any(self.invariants.values())


def open_rows(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Notifications without a verdict: (account, notification_id, status, reason, last_error)."""
    return connection.execute(
        "SELECT account, notification_id, status, reason, last_error FROM notifications"
        " WHERE status IN ('received', 'failed', 'parked')"
    ).fetchall()


def missing(connection: psycopg.Connection[Any], acknowledged: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Acknowledged ids that have neither a row nor a case."""
    known = set(
        connection.execute(
            "SELECT account, notification_id FROM notifications UNION SELECT account, notification_id FROM cases"
        ).fetchall()
    )
    return sorted(set(acknowledged) - known)


def unrelayed(connection: psycopg.Connection[Any]) -> int:
    """Outbox rows that no broker has confirmed yet."""
    row = connection.execute("SELECT count(*) FROM outbox WHERE relayed_at IS NULL").fetchone()
    return int(row[0]) if row else 0


def compare_outbox(database: str, told: list[tuple[int, str, str]], found: Findings) -> None:
    """Every row was told at least once, and the first time in the order of its order's history."""
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT id FROM outbox ORDER BY id").fetchall()
    found.untold = sorted({row[0] for row in rows} - {number for number, _, _ in told})
    newest: dict[tuple[str, str], int] = {}
    seen: set[int] = set()
    for number, account, order_no in told:
        if number not in seen and order_no:
            if number < newest.get((account, order_no), 0):
                found.told_too_early.append(number)
            newest[account, order_no] = max(number, newest.get((account, order_no), 0))
        seen.add(number)


def examine(
    database: str,
    environment: Mapping[str, str],
    *,
    acknowledged: set[tuple[str, str]],
    fooled: list[tuple[str, str]],
    orders: list[Order],
) -> Findings:
    """Everything that can be said about a drained run. `database` is psycopg's URL."""
    found = Findings(forged_accepted=list(fooled), invariants=audit(environment))
    with psycopg.connect(database) as connection:
        found.lost = missing(connection, acknowledged)
        found.unsettled = open_rows(connection)
        found.double_applied = connection.execute(
            "SELECT account, order_no, notification_row, count(*) FROM ledger_entries"
            " JOIN orders USING (account) WHERE orders.id = order_id"
            " GROUP BY account, order_no, notification_row HAVING count(*) > 1"
        ).fetchall()
        found.forged_accepted += connection.execute(
            "SELECT account, notification_id FROM notifications WHERE notification_id LIKE 'evt\\_forged\\_%'"
        ).fetchall()
        found.given_up = connection.execute(
            "SELECT account, notification_id, kind, reason, attempts, deliveries, last_error FROM notifications"
            " WHERE status = ANY(%s) AND order_no NOT LIKE 'POISON-%%'",
            (list(IN_FRONT_OF_A_PERSON),),
        ).fetchall()
        found.cases = dict(connection.execute("SELECT kind, count(*) FROM cases GROUP BY kind").fetchall())
        _compare(connection, orders, found)
    return found


def _compare(connection: psycopg.Connection[Any], orders: list[Order], found: Findings) -> None:
    """Each order's totals and state with what was said about it."""
    explained = set(
        connection.execute(
            "SELECT account, order_no FROM cases WHERE kind = ANY(%s)", (list(IN_FRONT_OF_A_PERSON),)
        ).fetchall()
    )
    rows = connection.execute("SELECT account, order_no, status, paid, refunded, charged_back FROM orders").fetchall()
    actual = {row[:2]: row[2:] for row in rows}
    for order in orders:
        key = order.account, order.order_no
        wanted = order.status(), order.paid, order.refunded, order.charged_back
        is_so = actual.get(key, ("no such order", 0, 0, 0))
        # Before it was won back, a chargeback stood on the order.
        most = order.paid, order.refunded, order.disputed
        if any(more > said for more, said in zip(is_so[1:], most, strict=True)):
            found.double_applied.append((*key, "is", *is_so, "said", *wanted))
        elif is_so != wanted and key not in explained:
            found.under_applied.append((*key, "is", *is_so, "said", *wanted))
        if order.is_poison and key not in explained:
            found.poison_missing.append(order.order_no)


def audit(environment: Mapping[str, str]) -> dict[str, int]:
    """`paidonce audit --json --drained`: rows that break each invariant. Raises RuntimeError without an answer."""
    command = [sys.executable, "-m", "ops", "audit", "--json", "--drained"]
    end = subprocess.run(
        command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, check=False, timeout=60
    )
    lines = end.stdout.strip().splitlines()
    if not lines:
        raise RuntimeError(f"paidonce audit said nothing: {end.stderr.strip()[-300:]}")
    violations: dict[str, int] = json.loads(lines[-1])["violations"]
    return violations
