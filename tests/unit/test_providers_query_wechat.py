"""What WeChat Pay is asked, and what its signed answer says of an event."""

import base64
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from domain.event import EventKind, PaymentEvent
from domain.finding import Finding
from providers.keys import Key, rsa_signature, rsa_verifies
from providers.query import confirmed, denied, unknown
from providers.wechat_query import WechatCredentials
from providers.wechat_v3 import WechatV3

K = EventKind
NOW = 1_767_225_600.0
THEIRS, OURS = generate_private_key(65537, 2048), generate_private_key(65537, 2048)
PUBLIC = Key("PUB_KEY_ID_1", THEIRS.public_key())
WECHAT = WechatV3(
    "shop", True, "wx8888", "1900000001", (PUBLIC,), (), credentials=WechatCredentials(Key("k", OURS), "5157F09E")
)

PAID = PaymentEvent(
    notification_id="EV-1",
    kind=K.PAYMENT,
    digest="",
    order_no="O-1",
    transaction_id="4200",
    amount=1999,
    currency="CNY",
    provider_kind="TRANSACTION.SUCCESS",
)
CLOSED = replace(PAID, kind=K.CLOSED, transaction_id="O-1", amount=None, currency=None)
FAILED = replace(CLOSED, kind=K.FAILED, transaction_id="4200")
REFUNDED = replace(PAID, kind=K.REFUND, transaction_id="5030:R-1", payment_id="4200", amount=500)

TRANSACTION = {
    "appid": "wx8888",
    "mchid": "1900000001",
    "out_trade_no": "O-1",
    "transaction_id": "4200",
    "trade_state": "SUCCESS",
    "amount": {"total": 1999, "payer_total": 999, "currency": "CNY"},
}
UNPAID = {**TRANSACTION, "trade_state": "CLOSED", "transaction_id": None, "amount": None}
REFUND = {
    "refund_id": "5030",
    "out_refund_no": "R-1",
    "transaction_id": "4200",
    "out_trade_no": "O-1",
    "status": "SUCCESS",
    "amount": {"total": 1999, "refund": 500, "currency": "CNY"},
}


def _signed(body: bytes, stamp: int = int(NOW), **changes: str) -> dict[str, str]:
    nonce = "c5ac7061fccab6bf3e254dcf98995b8c"
    return {
        "wechatpay-timestamp": str(stamp),
        "wechatpay-nonce": nonce,
        "wechatpay-serial": "PUB_KEY_ID_1",
        "wechatpay-signature": rsa_signature(THEIRS, f"{stamp}\n{nonce}\n".encode() + body + b"\n"),
        "wechatpay-signature-type": "WECHATPAY2-SHA256-RSA2048",
    } | changes


def _read(event: PaymentEvent, said: object, status: int = 200, stamp: int = int(NOW), **changes: str) -> Finding:
    body = json.dumps(said).encode()
    return WECHAT.read_query(event, status, _signed(body, stamp, **changes), body, NOW)


@pytest.mark.parametrize(
    ("event", "target"),
    [
        (PAID, "/v3/pay/transactions/out-trade-no/O-1?mchid=1900000001"),
        (CLOSED, "/v3/pay/transactions/out-trade-no/O-1?mchid=1900000001"),
        (FAILED, "/v3/pay/transactions/out-trade-no/O-1?mchid=1900000001"),
        (replace(PAID, order_no="a|b*c@_-"), "/v3/pay/transactions/out-trade-no/a%7Cb%2Ac%40_-?mchid=1900000001"),
        (REFUNDED, "/v3/refund/domestic/refunds/R-1"),
    ],
)
def test_what_is_asked(event: PaymentEvent, target: str) -> None:
    """Method, target, time, nonce and an empty body, signed with the merchant's key under its certificate's serial."""
    query = WECHAT.query(event, NOW)

    assert query is not None
    assert (query.method, query.url, query.body) == ("GET", f"https://api.mch.weixin.qq.com{target}", b"")
    scheme, _, values = query.headers["authorization"].partition(" ")
    said = dict(re.findall(r'(\w+)="([^"]*)"', values))
    signed = f"GET\n{target}\n{said['timestamp']}\n{said['nonce_str']}\n\n".encode()
    assert rsa_verifies(OURS.public_key(), base64.b64decode(said.pop("signature")), signed)
    assert re.fullmatch("[0-9a-f]{32}", said.pop("nonce_str"))
    assert (scheme, said) == (
        "WECHATPAY2-SHA256-RSA2048",
        {"mchid": "1900000001", "timestamp": str(int(NOW)), "serial_no": "5157F09E"},
    )
    assert query.headers["wechatpay-serial"] == "PUB_KEY_ID_1"


