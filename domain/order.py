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


class Standing(StrEnum):
    """How a ledger entry counts. Whatever it says, its effect key is spent for ever."""

    #: In the totals of its order.
    COUNTED = "counted"
    #: Real money that its order has no place for: a second payment, a late one, and what goes back of it.
    SUSPENSE = "suspense"
    #: It came too late to mean anything; no money moved.
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Effect:
    """One ledger entry as far as a decision needs it; amounts in minor units, never negative."""

    order_no: str
    amount: int
    standing: Standing = Standing.COUNTED
    #: Of a payment in suspense: how much of it was refunded so far, less what was reversed.
    refunded: int = 0
    #: Of a payment in suspense: how much of it left again, by whatever way.
    gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A locked order. Amounts are minor units of `currency`."""

    order_no: str
    state: OrderState
    #: The merchant account that it belongs to.
    account: str = ""
    amount: int
    currency: str
    paid: int = 0
    refunded: int = 0
    charged_back: int = 0
    version: int = 0
    #: The ledger's entries with the effect key of an event under decision, or of the payment that one speaks of.
    effects: Mapping[tuple[str, EventKind], Effect] = field(default_factory=dict)
