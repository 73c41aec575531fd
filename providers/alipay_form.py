"""Alipay's form: what of it is signed, and what it says. Facts: opendocs.alipay.com/open/270/105902; recorded ones."""

import re
from collections.abc import Mapping
from datetime import datetime

from domain.errors import BadAmount, MalformedNotification
from domain.event import EventKind, PaymentEvent
from domain.money import from_decimal, to_decimal
from providers.dialect import Notice
from providers.reading import BEIJING, optional_id, text_id

K = EventKind
Form = Mapping[str, str]

CURRENCY = "CNY"
#: The word under which a change of a trade comes; others (agreements, deposits, fund bills) may share the URL.
TRADE = "trade_status_sync"

#: Not part of the string to sign. sign_type is therefore no proof of anything and chooses no algorithm.
_UNSIGNED = (b"sign", b"sign_type")
#: These differ from one delivery of a notification to the next.
PER_DELIVERY = ("sign", "sign_type", "notify_time")

#: What Alipay sends of a trade, without the texts that a shop or a buyer writes.
_SENT = (
    *("notify_id", "notify_type", "notify_time", "trade_status", "app_id", "auth_app_id", "seller_id", "seller_email"),
    *("buyer_id", "buyer_logon_id", "charset", "out_trade_no", "trade_no", "out_biz_no", "total_amount", "refund_fee"),
    *("receipt_amount", "invoice_amount", "buyer_pay_amount", "point_amount", "fund_bill_list", "voucher_detail_list"),
    *("gmt_create", "gmt_payment", "gmt_refund", "gmt_close"),
)
#: The string to sign has no escaping: a value "x&total_amount=9" and two fields read the same. Whoever chooses a
#: subject could so move the borders of a genuine notification. To bring in a field, or to make one vanish, a genuine
#: one has to end inside some value: such a form is refused. It costs notifications whose subject spells one of these
#: fields between & and =.
BORDER_MOVED = re.compile(rb"&(?:" + "|".join(_SENT).encode() + rb")=")

#: When it happened, by what happened.
TIMES = {
    K.PAYMENT: "gmt_payment",
    K.REFUND: "gmt_refund",
    K.CLOSED: "gmt_close",
    K.PENDING: "gmt_create",
    K.OTHER: "gmt_create",
}


def string_to_sign(form: Mapping[bytes, bytes]) -> bytes:
    """The fields with a value, sorted by name, without sign and sign_type, `k=v` joined by &."""
    fields = sorted(form.items())
    return b"&".join([name + b"=" + value for name, value in fields if value and name not in _UNSIGNED])


def decoded(form: Mapping[bytes, bytes]) -> dict[str, str]:
    """The form as text, by its own signed charset, without the fields that are empty. Raises MalformedNotification."""
    charset = form.get(b"charset", b"utf-8").lower()
    if charset not in (b"utf-8", b"gbk"):
        raise MalformedNotification("charset")
    said = {name: value for name, value in form.items() if value}
    try:
        # All at once, which costs a third: in neither charset is a NUL a part of another character.
        texts = b"\0".join(said.values()).decode(charset.decode("ascii")).split("\0")
    except UnicodeDecodeError:
        raise MalformedNotification("charset") from None
    if said and len(texts) != len(said):
        raise MalformedNotification("nul")
    return dict(zip(b"\0".join(said).decode("ascii").split("\0"), texts, strict=True)) if said else {}


