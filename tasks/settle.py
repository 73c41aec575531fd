"""Rows that wait for a verdict get one: lock the orders, decide, write everything in the caller's transaction."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from domain.decide import decide
from domain.event import EventKind, PaymentEvent
from domain.order import Effect, Order, OrderState
from domain.verdict import CASES, Decision, Verdict
from models.case import open_cases
from models.ledger_entry import known_effects
from models.order import lock_orders
from models.outcome import Outcome, write_outcome

#: A parked row is looked at when its order changes, and at the latest after this.
PARKED_PAUSE = timedelta(seconds=60)

OrderKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pending:
    """A locked row of `notifications` without a verdict."""

    row_id: int
    provider: str
    account: str
    event: PaymentEvent
    expires_at: datetime

    @property
    def order_key(self) -> OrderKey | None:
        """(account, order number), where the event names an order."""
        return (self.account, self.event.order_no) if self.event.order_no is not None else None

    @property
    def effect_key(self) -> tuple[str, str, str, str]:
        """(provider, account, transaction id, kind)."""
        return self.provider, self.account, self.event.transaction_id, self.event.kind.value


def settle(
    connection: Connection, pending: Sequence[Pending], now: datetime, payloads: Sequence[dict[str, Any]] = ()
) -> Counter[Verdict]:
    """Decides and writes; how often each verdict fell. Raises EffectRaced, FenceBroken: roll back.

    `pending` are locked by the caller: notification, then order, then ledger, always in this order. `payloads` are
    rows that the caller wants written along.
    """
    row_ids, orders = _lock(connection, pending)
    outcome = Outcome(payloads=list(payloads))
    moved: dict[OrderKey, Order] = {}
    cases: list[dict[str, Any]] = []
    verdicts: Counter[Verdict] = Counter()
    for item in sorted(pending, key=_when):
        key = item.order_key
        order = orders.get(key) if key else None
        decision = _decide(item, order, now)
        verdicts[decision.verdict] += 1
        if key and order is not None and decision.order is not None:
            orders[key] = moved[key] = decision.order
            _note_effect(outcome, item, row_ids[key], order, decision)
        outcome.verdicts.append(_verdict_row(item, decision, now))
        if decision.verdict in CASES:
            cases.append(case_row(item.provider, item.account, item.event, decision.verdict, decision.reason))
    outcome.totals.extend(_order_row(row_ids[key], order) for key, order in moved.items())
    if pending or payloads:
        write_outcome(connection, outcome)
    open_cases(connection, cases)
    return verdicts


def event_of(row: Any) -> PaymentEvent:
    """The event that a row of `notifications` holds."""
    return PaymentEvent(
        notification_id=row.notification_id,
        kind=EventKind(row.kind),
        digest=row.digest,
        order_no=row.order_no,
        transaction_id=row.transaction_id,
        amount=row.amount,
        currency=row.currency,
        cumulative=row.cumulative,
        foreign=tuple(row.foreign_fields.split()),
        occurred_at=row.occurred_at,
        provider_kind=row.provider_kind,
    )


def pending_of(rows: Iterable[Any]) -> list[Pending]:
    """Rows of `notifications` as work to settle."""
    return [Pending(row.id, row.provider, row.account, event_of(row), row.expires_at) for row in rows]


def _when(item: Pending) -> tuple[bool, float]:
    """By the provider's clock, so that a payment is decided before its refund where both came in one pack."""
    at = item.event.occurred_at
    return at is None, at.timestamp() if at else 0.0


def _decide(item: Pending, order: Order | None, now: datetime) -> Decision:
    if item.expires_at <= now:
        return Decision(Verdict.EXPIRED, "not_applied_in_time")
    return decide(order, item.event)


def _lock(connection: Connection, pending: Sequence[Pending]) -> tuple[dict[OrderKey, int], dict[OrderKey, Order]]:
    """Row ids and locked orders by (account, order number), with the effects that the ledger knows."""
    keys = sorted({item.order_key for item in pending if item.order_key})
    if not keys:
        return {}, {}
    rows = lock_orders(connection, keys)
    effects = _effects(connection, pending) if rows else {}
    return (
        {(row.account, row.order_no): row.id for row in rows},
        {
            (row.account, row.order_no): Order(
                order_no=row.order_no,
                state=OrderState(row.status),
                amount=row.amount,
                currency=row.currency,
                paid=row.paid,
                refunded=row.refunded,
                charged_back=row.charged_back,
                version=row.version,
                effects=effects.get((row.account, row.order_no), {}),
            )
            for row in rows
        },
    )


def _effects(connection: Connection, pending: Sequence[Pending]) -> dict[OrderKey, dict[tuple[str, EventKind], Effect]]:
    """For each order the ledger's entries with an effect key of its events, whichever order they stand on."""
    wanted = {item.effect_key for item in pending if item.order_key}
    known = {
        (row.provider, row.account, row.transaction_id, row.kind): Effect(row.order_no, abs(row.amount))
        for row in known_effects(connection, sorted(wanted))
    }
    found: dict[OrderKey, dict[tuple[str, EventKind], Effect]] = {}
    for item in pending:
        if known and item.order_key and item.effect_key in known:
            found.setdefault(item.order_key, {})[item.event.effect_key] = known[item.effect_key]
    return found


def _note_effect(outcome: Outcome, item: Pending, order_id: int, before: Order, decision: Decision) -> None:
    after = decision.order
    if after is None:
        return
    outcome.effects.append(
        {
            "provider": item.provider,
            "account": item.account,
            "transaction_id": item.event.transaction_id,
            "kind": item.event.kind.value,
            "order_id": order_id,
            "notification_row": item.row_id,
            "amount": decision.effect,
            "currency": after.currency,
        }
    )
    outcome.changes.append(
        {
            "order_id": order_id,
            "seq": after.version,
            "from_status": before.state.value,
            "to_status": after.state.value,
            "kind": item.event.kind.value,
            "notification_row": item.row_id,
        }
    )


def _verdict_row(item: Pending, decision: Decision, now: datetime) -> dict[str, Any]:
    again = now + PARKED_PAUSE if decision.verdict is Verdict.PARKED else None
    return {
        "id": item.row_id,
        "status": decision.verdict.value,
        "reason": decision.reason,
        "next_attempt_at": again,
    }


def case_row(provider: str, account: str, event: PaymentEvent, verdict: Verdict, reason: str) -> dict[str, Any]:
    """The columns of a new case."""
    return {
        "kind": verdict.value,
        "provider": provider,
        "account": account,
        "order_no": event.order_no,
        "notification_id": event.notification_id,
        "digest": event.digest,
        "reason": reason,
    }


def _order_row(order_id: int, order: Order) -> dict[str, Any]:
    return {
        "id": order_id,
        "status": order.state.value,
        "paid": order.paid,
        "refunded": order.refunded,
        "charged_back": order.charged_back,
        "version": order.version,
    }
