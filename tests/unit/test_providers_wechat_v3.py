"""What WeChat Pay's notifications mean."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from providers.dialect import Delivery, Notice
from providers.keys import Key, rsa_signature
from providers.wechat_resource import open_resource, seal_resource
from providers.wechat_v3 import WechatV3

K = EventKind
NOW = 1_767_225_600.0
SIGNING_KEY = generate_private_key(65537, 2048)
APIV3 = Key("env:APIV3", b"thirty-two bytes for a beaver...")
SERIAL = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"
WECHAT = WechatV3(
    "shop", False, "wx8888", "1900000001", (Key(SERIAL, SIGNING_KEY.public_key()),), (APIV3,), SIGNING_KEY
)

PAID = {
    "mchid": "1900000001",
    "appid": "wx8888",
    "out_trade_no": "O-1",
    "transaction_id": "4200",
    "trade_state": "SUCCESS",
    "success_time": "2026-01-01T08:00:00+08:00",
    "amount": {"total": 1999, "payer_total": 999, "currency": "CNY", "payer_currency": "CNY"},
}
REFUNDED = {
    "mchid": "1900000001",
    "out_trade_no": "O-1",
    "transaction_id": "4200",
    "refund_id": "5030",
    "out_refund_no": "R-1",
    "refund_status": "SUCCESS",
    "success_time": "2026-01-01T08:00:00+08:00",
    "amount": {"total": 1999, "refund": 500, "payer_total": 999, "payer_refund": 250},
}
PART = {
    "mchid": "1900000002",
    "trade_state": "SUCCESS",
    "transaction_id": "4201",
    "out_trade_no": "O-1",
    "success_time": "2026-01-01T08:00:00+08:00",
    "amount": {"total_amount": 10, "payer_amount": 9, "currency": "CNY"},
}
OTHER_PART = {**PART, "transaction_id": "4202", "out_trade_no": "O-2", "amount": {"total_amount": 20}}
COMBINED = {
    "combine_appid": "wx8888",
    "combine_mchid": "1900000001",
    "combine_out_trade_no": "C-1",
    "sub_orders": [PART, OTHER_PART],
}


def _body(said: object, word: str = "TRANSACTION.SUCCESS", seed: str = "s", **changes: Any) -> bytes:
    resource = seal_resource(said, APIV3, seed, "transaction")  # type: ignore[arg-type]
    body = {"id": "EV-1", "create_time": "x", "event_type": word, "resource": resource, "summary": "支付成功"}
    return json.dumps({**body, **changes}).encode()


def _read(said: object, word: str = "TRANSACTION.SUCCESS", **changes: Any) -> tuple[PaymentEvent, ...]:
    return WECHAT.parse(Delivery({}, _body(said, word, **changes)))


def _signed() -> Delivery:
    return WECHAT.sign(_notice(), NOW)


def _notice() -> Notice:
    return Notice(
        notification_id="EV-1",
        kind=K.PAYMENT,
        order_no="O-1",
        transaction_id="4200",
        amount=1999,
        currency="CNY",
        order_amount=1999,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_payment() -> None:
    """The order's total counts, not what the buyer paid after coupons."""
    [event] = _read(PAID)

    assert (event.notification_id, event.kind, event.order_no) == ("EV-1", K.PAYMENT, "O-1")
    assert (event.transaction_id, event.amount, event.currency, event.foreign) == ("4200", 1999, "CNY", ())
    assert event.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_refund() -> None:
    """A refund counts its own amount under its own number; the currency goes without saying."""
    [event] = _read(REFUNDED, "REFUND.SUCCESS")

    assert (event.kind, event.order_no, event.transaction_id) == (K.REFUND, "O-1", "5030:R-1")
    assert (event.amount, event.currency, event.cumulative, event.foreign) == (500, "CNY", False, ())


