"""Stripe: HMAC-SHA256 over time and raw body, JSON events. Facts: docs.stripe.com/webhooks, stripe-dotnet's tests."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from domain.errors import ConfigurationError, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from providers.dialect import Answer, Delivery, Notice
from providers.keys import Secret, clock, first_usable, hmac_sha256, usable
from providers.reading import currency_or_none, digest, member, minor_or_none, money, optional_id, text_id, unix_moment
from providers.strict_json import read_object
from providers.stripe_amounts import from_iso, to_iso

K = EventKind

#: Seconds; Stripe's libraries look at the past side only, we at both.
TOLERANCE = 300
#: Two secrets overlap while one is rolled; more than five signatures is somebody's experiment.
MOST_SIGNATURES = 5
#: Five signatures and a time need 400 characters.
LONGEST_HEADER = 2048


@dataclass(frozen=True, slots=True)
class _Reading:
    """Where an event type keeps its facts in data.object; the first member that is there counts."""

    kind: EventKind
    #: Empty: the event's own id.
    transaction: tuple[str, ...]
    amount: tuple[str, ...] = ()


_SESSION_PAID = _Reading(K.PAYMENT, ("payment_intent", "id"), ("amount_total",))
_SESSION_FAILED = _Reading(K.FAILED, ("payment_intent", "id"))

#: Every other type has no effect here. refund.created and refund.updated are left out on purpose: charge.refunded
#: speaks for every successful refund, and both together would count it twice.
_READINGS: Mapping[str, _Reading] = {
    # A session and its payment intent speak of one payment: both carry the intent's id, so that they share one effect.
    "checkout.session.completed": _SESSION_PAID,
    "checkout.session.async_payment_succeeded": _SESSION_PAID,
    "payment_intent.succeeded": _Reading(K.PAYMENT, ("id",), ("amount_received", "amount")),
    "checkout.session.async_payment_failed": _SESSION_FAILED,
    "payment_intent.payment_failed": _Reading(K.FAILED, ("id",)),
    "checkout.session.expired": _Reading(K.CLOSED, ("payment_intent", "id")),
    "payment_intent.canceled": _Reading(K.CLOSED, ("id",)),
    # The charge says how much went back in all, and names no refund: only the event's id tells two of them apart.
    "charge.refunded": _Reading(K.REFUND, (), ("amount_refunded",)),
    "refund.failed": _Reading(K.REFUND_REVERSAL, ("id",), ("amount",)),
    "charge.dispute.funds_withdrawn": _Reading(K.CHARGEBACK, ("id",), ("amount",)),
    "charge.dispute.funds_reinstated": _Reading(K.CHARGEBACK_REVERSAL, ("id",), ("amount",)),
}
_NO_EFFECT = _Reading(K.OTHER, ())

#: The type that says a kind when we sign, and the type of its data.object.
_WORDS: Mapping[EventKind, tuple[str, str]] = {
    K.PAYMENT: ("payment_intent.succeeded", "payment_intent"),
    K.FAILED: ("payment_intent.payment_failed", "payment_intent"),
    K.CLOSED: ("payment_intent.canceled", "payment_intent"),
    K.REFUND: ("charge.refunded", "charge"),
    K.REFUND_REVERSAL: ("refund.failed", "refund"),
    K.CHARGEBACK: ("charge.dispute.funds_withdrawn", "dispute"),
    K.CHARGEBACK_REVERSAL: ("charge.dispute.funds_reinstated", "dispute"),
    K.OTHER: ("customer.updated", "customer"),
}


@dataclass(frozen=True, slots=True)
class Stripe:
    """One Stripe endpoint. A secret is the whole text that the dashboard shows, whsec_ included."""

    provider: ClassVar[str] = "stripe"
    headers: ClassVar[tuple[str, ...]] = ("stripe-signature",)
    #: Resending by hand: 15 days in the dashboard, 30 with the CLI. By itself Stripe stops after three.
    horizon: ClassVar[timedelta] = timedelta(days=30)
    sayable: ClassVar[frozenset[EventKind]] = frozenset(_WORDS)

    account: str
    live: bool
    secrets: tuple[Secret, ...]
    #: acct_...: the connected account whose events are ours; None takes every one.
    stripe_account: str | None = None

    def verify(self, delivery: Delivery, now: float) -> str:
        """HMAC-SHA256 in hex over `t.body`, under any secret, as any of at most five v1 values; v0 says nothing."""
        stamp, signatures = _signature_header(delivery.headers.get("stripe-signature", ""))
        if not clock(stamp, now) <= TOLERANCE:
            raise SignatureInvalid("timestamp")
        signed = stamp.encode("ascii") + b"." + delivery.body
        for secret in usable(self.secrets, now):
            expected = hmac_sha256(secret.value, signed).hex().encode("ascii")
            if any(hmac.compare_digest(expected, signature) for signature in signatures):
                return secret.id
        raise SignatureInvalid("stripe-signature")

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        """One event. pending_webhooks counts down between deliveries, so the digest leaves it out."""
        body = read_object(delivery.body)
        word = text_id(body.get("type"), "type")
        thing = member(member(body, "data"), "object")
        reading = _reading(body, word, thing)
        notification_id = text_id(body.get("id"), "id")
        currency = currency_or_none(thing.get("currency"))
        amount, currency = money(reading.kind, _amount(thing, reading, currency), currency)
        event = PaymentEvent(
            notification_id=notification_id,
            kind=reading.kind,
            digest=digest({name: value for name, value in body.items() if name != "pending_webhooks"}),
            order_no=None if reading.kind is K.OTHER else _order_no(thing),
            transaction_id=_transaction_id(reading, thing, notification_id),
            amount=amount,
            currency=currency,
            cumulative=reading.kind is K.REFUND,
            foreign=self._foreign(body),
            occurred_at=unix_moment(body.get("created")),
            provider_kind=word,
        )
        return (event,)

    def accepted(self) -> Answer:
        """Any 2xx; the body is not read."""
        return Answer(200)

    def refused(self, status: int) -> Answer:
        """Anything but 2xx."""
        return Answer(status)

    def sign(self, notice: Notice, now: float) -> Delivery:
        """An event of the notice. A refund names its charge's total only: its transaction id is the notice's id."""
        secret = first_usable(self.secrets, now)
        body = json.dumps(self._event(notice), indent=2).encode("ascii")
        stamp = str(int(now))
        signature = hmac_sha256(secret.value, stamp.encode("ascii") + b"." + body).hex()
        return Delivery({"stripe-signature": f"t={stamp},v1={signature}"}, body)

    def _foreign(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        wrong = ["live"] if body.get("livemode", self.live) is not self.live else []
        named = body.get("account")
        if self.stripe_account is not None and named is not None and named != self.stripe_account:
            wrong.append("account")
        return tuple(wrong)

    def _event(self, notice: Notice) -> dict[str, Any]:
        if notice.kind not in _WORDS:
            raise ConfigurationError("stripe has no word for", notice.kind)
        word, form = _WORDS[notice.kind]
        event = {
            "id": notice.notification_id,
            "object": "event",
            "created": int(notice.occurred_at.timestamp()),
            "data": {"object": {"object": form, **_said(notice)}},
            "livemode": self.live,
            "pending_webhooks": 1,
            "type": word,
        }
        return event if self.stripe_account is None else {**event, "account": self.stripe_account}


def _signature_header(header: str) -> tuple[str, list[bytes]]:
    """(t, the v1 values) of `t=..,v1=..`. Raises SignatureInvalid."""
    if len(header) > LONGEST_HEADER or not header.isascii():
        raise SignatureInvalid("stripe-signature")
    items = [item.partition("=")[::2] for item in header.split(",")]
    stamps = [value for scheme, value in items if scheme == "t"]
    signatures = [value.encode("ascii") for scheme, value in items if scheme == "v1"]
    if len(stamps) != 1 or not 0 < len(signatures) <= MOST_SIGNATURES:
        raise SignatureInvalid("stripe-signature")
    return stamps[0], signatures


def _reading(body: Mapping[str, Any], word: str, thing: Mapping[str, Any]) -> _Reading:
    """The reading of type `word`; thin v2 events and sessions that wait for their money have no effect."""
    reading = _READINGS.get(word, _NO_EFFECT)
    if body.get("object") != "event":
        return _NO_EFFECT
    if word == "checkout.session.completed" and thing.get("payment_status") != "paid":
        return _NO_EFFECT
    return reading


def _first(thing: Mapping[str, Any], names: tuple[str, ...]) -> object:
    return next((thing[name] for name in names if thing.get(name) is not None), None)


def _transaction_id(reading: _Reading, thing: Mapping[str, Any], notification_id: str) -> str:
    if reading.kind is K.OTHER:
        return ""
    if not reading.transaction:
        return notification_id
    found = _first(thing, reading.transaction)
    return text_id(found.get("id") if isinstance(found, dict) else found, "transaction_id")  # dict: an expanded object


def _order_no(thing: Mapping[str, Any]) -> str | None:
    """metadata.order_no, else client_reference_id; disputes and refunds often have neither."""
    named = optional_id(member(thing, "metadata").get("order_no"), "order_no")
    return named or optional_id(thing.get("client_reference_id"), "order_no")


def _amount(thing: Mapping[str, Any], reading: _Reading, currency: str | None) -> int | None:
    amount = minor_or_none(_first(thing, reading.amount))
    return None if amount is None or currency is None else to_iso(amount, currency)


def _stripe_amount(minor: int, currency: str) -> int:
    amount = from_iso(minor, currency)
    if amount is None:
        raise ConfigurationError("stripe cannot say this amount", currency)
    return amount


def _said(notice: Notice) -> dict[str, Any]:
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
    if notice.kind is K.REFUND:
        said["amount"] = _stripe_amount(notice.order_amount, notice.currency)
        said["amount_refunded"] = _stripe_amount(notice.refunded or notice.amount, notice.currency)
    return said
