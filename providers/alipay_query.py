"""Asking Alipay: alipay.trade.query and alipay.trade.fastpay.refund.query over the open platform's gateway.

Documents: docs.open.alipay.com/api_1/alipay.trade.query and .../alipay.trade.fastpay.refund.query; the signature of a
request: opendocs.alipay.com/common/02kf5q; of an answer: alipay-sdk-java, AbstractAlipayClient.checkResponseSign. It
covers the response node's own text and no request: that the answer is to our question is seen from its numbers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from domain.errors import BadAmount, MalformedNotification
from domain.event import EventKind, PaymentEvent
from domain.money import from_decimal
from providers.account_table import AccountTable
from providers.alipay_form import CURRENCY, beijing, refund_request_of
from providers.keys import Key, RsaKey, base64_bytes, rsa_private_key, rsa_signature, rsa_verifies, usable
from providers.query import NOT_SO, USER_AGENT, Finding, Query, Told, agreement, askable, denied, refusal, unknown
from providers.reading import currency_or_none, text_id
from providers.strict_json import raw_members, read_object

K = EventKind
Node = Mapping[str, Any]

KEYS = frozenset({"key", "url", "app_cert_sn", "root_cert_sn"})
LIVE_URL = "https://openapi.alipay.com/gateway.do"
SANDBOX_URL = "https://openapi-sandbox.dl.alipaydev.com/gateway.do"

TRADE = "alipay.trade.query"
REFUND = "alipay.trade.fastpay.refund.query"
_METHODS = {K.PAYMENT: TRADE, K.CLOSED: TRADE, K.REFUND: REFUND}


@dataclass(frozen=True, slots=True)
class AlipayCredentials:
    """The application's own private key, and where to ask."""

    key: Key[RSAPrivateKey]
    url: str
    #: Serial numbers of the application's and Alipay's root certificates, for an application in certificate mode.
    app_cert_sn: str | None = None
    root_cert_sn: str | None = None


def credentials_of(table: AccountTable, live: bool) -> AlipayCredentials | None:
    """Those of the account's `query` table, if it has one. Raises ConfigurationError."""
    inner = table.inner("query", KEYS)
    if inner is None:
        return None
    return AlipayCredentials(
        inner.key("key", inner.members.get("key"), rsa_private_key),
        inner.url("url", LIVE_URL if live else SANDBOX_URL),
        inner.optional_text("app_cert_sn"),
        inner.optional_text("root_cert_sn"),
    )


def request(credentials: AlipayCredentials, app_id: str, event: PaymentEvent, now: float) -> Query | None:
    """POST of the signed parameters; None where Alipay cannot be asked about the event."""
    asked = _asked(event) if askable(event) and event.kind in _METHODS else None
    if asked is None or not credentials.key.usable_at(now):
        return None
    said = _signed(credentials, app_id, event, asked, now)
    headers = {
        "content-type": "application/x-www-form-urlencoded;charset=utf-8",
        "accept": "application/json",
        "user-agent": USER_AGENT,
    }
    # The gateway reads the body in the charset that the address names.
    return Query("POST", f"{credentials.url}?charset=utf-8", headers, urlencode(said).encode("ascii"))


def finding(event: PaymentEvent, status: int, body: bytes, public_keys: tuple[RsaKey, ...], now: float) -> Finding:
    """What Alipay's answer says about the event, once its signature holds."""
    refused = refusal(status)
    if refused is not None or status != 200 or event.kind not in _METHODS:
        return refused or unknown("unexpected")
    try:
        name = f"{_METHODS[event.kind].replace('.', '_')}_response"
        said, texts = read_object(body), raw_members(body)
        node, signature = said.get(name), said.get("sign")
        if not isinstance(node, dict):
            return unknown("refused" if "error_response" in said else "unreadable")
        if not isinstance(signature, str):
            return unknown("unsigned")
        if not _proven(texts[name], signature, public_keys, now):
            return unknown("signature_invalid")
        return _judged(event, node)
    except (MalformedNotification, BadAmount):
        return unknown("unreadable")


