"""What a sender that follows Standard Webhooks means."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from domain.errors import ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import SIGNS, EventKind, PaymentEvent
from providers.dialect import Delivery, Notice
from providers.keys import Key, hmac_sha256
from providers.standard_webhooks import StandardWebhooks
from providers.webhook_keys import public_key_bytes, secret_bytes
from providers.webhook_payload import Paths

K = EventKind
NOW = 1_767_225_600
SECRET = Key("env:HOOKS_SECRET", b"twenty-four bytes of owl")
SIGNER = Ed25519PrivateKey.from_private_bytes(b"thirty-two bytes for a wombat...")
ED25519 = Key("env:HOOKS_PUBLIC", SIGNER.public_key())
HOOKS = StandardWebhooks("shop", True, (SECRET,), (ED25519,))

PAID = {
    "type": "payment.succeeded",
    "timestamp": "2026-01-01T00:00:00Z",
    "data": {"order_no": "O-1", "amount": 1999, "currency": "USD", "transaction_id": "T1"},
}


def _read(said: object, dialect: StandardWebhooks = HOOKS, message_id: str = "msg_1") -> PaymentEvent:
    [event] = dialect.parse(Delivery({"webhook-id": message_id}, json.dumps(said).encode()))
    return event


def _with(**changes: Any) -> dict[str, Any]:
    return {**PAID, "data": {**PAID["data"], **changes}}  # type: ignore[dict-item]


def _signed(body: bytes, message_id: str = "msg_1") -> bytes:
    return f"{message_id}.{NOW}.".encode() + body


def _v1(body: bytes = b"{}", message_id: str = "msg_1") -> str:
    return "v1," + base64.b64encode(hmac_sha256(SECRET.value, _signed(body, message_id))).decode()


def _v1a(body: bytes = b"{}") -> str:
    return "v1a," + base64.b64encode(SIGNER.sign(_signed(body))).decode()


def _delivery(signature: str, body: bytes = b"{}", message_id: str = "msg_1", prefix: str = "webhook") -> Delivery:
    headers = {"id": message_id, "timestamp": str(NOW), "signature": signature}
    return Delivery({f"{prefix}-{name}": value for name, value in headers.items()}, body)


def test_a_payment() -> None:
    """The usual places: type, data.order_no, data.amount, data.currency, data.transaction_id, timestamp."""
    event = _read(PAID)

    assert (event.notification_id, event.kind, event.order_no) == ("msg_1", K.PAYMENT, "O-1")
    assert (event.transaction_id, event.amount, event.currency, event.foreign) == ("T1", 1999, "USD", ())
    assert event.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("payment.succeeded", K.PAYMENT),
        ("payment.pending", K.PENDING),
        ("payment.failed", K.FAILED),
        ("payment.closed", K.CLOSED),
        ("refund.succeeded", K.REFUND),
        ("refund.failed", K.REFUND_REVERSAL),
        ("chargeback.created", K.CHARGEBACK),
        ("chargeback.reversed", K.CHARGEBACK_REVERSAL),
        *((kind.value, kind) for kind in K),
        ("invoice.created", K.OTHER),
        ("", K.OTHER),
        (None, K.OTHER),
        (7, K.OTHER),
        (["payment"], K.OTHER),
    ],
)
def test_words(word: object, kind: K) -> None:
    """The usual words and our own are known; anything else has no effect."""
    event = _read({**PAID, "type": word})

    assert event.kind is kind
    assert (event.amount, event.currency) == ((1999, "USD") if kind in SIGNS else (None, None))


@pytest.mark.parametrize("kind", [K.REFUND, K.REFUND_REVERSAL, K.CHARGEBACK, K.CHARGEBACK_REVERSAL, K.PAYMENT_REVERSAL])
def test_what_undoes_a_payment_may_name_it(kind: K) -> None:
    """data.payment_id, or where the account says; nothing where the sender names none, malformed where it is no id."""
    said = {**_with(payment_id="T1", paid_by="T9"), "type": kind.value}
    elsewhere = StandardWebhooks("shop", True, (SECRET,), paths=Paths(payment_id=("data", "paid_by")))

    assert _read(said).payment_id == "T1"
    assert _read(said, elsewhere).payment_id == "T9"
    assert _read({**PAID, "type": kind.value}).payment_id == ""
    assert _read({**said, "type": "payment"}).payment_id == ""
    for wrong in (7, "p" * 256, "\n"):
        with pytest.raises(MalformedNotification, match="payment_id"):
            _read({**_with(payment_id=wrong), "type": kind.value})


def test_an_account_names_its_own_places_and_words() -> None:
    """Paths and kinds of the account are read instead of the usual ones."""
    paths = Paths(kind=("event",), order_no=("object", "ref"), amount=("object", "total", "minor"))
    own = StandardWebhooks("shop", True, (SECRET,), paths=paths, kinds={"paid": K.PAYMENT})
    said = {**PAID, "event": "paid", "object": {"ref": "O-9", "total": {"minor": 5}}}

    assert (_read(said, own).kind, _read(said, own).order_no, _read(said, own).amount) == (K.PAYMENT, "O-9", 5)
    assert _read({**said, "event": "payment.succeeded"}, own).kind is K.OTHER


def test_an_account_without_a_word_for_it_does_not_sign_it() -> None:
    """What the account's own words cannot say is not signed, and neither is anything without a secret."""
    notice = Notice(
        notification_id="msg_1",
        kind=K.REFUND,
        order_no="O-1",
        transaction_id="T1",
        amount=1,
        currency="USD",
        order_amount=1,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )

    with pytest.raises(ConfigurationError, match="kinds"):
        StandardWebhooks("shop", True, (SECRET,), kinds={"paid": K.PAYMENT}).sign(notice, NOW)
    with pytest.raises(ConfigurationError, match="key"):
        StandardWebhooks("shop", True, (), (ED25519,)).sign(notice, NOW)


