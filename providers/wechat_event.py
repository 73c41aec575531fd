"""What WeChat Pay says of a transaction or a refund: the same members in a notification and in a query's answer."""

from collections.abc import Mapping
from typing import Any

from domain.errors import ConfigurationError, MalformedNotification
from domain.event import EventKind, PaymentEvent
from providers.dialect import Notice
from providers.reading import BEIJING, member, moment, money, optional_id, payment_of, text_id

K = EventKind

#: What a transaction's trade_state means. SUCCESS alone is money; REFUND says only that some refund was begun.
STATES: Mapping[object, EventKind] = {
    "SUCCESS": K.PAYMENT,
    "CLOSED": K.CLOSED,
    "REVOKED": K.CLOSED,
    "PAYERROR": K.FAILED,
    "NOTPAY": K.PENDING,
    "USERPAYING": K.PENDING,
    "ACCEPT": K.PENDING,
}
WORDS = {
    K.PAYMENT: "SUCCESS",
    K.CLOSED: "CLOSED",
    K.FAILED: "PAYERROR",
    K.PENDING: "USERPAYING",
    K.OTHER: "REFUND",
}
#: Domestic notifications may leave the currency out.
CURRENCY = "CNY"


def sub_orders(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The orders of a combined payment, each named once: a repeated one would share its delivery key."""
    parts = said["sub_orders"]
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise MalformedNotification("sub_orders")
    if len({named(part) for part in parts}) != len(parts):
        raise MalformedNotification("sub_orders")
    return parts


def named(part: Mapping[str, Any]) -> str:
    """The order's number. Raises MalformedNotification."""
    return text_id(part.get("out_trade_no"), "out_trade_no")


def event_of(
    notification_id: str, word: str, said: Mapping[str, Any], proof: str, foreign: tuple[str, ...]
) -> PaymentEvent:
    """What the resource `said` of a notification with `word` means. Raises MalformedNotification."""
    kind = kind_of(word, said)
    paid = member(said, "amount")
    # Never payer_total: coupons make it less than the order's amount. A combined payment writes total_amount.
    total = paid.get("refund") if kind is K.REFUND else paid.get("total", paid.get("total_amount"))
    amount, currency = money(kind, total, paid.get("currency", CURRENCY))
    return PaymentEvent(
        notification_id=text_id(notification_id, "id"),
        kind=kind,
        digest=proof,
        order_no=optional_id(said.get("out_trade_no"), "out_trade_no") if kind is K.OTHER else named(said),
        transaction_id=transaction_of(kind, said),
        payment_id=payment_of(kind, said.get("transaction_id")),
        amount=amount,
        currency=currency,
        foreign=foreign,
        occurred_at=moment(said.get("success_time")),
        provider_kind=word,
    )


def kind_of(word: str, said: Mapping[str, Any]) -> EventKind:
    """REFUND.ABNORMAL and REFUND.CLOSED moved no money; payscore and the rest are no orders of ours."""
    if word == "TRANSACTION.SUCCESS":
        state = said.get("trade_state")
        return STATES.get(state, K.OTHER) if isinstance(state, str) else K.OTHER
    if word == "REFUND.SUCCESS" and said.get("refund_status", "SUCCESS") == "SUCCESS":
        return K.REFUND
    return K.OTHER


def transaction_of(kind: EventKind, said: Mapping[str, Any]) -> str:
    """A transaction that came to nothing may have no number: its order's stands in.

    A refund's number has the merchant's own behind it: WeChat Pay can be asked by that one alone.
    """
    if kind is K.OTHER:
        return ""
    if kind in (K.CLOSED, K.FAILED, K.PENDING):
        return optional_id(said.get("transaction_id"), "transaction_id") or named(said)
    if kind is not K.REFUND:
        return text_id(said.get("transaction_id"), "transaction_id")
    number = text_id(said.get("refund_id"), "refund_id")
    ours = optional_id(said.get("out_refund_no"), "out_refund_no")
    return text_id(f"{number}:{ours}", "out_refund_no") if ours else number


def refund(notice: Notice) -> dict[str, Any]:
    """The resource of a refund that the notice tells; its transaction id is refund_id:out_refund_no."""
    number, _, ours = notice.transaction_id.partition(":")
    return {
        "out_trade_no": notice.order_no,
        "transaction_id": notice.payment_id,
        "refund_id": number,
        "out_refund_no": ours,
        "refund_status": "SUCCESS",
        "success_time": notice.occurred_at.astimezone(BEIJING).isoformat(),
        "amount": {"total": notice.order_amount, "refund": notice.amount, "currency": notice.currency},
    }


def transaction(notice: Notice, app_id: str) -> dict[str, Any]:
    """The resource of a transaction that the notice tells."""
    if notice.kind not in WORDS:
        raise ConfigurationError("wechat_v3 has no word for", notice.kind)
    return {
        "appid": app_id,
        "out_trade_no": notice.order_no,
        "transaction_id": notice.transaction_id,
        "trade_state": WORDS[notice.kind],
        "success_time": notice.occurred_at.astimezone(BEIJING).isoformat(),
        "amount": {"total": notice.amount, "payer_total": notice.amount, "currency": notice.currency},
    }
