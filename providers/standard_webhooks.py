"""Standard Webhooks, Svix included: HMAC or Ed25519 over id, time and raw body. Facts: spec/standard-webhooks.md."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Self

from domain.errors import ConfigurationError, SignatureInvalid
from domain.event import SIGNS, EventKind, PaymentEvent
from providers.account_table import AccountTable
from providers.dialect import Answer, Delivery, Notice
from providers.horizon import Horizon
from providers.keys import Ed25519Key, Secret, base64_bytes, clock, ed25519_verifies, first_usable, hmac_sha256, usable
from providers.query import Finding, Query, unknown
from providers.reading import moment, money, optional_id, payment_of, text_id
from providers.strict_json import read_object
from providers.webhook_keys import public_key, signing_secret
from providers.webhook_payload import USUAL_KINDS, Paths, at, kinds_of, paths_of, put

K = EventKind

#: Seconds, both ways, as the reference libraries have it.
TOLERANCE = 300
#: A rolled secret makes two signatures; with both schemes four.
MOST_SIGNATURES = 5
LONGEST_HEADER = 2048

#: What may stand in webhook-id. No brace and no quote: id, time and body are signed as one text with dots between, and
#: an id that could hold the beginning of a body would let somebody move the border.
_ID = re.compile(r"[A-Za-z0-9_.:=+/@~-]{1,255}")


@dataclass(frozen=True, slots=True)
class StandardWebhooks:
    """One endpoint of a sender that follows the specification; the payload's shape is the sender's own."""

    provider: ClassVar[str] = "standard_webhooks"
    headers: ClassVar[tuple[str, ...]] = (
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
        *("svix-id", "svix-timestamp", "svix-signature"),
    )
    keys: ClassVar[frozenset[str]] = frozenset({"secrets", "public_keys", "paths", "kinds"})
    #: The specification's example schedule: 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h, one after the other.
    horizon: ClassVar[Horizon] = Horizon(
        automatic=timedelta(hours=75, minutes=35, seconds=5),
        source="github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md",
    )
    sayable: ClassVar[frozenset[EventKind]] = frozenset(K)

    account: str
    live: bool
    secrets: tuple[Secret, ...] = ()
    public_keys: tuple[Ed25519Key, ...] = ()
    paths: Paths = field(default_factory=Paths)
    kinds: Mapping[str, EventKind] = field(default_factory=lambda: USUAL_KINDS)
    expires_after: timedelta = horizon.deadline

    @classmethod
    def build(cls, table: AccountTable, live: bool) -> Self:
        """The endpoint of one account's table."""
        if not table.members.keys() & {"secrets", "public_keys"}:
            raise ConfigurationError(table.place("secrets"), "needs secrets, or public_keys, or both")
        return cls(
            account=table.account,
            live=live,
            secrets=table.keys("secrets", signing_secret) if "secrets" in table.members else (),
            public_keys=table.keys("public_keys", public_key) if "public_keys" in table.members else (),
            paths=paths_of(table),
            kinds=kinds_of(table),
            expires_after=table.expires_after(cls.horizon),
        )

    def verify(self, delivery: Delivery, now: float) -> str:
        """v1: HMAC-SHA256 in base64; v1a: Ed25519; other versions are skipped, as the specification asks."""
        message_id, stamp, header = _signed_headers(delivery.headers)
        if not clock(stamp, now) <= TOLERANCE:
            raise SignatureInvalid("timestamp")
        symmetric, asymmetric = _signatures(header)
        signed = f"{message_id}.{stamp}.".encode("ascii") + delivery.body
        for secret in usable(self.secrets, now):
            expected = base64.b64encode(hmac_sha256(secret.value, signed))
            if any(hmac.compare_digest(expected, signature) for signature in symmetric):
                return secret.id
        for key in usable(self.public_keys, now):
            if any(ed25519_verifies(key.value, signature, signed) for signature in asymmetric):
                return key.id
        raise SignatureInvalid("webhook-signature")

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        """One event; the notification's id is in the headers, and its redelivery has the same bytes."""
        body = read_object(delivery.body)
        notification_id = text_id(delivery.headers.get(f"{_prefix(delivery.headers)}-id"), "webhook-id")
        word = at(body, self.paths.kind)
        kind = self.kinds.get(word, K.OTHER) if isinstance(word, str) else K.OTHER
        effect = kind is not K.OTHER
        amount, currency = money(kind, at(body, self.paths.amount), at(body, self.paths.currency))
        event = PaymentEvent(
            notification_id=notification_id,
            kind=kind,
            digest=hashlib.sha256(delivery.body).hexdigest(),
            order_no=optional_id(at(body, self.paths.order_no), "order_no") if effect else None,
            transaction_id=self._transaction_id(body, kind, notification_id),
            payment_id=payment_of(kind, at(body, self.paths.payment_id)),
            amount=amount,
            currency=currency,
            occurred_at=moment(at(body, self.paths.occurred_at)),
            provider_kind=word[:255] if isinstance(word, str) else "",
        )
        return (event,)

    def accepted(self) -> Answer:
        """Any 2xx."""
        return Answer(200)

    def refused(self, status: int) -> Answer:
        """Anything but 2xx; a sender disables the endpoint on 410."""
        return Answer(status)

    def sign(self, notice: Notice, now: float) -> Delivery:
        """The notice in the account's own payload shape, under its first usable secret."""
        secret = first_usable(self.secrets, now)
        body = json.dumps(self._payload(notice), ensure_ascii=False).encode()
        stamp = str(int(now))
        signed = f"{notice.notification_id}.{stamp}.".encode() + body
        signature = base64.b64encode(hmac_sha256(secret.value, signed)).decode("ascii")
        headers = {
            "webhook-id": notice.notification_id,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature}",
        }
        return Delivery(headers, body)

    def query(self, event: PaymentEvent, now: float) -> Query | None:
        """None: the specification knows no way to ask."""
        return None

    def read_query(
        self, event: PaymentEvent, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> Finding:
        """Nobody was asked."""
        return unknown("not_asked")

    def _transaction_id(self, body: Mapping[str, Any], kind: EventKind, notification_id: str) -> str:
        """Where no money moves the notification's id will do: nothing is counted twice."""
        if kind is K.OTHER:
            return ""
        found = at(body, self.paths.transaction_id)
        if kind in SIGNS:
            return text_id(found, "transaction_id")
        return optional_id(found, "transaction_id") or notification_id

    def _payload(self, notice: Notice) -> dict[str, Any]:
        words = [word for word, kind in self.kinds.items() if kind is notice.kind]
        if not words:
            raise ConfigurationError("kinds has no word for", notice.kind)
        payload: dict[str, Any] = {}
        put(payload, self.paths.kind, words[0])
        put(payload, self.paths.occurred_at, notice.occurred_at.isoformat())
        put(payload, self.paths.order_no, notice.order_no)
        put(payload, self.paths.amount, notice.amount)
        put(payload, self.paths.currency, notice.currency)
        if notice.payment_id:
            put(payload, self.paths.payment_id, notice.payment_id)
        put(payload, self.paths.transaction_id, notice.transaction_id)
        return payload


def _prefix(headers: Mapping[str, str]) -> str:
    return "webhook" if "webhook-id" in headers else "svix"


def _signed_headers(headers: Mapping[str, str]) -> tuple[str, str, str]:
    prefix = _prefix(headers)
    message_id = headers.get(f"{prefix}-id", "")
    if not _ID.fullmatch(message_id):
        raise SignatureInvalid("webhook-id")
    return message_id, headers.get(f"{prefix}-timestamp", ""), headers.get(f"{prefix}-signature", "")


def _signatures(header: str) -> tuple[list[bytes], list[bytes]]:
    """(v1 in base64, v1a as bytes) of a list separated by spaces. Raises SignatureInvalid."""
    if len(header) > LONGEST_HEADER or not header.isascii():
        raise SignatureInvalid("webhook-signature")
    items = [item.partition(",")[::2] for item in header.split(" ")]
    known = [(version, value) for version, value in items if version in ("v1", "v1a")]
    if not 0 < len(known) <= MOST_SIGNATURES:
        raise SignatureInvalid("webhook-signature")
    symmetric = [value.encode("ascii") for version, value in known if version == "v1"]
    try:
        return symmetric, [base64_bytes(value) for version, value in known if version == "v1a"]
    except ValueError:
        raise SignatureInvalid("webhook-signature") from None
