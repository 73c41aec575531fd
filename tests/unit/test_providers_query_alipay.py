"""What Alipay is asked, and what its signed node says of an event."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from domain.event import EventKind, PaymentEvent
from domain.finding import Finding
from providers.alipay import Alipay
from providers.alipay_query import AlipayCredentials
from providers.keys import Key, rsa_public_key, rsa_signature, rsa_verifies
from providers.query import confirmed, denied, unknown
from providers.strict_json import raw_members, read_object

K = EventKind
NOW = 1_767_225_600.0
THEIRS, OURS = generate_private_key(65537, 2048), generate_private_key(65537, 2048)
PUBLIC = Key("file:alipay.pem", THEIRS.public_key())
CREDENTIALS = AlipayCredentials(Key("file:app.pem", OURS), "https://openapi.alipay.com/gateway.do")
ALIPAY = Alipay("shop", True, "2021", (PUBLIC,), credentials=CREDENTIALS)

PAID = PaymentEvent(
    notification_id="N1",
    kind=K.PAYMENT,
    digest="",
    order_no="O-1",
    transaction_id="T1",
    amount=8888,
    currency="CNY",
    provider_kind="TRADE_SUCCESS",
)
CLOSED = replace(PAID, kind=K.CLOSED, amount=None, currency=None)
REFUNDED = replace(PAID, kind=K.REFUND, transaction_id="T1:R1", payment_id="T1", amount=880, cumulative=True)

NODE = {
    "code": "10000",
    "msg": "Success",
    "trade_no": "T1",
    "out_trade_no": "O-1",
    "trade_status": "TRADE_SUCCESS",
    "total_amount": "88.88",
    "send_pay_date": "2026-01-01 08:00:00",
}
UNPAID = {name: value for name, value in NODE.items() if name != "send_pay_date"} | {"trade_status": "TRADE_CLOSED"}
RETURN = {
    "code": "10000",
    "msg": "Success",
    "trade_no": "T1",
    "out_trade_no": "O-1",
    "out_request_no": "R1",
    "total_amount": "88.88",
    "refund_amount": "8.80",
    "refund_status": "REFUND_SUCCESS",
}
QUERY, REFUND_QUERY = "alipay_trade_query_response", "alipay_trade_fastpay_refund_query_response"


def _answer(node: object, name: str = QUERY, text: str | None = None) -> bytes:
    """As the gateway writes it: the node's own text is what is signed."""
    said = json.dumps(node, ensure_ascii=False, separators=(",", ":")) if text is None else text
    return f'{{"{name}":{said},"sign":"{rsa_signature(THEIRS, said.encode())}"}}'.encode()


def _read(event: PaymentEvent, node: Mapping[str, Any]) -> Finding:
    return _said(event, _answer(node, REFUND_QUERY if event.kind is K.REFUND else QUERY))


def _said(event: PaymentEvent, body: bytes, status: int = 200) -> Finding:
    return ALIPAY.read_query(event, status, {}, body, NOW)


def _form(event: PaymentEvent, dialect: Alipay = ALIPAY) -> dict[str, str]:
    query = dialect.query(event, NOW)
    assert query is not None
    return dict(parse_qsl(query.body.decode(), strict_parsing=True))


@pytest.mark.parametrize(
    ("event", "method", "asked"),
    [
        (PAID, "alipay.trade.query", {"trade_no": "T1"}),
        (CLOSED, "alipay.trade.query", {"trade_no": "T1"}),
        (REFUNDED, "alipay.trade.fastpay.refund.query", {"trade_no": "T1", "out_request_no": "R1"}),
        # One refund of everything, without a number of ours: the order's stands in.
        (
            replace(REFUNDED, transaction_id="T1"),
            "alipay.trade.fastpay.refund.query",
            {"trade_no": "T1", "out_request_no": "O-1"},
        ),
        (
            replace(REFUNDED, transaction_id="T1:8.81"),
            "alipay.trade.fastpay.refund.query",
            {"trade_no": "T1", "out_request_no": "8.81"},
        ),
    ],
)
def test_what_is_asked(event: PaymentEvent, method: str, asked: dict[str, str]) -> None:
    """The trade by its number, a refund by its trade and our request's number, signed, at Beijing time."""
    query, form = ALIPAY.query(event, NOW), _form(event)
    signature = base64.b64decode(form.pop("sign"))

    assert query is not None
    assert (query.method, query.url) == ("POST", "https://openapi.alipay.com/gateway.do?charset=utf-8")
    assert rsa_verifies(
        OURS.public_key(), signature, "&".join(f"{name}={form[name]}" for name in sorted(form)).encode()
    )
    assert json.loads(form.pop("biz_content")) == asked
    assert form == {
        "app_id": "2021",
        "method": method,
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": "2026-01-01 08:00:00",
        "version": "1.0",
    }


