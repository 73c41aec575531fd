"""A dialect for tests: its provider gives notifications no id, and changes two fields from one delivery to the next.

So do WeChat Pay v2, UnionPay, Lemon Squeezy and Paystack (no id) and Adyen (eventDate). It is built on the house's own
reading, signs with one HMAC, and shows what `parse` has to make of such a provider.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

from domain.errors import ConfigurationError, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from domain.finding import Finding
from providers.account_table import AccountTable
from providers.dialect import Answer, Delivery, Notice
from providers.horizon import Horizon
from providers.keys import Secret, first_usable, hmac_sha256, usable
from providers.query import Query, unknown
from providers.reading import digest, member, moment, money, optional_id, payment_of, text_id
from providers.references import checked_secret
from providers.strict_json import read_object

K = EventKind

_KINDS: Mapping[object, EventKind] = {"PAID": K.PAYMENT, "RETURNED": K.REFUND, "WAITING": K.PENDING}
_STATES = {kind: state for state, kind in _KINDS.items()}
#: These say when and how often it was sent, not what it says.
_PER_DELIVERY = ("eventDate", "attempt")


@dataclass(frozen=True, slots=True)
class Nameless:
    """One merchant account of a provider that numbers payments, and no notifications."""

    provider: ClassVar[str] = "nameless"
    headers: ClassVar[tuple[str, ...]] = ("x-signature",)
    keys: ClassVar[frozenset[str]] = frozenset({"secrets"})
    horizon: ClassVar[Horizon] = Horizon(automatic=timedelta(days=30), source="a test")
    sayable: ClassVar[frozenset[EventKind]] = frozenset(_STATES)

    account: str
    live: bool
    secrets: tuple[Secret, ...]
    expires_after: timedelta = horizon.deadline

    @classmethod
    def build(cls, table: AccountTable, live: bool) -> Self:
        """From an account's table."""
        return cls(table.account, live, table.keys("secrets", checked_secret), table.expires_after(cls.horizon))

    def verify(self, delivery: Delivery, now: float) -> str:
        """HMAC-SHA256 in hex over the raw body."""
        given = delivery.headers.get("x-signature", "").encode("utf-8", "replace")
        for secret in usable(self.secrets, now):
            if hmac.compare_digest(given, hmac_sha256(secret.value, delivery.body).hex().encode()):
                return secret.id
        raise SignatureInvalid("x-signature")

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        """Identity: the transaction and the state it is told in. Content: all but what a delivery changes."""
        body = read_object(delivery.body)
        state = text_id(body.get("state"), "state")
        kind = _KINDS.get(state, K.OTHER)
        transaction_id = text_id(body.get("reference"), "reference")
        paid = member(body, "amount")
        amount, currency = money(kind, paid.get("value"), paid.get("currency"))
        event = PaymentEvent(
            notification_id=text_id(f"{transaction_id}:{state}", "reference"),
            kind=kind,
            digest=digest({name: value for name, value in body.items() if name not in _PER_DELIVERY}),
            order_no=optional_id(body.get("order"), "order"),
            transaction_id="" if kind is K.OTHER else transaction_id,
            payment_id=payment_of(kind, body.get("original")),
            amount=amount,
            currency=currency,
            occurred_at=moment(body.get("eventDate")),
            provider_kind=state,
        )
        return (event,)

    def accepted(self) -> Answer:
        """Any 2xx."""
        return Answer(200)

    def refused(self, status: int) -> Answer:
        """Anything else."""
        return Answer(status)

    def sign(self, notice: Notice, now: float) -> Delivery:
        """The notice's own id has no place in it; the time of sending has."""
        if notice.kind not in _STATES:
            raise ConfigurationError("nameless has no word for", notice.kind)
        said: dict[str, Any] = {
            "reference": notice.transaction_id,
            "state": _STATES[notice.kind],
            "order": notice.order_no,
            "original": notice.payment_id,
            "amount": {"value": notice.amount, "currency": notice.currency},
            "eventDate": datetime.fromtimestamp(now, UTC).isoformat(),
            "attempt": int(now) % 97,
        }
        body = json.dumps(said).encode()
        signature = hmac_sha256(first_usable(self.secrets, now).value, body).hex()
        return Delivery({"x-signature": signature}, body)

    def query(self, event: PaymentEvent, now: float) -> Query | None:
        """None: a test asks nobody."""
        return None

    def read_query(
        self, event: PaymentEvent, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> Finding:
        """Nobody was asked."""
        return unknown("not_asked")