def _signed(
    credentials: AlipayCredentials, app_id: str, event: PaymentEvent, asked: Mapping[str, str], now: float
) -> dict[str, str]:
    """The parameters with their signature; unlike a notification's, a request's sign_type is signed."""
    form = {
        "app_id": app_id,
        "method": _METHODS[event.kind],
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": beijing(datetime.fromtimestamp(now, UTC)),
        "version": "1.0",
        "biz_content": json.dumps(asked, ensure_ascii=False, separators=(",", ":")),
        "app_cert_sn": credentials.app_cert_sn,
        "alipay_root_cert_sn": credentials.root_cert_sn,
    }
    said = {name: value for name, value in sorted(form.items()) if value is not None}
    signed = "&".join(f"{name}={value}" for name, value in said.items())
    return said | {"sign": rsa_signature(credentials.key.value, signed.encode())}


def _asked(event: PaymentEvent) -> dict[str, str] | None:
    """biz_content: a trade by its number, a refund by its trade and out_request_no."""
    if event.kind is not K.REFUND:
        return {"trade_no": event.transaction_id}
    trade_no, part = refund_request_of(event)
    return None if part is None else {"trade_no": trade_no, "out_request_no": part}


def _proven(text: str, signature: str, public_keys: tuple[RsaKey, ...], now: float) -> bool:
    """As Alipay's own libraries do, a second time with slashes unescaped: both texts say the same."""
    try:
        given = base64_bytes(signature)
    except ValueError:
        return False
    texts = (text.encode(), text.replace("\\/", "/").encode())
    return any(rsa_verifies(key.value, given, said) for key in usable(public_keys, now) for said in texts)


def _judged(event: PaymentEvent, node: Node) -> Finding:
    code, sub_code = node.get("code"), node.get("sub_code")
    if code == "40004" and sub_code == "ACQ.TRADE_NOT_EXIST":
        return denied("not_found")
    if code != "10000":
        return unknown("unavailable" if code == "20000" or sub_code == "ACQ.SYSTEM_ERROR" else "refused")
    if event.kind is K.REFUND:
        return _refund(event, node)
    # A trade that was paid is closed too, once all of it went back: only that one was ever paid out to the seller.
    status, paid_once = node.get("trade_status"), bool(node.get("send_pay_date"))
    if status not in ("WAIT_BUYER_PAY", "TRADE_CLOSED", "TRADE_SUCCESS", "TRADE_FINISHED"):
        return unknown("unreadable")
    closed = status == "TRADE_CLOSED"
    if event.kind is K.CLOSED:
        return agreement(event, _told(event, node)) if closed and not paid_once else denied(NOT_SO[K.CLOSED])
    if closed:
        return unknown("refunded") if paid_once else denied("closed")
    return agreement(event, _told(event, node)) if status != "WAIT_BUYER_PAY" else denied(NOT_SO[K.PAYMENT])


def _told(event: PaymentEvent, node: Node) -> Told:
    return Told(
        transaction_id=text_id(node.get("trade_no"), "trade_no"),
        order_no=text_id(node.get("out_trade_no"), "out_trade_no"),
        amount=_fen(node.get("total_amount")) if event.kind is K.PAYMENT else None,
        currency=currency_or_none(node.get("trans_currency", CURRENCY)),
    )


def _refund(event: PaymentEvent, node: Node) -> Finding:
    """Only REFUND_SUCCESS is a refund; no status is none. The answer tells this one's amount, the event the total."""
    status = node.get("refund_status")
    if status is None:
        return denied(NOT_SO[K.REFUND])
    if status != "REFUND_SUCCESS":
        return unknown("processing")
    trade_no, part = refund_request_of(event)
    if node.get("out_request_no") != part:
        return denied("transaction_differs")
    told = Told(
        transaction_id=event.transaction_id,
        payment_id=text_id(node.get("trade_no"), "trade_no"),
        order_no=text_id(node.get("out_trade_no"), "out_trade_no"),
        amount=_fen(node.get("refund_amount")),
        currency=CURRENCY,
    )
    if told.payment_id != trade_no:
        return denied("payment_differs")
    if event.amount is not None and told.amount is not None and told.amount < event.amount:
        return unknown("total_not_told")
    return denied("amount_differs") if told.amount != event.amount else agreement(event, told)


def _fen(value: object) -> int:
    """Fen of a decimal text, or of a JSON number where the gateway writes one. Raises BadAmount."""
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        raise BadAmount("amount")
    return from_decimal(str(value), CURRENCY)
