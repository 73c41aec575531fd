"""`paidonce explain`: what happened to one order, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer
from sqlalchemy import Connection, select

from models.case import cases
from models.case_action import case_actions
from models.ledger_entry import ledger_entries
from models.notification import RECEIVED, notifications
from models.order import orders
from models.transition import transitions
from ops.cases import case_shape
from ops.database import snapshot
from ops.explain_story import story
from ops.output import fail, json_line, out, rfc3339

OrderNo = typer.Argument(help="The merchant's order number.")
Account = typer.Option(None, help="Needed where several accounts have an order of this number.")
AsJson = typer.Option(False, "--json", help="Last line: one JSON object.")


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the tables hold about one order number of one account; `order` is None while it is not imported."""

    account: str
    order: Any | None
    notifications: Sequence[Any]
    transitions: Sequence[Any]
    ledger: Sequence[Any]
    cases: Sequence[Any]
    actions: Sequence[Any]


def explain(order_no: str = OrderNo, account: str | None = Account, as_json: bool = AsJson) -> None:
    """Tells every delivery, verdict, reason, transition and case of an order, in time order."""
    with snapshot() as connection:
        facts = find(connection, order_no, account)
    if as_json:
        json_line(shape(facts))
        return
    for part in story(facts, order_no):
        out.print(part)


def find(connection: Connection, order_no: str, account: str | None) -> Facts:
    """The facts of `order_no`; ends the command where it is unknown or ambiguous."""
    found = {
        row.account
        for table in (orders, notifications)
        for row in connection.execute(select(table.c.account).where(table.c.order_no == order_no).distinct())
    }
    if account is not None:
        found &= {account}
    if not found:
        of = f" of account {account}" if account else ""
        fail(f"no order {order_no}{of} is known, and no notification names it")
    if len(found) > 1:
        fail(f"{order_no} is known in several accounts: add --account {' | '.join(sorted(found))}")
    return gather(connection, found.pop(), order_no)


def gather(connection: Connection, account: str, order_no: str) -> Facts:
    """Reads the tables."""

    def named(table: Any, *by: Any) -> Sequence[Any]:
        where = (table.c.account == account, table.c.order_no == order_no)
        return connection.execute(select(table).where(*where).order_by(*by)).all()

    def of(table: Any, column: Any, ids: Sequence[int], *by: Any) -> Sequence[Any]:
        return connection.execute(select(table).where(column.in_(ids)).order_by(*by)).all() if ids else []

    order = next(iter(named(orders)), None)
    ids = [order.id] if order else []
    opened = named(cases, cases.c.opened_at, cases.c.id)
    return Facts(
        account=account,
        order=order,
        notifications=named(notifications, notifications.c.received_at, notifications.c.id),
        transitions=of(transitions, transitions.c.order_id, ids, transitions.c.seq),
        ledger=of(ledger_entries, ledger_entries.c.order_id, ids, ledger_entries.c.id),
        cases=opened,
        actions=of(case_actions, case_actions.c.case_id, [case.id for case in opened], case_actions.c.id),
    )


def shape(facts: Facts) -> dict[str, Any]:
    """The facts for programs: amounts in minor units, times RFC 3339."""
    return {
        "order": _order(facts.order),
        "notifications": [_notification(row) for row in facts.notifications],
        "transitions": [
            {
                "seq": row.seq,
                "from": row.from_status,
                "to": row.to_status,
                "kind": row.kind,
                "at": rfc3339(row.created_at),
            }
            for row in facts.transitions
        ],
        "ledger": [
            {
                "kind": row.kind,
                "transaction_id": row.transaction_id,
                "amount": row.amount,
                "currency": row.currency,
                "standing": row.standing,
                "at": rfc3339(row.created_at),
            }
            for row in facts.ledger
        ],
        "cases": [case_shape(row) for row in facts.cases],
        "actions": [
            {"case_id": row.case_id, "actor": row.actor, "action": row.action, "note": row.note, "at": rfc3339(row.at)}
            for row in facts.actions
        ],
    }


def _order(row: Any) -> dict[str, Any] | None:
    if row is None:
        return None
    names = ("order_no", "account", "status", "amount", "paid", "refunded", "charged_back", "currency", "version")
    return {name: getattr(row, name) for name in names}


def _notification(row: Any) -> dict[str, Any]:
    """`verdict` is None while none was written: an attempt is under way, or died."""
    return {
        "id": row.id,
        "provider": row.provider,
        "notification_id": row.notification_id,
        "kind": row.kind,
        "amount": row.amount,
        "currency": row.currency,
        "verdict": None if row.status == RECEIVED else row.status,
        "reason": row.reason,
        "status": row.status,
        "deliveries": row.deliveries,
        "attempts": row.attempts,
        "received_at": rfc3339(row.received_at),
        "processed_at": rfc3339(row.processed_at),
    }