def test_each_question_has_its_own_nonce() -> None:
    """The same question a moment later is another request."""
    first, again = WECHAT.query(PAID, NOW), WECHAT.query(PAID, NOW + 0.001)

    assert first is not None
    assert again is not None
    assert first.headers["authorization"] != again.headers["authorization"]


def test_a_platform_certificate_is_not_asked_for() -> None:
    """Which of its certificates signs is WeChat's own choice."""
    query = replace(WECHAT, public_keys=(Key("5157F09E", THEIRS.public_key()),)).query(PAID, NOW)

    assert query is not None
    assert "wechatpay-serial" not in query.headers


@pytest.mark.parametrize(
    "event",
    [
        replace(PAID, notification_id="EV-1:O-1"),
        replace(REFUNDED, transaction_id="5030"),
        replace(REFUNDED, transaction_id="5030:"),
        replace(REFUNDED, transaction_id="5030:../pay"),
        replace(PAID, order_no=None),
    ],
)
def test_what_cannot_be_asked(event: PaymentEvent) -> None:
    """A part of a combined payment, a refund without a number of ours, a number that is none."""
    assert WECHAT.query(event, NOW) is None


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (PAID, TRANSACTION),
        (PAID, {**TRANSACTION, "amount": {"total": 1999}}),
        (CLOSED, UNPAID),
        (CLOSED, {**UNPAID, "trade_state": "REVOKED"}),
        (FAILED, {**TRANSACTION, "trade_state": "PAYERROR"}),
        (REFUNDED, REFUND),
    ],
)
def test_what_happened_just_so_is_confirmed(event: PaymentEvent, said: dict[str, Any]) -> None:
    """The order's total counts, not what the buyer paid after coupons."""
    assert _read(event, said) == confirmed()


@pytest.mark.parametrize(
    ("event", "said", "detail"),
    [
        *((PAID, {**TRANSACTION, "trade_state": state}, "not_paid") for state in ("NOTPAY", "USERPAYING", "ACCEPT")),
        (PAID, {**TRANSACTION, "trade_state": "PAYERROR"}, "not_paid"),
        (PAID, UNPAID, "closed"),
        (PAID, {**TRANSACTION, "amount": {"total": 1998}}, "amount_differs"),
        (PAID, {**TRANSACTION, "amount": {"total": 1999, "currency": "USD"}}, "currency_differs"),
        (PAID, {**TRANSACTION, "out_trade_no": "O-2"}, "order_differs"),
        (PAID, {**TRANSACTION, "transaction_id": "4201"}, "transaction_differs"),
        (PAID, {**TRANSACTION, "mchid": "1900000009"}, "merchant_id_differs"),
        (PAID, {**TRANSACTION, "appid": "wx9999"}, "app_id_differs"),
        (CLOSED, TRANSACTION, "not_closed"),
        (CLOSED, {**TRANSACTION, "trade_state": "REFUND"}, "not_closed"),
        (CLOSED, {**UNPAID, "out_trade_no": "O-2"}, "transaction_differs"),
        (FAILED, TRANSACTION, "not_failed"),
        (REFUNDED, {**REFUND, "status": "CLOSED"}, "not_refunded"),
        (REFUNDED, {**REFUND, "status": "ABNORMAL"}, "not_refunded"),
        (REFUNDED, {**REFUND, "refund_id": "5031"}, "transaction_differs"),
        (REFUNDED, {**REFUND, "out_refund_no": "R-2"}, "transaction_differs"),
        (REFUNDED, {**REFUND, "transaction_id": "4201"}, "payment_differs"),
        (REFUNDED, {**REFUND, "out_trade_no": "O-2"}, "order_differs"),
        (REFUNDED, {**REFUND, "amount": {"refund": 499}}, "amount_differs"),
    ],
)
def test_what_happened_otherwise_is_denied(event: PaymentEvent, said: dict[str, Any], detail: str) -> None:
    """It stands elsewhere, or differs in one thing."""
    assert _read(event, said) == denied(detail)


