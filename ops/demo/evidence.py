"""What the tables say after the storm, against what was sent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, text

from domain.event import EventKind
from models.case import cases
from models.ledger_entry import ledger_entries
from models.notification import OPEN, RECEIVED, notifications
from models.order import orders
from models.outbox import outbox
from ops.simulator.run import Outcome
from ops.simulator.workload import SimulatedOrder

n = notifications.c


@dataclass(frozen=True, slots=True)
class Evidence:
    """Figures from the tables."""

    statuses: dict[str, int]
    duplicates: int
    cases: int
    lost: int
    double_applied: int
    #: Orders that hold less than what was accepted for them.
    short: int


def unsettled(connection: Connection, accepted: int) -> int:
    """How much is still under way: deliveries not counted yet, rows that will be tried again, and what is not told.

    A row that waits for an order which is not imported is not under way.
    """
    delivered = connection.execute(select(func.coalesce(func.sum(n.deliveries), 0))).scalar_one()
    imported = select(orders.c.id).where(orders.c.account == n.account, orders.c.order_no == n.order_no).exists()
    waiting = select(func.count()).where(n.status.in_(OPEN), (n.status != "parked") | imported)
    untold = select(func.count()).where(outbox.c.relayed_at.is_(None))
    sums = (connection.execute(each).scalar_one() for each in (waiting, untold))
    return max(accepted - int(delivered), 0) + sum(map(int, sums))


def parked(connection: Connection) -> int:
    """Notifications that wait for their order."""
    return int(connection.execute(select(func.count()).where(n.status == "parked")).scalar_one())


def gather(connection: Connection, drawn: Sequence[SimulatedOrder], outcome: Outcome, seed: int) -> Evidence:
    """Everything the report needs."""
    by_status = select(n.status, func.count(), func.sum(n.deliveries - 1)).group_by(n.status)
    rows = connection.execute(by_status).all()
    much, little = _against_orders(connection, drawn, outcome, seed)
    return Evidence(
        statuses={status: count for status, count, _ in sorted(rows)},
        duplicates=sum(int(more) for *_, more in rows),
        cases=int(connection.execute(select(func.count()).select_from(cases)).scalar_one()),
        lost=len(_lost(connection, outcome)),
        double_applied=much,
        short=little,
    )


def _lost(connection: Connection, outcome: Outcome) -> set[tuple[str, str]]:
    """Notifications that were answered with success and have no row with a verdict."""
    known = connection.execute(select(n.account, n.notification_id).where(n.status != RECEIVED))
    return set(outcome.accepted) - {(row.account, row.notification_id) for row in known}


def _against_orders(
    connection: Connection, drawn: Sequence[SimulatedOrder], outcome: Outcome, seed: int
) -> tuple[int, int]:
    """(too much, too little): effects beyond those accepted, and orders whose totals are short of what was accepted."""
    entries = _entries(connection)
    totals = {(row.account, row.order_no): (row.paid, row.refunded) for row in connection.execute(select(orders))}
    much = little = 0
    for order in drawn:
        key = order.dialect.account, order.order_no
        due = dict.fromkeys((EventKind.PAYMENT, EventKind.REFUND), 0)
        for notice in order.notices(seed):
            if (order.dialect.account, notice.notification_id) in outcome.accepted:
                due[notice.kind] += notice.amount
        much += sum(max(entries[*key, kind.value] - bool(amount), 0) for kind, amount in due.items())
        pairs = list(zip(totals.get(key, (0, 0)), due.values(), strict=True))
        much += any(found > wanted for found, wanted in pairs)
        little += any(found < wanted for found, wanted in pairs)
    return much, little


def _entries(connection: Connection) -> Counter[tuple[str, str, str]]:
    """How many ledger entries of each kind an order has."""
    query: Any = (
        select(orders.c.account, orders.c.order_no, ledger_entries.c.kind, func.count())
        .join(orders, orders.c.id == ledger_entries.c.order_id)
        .group_by(*map(text, ("1", "2", "3")))
    )
    return Counter({(account, order_no, kind): count for account, order_no, kind, count in connection.execute(query)})
