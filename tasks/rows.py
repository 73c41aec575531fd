"""Decisions as rows: what settling writes, table by table."""

import re
from datetime import datetime, timedelta
from typing import Any

from domain.announcement import ANNOUNCED
from domain.event import PaymentEvent
from domain.order import Order, Standing
from domain.verdict import Decision, Verdict
from models.facts import OrderKey
from tasks.pending import Pending

#: A card, an account, an order number: a handler's own words may hold one.
LONG_NUMBER = re.compile(r"\d{12,}")
#: The longest pause between two attempts.
LONGEST_PAUSE = timedelta(hours=1)


def effect_row(item: Pending, order_id: int, currency: str, amount: int, standing: Standing) -> dict[str, Any]:
    """A ledger entry; `amount` in signed minor units of `currency`."""
    return {
        "provider": item.provider,
        "account": item.account,
        "transaction_id": item.event.transaction_id,
        "kind": item.event.kind.value,
        "order_id": order_id,
        "notification_row": item.row_id,
        "amount": amount,
        "currency": currency,
        "standing": standing.value,
        "payment_id": item.event.payment_id,
    }


def change_row(item: Pending, order_id: int, before: Order, after: Order) -> dict[str, Any]:
    """A transition."""
    return {
        "order_id": order_id,
        "seq": after.version,
        "from_status": before.state.value,
        "to_status": after.state.value,
        "kind": item.event.kind.value,
        "notification_row": item.row_id,
    }


def order_row(order_id: int, order: Order) -> dict[str, Any]:
    """An order's totals after its effects."""
    return {
        "id": order_id,
        "status": order.state.value,
        "paid": order.paid,
        "refunded": order.refunded,
        "charged_back": order.charged_back,
        "version": order.version,
    }


def announcement_row(item: Pending, after: Order, amount: int) -> dict[str, Any]:
    """A row of the outbox: the order as it is afterwards, and what moved it (`moved` in signed minor units)."""
    return {
        "name": ANNOUNCED[item.event.kind],
        "account": item.account,
        "order_no": after.order_no,
        "body": {
            "order_no": after.order_no,
            "account": item.account,
            "status": after.state.value,
            "amount": after.amount,
            "paid": after.paid,
            "refunded": after.refunded,
            "charged_back": after.charged_back,
            "currency": after.currency,
            "version": after.version,
            "moved": amount,
            "provider": item.provider,
            "transaction_id": item.event.transaction_id,
            "notification_id": item.event.notification_id,
        },
    }


def verdict_row(item: Pending, decision: Decision, key: OrderKey | None, again: datetime | None) -> dict[str, Any]:
    """What the row of `notifications` says from now on."""
    return {
        "id": item.row_id,
        "status": decision.verdict.value,
        "reason": decision.reason,
        # Where only its payment named the order, the row names it from now on: people look for it there.
        "order_no": key[1] if key else None,
        "attempts": _attempts(item, decision),
        "last_error": decision.error,
        "next_attempt_at": again,
    }


def _attempts(item: Pending, decision: Decision) -> int:
    """One that waits has not failed, however often it was looked at: its attempts are for what comes after the wait."""
    if decision.verdict is Verdict.PARKED:
        return 0
    return item.attempts + 1 if decision.error else item.attempts


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


def pause_after(attempts: int, base_seconds: float) -> timedelta:
    """The pause after the `attempts`-th attempt: it doubles, up to an hour."""
    return min(timedelta(seconds=base_seconds * 2 ** min(attempts, 20)), LONGEST_PAUSE)


def said_by(error: Exception) -> str:
    """The error's class and first line, without parameters and long numbers: they are payments."""
    original = getattr(error, "orig", None) or error
    first = LONG_NUMBER.sub("…", (str(original).splitlines() or [""])[0].partition("[parameters")[0])
    return f"{type(original).__name__}: {first}"[:500].replace("\x00", "")