def test_an_application_in_certificate_mode_names_its_certificates() -> None:
    """Alipay then wants both serial numbers, signed."""
    credentials = replace(CREDENTIALS, app_cert_sn="a1", root_cert_sn="b2_c3")

    form = _form(PAID, replace(ALIPAY, credentials=credentials))

    assert (form["app_cert_sn"], form["alipay_root_cert_sn"]) == ("a1", "b2_c3")


def test_a_refund_that_its_total_tells_apart_cannot_be_asked() -> None:
    """Its notification carried no number: the total stands in its place, and Alipay would not find it."""
    assert ALIPAY.query(replace(REFUNDED, transaction_id="T1:8.80"), NOW) is None


@pytest.mark.parametrize(
    ("event", "node"),
    [
        (PAID, NODE),
        (PAID, {**NODE, "trade_status": "TRADE_FINISHED"}),
        (PAID, {**NODE, "total_amount": 88.88}),
        (CLOSED, UNPAID),
        (REFUNDED, RETURN),
        (replace(REFUNDED, transaction_id="T1"), {**RETURN, "out_request_no": "O-1"}),
    ],
)
def test_what_happened_just_so_is_confirmed(event: PaymentEvent, node: dict[str, Any]) -> None:
    """A trade that is paid, or closed unpaid; a refund that succeeded."""
    assert _read(event, node) == confirmed()


@pytest.mark.parametrize(
    ("event", "node", "detail"),
    [
        (PAID, {"code": "40004", "sub_code": "ACQ.TRADE_NOT_EXIST"}, "not_found"),
        (PAID, {**NODE, "trade_status": "WAIT_BUYER_PAY"}, "not_paid"),
        (PAID, UNPAID, "closed"),
        (PAID, {**NODE, "total_amount": "88.87"}, "amount_differs"),
        (PAID, {**NODE, "out_trade_no": "O-2"}, "order_differs"),
        (PAID, {**NODE, "trade_no": "T2"}, "transaction_differs"),
        (PAID, {**NODE, "trans_currency": "USD"}, "currency_differs"),
        (CLOSED, NODE, "not_closed"),
        (CLOSED, {**NODE, "trade_status": "TRADE_CLOSED"}, "not_closed"),
        (CLOSED, {**NODE, "trade_status": "WAIT_BUYER_PAY"}, "not_closed"),
        (REFUNDED, {"code": "10000", "msg": "Success"}, "not_refunded"),
        (REFUNDED, {**RETURN, "refund_amount": "8.81"}, "amount_differs"),
        (REFUNDED, {**RETURN, "out_request_no": "R2"}, "transaction_differs"),
        (REFUNDED, {**RETURN, "trade_no": "T2"}, "payment_differs"),
        (REFUNDED, {**RETURN, "out_trade_no": "O-2"}, "order_differs"),
    ],
)
def test_what_happened_otherwise_is_denied(event: PaymentEvent, node: dict[str, Any], detail: str) -> None:
    """It stands elsewhere, or differs in one thing; a refund without a status is none."""
    assert _read(event, node) == denied(detail)


@pytest.mark.parametrize(
    ("event", "node", "detail"),
    [
        (PAID, {**NODE, "trade_status": "TRADE_CLOSED"}, "refunded"),
        (PAID, {**NODE, "trade_status": "TRADE_PENDING"}, "unreadable"),
        (PAID, {**NODE, "trade_status": None}, "unreadable"),
        (PAID, {**NODE, "total_amount": None}, "unreadable"),
        (PAID, {**NODE, "total_amount": "1e3"}, "unreadable"),
        (PAID, {**NODE, "trade_no": None}, "unreadable"),
        (PAID, {"code": "20000", "sub_code": "isp.unknow-error"}, "unavailable"),
        (PAID, {"code": "40004", "sub_code": "ACQ.SYSTEM_ERROR"}, "unavailable"),
        (PAID, {"code": "40006", "sub_code": "isv.insufficient-isv-permissions"}, "refused"),
        (PAID, {"code": "40002", "sub_code": "isv.invalid-signature"}, "refused"),
        (PAID, {}, "refused"),
        # The first of two refunds: its own amount is told, the total of both is not.
        (REFUNDED, {**RETURN, "refund_amount": "8.79"}, "total_not_told"),
        (REFUNDED, {**RETURN, "refund_status": "REFUND_PROCESSING"}, "processing"),
        (REFUNDED, {**RETURN, "refund_amount": None}, "unreadable"),
    ],
)
def test_what_is_not_so_any_more_or_cannot_be_read_is_unknown(
    event: PaymentEvent, node: dict[str, Any], detail: str
) -> None:
    """Paid and given back since, a fault of Alipay's, a request it refuses, a fact that is missing."""
    assert _read(event, node) == unknown(detail)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"alipay_trade_query_response":' + json.dumps(NODE).encode() + b"}", "unsigned"),
        (b'{"alipay_trade_query_response":' + json.dumps(NODE).encode() + b',"sign":""}', "signature_invalid"),
        (b'{"alipay_trade_query_response":' + json.dumps(NODE).encode() + b',"sign":"no base64"}', "signature_invalid"),
        (b'{"alipay_trade_query_response":' + json.dumps(NODE).encode() + b',"sign":"AAAA"}', "signature_invalid"),
        (_answer(NODE).replace(b"88.88", b"88.89"), "signature_invalid"),
        (_answer(NODE).replace(b'","', b'", "'), "signature_invalid"),
        (_answer(RETURN, REFUND_QUERY), "unreadable"),
        (_answer({"code": "40002", "sub_code": "isv.missing-app-id"}, "error_response"), "refused"),
        (b'{"error_response":{"code":"40001"}}', "refused"),
        (b'{"alipay_trade_query_response":"x","sign":"y"}', "unreadable"),
        (b"<html>502</html>", "unreadable"),
        (b"", "unreadable"),
    ],
)
def test_an_answer_that_is_not_proven_is_unknown(body: bytes, detail: str) -> None:
    """No signature, another one, a changed or reformatted node, another interface's: never a word about the trade."""
    assert _said(PAID, body) == unknown(detail)


