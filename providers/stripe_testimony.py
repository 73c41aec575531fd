"""How an event stands at Stripe, by the object that it spoke of as it is today.

What was paid and has gone back since is UNKNOWN: the event was true, and applying it now is a person's decision.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from domain.errors import MalformedNotification
from domain.event import EventKind, PaymentEvent
from providers.query import NOT_SO, Finding, Told, agreement, denied, unknown
from providers.reading import currency_or_none, payment_of, text_id
from providers.stripe_events import READINGS, Reading, amount_of, id_of, order_of, transaction_of

K = EventKind
Thing = Mapping[str, Any]


def testimony_of(event: PaymentEvent, said: Thing, live: bool) -> Finding:
    """How the event stands by the object that was fetched. Raises MalformedNotification."""
    thing, reading = _thing(said), READINGS.get(event.provider_kind)
    if thing is None:
        return denied("not_found")
    if reading is None or reading.kind is not event.kind:
        return unknown("unexpected")
    if thing.get("livemode", live) is not live:
        return unknown("live_differs")
    if event.kind is K.REFUND:
        return _refunds(event, thing, reading)
    otherwise = _LOOKS[event.kind](thing, event)
    return agreement(event, _told(event, thing, reading)) if otherwise is None else otherwise


def _thing(said: Thing) -> Thing | None:
    """The object, or the only one of a list."""
    if said.get("object") != "list":
        return said
    data = said.get("data")
    if not isinstance(data, list) or len(data) > 1 or not all(isinstance(each, dict) for each in data):
        raise MalformedNotification("data")
    return data[0] if data else None


def _told(event: PaymentEvent, thing: Thing, reading: Reading) -> Told:
    currency = currency_or_none(thing.get("currency"))
    return Told(
        transaction_id=transaction_of(reading, thing, event.notification_id),
        payment_id=payment_of(event.kind, id_of(thing.get("payment_intent"))),
        order_no=order_of(thing),
        amount=amount_of(thing, reading, currency),
        currency=currency,
    )


def _refunds(event: PaymentEvent, intent: Thing, reading: Reading) -> Finding:
    """How much of the charge went back in all: a charge names no refund, as its event did not."""
    told = replace(_told(event, _charge(intent), reading), payment_id=text_id(intent.get("id"), "id"))
    return denied(NOT_SO[K.REFUND]) if told.amount == 0 else agreement(event, told)


def _charge(intent: Thing) -> Thing:
    charge = intent.get("latest_charge")
    if not isinstance(charge, dict):
        raise MalformedNotification("latest_charge")
    return charge


def _paid(thing: Thing, _: PaymentEvent) -> Finding | None:
    """None: paid, and the money is still here."""
    session = thing.get("object") == "checkout.session"
    intent = thing.get("payment_intent") if session else thing
    if (thing.get("payment_status") != "paid") if session else (thing.get("status") != "succeeded"):
        return denied("closed" if thing.get("status") in ("canceled", "expired") else "not_paid")
    if session and intent is None:
        return None
    charge = _charge(intent if isinstance(intent, dict) else {})
    if charge.get("disputed") is True:
        return unknown("charged_back")
    return unknown("refunded") if charge.get("refunded") is True else None


def _closed(thing: Thing, _: PaymentEvent) -> Finding | None:
    return None if thing.get("status") in ("canceled", "expired") else denied(NOT_SO[K.CLOSED])


def _failed(thing: Thing, _: PaymentEvent) -> Finding | None:
    intent = thing.get("payment_intent") if thing.get("object") == "checkout.session" else thing
    if not isinstance(intent, dict):
        raise MalformedNotification("payment_intent")
    failed = intent.get("status") == "requires_payment_method" and intent.get("last_payment_error") is not None
    return None if failed else denied(NOT_SO[K.FAILED])


def _refund_failed(thing: Thing, _: PaymentEvent) -> Finding | None:
    return None if thing.get("status") == "failed" else denied(NOT_SO[K.REFUND_REVERSAL])


def _disputed(thing: Thing, event: PaymentEvent) -> Finding | None:
    """A dispute's balance transactions: the money taken is below zero, the money given back above."""
    moves = thing.get("balance_transactions")
    if not isinstance(moves, list):
        raise MalformedNotification("balance_transactions")
    amounts = [move["amount"] for move in moves if isinstance(move, dict) and isinstance(move.get("amount"), int)]
    if len(amounts) != len(moves):
        raise MalformedNotification("balance_transactions")
    back = any(amount > 0 for amount in amounts)
    if event.kind is K.CHARGEBACK_REVERSAL:
        return None if back else denied(NOT_SO[event.kind])
    if back:
        return unknown("reversed")
    return None if any(amount < 0 for amount in amounts) else denied(NOT_SO[event.kind])


#: What the object says of each kind; None: it is so, and its facts are to be compared.
_LOOKS: Mapping[EventKind, Callable[[Thing, PaymentEvent], Finding | None]] = {
    K.PAYMENT: _paid,
    K.CLOSED: _closed,
    K.FAILED: _failed,
    K.REFUND_REVERSAL: _refund_failed,
    K.CHARGEBACK: _disputed,
    K.CHARGEBACK_REVERSAL: _disputed,
}
