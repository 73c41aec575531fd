"""Asking a provider about an event: the request, and how its answer is compared with what the event says."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.event import SIGNS, EventKind, PaymentEvent
from domain.finding import Finding, Testimony

__all__ = ["Finding", "Query", "Testimony", "Told", "agreement", "askable", "confirmed", "denied", "refusal", "unknown"]

K = EventKind

#: The word for what did not happen.
NOT_SO: Mapping[EventKind, str] = {
    K.PAYMENT: "not_paid",
    K.CLOSED: "not_closed",
    K.FAILED: "not_failed",
    K.REFUND: "not_refunded",
    K.REFUND_REVERSAL: "not_reversed",
    K.CHARGEBACK: "not_charged_back",
    K.CHARGEBACK_REVERSAL: "not_reversed",
}
#: WeChat Pay refuses requests without one.
USER_AGENT = "paidonce"


@dataclass(frozen=True, slots=True)
class Query:
    """One HTTP request, ready to be sent as it is. It carries credentials and payment ids: a repr shows neither."""

    method: str
    url: str = field(repr=False)
    #: Names in lower case.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the provider says now, in the words of the event that was asked about. Amounts in minor units."""

    transaction_id: str
    order_no: str | None
    payment_id: str = ""
    amount: int | None = None
    currency: str | None = None


def confirmed() -> Finding:
    """It happened just so."""
    return Finding(Testimony.CONFIRMED, "agrees")


def denied(detail: str) -> Finding:
    """It did not happen, or otherwise."""
    return Finding(Testimony.DENIED, detail)


def unknown(detail: str) -> Finding:
    """That cannot be said now."""
    return Finding(Testimony.UNKNOWN, detail)


def askable(event: PaymentEvent) -> bool:
    """Whether an answer could agree: the event is of this account, of a kind that is told, and its amount was read."""
    if event.foreign or event.kind not in NOT_SO:
        return False
    return event.kind not in SIGNS or (event.amount is not None and event.currency is not None)


def refusal(status: int) -> Finding | None:
    """What an HTTP status says before anybody reads the body; None for 200 and 404, which each dialect reads itself."""
    if status in (200, 404):
        return None
    if status == 429:
        return unknown("limited")
    if status in (401, 403):
        return unknown("refused")
    if 300 <= status < 400:
        return unknown("redirected")
    return unknown("unavailable" if status >= 500 else "unexpected")


def agreement(event: PaymentEvent, told: Told) -> Finding:
    """CONFIRMED if the provider tells the same as the event, else the first thing that differs.

    A total may have grown since (two refunds after one another): what the event says was reached is still so.
    """
    if told.transaction_id != event.transaction_id:
        return denied("transaction_differs")
    if event.payment_id and told.payment_id != event.payment_id:
        return denied("payment_differs")
    if told.order_no != event.order_no:
        return denied("order_differs") if told.order_no and event.order_no else unknown("names_no_order")
    if event.kind not in SIGNS:
        return confirmed()
    if event.amount is None or told.amount is None or told.currency is None:
        return unknown("amount_unreadable")
    if told.currency != event.currency:
        return denied("currency_differs")
    reached = told.amount >= event.amount if event.cumulative else told.amount == event.amount
    return confirmed() if reached else denied("amount_differs")
