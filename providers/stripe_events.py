"""What Stripe's events say: which types have an effect, and where each keeps its facts in data.object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import ConfigurationError
from domain.event import EventKind
from providers.dialect import Notice
from providers.reading import member, minor_or_none, optional_id, text_id
from providers.stripe_amounts import from_iso, to_iso

K = EventKind


@dataclass(frozen=True, slots=True)
class Reading:
    """Where an event type keeps its facts in data.object; the first member that is there counts."""

    kind: EventKind
    #: Empty: the event's own id.
    transaction: tuple[str, ...]
    amount: tuple[str, ...] = ()


_SESSION_PAID = Reading(K.PAYMENT, ("payment_intent", "id"), ("amount_total",))
_SESSION_FAILED = Reading(K.FAILED, ("payment_intent", "id"))
_SESSION_PENDING = Reading(K.PENDING, ("payment_intent", "id"))
_PENDING = Reading(K.PENDING, ("id",))

#: Every other type has no effect here. refund.created and refund.updated are left out on purpose: charge.refunded
#: speaks for every successful refund, and both together would count it twice.
READINGS: Mapping[str, Reading] = {
    # A session and its payment intent speak of one payment: both carry the intent's id, so that they share one effect.
    "checkout.session.completed": _SESSION_PAID,
    "checkout.session.async_payment_succeeded": _SESSION_PAID,
    "payment_intent.succeeded": Reading(K.PAYMENT, ("id",), ("amount_received", "amount")),
    "payment_intent.created": _PENDING,
    "payment_intent.requires_action": _PENDING,
    "payment_intent.processing": _PENDING,
    "checkout.session.async_payment_failed": _SESSION_FAILED,
    "payment_intent.payment_failed": Reading(K.FAILED, ("id",)),
    "checkout.session.expired": Reading(K.CLOSED, ("payment_intent", "id")),
    "payment_intent.canceled": Reading(K.CLOSED, ("id",)),
    # The charge says how much went back in all, and names no refund: only the event's id tells two of them apart.
    "charge.refunded": Reading(K.REFUND, (), ("amount_refunded",)),
    "refund.failed": Reading(K.REFUND_REVERSAL, ("id",), ("amount",)),
    "charge.dispute.funds_withdrawn": Reading(K.CHARGEBACK, ("id",), ("amount",)),
    "charge.dispute.funds_reinstated": Reading(K.CHARGEBACK_REVERSAL, ("id",), ("amount",)),
}
NO_EFFECT = Reading(K.OTHER, ())

#: The type that says a kind when we sign, and the type of its data.object.
WORDS: Mapping[EventKind, tuple[str, str]] = {
    K.PENDING: ("payment_intent.processing", "payment_intent"),
    K.PAYMENT: ("payment_intent.succeeded", "payment_intent"),
    K.FAILED: ("payment_intent.payment_failed", "payment_intent"),
    K.CLOSED: ("payment_intent.canceled", "payment_intent"),
    K.REFUND: ("charge.refunded", "charge"),
    K.REFUND_REVERSAL: ("refund.failed", "refund"),
    K.CHARGEBACK: ("charge.dispute.funds_withdrawn", "dispute"),
    K.CHARGEBACK_REVERSAL: ("charge.dispute.funds_reinstated", "dispute"),
    K.OTHER: ("customer.updated", "customer"),
}


def reading_of(body: Mapping[str, Any], word: str, thing: Mapping[str, Any]) -> Reading:
    """The reading of type `word`; thin v2 events have no effect, and a session that is not paid may wait for its money.

    "no_payment_required" is a session of nothing, or one that only keeps a card: no effect.
    """
    reading = READINGS.get(word, NO_EFFECT)
    if body.get("object") != "event":
        return NO_EFFECT
    if word == "checkout.session.completed" and thing.get("payment_status") != "paid":
        return _SESSION_PENDING if thing.get("payment_status") == "unpaid" else NO_EFFECT
    return reading


def _first(thing: Mapping[str, Any], names: tuple[str, ...]) -> object:
    return next((thing[name] for name in names if thing.get(name) is not None), None)


def transaction_of(reading: Reading, thing: Mapping[str, Any], notification_id: str) -> str:
    """The id of the effect; empty for none. Raises MalformedNotification."""
    if reading.kind is K.OTHER:
        return ""
    if not reading.transaction:
        return notification_id
    return text_id(id_of(_first(thing, reading.transaction)), "transaction_id")


def id_of(found: object) -> object:
    """An id, or the id of an object that was expanded in its place."""
    return found.get("id") if isinstance(found, dict) else found


def order_of(thing: Mapping[str, Any]) -> str | None:
    """metadata.order_no, else client_reference_id; disputes and refunds often have neither."""
    named = optional_id(member(thing, "metadata").get("order_no"), "order_no")
    return named or optional_id(thing.get("client_reference_id"), "order_no")


def amount_of(thing: Mapping[str, Any], reading: Reading, currency: str | None) -> int | None:
    """ISO minor units of what the reading means by its amount; None where it cannot be read."""
    amount = minor_or_none(_first(thing, reading.amount))
    return None if amount is None or currency is None else to_iso(amount, currency)


def _stripe_amount(minor: int, currency: str) -> int:
    amount = from_iso(minor, currency)
    if amount is None:
        raise ConfigurationError("stripe cannot say this amount", currency)
    return amount


def said(notice: Notice) -> dict[str, Any]:
    """The members of data.object that our own reading needs."""
    amount = _stripe_amount(notice.amount, notice.currency)
    said = {
        "id": notice.transaction_id,
        "amount": amount,
        "currency": notice.currency.lower(),
        "metadata": {"order_no": notice.order_no},
    }
    if notice.kind is K.PAYMENT:
        said["amount_received"] = amount
    if notice.payment_id:
        said["payment_intent"] = notice.payment_id
    if notice.kind is K.REFUND:
        said["amount"] = _stripe_amount(notice.order_amount, notice.currency)
        said["amount_refunded"] = _stripe_amount(notice.refunded or notice.amount, notice.currency)
    return said