@pytest.mark.parametrize(
    ("event", "said", "detail"),
    [
        (PAID, {**TRANSACTION, "trade_state": "REFUND"}, "refunded"),
        (PAID, {**TRANSACTION, "trade_state": "NEW"}, "unreadable"),
        (PAID, {**TRANSACTION, "trade_state": None}, "unreadable"),
        (PAID, {**TRANSACTION, "transaction_id": 7}, "unreadable"),
        (PAID, {**TRANSACTION, "amount": {"total": "1999"}}, "amount_unreadable"),
        (PAID, {**TRANSACTION, "amount": None}, "amount_unreadable"),
        (PAID, [], "unreadable"),
        (REFUNDED, {**REFUND, "status": "PROCESSING"}, "processing"),
        (REFUNDED, {**REFUND, "status": None}, "unreadable"),
        (REFUNDED, TRANSACTION, "unreadable"),
    ],
)
def test_what_is_not_so_any_more_or_cannot_be_read_is_unknown(event: PaymentEvent, said: object, detail: str) -> None:
    """Paid and given back since, on its way, or a fact that is missing."""
    assert _read(event, said) == unknown(detail)


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("ORDER_NOT_EXIST", denied("not_found")),
        ("RESOURCE_NOT_EXISTS", denied("not_found")),
        ("MCH_NOT_EXISTS", unknown("unexpected")),
        (None, unknown("unexpected")),
    ],
)
def test_only_a_missing_order_is_not_found(code: str | None, finding: Finding) -> None:
    """WeChat Pay says so under its signature; a merchant that it does not know is our fault."""
    assert _read(PAID, {"code": code, "message": "…"}, 404) == finding


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"wechatpay-signature": ""}, "unsigned"),
        ({"wechatpay-signature": "AAAA"}, "signature_invalid"),
        ({"wechatpay-signature": "WECHATPAY/SIGNTEST/" + "A" * 325}, "signature_invalid"),
        ({"wechatpay-serial": "PUB_KEY_ID_2"}, "signature_invalid"),
        ({"wechatpay-timestamp": str(int(NOW) + 1)}, "signature_invalid"),
        ({"wechatpay-nonce": "another"}, "signature_invalid"),
        ({"wechatpay-signature-type": "WECHATPAY2-SM2-WITH-SM3"}, "signature_invalid"),
    ],
)
@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_that_is_not_proven_is_unknown(status: int, changes: dict[str, str], detail: str) -> None:
    """Whatever it says, and whether it is 200 or 404."""
    said = TRANSACTION if status == 200 else {"code": "ORDER_NOT_EXIST"}

    assert _read(PAID, said, status, **changes) == unknown(detail)


@pytest.mark.parametrize("late", [-300, 300])
def test_an_answer_from_another_time_is_unknown(late: int) -> None:
    """An old one may be somebody's recording of the day before the refund."""
    assert _read(PAID, TRANSACTION, stamp=int(NOW) + late) == unknown("signature_invalid")
    assert _read(PAID, TRANSACTION, stamp=int(NOW) + late // 2) == confirmed()


def test_a_changed_body_is_unknown() -> None:
    """One digit of it, under a genuine signature."""
    body = json.dumps({**TRANSACTION, "amount": {"total": 1}}).encode()

    finding = WECHAT.read_query(replace(PAID, amount=9), 200, _signed(body), body.replace(b"1}", b"9}"), NOW)

    assert finding == unknown("signature_invalid")