@pytest.mark.parametrize(
    ("word", "said", "kind"),
    [
        ("TRANSACTION.SUCCESS", {**PAID, "trade_state": "CLOSED"}, K.CLOSED),
        ("TRANSACTION.SUCCESS", {**PAID, "trade_state": "REVOKED"}, K.CLOSED),
        ("TRANSACTION.SUCCESS", {**PAID, "trade_state": "PAYERROR"}, K.FAILED),
        ("TRANSACTION.SUCCESS", {**PAID, "trade_state": "REFUND"}, K.OTHER),
        ("TRANSACTION.SUCCESS", {**PAID, "trade_state": "USERPAYING"}, K.PENDING),
        ("TRANSACTION.SUCCESS", {**PAID, "trade_state": "NOTPAY"}, K.PENDING),
        ("TRANSACTION.SUCCESS", {**PAID, "trade_state": "ACCEPT"}, K.PENDING),
        ("TRANSACTION.SUCCESS", {**PAID, "trade_state": ["SUCCESS"]}, K.OTHER),
        ("TRANSACTION.SUCCESS", {"mchid": "1900000001"}, K.OTHER),
        ("REFUND.ABNORMAL", {**REFUNDED, "refund_status": "ABNORMAL"}, K.OTHER),
        ("REFUND.CLOSED", {**REFUNDED, "refund_status": "CLOSED"}, K.OTHER),
        ("REFUND.SUCCESS", {**REFUNDED, "refund_status": "PROCESSING"}, K.OTHER),
        ("PAYSCORE.USER_PAID", PAID, K.OTHER),
    ],
)
def test_states_that_move_no_money(word: str, said: dict[str, Any], kind: K) -> None:
    """Closed, failed, abnormal, unknown: no amount, and no effect where none is meant."""
    [event] = _read(said, word)

    assert (event.kind, event.amount, event.currency) == (kind, None, None)


@pytest.mark.parametrize("state", ["CLOSED", "NOTPAY"])
def test_an_unpaid_order_needs_no_transaction(state: str) -> None:
    """What was never paid may have no transaction number: the order's stands in."""
    [event] = _read({**PAID, "trade_state": state, "transaction_id": ""})

    assert event.transaction_id == "O-1"


def test_a_refund_without_our_number_is_its_own_alone() -> None:
    """It still counts once; WeChat Pay cannot be asked about it."""
    assert _read({**REFUNDED, "out_refund_no": None}, "REFUND.SUCCESS")[0].transaction_id == "5030"
    with pytest.raises(MalformedNotification, match="out_refund_no"):
        _read({**REFUNDED, "out_refund_no": 7}, "REFUND.SUCCESS")


def test_a_refund_names_its_payment() -> None:
    """The number of the transaction that it gives back; a payment speaks of no other one."""
    [refund], [payment] = _read(REFUNDED, "REFUND.SUCCESS"), _read(PAID)

    assert refund.payment_id == payment.transaction_id == "4200"
    assert payment.payment_id == ""
    assert _read({**REFUNDED, "transaction_id": None}, "REFUND.SUCCESS")[0].payment_id == ""


def test_a_combined_payment_is_one_event_for_each_order() -> None:
    """Each order has its own delivery key and transaction; the merchant is the one who combined."""
    first, second = _read(COMBINED)

    assert (first.notification_id, first.order_no) == ("EV-1:O-1", "O-1")
    assert (first.transaction_id, first.amount, first.currency) == ("4201", 10, "CNY")
    assert (second.notification_id, second.order_no) == ("EV-1:O-2", "O-2")
    assert (second.transaction_id, second.amount, second.currency) == ("4202", 20, "CNY")
    assert first.foreign == second.foreign == ()


@pytest.mark.parametrize(
    "parts",
    [[], {}, None, ["O-1"], [PART, PART], [{**PART, "out_trade_no": "o" * 252}], [{**PART, "out_trade_no": None}]],
)
def test_broken_combined_payments_are_malformed(parts: object) -> None:
    """No parts, parts that are none, one order twice, a key that gets too long."""
    with pytest.raises(MalformedNotification):
        _read({**COMBINED, "sub_orders": parts})


@pytest.mark.parametrize(
    ("changes", "foreign"),
    [
        ({"mchid": "1900000009"}, ("merchant_id",)),
        ({"mchid": None}, ("merchant_id",)),
        ({"appid": "wx9999"}, ("app_id",)),
        ({"mchid": "1900000009", "appid": "wx9999"}, ("merchant_id", "app_id")),
        ({"sp_mchid": "1900000001", "sp_appid": "wx8888", "mchid": "x", "appid": "x"}, ()),
    ],
)
def test_another_merchant_or_app_is_foreign(changes: dict[str, Any], foreign: tuple[str, ...]) -> None:
    """The notification must speak of our merchant number, and of our app where it names one."""
    assert _read({**PAID, **changes})[0].foreign == foreign