@pytest.mark.parametrize("amount", [-1, 1.5, "1999", True, None, 2**53 + 1, [1], {}])
def test_an_amount_that_is_none_is_a_mismatch_not_an_error(amount: object) -> None:
    """Negative, fractional, text, too large: the event is read, its amount is not."""
    assert (_read(_with(amount=amount)).kind, _read(_with(amount=amount)).amount) == (K.PAYMENT, None)


@pytest.mark.parametrize("currency", [None, "US", 840, "dollars"])
def test_a_currency_that_is_none_is_a_mismatch_not_an_error(currency: object) -> None:
    """No ISO code, no currency."""
    assert _read(_with(currency=currency)).currency is None


def test_places_that_lead_nowhere_are_empty() -> None:
    """A payload of another shape names no order; without a transaction it cannot be counted."""
    assert _read({"type": "payment.failed", "data": "text"}).order_no is None
    assert _read({"type": "payment.failed"}).transaction_id == "msg_1"
    with pytest.raises(MalformedNotification, match="transaction_id"):
        _read({"type": "payment.succeeded"})


@pytest.mark.parametrize(
    "changes",
    [
        {"order_no": 7},
        {"order_no": "o" * 256},
        {"order_no": "\n"},
        {"transaction_id": ""},
        {"transaction_id": "t" * 256},
    ],
)
def test_ids_that_are_none_are_malformed(changes: dict[str, Any]) -> None:
    """A number for an id, 256 characters, control characters."""
    with pytest.raises(MalformedNotification):
        _read(_with(**changes))


@pytest.mark.parametrize("message_id", ["", "m" * 256, "msg\n1"])
def test_a_message_id_that_is_none_is_malformed(message_id: str) -> None:
    """The delivery key must be one, even if somebody skipped the signature."""
    with pytest.raises(MalformedNotification):
        _read(PAID, message_id=message_id)


def test_the_digest_is_over_the_raw_bytes() -> None:
    """A redelivery has the same bytes; one space more is something else."""
    [spaced] = HOOKS.parse(Delivery({"webhook-id": "msg_1"}, json.dumps(PAID).encode() + b" "))

    assert _read(PAID).digest != spaced.digest


@pytest.mark.parametrize("prefix", ["webhook", "svix"])
def test_any_signature_of_the_list_is_enough(prefix: str) -> None:
    """v1 and v1a, right among wrong, unknown versions skipped, under both families of names."""
    wrong = "v1," + base64.b64encode(b"0" * 32).decode()

    for signature in (_v1(), f"{wrong} {_v1()}", f"v2,x {_v1()} v9"):
        assert HOOKS.verify(_delivery(signature, prefix=prefix), NOW) == "env:HOOKS_SECRET"
    assert HOOKS.verify(_delivery(f"{wrong} {_v1a()}", prefix=prefix), NOW) == "env:HOOKS_PUBLIC"


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "v1",
        "v1,",
        "v2," + _v1()[3:],
        "v1a," + _v1()[3:],
        "v1," + _v1a()[4:],
        "v1a,",
        "v1a,AAAA",
        "v1a,no base64",
        _v1(b"{} "),
        _v1a(b"{} "),
        " ".join([_v1()] * 6),
        " ".join([_v1()] * 500),
        "v1," + _v1()[3:].lower(),
        _v1().replace(",", "="),
    ],
)
def test_lists_that_prove_nothing(signature: str) -> None:
    """Another version's signature, another body's, six, five hundred, other letters."""
    with pytest.raises(SignatureInvalid):
        HOOKS.verify(_delivery(signature), NOW)


def test_families_of_headers_do_not_mix() -> None:
    """An id under one name and a signature under the other are no delivery."""
    mixed = {"webhook-id": "msg_1", "svix-timestamp": str(NOW), "svix-signature": _v1()}

    with pytest.raises(SignatureInvalid):
        HOOKS.verify(Delivery(mixed, b"{}"), NOW)


def test_the_border_between_id_and_body_cannot_be_moved() -> None:
    """Id, time and body are signed with dots between: an id cannot hold the beginning of a body."""
    opening, ending = '{"a":"x', '{}"}'
    body = f"{opening}.{NOW}.{ending}".encode()
    moved = _delivery(_v1(body), ending.encode(), f"msg_1.{NOW}.{opening}")

    assert HOOKS.verify(_delivery(_v1(body), body), NOW) == "env:HOOKS_SECRET"
    with pytest.raises(SignatureInvalid, match="webhook-id"):
        HOOKS.verify(moved, NOW)


@pytest.mark.parametrize("message_id", ["", "a b", "ä", "m" * 256, 'a"b', "a{b"])
def test_message_ids_that_are_refused(message_id: str) -> None:
    """Empty, blank, non-ASCII, too long, with a quote or a brace: though signed."""
    with pytest.raises(SignatureInvalid, match="webhook-id"):
        HOOKS.verify(_delivery(_v1(message_id=message_id), message_id=message_id), NOW)


def test_secrets_are_base64_with_or_without_their_prefix() -> None:
    """whsec_ and whpk_ are for people; the key is behind them."""
    packed = base64.b64encode(SECRET.value)

    assert secret_bytes(b"whsec_" + packed) == secret_bytes(packed) == SECRET.value
    assert public_key_bytes(b"whpk_" + packed + b"\n") == SECRET.value
    for wrong in (b"whsec_!", b"whsec_AAA", b"whsec_AB==", "whsec_é".encode()):
        with pytest.raises(ValueError):
            secret_bytes(wrong)
