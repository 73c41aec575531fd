"""What Alipay's forms mean."""

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from providers.alipay import Alipay
from providers.dialect import Delivery, Notice
from providers.keys import Key, rsa_signature

K = EventKind
SIGNING_KEY = generate_private_key(65537, 2048)
ALIPAY = Alipay("shop", True, "2021", (Key("file:alipay.pem", SIGNING_KEY.public_key()),), "2088")

FORM = {
    "notify_id": "N1",
    "notify_type": "trade_status_sync",
    "notify_time": "2026-01-01 08:00:02",
    "charset": "utf-8",
    "app_id": "2021",
    "seller_id": "2088",
    "trade_no": "T1",
    "out_trade_no": "O-1",
    "trade_status": "TRADE_SUCCESS",
    "total_amount": "88.88",
    "subject": "a+b 座垫 & more = 1",
    "gmt_payment": "2026-01-01 08:00:00",
}
REFUNDED = {"refund_fee": "8.80", "gmt_refund": "2026-01-02 08:00:00.123", "out_biz_no": "R1"}


def _string_to_sign(form: Mapping[str, str], charset: str = "utf-8") -> bytes:
    signed = {name: value for name, value in form.items() if value and name not in ("sign", "sign_type")}
    return "&".join(f"{name}={signed[name]}" for name in sorted(signed)).encode(charset)


def _signed(form: Mapping[str, str], charset: str = "utf-8") -> Delivery:
    """As Alipay signs it, computed here a second time."""
    signature = rsa_signature(SIGNING_KEY, _string_to_sign(form, charset))
    return Delivery({}, urlencode({**form, "sign": signature, "sign_type": "RSA2"}, encoding=charset).encode())


def _read(**changes: str | None) -> PaymentEvent:
    form = {name: value for name, value in {**FORM, **changes}.items() if value is not None}
    [event] = ALIPAY.parse(_signed(form))
    return event


def _verifies(body: bytes) -> bool:
    try:
        return ALIPAY.verify(Delivery({}, body), 0) == "file:alipay.pem"
    except SignatureInvalid:
        return False


def test_a_payment() -> None:
    """TRADE_SUCCESS is the whole amount in fen, at its Beijing time, under Alipay's trade number."""
    event = _read()

    assert (event.kind, event.transaction_id, event.order_no) == (K.PAYMENT, "T1", "O-1")
    assert (event.amount, event.currency, event.cumulative, event.foreign) == (8888, "CNY", False, ())
    assert event.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "kind", "transaction_id", "amount"),
    [
        ({"trade_status": "TRADE_FINISHED"}, K.PAYMENT, "T1", 8888),
        # Recorded from real payments: an empty refund, and even a gmt_close.
        ({"refund_fee": "0.00", "gmt_refund": "2026-01-02 08:00:00"}, K.PAYMENT, "T1", 8888),
        ({"refund_fee": "0.00", "out_biz_no": "R1", "gmt_close": "2026-01-02 08:00:00"}, K.PAYMENT, "T1", 8888),
        ({"refund_fee": "8.80"}, K.PAYMENT, "T1", 8888),
        (REFUNDED, K.REFUND, "T1:R1", 880),
        ({**REFUNDED, "gmt_refund": None}, K.REFUND, "T1:R1", 880),
        ({**REFUNDED, "trade_status": "TRADE_FINISHED"}, K.REFUND, "T1:R1", 880),
        ({**REFUNDED, "trade_status": "TRADE_CLOSED", "refund_fee": "88.88"}, K.REFUND, "T1:R1", 8888),
        ({**REFUNDED, "out_biz_no": "T1"}, K.REFUND, "T1", 880),
        ({**REFUNDED, "out_biz_no": None}, K.REFUND, "T1:8.80", 880),
        ({"trade_status": "TRADE_CLOSED", "refund_fee": "1"}, K.REFUND, "T1:1", 100),
        ({"trade_status": "TRADE_CLOSED"}, K.CLOSED, "T1", None),
        ({"trade_status": "TRADE_CLOSED", "refund_fee": "0.00"}, K.CLOSED, "T1", None),
        ({"trade_status": "WAIT_BUYER_PAY"}, K.PENDING, "T1", None),
        ({"trade_status": "TRADE_PENDING"}, K.OTHER, "", None),
        ({"notify_type": "dut_user_sign", "trade_status": None}, K.OTHER, "", None),
    ],
)
def test_statuses(changes: dict[str, str | None], kind: K, transaction_id: str, amount: int | None) -> None:
    """A status and its refund fields together tell payment, refund and closing apart."""
    event = _read(**changes)

    assert (event.kind, event.transaction_id, event.amount) == (kind, transaction_id, amount)
    assert event.currency == (None if amount is None else "CNY")
    assert event.cumulative is (kind is K.REFUND)