@pytest.mark.parametrize(
    "amount", [{"total": "1999"}, {"total": -1}, {"total": 1.5}, {"total": 2**53 + 1}, {}, None, [1], "7"]
)
def test_an_amount_that_is_none_is_a_mismatch_not_an_error(amount: object) -> None:
    """Text, negative, fractional, absent: the event is read, its amount is not."""
    [event] = _read({**PAID, "amount": amount})

    assert (event.kind, event.amount) == (K.PAYMENT, None)


def test_a_currency_that_is_none_is_a_mismatch_not_an_error() -> None:
    """What is there and is no currency is not taken for yuan."""
    [event] = _read({**PAID, "amount": {"total": 1999, "currency": 156}})

    assert (event.amount, event.currency) == (1999, None)


@pytest.mark.parametrize(
    ("said", "word", "changes"),
    [
        (PAID, "TRANSACTION.SUCCESS", {"id": None}),
        (PAID, "TRANSACTION.SUCCESS", {"id": "e" * 256}),
        (PAID, "TRANSACTION.SUCCESS", {"event_type": 7}),
        (PAID, "TRANSACTION.SUCCESS", {"resource": None}),
        (PAID, "TRANSACTION.SUCCESS", {"resource": {}}),
        ({**PAID, "out_trade_no": None}, "TRANSACTION.SUCCESS", {}),
        ({**PAID, "out_trade_no": "o" * 256}, "TRANSACTION.SUCCESS", {}),
        ({**PAID, "out_trade_no": "o\n"}, "TRANSACTION.SUCCESS", {}),
        ({**PAID, "transaction_id": None}, "TRANSACTION.SUCCESS", {}),
        ({**REFUNDED, "refund_id": 7}, "REFUND.SUCCESS", {}),
        ({**REFUNDED, "transaction_id": 7}, "REFUND.SUCCESS", {}),
        ([PAID], "TRANSACTION.SUCCESS", {}),
        ("SUCCESS", "TRANSACTION.SUCCESS", {}),
    ],
)
def test_what_cannot_be_kept_is_malformed(said: object, word: str, changes: dict[str, Any]) -> None:
    """No id, no order, no transaction, a resource that is none, or that holds no object."""
    with pytest.raises(MalformedNotification):
        _read(said, word, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another one."},
        {"nonce": ""},
        {"nonce": "short"},
        {"nonce": None},
        {"associated_data": "refund"},
        {"associated_data": None},
        {"associated_data": 7},
        {"ciphertext": ""},
        {"ciphertext": "AAAA"},
        {"ciphertext": "no base64!"},
        {"ciphertext": None},
        {"algorithm": "none"},
        {"algorithm": None},
    ],
)
def test_a_tampered_resource_does_not_open(changes: dict[str, Any]) -> None:
    """Ciphertext, nonce, associated data or algorithm of another making: malformed, no other error."""
    resource = {**seal_resource(PAID, APIV3, "s", "transaction"), **changes}

    with pytest.raises(MalformedNotification):
        open_resource(resource, (APIV3,))


def test_another_api_key_does_not_open_and_an_old_one_still_does() -> None:
    """During a change of the APIv3 key both open; a stranger's does not."""
    resource = seal_resource(PAID, APIV3, "s", "transaction")
    new = Key("env:NEW", b"thirty-two bytes for an otter...")

    assert json.loads(open_resource(resource, (new, APIV3))) == PAID
    with pytest.raises(MalformedNotification):
        open_resource(resource, (new,))


def test_duplicate_keys_inside_the_resource_are_malformed() -> None:
    """The sealed text is read as strictly as the open one."""
    sealed = base64.b64encode(AESGCM(APIV3.value).encrypt(b"twelve bytes", b'{"mchid":"1","mchid":"2"}', b"")).decode()
    resource = {"algorithm": "AEAD_AES_256_GCM", "nonce": "twelve bytes", "ciphertext": sealed}
    body = json.dumps({"id": "EV-1", "event_type": "TRANSACTION.SUCCESS", "resource": resource}).encode()

    with pytest.raises(MalformedNotification, match="json_duplicate_key"):
        WECHAT.parse(Delivery({}, body))


