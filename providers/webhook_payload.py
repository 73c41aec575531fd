"""The payload of a Standard Webhooks sender. Its shape is the sender's own: the account says where each fact stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import ConfigurationError
from domain.event import EventKind
from providers.account_table import AccountTable, naming

K = EventKind
Path = tuple[str, ...]

#: The payload's words for our kinds, where the account names none of its own: ours, and the usual ones.
USUAL_KINDS: Mapping[str, EventKind] = {
    "payment.pending": K.PENDING,
    "payment.succeeded": K.PAYMENT,
    "payment.failed": K.FAILED,
    "payment.closed": K.CLOSED,
    "refund.succeeded": K.REFUND,
    "refund.failed": K.REFUND_REVERSAL,
    "chargeback.created": K.CHARGEBACK,
    "chargeback.reversed": K.CHARGEBACK_REVERSAL,
    **{kind.value: kind for kind in K},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where the payload keeps each fact: the names of the objects on the way, and of the member."""

    kind: Path = ("type",)
    order_no: Path = ("data", "order_no")
    #: Integer minor units.
    amount: Path = ("data", "amount")
    currency: Path = ("data", "currency")
    transaction_id: Path = ("data", "transaction_id")
    #: The transaction id of the payment that a refund, a reversal or a chargeback speaks of; it may be absent.
    payment_id: Path = ("data", "payment_id")
    #: RFC 3339.
    occurred_at: Path = ("timestamp",)


def paths_of(table: AccountTable) -> Paths:
    """The account's paths over the usual ones. Raises ConfigurationError."""
    with naming(table.place("paths")):
        paths = {name: tuple(text.split(".")) for name, text in table.texts("paths").items()}
        if not paths.keys() <= set(Paths.__slots__):
            raise ConfigurationError("knows", *Paths.__slots__)
        if not all(all(path) for path in paths.values()):
            raise ConfigurationError('a path is written "data.object.id"')
        found = Paths(**paths)
        whole = [getattr(found, name) for name in Paths.__slots__]
        if any(inner != outer and inner[: len(outer)] == outer for inner in whole for outer in whole):
            raise ConfigurationError("one path leads through the member of another")
        return found


def kinds_of(table: AccountTable) -> Mapping[str, EventKind]:
    """The table takes the place of the usual words: half of each would be nobody's intention."""
    words = table.texts("kinds")
    unknown = set(words.values()) - set(EventKind)
    if unknown:
        raise ConfigurationError(table.place("kinds"), "knows", *EventKind)
    return {word: EventKind(kind) for word, kind in words.items()} if words else USUAL_KINDS


def at(body: Mapping[str, Any], path: Path) -> Any:
    """What stands at `path`, or None."""
    found: Any = body
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def put(payload: dict[str, Any], path: Path, value: object) -> None:
    """Writes `value` at `path`, with the objects on the way."""
    *way, last = path
    for name in way:
        payload = payload.setdefault(name, {})
    payload[last] = value