def kind_of(form: Form) -> EventKind:
    """TRADE_SUCCESS means paid, and comes again after every partial refund; TRADE_CLOSED means unpaid, or all refunded.

    TRADE_FINISHED repeats a payment months later, when refunds end. Raises MalformedNotification for a form that is
    no notification (the browser's return carries the same signature and no status).
    """
    if form.get("notify_type", TRADE) != TRADE:
        return K.OTHER
    status = text_id(form.get("trade_status"), "trade_status")
    refunded = _fee(form) > 0
    if status in ("TRADE_SUCCESS", "TRADE_FINISHED"):
        # Plain payments have been recorded with refund_fee=0.00, and refund_fee alone is no refund.
        return K.REFUND if refunded and ("gmt_refund" in form or "out_biz_no" in form) else K.PAYMENT
    if status == "TRADE_CLOSED":
        return K.REFUND if refunded else K.CLOSED
    return K.PENDING if status == "WAIT_BUYER_PAY" else K.OTHER


def _fee(form: Form) -> int:
    """refund_fee in fen; an unreadable one counts as 1, so that the refund is seen and its amount is not taken."""
    try:
        return from_decimal(form.get("refund_fee", "0"), CURRENCY)
    except BadAmount:
        return 1


def amount_of(form: Form, kind: EventKind) -> int | None:
    """Fen; None where it cannot be read."""
    if kind not in (K.PAYMENT, K.REFUND):
        return None
    try:
        return from_decimal(form.get("total_amount" if kind is K.PAYMENT else "refund_fee", ""), CURRENCY)
    except BadAmount:
        return None


def order_of(form: Form, kind: EventKind) -> str | None:
    """out_trade_no, which only a form without an effect may lack. Raises MalformedNotification."""
    number = form.get("out_trade_no")
    return optional_id(number, "out_trade_no") if kind is K.OTHER else text_id(number, "out_trade_no")


def transaction_of(form: Form, kind: EventKind) -> str:
    """trade_no, and for a refund its out_request_no behind it: that number is unique within its trade only.

    Alipay puts trade_no where the merchant gave no number (one refund of everything). Without the field the running
    total tells two refunds apart.
    """
    if kind is K.OTHER:
        return ""
    trade_no = text_id(form.get("trade_no"), "trade_no")
    part = form.get("out_biz_no", form.get("refund_fee"))
    if kind is not K.REFUND or part == trade_no:
        return trade_no
    return text_id(f"{trade_no}:{part}", "out_biz_no")


def refund_request_of(event: PaymentEvent) -> tuple[str, str | None]:
    """(trade_no, out_request_no) of a refund's event: the way back from `transaction_of`.

    The order's number stands in where the merchant gave none; None where the running total stood in.
    """
    trade_no, _, part = event.transaction_id.partition(":")
    if not part:
        return trade_no, event.order_no
    try:
        total = from_decimal(part, CURRENCY)
    except BadAmount:
        return trade_no, part
    return trade_no, None if total == event.amount else part


def beijing(when: datetime) -> str:
    """A time as Alipay writes it, in both directions: Beijing's, without saying so."""
    return when.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def said(notice: Notice) -> dict[str, str]:
    """The fields that tell the kinds apart."""
    trade_no, _, part = notice.transaction_id.partition(":")
    when = beijing(notice.occurred_at)
    if notice.kind is K.PAYMENT:
        paid = {"total_amount": to_decimal(notice.amount, CURRENCY), "refund_fee": "0.00", "gmt_payment": when}
        return {"trade_no": notice.transaction_id, "trade_status": "TRADE_SUCCESS", **paid}
    if notice.kind is K.CLOSED:
        return {"trade_no": notice.transaction_id, "trade_status": "TRADE_CLOSED", "gmt_close": when}
    if notice.kind in (K.PENDING, K.OTHER):
        status = "WAIT_BUYER_PAY" if notice.kind is K.PENDING else "TRADE_PENDING"
        return {"trade_no": notice.transaction_id, "trade_status": status}
    total = notice.refunded or notice.amount
    refund = {"trade_no": trade_no, "out_biz_no": part or trade_no, "gmt_refund": when}
    status = "TRADE_CLOSED" if total >= notice.order_amount else "TRADE_SUCCESS"
    return {**refund, "trade_status": status, "refund_fee": to_decimal(total, CURRENCY)}
