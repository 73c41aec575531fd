"""Alipay: RSA2 over the sorted form. Facts: opendocs.alipay.com on asynchronous notifications; recorded ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from domain.errors import BadAmount, ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from domain.money import from_decimal, to_decimal
from providers.dialect import Answer, Delivery, Notice
from providers.keys import RsaKey, base64_bytes, rsa_signature, rsa_verifies, usable
from providers.reading import BEIJING, digest, moment, optional_id, text_id
from providers.strict_form import read_form

K = EventKind
Form = Mapping[str, str]

CURRENCY = "CNY"
#: The word under which a change of a trade comes; others (agreements, deposits, fund bills) may share the URL.
TRADE = "trade_status_sync"

#: Not part of the string to sign. sign_type is therefore no proof of anything and chooses no algorithm.
_UNSIGNED = (b"sign", b"sign_type")
#: These differ from one delivery of a notification to the next.
_PER_DELIVERY = ("sign", "sign_type", "notify_time")

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
_BORDER_MOVED = re.compile(rb"&(?:" + "|".join(_SENT).encode() + rb")=")

#: When it happened, by what happened.
_TIMES = {K.PAYMENT: "gmt_payment", K.REFUND: "gmt_refund", K.CLOSED: "gmt_close", K.OTHER: "gmt_create"}


@dataclass(frozen=True, slots=True)
class Alipay:
    """One Alipay application. The algorithm is RSA2 for all of them."""

    provider: ClassVar[str] = "alipay"
    headers: ClassVar[tuple[str, ...]] = ()
    #: Eight deliveries within 25 hours.
    horizon: ClassVar[timedelta] = timedelta(days=2)
    sayable: ClassVar[frozenset[EventKind]] = frozenset({K.PAYMENT, K.REFUND, K.CLOSED, K.OTHER})

    account: str
    live: bool
    app_id: str
    public_keys: tuple[RsaKey, ...]
    #: The payee; None: not compared.
    seller_id: str | None = None
    signing_key: RSAPrivateKey | None = field(default=None, repr=False)

    def verify(self, delivery: Delivery, now: float) -> str:
        """SHA256withRSA over the sorted fields, as bytes: no charset can change what was signed. There is no clock."""
        try:
            form = read_form(delivery.body)
            signature = base64_bytes(form[b"sign"].decode("ascii"))
        except (MalformedNotification, KeyError, ValueError):
            raise SignatureInvalid("sign") from None
        if form.get(b"sign_type", b"RSA2") != b"RSA2":
            raise SignatureInvalid("sign_type")
        if any(_BORDER_MOVED.search(value) for value in form.values()):
            raise SignatureInvalid("ambiguous_form")
        signed = _string_to_sign(form)
        for key in usable(self.public_keys, now):
            if rsa_verifies(key.value, signature, signed):
                return key.id
        raise SignatureInvalid("sign")

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        """One event. notify_id stays the same while a notification is sent again; a later status has another one."""
        form = _decoded(read_form(delivery.body))
        notification_id = text_id(form.get("notify_id"), "notify_id")
        kind = _kind(form)
        event = PaymentEvent(
            notification_id=notification_id,
            kind=kind,
            digest=digest({name: value for name, value in form.items() if name not in _PER_DELIVERY}),
            order_no=_order_no(form, kind),
            transaction_id=_transaction_id(form, kind),
            amount=_amount(form, kind),
            currency=CURRENCY if kind in (K.PAYMENT, K.REFUND) else None,
            cumulative=kind is K.REFUND,
            foreign=self._foreign(form),
            occurred_at=moment(form.get(_TIMES[kind]), BEIJING),
            provider_kind=(form.get("trade_status") or form["notify_type"])[:255],
        )
        return (event,)

    def accepted(self) -> Answer:
        """Exactly these seven letters; anything else counts as a failure, whatever the status."""
        return Answer(200, b"success")

    def refused(self, status: int) -> Answer:
        """The word of Alipay's own samples."""
        return Answer(status, b"fail")

    def sign(self, notice: Notice, now: float) -> Delivery:
        """A form under `signing_key`. A refund's transaction id is trade_no:out_request_no, or trade_no alone."""
        if notice.kind not in self.sayable or notice.currency != CURRENCY:
            raise ConfigurationError("alipay has no word for", notice.kind, notice.currency)
        form = {**self._common(notice, now), **_said(notice)}
        raw = {name.encode(): value.encode() for name, value in form.items()}
        form["sign"] = rsa_signature(self.signing_key, _string_to_sign(raw))
        return Delivery({}, urlencode(form).encode("ascii"))

    def _foreign(self, form: Form) -> tuple[str, ...]:
        wrong = ["app_id"] if form.get("app_id") != self.app_id else []
        if self.seller_id is not None and form.get("seller_id") != self.seller_id:
            wrong.append("seller_id")
        return tuple(wrong)

    def _common(self, notice: Notice, now: float) -> dict[str, str]:
        form = {
            "notify_id": notice.notification_id,
            "notify_type": TRADE,
            "notify_time": _beijing(datetime.fromtimestamp(now, UTC)),
            "charset": "utf-8",
            "version": "1.0",
            "sign_type": "RSA2",
            "app_id": self.app_id,
            "auth_app_id": self.app_id,
            "out_trade_no": notice.order_no,
            "total_amount": to_decimal(notice.order_amount, CURRENCY),
            "subject": f"订单+{notice.order_no}",
            "gmt_create": _beijing(notice.occurred_at),
        }
        return form if self.seller_id is None else {**form, "seller_id": self.seller_id}


