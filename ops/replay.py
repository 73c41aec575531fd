"""`paidonce replay`: a stored notification goes through the same door once more."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import typer
from rich.table import Table
from sqlalchemy import Connection, select

from domain.decide import decide
from domain.errors import PaidonceError
from domain.event import PaymentEvent
from domain.order import Order
from domain.verdict import CASES, Decision
from models.facts import Subject, gather
from models.notification import OPEN, notifications
from models.payload import find_payload
from ops.database import connected, snapshot
from ops.output import fail, json_line, out
from providers.accounts import load_accounts
from providers.dialect import Delivery
from providers.envelope import Envelope
from worker.link import Link
from worker.settings import settings

Ids = typer.Argument(help="Notifications, by their number (explain shows it) or the provider's id.")
Account = typer.Option(None, help="Needed where several accounts have a notification of this id.")
DryRun = typer.Option(False, "--dry-run", help="Shows what would change, and changes nothing.")
Wait = typer.Option(15.0, help="Seconds to wait for the worker's verdict.")
AsJson = typer.Option(False, "--json", help="Last line: one JSON array.")
_STEP = 0.2


def replay(
    ids: list[str] = Ids,
    account: str | None = Account,
    dry_run: bool = DryRun,
    wait: float = Wait,
    as_json: bool = AsJson,
) -> None:
    """Re-applies stored notifications: published to the queue as they came, deduplicated by the worker as ever."""
    with snapshot() as connection:
        rows = [_find(connection, each, account) for each in ids]
        stored = [(row, _stored(connection, row)) for row in rows]
        told = [_foreseen(connection, row, envelope) for row, envelope in stored]
    if not dry_run:
        _publish([envelope for _, envelope in stored])
        told = [_outcome(row, wait) for row in rows]
    if as_json:
        json_line(told)
    else:
        out.print(_report(told))


def _find(connection: Connection, wanted: str, account: str | None) -> Any:
    by = notifications.c.notification_id == wanted
    if wanted.isdigit() and len(wanted) < 19:
        by |= notifications.c.id == int(wanted)
    statement = select(notifications).where(by)
    found = connection.execute(statement if account is None else statement.where(notifications.c.account == account))
    rows = found.all()
    if not rows:
        fail(f"no notification {wanted} is known; after the retention its row is gone")
    if len(rows) > 1:
        accounts = " | ".join(sorted({row.account for row in rows}))
        fail(f"{wanted} is known in several accounts: add --account {accounts}")
    return rows[0]


def _stored(connection: Connection, row: Any) -> Envelope:
    kept = find_payload(connection, row.account, row.notification_id, row.digest)
    if kept is None:
        fail(f"the payload of {row.notification_id} was dropped after PAIDONCE_PAYLOAD_RETENTION_DAYS")
    # At the time it was received: its signature is checked again, and is not younger for being replayed.
    received_at = row.received_at.timestamp()
    return Envelope(row.account, row.provider, Delivery(json.loads(kept.headers), bytes(kept.body)), received_at)


def _foreseen(connection: Connection, row: Any, envelope: Envelope) -> dict[str, Any]:
    """What the worker would decide now, by the same code, without a lock; for a case, what "apply anyway" would do."""
    event = _event(row, envelope)
    in_a_case = row.status in CASES
    if row.status not in OPEN and not in_a_case:
        return _shape(row, "duplicate", f"is {row.status} already", None, None)
    facts = gather(connection, [subject := Subject(row.provider, row.account, event)], lock=False)
    key = facts.order_key(subject)
    order = facts.orders.get(key) if key else None
    before = replace(order, effects=facts.effects_for(subject)) if order else None
    decision = decide(before, event, overruled=row.overruled or in_a_case)
    verdict, reason = decision.verdict.value, decision.reason
    if in_a_case:
        verdict, reason = "duplicate", f"is {row.status} already; cases apply would make it {verdict} ({reason})"
    return _shape(row, verdict, reason, *_difference(before, decision))


def _event(row: Any, envelope: Envelope) -> PaymentEvent:
    dialect = load_accounts(settings().accounts, os.environ).get(row.account)
    if dialect is None:
        fail(f"account {row.account} is not in accounts.toml")
    try:
        dialect.verify(envelope.delivery, envelope.received_at)
        events = dialect.parse(envelope.delivery)
    except PaidonceError as error:
        fail(f"{row.notification_id}: {error}")
    return next((event for event in events if event.notification_id == row.notification_id), events[0])


def _difference(order: Order | None, decision: Decision) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    return (_totals(order) if order else None), (_totals(decision.order) if decision.order else None)


def _totals(order: Order) -> dict[str, Any]:
    names = ("paid", "refunded", "charged_back", "version")
    return {"status": order.state.value} | {name: getattr(order, name) for name in names}


def _publish(envelopes: Sequence[Envelope]) -> None:
    link = Link(settings())
    try:
        for envelope in envelopes:
            link.send([envelope.encoded()], settings().publish_timeout_seconds)
        link.close()
    except Exception as error:  # noqa: BLE001 - whatever the broker's library raises, the person needs one line
        link.discard()
        fail(f"the broker did not confirm ({type(error).__name__}); replaying again does no harm")


def _outcome(row: Any, wait: float) -> dict[str, Any]:
    """The row after the worker saw the copy: its deliveries were counted, or it was decided anew."""
    deadline = time.monotonic() + wait
    while True:
        with connected() as connection:
            now = connection.execute(select(notifications).where(notifications.c.id == row.id)).one_or_none()
        seen = now is None or now.deliveries > row.deliveries or now.processed_at != row.processed_at
        if seen or time.monotonic() > deadline:
            break
        time.sleep(_STEP)
    if not seen or now is None:
        return _shape(row, None, "no worker took it up yet", None, None)
    return _shape(now, now.status, now.reason, None, None)


def _shape(
    row: Any, verdict: str | None, reason: str, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "id": row.id,
        "notification_id": row.notification_id,
        "account": row.account,
        "order_no": row.order_no,
        "status": row.status,
        "verdict": verdict,
        "reason": reason,
        "before": before,
        "after": after,
    }


def _report(told: Sequence[dict[str, Any]]) -> Table:
    table = Table("id", "notification", "order", "verdict", "reason", "order before", "order after")
    for line in told:
        names = ("id", "notification_id", "order_no", "verdict", "reason", "before", "after")
        table.add_row(*(_cell(line[name]) for name in names))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return "" if value is None else str(value)