@pytest.mark.parametrize(
    ("changes", "payment_id"),
    [
        (REFUNDED, "T1"),
        ({**REFUNDED, "out_biz_no": "T1"}, "T1"),
        ({**REFUNDED, "trade_status": "TRADE_CLOSED", "refund_fee": "88.88"}, "T1"),
        ({}, ""),
        ({"trade_status": "TRADE_CLOSED"}, ""),
        ({"trade_status": "WAIT_BUYER_PAY"}, ""),
    ],
)
def test_a_refund_names_its_payment(changes: dict[str, str | None], payment_id: str) -> None:
    """A refund speaks of the trade, under the number that the trade's own payment has; nothing else speaks of one."""
    assert _read(**changes).payment_id == payment_id
    assert _read().transaction_id == "T1"


def test_one_refund_number_of_two_trades_is_two_refunds() -> None:
    """The merchant's refund number is unique within its trade only."""
    assert _read(**REFUNDED).effect_key != _read(**REFUNDED, trade_no="T2").effect_key


@pytest.mark.parametrize(
    "amount", ["", "-1", "1.005", "1e3", "NaN", "Infinity", "１", " 1", "1,00", "9" * 25, None, "1.0.0"]
)
def test_an_amount_that_is_none_is_a_mismatch_not_an_error(amount: str | None) -> None:
    """More than two places, signs, exponents, other scripts: the event is read, its amount is not."""
    assert (_read(total_amount=amount).kind, _read(total_amount=amount).amount) == (K.PAYMENT, None)


@pytest.mark.parametrize("fee", ["-1", "NaN", "8.805", "1e9"])
def test_an_unreadable_refund_is_seen(fee: str) -> None:
    """A refund whose amount cannot be read stays a refund, without an amount."""
    event = _read(**{**REFUNDED, "refund_fee": fee})

    assert (event.kind, event.amount) == (K.REFUND, None)


@pytest.mark.parametrize(
    ("changes", "foreign"),
    [
        ({"app_id": "2022"}, ("app_id",)),
        ({"app_id": None}, ("app_id",)),
        ({"seller_id": "2089"}, ("seller_id",)),
        ({"seller_id": None}, ("seller_id",)),
        ({"app_id": "2022", "seller_id": "2089"}, ("app_id", "seller_id")),
    ],
)
def test_another_app_or_payee_is_foreign(changes: dict[str, str | None], foreign: tuple[str, ...]) -> None:
    """Alipay tells merchants to compare both; a field that is not there does not agree."""
    assert _read(**changes).foreign == foreign


def test_a_payee_that_is_not_configured_is_not_compared() -> None:
    """Without seller_id in the account any payee is taken."""
    anyone = Alipay("shop", True, "2021", ALIPAY.public_keys)

    [event] = anyone.parse(_signed(FORM))

    assert event.foreign == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"notify_id": None},
        {"notify_id": "n" * 256},
        {"notify_id": "n\n"},
        {"notify_id": "n\0"},
        {"subject": "x\0"},
        {"trade_status": None},
        {"trade_no": None},
        {"trade_no": "t" * 256},
        {"out_trade_no": None},
        {"out_trade_no": "\x7f"},
        {"charset": "utf-16"},
    ],
)
def test_forms_that_cannot_be_kept_are_malformed(changes: dict[str, str | None]) -> None:
    """No id, an id of 256 characters, control characters, an unknown charset."""
    with pytest.raises(MalformedNotification):
        _read(**changes)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"=",
        b"&&",
        b"notify_id=1&notify_id=2",
        b"notify_id=1&notify%5Fid=2",
        b"notify_id=1&a%26b=2",
        b"notify_id=1&a=1&%00=2",
        b"&".join(b"f%d=1" % number for number in range(201)),
        b"notify_id=%ff&trade_status=TRADE_SUCCESS",
        b"charset=gbk&notify_id=%ff&trade_status=TRADE_SUCCESS",
    ],
)
def test_broken_forms_are_refused_by_both(body: bytes) -> None:
    """Duplicate fields, odd names, 201 fields, bytes outside the charset: neither proven nor read."""
    with pytest.raises(SignatureInvalid):
        ALIPAY.verify(Delivery({}, body), 0)
    with pytest.raises(MalformedNotification):
        ALIPAY.parse(Delivery({}, body))


def test_two_hundred_fields_are_read() -> None:
    """The border is behind the two hundredth field; an empty field counts there and nowhere else."""
    many = {**FORM, **{f"extra_{number}": "" for number in range(198 - len(FORM))}}

    assert _verifies(_signed(many).body)
    assert ALIPAY.parse(_signed(many)) == ALIPAY.parse(_signed(FORM))


