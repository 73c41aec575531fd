"""From a broker message's members to events: every signature is checked again, for the broker is not trusted."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.errors import MalformedNotification, SignatureInvalid
from domain.event import PaymentEvent
from providers.dialect import Dialect
from providers.envelope import Envelope, from_json

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Incoming:
    """One verified event, the envelope it came in, and the id of the key that proved it."""

    envelope: Envelope
    event: PaymentEvent
    key_id: str

    @property
    def key(self) -> Key:
        """The delivery key: (provider, account, notification id)."""
        return self.envelope.provider, self.envelope.account, self.event.notification_id


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A member that proves nothing or says nothing: kept whole, never applied."""

    provider: str
    account: str
    reason: str
    raw: bytes

    @property
    def digest(self) -> str:
        """sha256 (hex) of the member as it came."""
        return hashlib.sha256(self.raw).hexdigest()


def read(members: Sequence[object], dialects: Mapping[str, Dialect]) -> tuple[list[Incoming], list[Unreadable]]:
    """Every member as events, or with the reason why it cannot be read. Never raises for a member's sake."""
    incoming: list[Incoming] = []
    unreadable: list[Unreadable] = []
    for member in members:
        try:
            incoming.extend(_events(from_json(member), dialects))
        except SignatureInvalid:
            unreadable.append(unreadable_member(member, "signature_invalid"))
        except UnknownAccount:
            unreadable.append(unreadable_member(member, "unknown_account"))
        except MalformedNotification:
            unreadable.append(unreadable_member(member, "malformed"))
    return incoming, unreadable


class UnknownAccount(MalformedNotification):
    """No merchant account of this name and provider is configured."""


def _events(envelope: Envelope, dialects: Mapping[str, Dialect]) -> Iterable[Incoming]:
    dialect = dialects.get(envelope.account)
    if dialect is None or dialect.provider != envelope.provider:
        raise UnknownAccount(envelope.account)
    # At the time it was received: a pack may wait in the queue for longer than a signature's tolerance.
    key_id = dialect.verify(envelope.delivery, envelope.received_at)
    return [Incoming(envelope, event, key_id) for event in dialect.parse(envelope.delivery)]


def unreadable_member(member: object, reason: str) -> Unreadable:
    """`member` kept whole, as ASCII JSON: nothing in it can trouble a column."""
    raw = json.dumps(member, ensure_ascii=True, sort_keys=True, default=repr).encode()
    known: Mapping[str, Any] = member if isinstance(member, Mapping) else {}
    return Unreadable(_word(known.get("provider")), _word(known.get("account")), reason, raw)


def _word(value: object) -> str:
    """A name fit for a text column; a forger may have written anything."""
    return value[:64].replace("\x00", "") if isinstance(value, str) and value.isprintable() else ""


def notification_row(item: Incoming, expires_after: timedelta) -> dict[str, Any]:
    """The columns of a new row of `notifications`."""
    event, received_at = item.event, received(item)
    return {
        "provider": item.envelope.provider,
        "account": item.envelope.account,
        "notification_id": event.notification_id,
        "digest": event.digest,
        "kind": event.kind.value,
        "provider_kind": event.provider_kind,
        "order_no": event.order_no,
        "transaction_id": event.transaction_id,
        "payment_id": event.payment_id,
        "amount": event.amount,
        "currency": event.currency,
        "cumulative": event.cumulative,
        "foreign_fields": " ".join(event.foreign),
        "occurred_at": event.occurred_at,
        "key_id": item.key_id,
        "verified_at": received_at,
        "received_at": received_at,
        "expires_at": received_at + expires_after,
    }


def payload_row(item: Incoming) -> dict[str, Any]:
    """The raw delivery, for evidence and replay."""
    return {
        "received_at": received(item),
        "provider": item.envelope.provider,
        "account": item.envelope.account,
        "notification_id": item.event.notification_id,
        "digest": item.event.digest,
        "headers": json.dumps(dict(item.envelope.delivery.headers)),
        "body": item.envelope.delivery.body,
    }


def unreadable_payload_row(item: Unreadable, now: datetime) -> dict[str, Any]:
    """The member as it came, as JSON."""
    return {
        "received_at": now,
        "provider": item.provider,
        "account": item.account,
        "notification_id": "",
        "digest": item.digest,
        "headers": "{}",
        "body": item.raw,
    }


def received(item: Incoming) -> datetime:
    """When the receiver took it, UTC."""
    return datetime.fromtimestamp(item.envelope.received_at, UTC)
