"""The order we protect, as the decision sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from domain.event import EventKind


class OrderState(StrEnum):
    """Where an order stands. Each state is written on `orders.status`."""

    #: Nothing has been paid yet.
    PENDING = "pending"
    #: The last attempt to pay failed; the buyer may try again.
    FAILED = "failed"
    #: The whole amount has arrived.
    PAID = "paid"
    #: Some of it went back to the buyer.
    PARTIALLY_REFUNDED = "partially_refunded"
    #: All of it went back to the buyer.
    REFUNDED = "refunded"
    #: The buyer's bank holds the money.
    CHARGED_BACK = "charged_back"
    #: Nobody paid in time, or the shop gave the order up.
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Effect:
    """One ledger entry as far as a decision needs it; `amount` in minor units, never negative."""

    order_no: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A locked order. Amounts are minor units of `currency`."""

    order_no: str
    state: OrderState
    amount: int
    currency: str
    paid: int = 0
    refunded: int = 0
    charged_back: int = 0
    version: int = 0
    #: The ledger's entries that carry the effect key of an event under decision.
    effects: Mapping[tuple[str, EventKind], Effect] = field(default_factory=dict)