@pytest.mark.parametrize("sign_type", ["RSA", "MD5", "none", "rsa2", "HS256", ""])
def test_sign_type_chooses_nothing(sign_type: str) -> None:
    """It is not signed, so another word than the configured RSA2 is refused, though the RSA2 signature is right."""
    body = _signed(FORM).body

    assert _verifies(body)
    assert _verifies(body.replace(b"&sign_type=RSA2", b""))
    assert not _verifies(body.replace(b"sign_type=RSA2", b"sign_type=" + sign_type.encode()))


@pytest.mark.parametrize("sign", ["", "AAAA", "é", "*" * 344, "A" * 10_000])
def test_broken_signatures_are_refused(sign: str) -> None:
    """Empty, short, no base64, 10 kB: refused without another error."""
    assert not _verifies(urlencode({**FORM, "sign": sign}).encode())


def test_gbk_forms_are_read_as_gbk() -> None:
    """The charset decides what the bytes say, and is itself signed."""
    form = {**FORM, "charset": "GBK", "out_trade_no": "订单一"}
    delivery = _signed(form, "gbk")

    assert _verifies(delivery.body)
    assert ALIPAY.parse(delivery)[0].order_no == "订单一"
    assert not _verifies(delivery.body.replace(b"charset=GBK", b"charset=utf-8"))


def test_the_recorded_time_of_a_delivery_is_no_content() -> None:
    """notify_time and the signature change when a notification is sent again; an amount is content."""
    again = _read(notify_time="2026-01-01 08:04:02")

    assert again == _read()
    assert _read(total_amount="88.89").digest != again.digest


@pytest.mark.parametrize("when", ["", "yesterday", "0001-01-01 00:00:00", "2026-13-01 00:00:00", "9" * 60])
def test_an_unreadable_time_is_none(when: str) -> None:
    """A time is for people: without one the payment still counts."""
    assert (_read(gmt_payment=when).occurred_at, _read(gmt_payment=when).amount) == (None, 8888)


@pytest.mark.parametrize(
    ("genuine", "moved"),
    [
        # A subject that brings an amount, the real one hidden behind a field of no meaning.
        (
            {"subject": "x&total_amount=99999.00&total_b=y"},
            {"subject": "x", "total_amount": "99999.00", "total_b": "y&total_amount=88.88"},
        ),
        # A field made to vanish into the text before it.
        ({"subject": "x"}, {"subject": "x&total_amount=88.88", "total_amount": None}),
        ({"seller_id": "2088"}, {"seller_id": None, "out_trade_no": "O-1&seller_id=2088"}),
    ],
)
def test_borders_cannot_be_moved(genuine: dict[str, str], moved: dict[str, str | None]) -> None:
    """The string to sign reads the same with its fields cut elsewhere: a genuine signature must not prove that."""
    honest = {**FORM, **genuine}
    forged = {name: value for name, value in {**honest, **moved}.items() if value is not None}
    signature = rsa_signature(SIGNING_KEY, _string_to_sign(honest))

    assert _string_to_sign(honest) == _string_to_sign(forged), "the attack is real"
    with pytest.raises(SignatureInvalid, match="ambiguous_form"):
        ALIPAY.verify(Delivery({}, urlencode({**forged, "sign": signature}).encode()), 0)


@given(st.dictionaries(st.sampled_from(["subject", "body", "passback_params"]), st.text(st.characters(codec="utf-8"))))
def test_any_text_of_a_shop_verifies(texts: dict[str, str]) -> None:
    """Plus signs, percent signs, emoji, ampersands: what the shop writes survives the form."""
    assert _verifies(_signed({**FORM, **texts}).body)


def test_without_a_signing_key_nothing_is_signed() -> None:
    """The key that verifies cannot sign."""
    notice = Notice(
        notification_id="N1",
        kind=K.PAYMENT,
        order_no="O-1",
        transaction_id="T1",
        amount=1,
        currency="CNY",
        order_amount=1,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )

    with pytest.raises(ConfigurationError, match="signing_key"):
        ALIPAY.sign(notice, 0)


def test_a_signed_refund_says_trade_and_request() -> None:
    """The simulator's refunds carry both numbers, the running total, and the close of a full refund."""
    signer = Alipay("shop", False, "2021", ALIPAY.public_keys, "2088", SIGNING_KEY)
    notice = Notice(
        notification_id="N1",
        kind=K.REFUND,
        order_no="O-1",
        transaction_id="T1:R2",
        amount=500,
        currency="CNY",
        order_amount=800,
        refunded=800,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )

    [event] = signer.parse(signer.sign(notice, 0))

    assert (event.kind, event.transaction_id, event.amount) == (K.REFUND, "T1:R2", 800)
    assert event.provider_kind == "TRADE_CLOSED"