def test_another_keys_answer_is_unknown() -> None:
    """Signed by our own key, or after Alipay's key was retired."""
    text = json.dumps(NODE)
    forged = f'{{"{QUERY}":{text},"sign":"{rsa_signature(OURS, text.encode())}"}}'.encode()
    retired = replace(ALIPAY, public_keys=(replace(PUBLIC, not_after=NOW - 1),))

    assert _said(PAID, forged) == unknown("signature_invalid")
    assert retired.read_query(PAID, 200, {}, _answer(NODE), NOW) == unknown("signature_invalid")


def test_a_node_hidden_in_another_is_not_the_node() -> None:
    """Who only looked for its name would find a signed text inside another member."""
    genuine = _answer(NODE).decode()
    inside = json.dumps(genuine)
    forged = '{"a":' + inside + ',"alipay_trade_query_response":' + json.dumps({**NODE, "out_trade_no": "O-2"})
    signature = read_object(genuine.encode())["sign"]

    assert _said(PAID, f'{forged},"sign":"{signature}"}}'.encode()) == unknown("signature_invalid")
    assert _said(PAID, genuine.replace("{", '{"a":' + inside + ",", 1).encode()) == confirmed()


def test_spaces_and_escapes_of_the_node_are_signed_as_they_are() -> None:
    """The text counts, not what a parser would write again; an escaped slash may have been signed unescaped."""
    spaced = json.dumps(NODE, indent=1)
    escaped = json.dumps({**NODE, "subject": "a/b 座垫"}).replace("/", "\\/")
    signature = rsa_signature(THEIRS, escaped.replace("\\/", "/").encode())
    unescaped = f'{{"{QUERY}":{escaped},"sign":"{signature}"}}'

    assert _said(PAID, _answer(None, text=spaced)) == confirmed()
    assert _said(PAID, _answer(None, text=escaped)) == confirmed()
    assert _said(PAID, unescaped.encode()) == confirmed()


def test_a_published_answer_is_proven(vectors: Path) -> None:
    """A recorded production answer verifies as it stands, and no longer with one digit changed."""
    published = json.loads((vectors / "alipay.json").read_text("utf-8"))
    [vector] = [vector for vector in published if vector["name"] == "gopay-sync-response"]
    key = Key("published", rsa_public_key(vector["secret_or_key"]["alipay_public_key_pem"].encode()))
    node = base64.b64decode(vector["body_b64"]).decode()
    body = f'{{"{QUERY}":{node},"sign":"{vector["signature"]}"}}'.encode()
    theirs = replace(ALIPAY, public_keys=(key,))

    # It answers a payment, not a query: proven, and without the status that a query tells.
    assert theirs.read_query(PAID, 200, {}, body, NOW) == unknown("unreadable")
    changed = body.replace(b'"total_amount":"0.01"', b'"total_amount":"0.02"')
    assert theirs.read_query(PAID, 200, {}, changed, NOW) == unknown("signature_invalid")


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.integers(-99, 99) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=5,
    ),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
)
def test_each_members_text_is_its_own(said: dict[str, Any], indent: int | str | None, ascii_only: bool) -> None:
    """However the object is written: the texts, read again, are its members, and each stands in it."""
    body = json.dumps(said, indent=indent, ensure_ascii=ascii_only)
    texts = raw_members(body.encode("utf-8", "surrogatepass"))

    assert {name: json.loads(text) for name, text in texts.items()} == said
    assert all(text in body for text in texts.values())
