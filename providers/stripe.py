"""Stripe: HMAC-SHA256 over time and raw body, JSON events. Facts: docs.stripe.com/webhooks, stripe-dotnet's tests."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self

from domain.errors import ConfigurationError, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from providers.account_table import AccountTable
from providers.dialect import Answer, Delivery, Notice
from providers.horizon import Horizon
from providers.keys import Secret, clock, first_usable, hmac_sha256, usable
from providers.query import Finding, Query
from providers.reading import currency_or_none, digest, member, money, payment_of, text_id, unix_moment
from providers.references import checked_secret
from providers.strict_json import read_object
from providers.stripe_events import WORDS, amount_of, id_of, order_of, reading_of, said, transaction_of
from providers.stripe_query import StripeCredentials, credentials_of, finding, request

K = EventKind

#: Seconds; Stripe's libraries look at the past side only, we at both.
TOLERANCE = 300
#: Two secrets overlap while one is rolled; more than five signatures is somebody's experiment.
MOST_SIGNATURES = 5
#: Five signatures and a time need 400 characters.
LONGEST_HEADER = 2048


@dataclass(frozen=True, slots=True)
class Stripe:
    """One Stripe endpoint. A secret is the whole text that the dashboard shows, whsec_ included."""

    provider: ClassVar[str] = "stripe"
    headers: ClassVar[tuple[str, ...]] = ("stripe-signature",)
    keys: ClassVar[frozenset[str]] = frozenset({"secrets", "stripe_account", "query"})
    #: By hand: 15 days in the dashboard, 30 with the CLI. The card networks let a buyer dispute for up to 540 days.
    horizon: ClassVar[Horizon] = Horizon(
        automatic=timedelta(days=3),
        manual=timedelta(days=30),
        lifecycle=timedelta(days=540),
        source="docs.stripe.com/webhooks",
    )
    sayable: ClassVar[frozenset[EventKind]] = frozenset(WORDS)

    account: str
    live: bool
    secrets: tuple[Secret, ...]
    #: acct_...: the connected account whose events are ours; None takes every one.
    stripe_account: str | None = None
    expires_after: timedelta = horizon.deadline
    credentials: StripeCredentials | None = None

    @classmethod
    def build(cls, table: AccountTable, live: bool) -> Self:
        """The endpoint of one account's table."""
        stripe_account = table.optional_text("stripe_account")
        return cls(
            account=table.account,
            live=live,
            secrets=table.keys("secrets", checked_secret),
            stripe_account=stripe_account,
            expires_after=table.expires_after(cls.horizon),
            credentials=credentials_of(table, live, stripe_account),
        )

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
        reading = reading_of(body, word, thing)
        notification_id = text_id(body.get("id"), "id")
        currency = currency_or_none(thing.get("currency"))
        amount, currency = money(reading.kind, amount_of(thing, reading, currency), currency)
        event = PaymentEvent(
            notification_id=notification_id,
            kind=reading.kind,
            digest=digest({name: value for name, value in body.items() if name != "pending_webhooks"}),
            order_no=None if reading.kind is K.OTHER else order_of(thing),
            transaction_id=transaction_of(reading, thing, notification_id),
            payment_id=payment_of(reading.kind, id_of(thing.get("payment_intent"))),
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

    def query(self, event: PaymentEvent, now: float) -> Query | None:
        """GET of the payment intent, session, refund or dispute: providers/stripe_query.py."""
        return request(self.credentials, event, now) if self.credentials else None

    def read_query(
        self, event: PaymentEvent, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> Finding:
        """The answer is not signed: TLS and the key prove it."""
        return finding(event, status, body, self.live)

    def _foreign(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        wrong = ["live"] if body.get("livemode", self.live) is not self.live else []
        named = body.get("account")
        if self.stripe_account is not None and named is not None and named != self.stripe_account:
            wrong.append("account")
        return tuple(wrong)

    def _event(self, notice: Notice) -> dict[str, Any]:
        if notice.kind not in WORDS:
            raise ConfigurationError("stripe has no word for", notice.kind)
        word, form = WORDS[notice.kind]
        event = {
            "id": notice.notification_id,
            "object": "event",
            "created": int(notice.occurred_at.timestamp()),
            "data": {"object": {"object": form, **said(notice)}},
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
