"""Reading members of a notification: what must be there raises, what decide may judge becomes None."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson

from domain.errors import BadAmount, MalformedNotification
from domain.event import SIGNS, EventKind
from domain.money import checked_currency, checked_minor

#: Width of the id columns; every provider's ids are shorter (Stripe promises at most 255).
LONGEST_ID = 255
#: Kinds that undo something of a payment which an event of its own brought.
_OF_A_PAYMENT = SIGNS.keys() - {EventKind.PAYMENT}
#: For what orjson refuses; it is a fifth as fast.
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=repr, check_circular=False)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

#: Alipay writes its times in it, without saying so.
BEIJING = timezone(timedelta(hours=8))


def text_id(value: object, name: str) -> str:
    """An id of 1 to 255 characters without control characters. Raises MalformedNotification(name)."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or _CONTROL.search(value):
        raise MalformedNotification(name)
    return value


def optional_id(value: object, name: str) -> str | None:
    """As text_id, but None for an absent or empty one."""
    return None if value is None or value == "" else text_id(value, name)


def payment_of(kind: EventKind, value: object) -> str:
    """The id of the payment that a refund, a reversal or a chargeback speaks of; empty where it names none.

    Empty for every other kind. Raises MalformedNotification.
    """
    return (optional_id(value, "payment_id") or "") if kind in _OF_A_PAYMENT else ""


def member(thing: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object at `name`, empty if it is absent or not an object."""
    inner = thing.get(name)
    return inner if isinstance(inner, dict) else {}


def money(kind: EventKind, amount: object, currency: object) -> tuple[int | None, str | None]:
    """(minor units, currency) for a kind that moves money, each None where it cannot be read: a mismatch, not a crash.

    (None, None) for every other kind.
    """
    if kind not in SIGNS:
        return None, None
    return minor_or_none(amount), currency_or_none(currency)


def minor_or_none(value: object) -> int | None:
    """A non-negative integer of minor units, or None."""
    try:
        return checked_minor(value)
    except BadAmount:
        return None


def currency_or_none(value: object) -> str | None:
    """An ISO 4217 code in upper case, or None."""
    try:
        return checked_currency(value)
    except BadAmount:
        return None


def moment(value: object, zone: timezone | None = None) -> datetime | None:
    """The UTC time of RFC 3339 text, or of text without an offset in `zone`; None where it is neither."""
    if not isinstance(value, str):
        return None
    try:
        local = datetime.fromisoformat(value)
        local = local.replace(tzinfo=zone) if local.tzinfo is None else local
        return None if local.tzinfo is None else local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def unix_moment(value: object) -> datetime | None:
    """The UTC time of whole unix seconds; None where it is none."""
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int) and 0 < value < 10**11 else None


def digest(said: object) -> str:
    """sha256 (hex) over a canonical form of what a notification says: the order of keys and spaces do not count."""
    try:
        canonical = orjson.dumps(said, repr, orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer of more than 64 bits, which a strict reader still takes
        canonical = _encoder.encode(said).encode("ascii")
    return hashlib.sha256(canonical).hexdigest()