def test_sealed_anew_it_is_the_same_notification() -> None:
    """Each delivery may have its own nonce: the digest is over what was sealed."""
    [first] = WECHAT.parse(Delivery({}, _body(PAID, seed="one")))
    [again] = WECHAT.parse(Delivery({}, _body(PAID, seed="two", summary="…")))
    [other] = WECHAT.parse(Delivery({}, _body({**PAID, "amount": {"total": 1}})))

    assert first == again
    assert first.digest != other.digest


def test_the_serial_chooses_the_key() -> None:
    """Certificate and public key live side by side while a merchant changes over; case does not matter."""
    other = generate_private_key(65537, 2048).public_key()
    both = WechatV3(
        "shop",
        False,
        "wx8888",
        "1900000001",
        (Key("PUB_KEY_ID_0116", other), Key(SERIAL, SIGNING_KEY.public_key())),
        (APIV3,),
    )
    genuine = _signed()

    assert both.verify(genuine, NOW) == SERIAL
    lower = Delivery({**genuine.headers, "wechatpay-serial": SERIAL.lower()}, genuine.body)
    assert both.verify(lower, NOW) == SERIAL
    for serial in ("PUB_KEY_ID_0116", "", "unknown", SERIAL[1:]):
        with pytest.raises(SignatureInvalid):
            both.verify(Delivery({**genuine.headers, "wechatpay-serial": serial}, genuine.body), NOW)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"wechatpay-signature": "WECHATPAY/SIGNTEST/" + "A" * 325}, "probe"),
        ({"wechatpay-signature-type": "WECHATPAY2-SM2-WITH-SM3"}, "wechatpay-signature-type"),
        ({"wechatpay-signature-type": ""}, "wechatpay-signature-type"),
        ({"wechatpay-nonce": ""}, "wechatpay-nonce"),
        ({"wechatpay-nonce": "n" * 129}, "wechatpay-nonce"),
        ({"wechatpay-nonce": "a b"}, "wechatpay-nonce"),
    ],
)
def test_probes_and_other_algorithms_are_refused(changes: dict[str, str], fact: str) -> None:
    """WeChat's own probes, another signature type, a nonce that could hold a line: each for its own reason."""
    genuine = _signed()

    with pytest.raises(SignatureInvalid) as caught:
        WECHAT.verify(Delivery({**genuine.headers, **changes}, genuine.body), NOW)
    assert caught.value.facts == (fact,)


def test_the_type_of_signature_may_be_left_out() -> None:
    """Older deliveries do not name it."""
    genuine = _signed()
    headers = {name: value for name, value in genuine.headers.items() if name != "wechatpay-signature-type"}

    assert WECHAT.verify(Delivery(headers, genuine.body), NOW) == SERIAL


def test_lines_cannot_be_moved_between_nonce_and_body() -> None:
    """A nonce that swallows the body's first line would be signed as well: it is refused."""
    genuine = _signed()
    nonce = genuine.headers["wechatpay-nonce"]
    first_line, rest = b'{"a":1}', genuine.body
    signature = rsa_signature(SIGNING_KEY, f"{int(NOW)}\n{nonce}\n".encode() + first_line + b"\n" + rest + b"\n")
    headers = {**genuine.headers, "wechatpay-signature": signature}

    assert WECHAT.verify(Delivery(headers, first_line + b"\n" + rest), NOW) == SERIAL
    moved = {**headers, "wechatpay-nonce": f"{nonce}\n{first_line.decode()}"}
    with pytest.raises(SignatureInvalid, match="nonce"):
        WECHAT.verify(Delivery(moved, rest), NOW)


def test_a_signing_key_that_belongs_to_no_serial_does_not_sign() -> None:
    """The simulator could not name the key that verifies."""
    stray = WechatV3("shop", False, "wx", "19", WECHAT.public_keys, (APIV3,), generate_private_key(65537, 2048))
    none = WechatV3("shop", False, "wx", "19", WECHAT.public_keys, (APIV3,))

    for dialect in (stray, none):
        with pytest.raises(ConfigurationError, match="signing_key"):
            dialect.sign(_notice(), NOW)