def _string_to_sign(form: Mapping[bytes, bytes]) -> bytes:
    """The fields with a value, sorted by name, without sign and sign_type, `k=v` joined by &."""
    names = sorted(name for name, value in form.items() if value and name not in _UNSIGNED)
    return b"&".join(name + b"=" + form[name] for name in names)


def _decoded(form: Mapping[bytes, bytes]) -> dict[str, str]:
    """The form as text, by its own signed charset, without the fields that are empty. Raises MalformedNotification."""
    charset = form.get(b"charset", b"utf-8").lower()
    if charset not in (b"utf-8", b"gbk"):
        raise MalformedNotification("charset")
    try:
        text = {name.decode("ascii"): value.decode(charset.decode("ascii")) for name, value in form.items() if value}
    except UnicodeDecodeError:
        raise MalformedNotification("charset") from None
    if any("\0" in value for value in text.values()):
        raise MalformedNotification("nul")
    return text


def _kind(form: Form) -> EventKind:
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
    return K.OTHER


def _fee(form: Form) -> int:
    """refund_fee in fen; an unreadable one counts as 1, so that the refund is seen and its amount is not taken."""
    try:
        return from_decimal(form.get("refund_fee", "0"), CURRENCY)
    except BadAmount:
        return 1


def _amount(form: Form, kind: EventKind) -> int | None:
    """Fen; None where it cannot be read."""
    if kind not in (K.PAYMENT, K.REFUND):
        return None
    try:
        return from_decimal(form.get("total_amount" if kind is K.PAYMENT else "refund_fee", ""), CURRENCY)
    except BadAmount:
        return None


def _order_no(form: Form, kind: EventKind) -> str | None:
    number = form.get("out_trade_no")
    return optional_id(number, "out_trade_no") if kind is K.OTHER else text_id(number, "out_trade_no")


def _transaction_id(form: Form, kind: EventKind) -> str:
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


def _beijing(when: datetime) -> str:
    return when.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def _said(notice: Notice) -> dict[str, str]:
    """The fields that tell the kinds apart."""
    trade_no, _, part = notice.transaction_id.partition(":")
    when = _beijing(notice.occurred_at)
    if notice.kind is K.PAYMENT:
        paid = {"total_amount": to_decimal(notice.amount, CURRENCY), "refund_fee": "0.00", "gmt_payment": when}
        return {"trade_no": notice.transaction_id, "trade_status": "TRADE_SUCCESS", **paid}
    if notice.kind is K.CLOSED:
        return {"trade_no": notice.transaction_id, "trade_status": "TRADE_CLOSED", "gmt_close": when}
    if notice.kind is K.OTHER:
        return {"trade_no": notice.transaction_id, "trade_status": "WAIT_BUYER_PAY"}
    total = notice.refunded or notice.amount
    refund = {"trade_no": trade_no, "out_biz_no": part or trade_no, "gmt_refund": when}
    status = "TRADE_CLOSED" if total >= notice.order_amount else "TRADE_SUCCESS"
    return {**refund, "trade_status": status, "refund_fee": to_decimal(total, CURRENCY)}
