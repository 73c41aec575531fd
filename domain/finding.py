"""What a provider says when it is asked about an event."""

from dataclasses import dataclass
from enum import StrEnum


class Testimony(StrEnum):
    """How an event stands at its provider."""

    #: It happened just so: the same transaction, order, amount and currency.
    CONFIRMED = "confirmed"
    #: It did not happen, or otherwise.
    DENIED = "denied"
    #: That cannot be said now, or not by this answer.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """A testimony, and one word for it that a person can look up in docs/glossary.md: "agrees", "amount_differs"."""

    testimony: Testimony
    detail: str
