"""The facts of one order as a story: one line for each thing that happened, in time order."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from rich.table import Column, Table
from rich.text import Text

from domain.money import to_decimal
from domain.order import Standing
from domain.verdict import CASES, WAITING
from models.notification import RECEIVED
from ops.output import rfc3339

_STYLES: dict[str, str] = {"applied": "green"} | dict.fromkeys(CASES, "red") | dict.fromkeys(WAITING, "yellow")


class Happening(NamedTuple):
    """One line. `rank` puts causes before effects where the clock says the same."""

    at: datetime
    rank: int
    what: str
    detail: str
    style: str = ""


def story(facts: Any, order_no: str) -> Iterator[Text | Table]:
    """A headline, then the table."""
    yield _headline(facts, order_no)
    table = Table("when", "what", Column("detail", overflow="fold"))
    for line in sorted(happenings(facts)):
        table.add_row(rfc3339(line.at), Text(line.what, line.style), Text(line.detail))
    yield table


def happenings(facts: Any) -> Iterator[Happening]:
    """Everything, in no order."""
    if facts.order is not None:
        owed = to_decimal(facts.order.amount, facts.order.currency)
        yield Happening(facts.order.created_at, 0, "order imported", f"{owed} {facts.order.currency}")
    for row in facts.notifications:
        yield from _of_notification(row)
    for row in facts.transitions:
        change = f"{row.from_status} -> {row.to_status}"
        yield Happening(row.created_at, 3, "transition", f"{row.seq}: {change} by {row.kind}", "bold")
    for row in facts.ledger:
        yield from _of_entry(row)
    for row in facts.cases:
        yield from _of_case(row)
    for row in facts.actions:
        yield Happening(row.at, 5, f"{row.action} by {row.actor}", f"case {row.case_id}: {row.note}", "bold")


def _of_notification(row: Any) -> Iterator[Happening]:
    money = f" {to_decimal(row.amount, row.currency)} {row.currency}" if row.amount is not None and row.currency else ""
    times = "once" if row.deliveries == 1 else f"{row.deliveries} times"
    said = f"{row.provider} {row.provider_kind} ({row.kind}{money}), delivered {times}: {row.notification_id}"
    yield Happening(row.received_at, 1, "received", said)
    if row.status != RECEIVED and row.processed_at is not None:
        tried = f" after {row.attempts} attempts: {row.last_error}" if row.attempts else ""
        told = f"{row.reason}{tried} ({row.notification_id})"
        yield Happening(row.processed_at, 2, row.status, told, _STYLES.get(row.status, ""))


def _of_entry(row: Any) -> Iterator[Happening]:
    """Entries that count are told by their transition."""
    if row.standing != Standing.COUNTED:
        money = f"{to_decimal(row.amount, row.currency)} {row.currency}"
        yield Happening(row.created_at, 3, row.standing, f"{row.kind} {money}: {row.transaction_id}", "yellow")


def _of_case(row: Any) -> Iterator[Happening]:
    yield Happening(row.opened_at, 4, f"case {row.id} opened", f"{row.kind}: {row.reason}", "red")
    if row.resolved_at is not None:
        yield Happening(row.resolved_at, 6, f"case {row.id} resolved", f"{row.resolution} {row.note}".strip(), "green")


def _headline(facts: Any, order_no: str) -> Text:
    order = facts.order
    if order is None:
        waiting = len(facts.notifications)
        return Text(f"{order_no} ({facts.account}) is not imported; {waiting} notifications name it.", "yellow")
    sums = ", ".join(
        f"{word} {to_decimal(getattr(order, column), order.currency)}"
        for word, column in (
            ("owed", "amount"),
            ("paid", "paid"),
            ("refunded", "refunded"),
            ("charged back", "charged_back"),
        )
    )
    return Text(f"{order_no} ({order.account}) is {order.status}: {sums} {order.currency}, version {order.version}.")
