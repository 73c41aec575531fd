"""What Stripe's events mean."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from domain.money import exponent
from providers import stripe_amounts
from providers.dialect import Delivery, Notice
from providers.keys import Key, hmac_sha256
from providers.stripe import Stripe

NOW = 1_767_225_600
SECRET = Key("env:STRIPE_SECRET", b"whsec_ominous_mirror_42")
STRIPE = Stripe("shop", True, (SECRET,), "acct_ours")

K = EventKind
SESSION = {
    "id": "cs_1",
    "payment_intent": "pi_1",
    "payment_status": "paid",
    "amount_total": 1999,
    "currency": "usd",
    "client_reference_id": "order-from-the-cart",
}
INTENT = {"id": "pi_1", "amount": 2500, "amount_received": 1999, "currency": "usd", "metadata": {"order_no": "O-1"}}
CHARGE = {
    "id": "ch_1",
    "payment_intent": "pi_1",
    "amount": 1999,
    "amount_refunded": 500,
    "currency": "usd",
    "metadata": {"order_no": "O-1"},
}
REFUND = {
    "id": "re_1",
    "payment_intent": "pi_1",
    "amount": 500,
    "currency": "usd",
    "status": "failed",
    "metadata": {},
}
DISPUTE = {
    "id": "du_1",
    "payment_intent": "pi_1",
    "amount": 1999,
    "currency": "usd",
    "metadata": {"order_no": "O-1"},
}


def _event(word: str, thing: object, **changes: Any) -> bytes:
    event = {
        "id": "evt_1",
        "object": "event",
        "created": NOW,
        "livemode": True,
        "pending_webhooks": 2,
        "type": word,
        "data": {"object": thing},
    }
    return json.dumps({**event, **changes}).encode()


def _read(word: str, thing: object, **changes: Any) -> PaymentEvent:
    [event] = STRIPE.parse(Delivery({}, _event(word, thing, **changes)))
    return event


def _delivery(header: str, body: bytes = b"{}") -> Delivery:
    return Delivery({"stripe-signature": header}, body)


def _v1(body: bytes = b"{}") -> str:
    return hmac_sha256(SECRET.value, f"{NOW}.".encode() + body).hex()


@pytest.mark.parametrize(
    ("word", "thing", "kind", "transaction_id", "amount"),
    [
        ("checkout.session.completed", SESSION, K.PAYMENT, "pi_1", 1999),
        ("checkout.session.completed", {**SESSION, "payment_intent": {"id": "pi_2"}}, K.PAYMENT, "pi_2", 1999),
        ("checkout.session.completed", {**SESSION, "payment_intent": None}, K.PAYMENT, "cs_1", 1999),
        ("checkout.session.async_payment_succeeded", SESSION, K.PAYMENT, "pi_1", 1999),
        ("payment_intent.succeeded", INTENT, K.PAYMENT, "pi_1", 1999),
        ("payment_intent.succeeded", {**INTENT, "amount_received": None}, K.PAYMENT, "pi_1", 2500),
        ("payment_intent.payment_failed", INTENT, K.FAILED, "pi_1", None),
        ("checkout.session.async_payment_failed", SESSION, K.FAILED, "pi_1", None),
        ("payment_intent.created", INTENT, K.PENDING, "pi_1", None),
        ("payment_intent.requires_action", INTENT, K.PENDING, "pi_1", None),
        ("payment_intent.processing", INTENT, K.PENDING, "pi_1", None),
        ("checkout.session.completed", {**SESSION, "payment_status": "unpaid"}, K.PENDING, "pi_1", None),
        ("payment_intent.canceled", INTENT, K.CLOSED, "pi_1", None),
        ("checkout.session.expired", {**SESSION, "payment_intent": None}, K.CLOSED, "cs_1", None),
        ("charge.refunded", CHARGE, K.REFUND, "evt_1", 500),
        ("refund.failed", REFUND, K.REFUND_REVERSAL, "re_1", 500),
        ("charge.dispute.funds_withdrawn", DISPUTE, K.CHARGEBACK, "du_1", 1999),
        ("charge.dispute.funds_reinstated", DISPUTE, K.CHARGEBACK_REVERSAL, "du_1", 1999),
    ],
)
def test_types_that_have_an_effect(word: str, thing: Any, kind: K, transaction_id: str, amount: int | None) -> None:
    """Each type is read as its kind, with the id and the amount that the type means."""
    event = _read(word, thing)

    assert (event.kind, event.transaction_id, event.amount) == (kind, transaction_id, amount)
    assert event.currency == (None if amount is None else "USD")
    assert event.cumulative is (kind is K.REFUND)
    assert event.provider_kind == word


@pytest.mark.parametrize(
    ("word", "thing"),
    [
        ("checkout.session.completed", {**SESSION, "payment_status": "no_payment_required"}),
        ("checkout.session.completed", {**SESSION, "payment_status": None}),
        ("refund.created", {**REFUND, "status": "succeeded"}),
        ("refund.updated", {**REFUND, "status": "succeeded"}),
        ("charge.succeeded", CHARGE),
        ("charge.dispute.created", DISPUTE),
        ("something.new", {}),
        ("something.new", None),
    ],
)
def test_types_without_an_effect(word: str, thing: Any) -> None:
    """A session that costs nothing, a refund that charge.refunded speaks for, the unknown: no effect."""
    event = _read(word, thing)

    assert (event.kind, event.transaction_id, event.order_no, event.amount) == (K.OTHER, "", None, None)
    assert event.payment_id == ""


@pytest.mark.parametrize(
    ("word", "thing"),
    [
        ("charge.refunded", CHARGE),
        ("refund.failed", REFUND),
        ("charge.dispute.funds_withdrawn", DISPUTE),
        ("charge.dispute.funds_reinstated", DISPUTE),
    ],
)
def test_what_undoes_a_payment_names_it(word: str, thing: dict[str, Any]) -> None:
    """The payment intent, under the id of its own payment; absent for a charge without one, malformed for no id."""
    paid = _read("payment_intent.succeeded", INTENT)

    assert _read(word, thing).payment_id == paid.transaction_id
    assert _read(word, {**thing, "payment_intent": {"id": "pi_1"}}).payment_id == paid.transaction_id
    assert _read(word, {**thing, "payment_intent": None}).payment_id == ""
    assert paid.payment_id == _read("checkout.session.completed", SESSION).payment_id == ""
    for wrong in (7, "p" * 256, "pi\n1"):
        with pytest.raises(MalformedNotification, match="payment_id"):
            _read(word, {**thing, "payment_intent": wrong})


def test_both_events_of_one_payment_share_their_effect() -> None:
    """A session and its payment intent are one payment: the ledger's key is the same."""
    session = _read("checkout.session.completed", SESSION)
    intent = _read("payment_intent.succeeded", INTENT)

    assert session.effect_key == intent.effect_key


def test_order_number_is_metadata_else_the_client_reference() -> None:
    """metadata.order_no comes before client_reference_id; a refund may name no order at all."""
    both = {**SESSION, "metadata": {"order_no": "O-1"}}

    assert _read("checkout.session.completed", both).order_no == "O-1"
    assert _read("checkout.session.completed", SESSION).order_no == "order-from-the-cart"
    assert _read("refund.failed", REFUND).order_no is None


def test_another_mode_or_account_is_foreign() -> None:
    """A test event for a live account, and another connected account's event, are named as foreign."""
    assert _read("payment_intent.succeeded", INTENT).foreign == ()
    assert _read("payment_intent.succeeded", INTENT, account="acct_ours").foreign == ()
    assert _read("payment_intent.succeeded", INTENT, livemode=False).foreign == ("live",)
    assert _read("payment_intent.succeeded", INTENT, livemode="true").foreign == ("live",)
    assert _read("payment_intent.succeeded", INTENT, account="acct_other").foreign == ("account",)


@pytest.mark.parametrize("amount", ["-1", "1.5", '"100"', "1e3", str(2**53 + 1), str(2**63), "null", "true", "[1]"])
def test_an_amount_that_is_none_is_a_mismatch_not_an_error(amount: str) -> None:
    """Negative, fractional, text, too large: the event is read, its amount is not."""
    body = _event("payment_intent.succeeded", {**INTENT, "amount_received": 123454321})
    [event] = STRIPE.parse(Delivery({}, body.replace(b"123454321", amount.encode())))

    expected = 2500 if amount == "null" else None  # absent: the intent's amount stands in
    assert (event.kind, event.amount, event.currency) == (K.PAYMENT, expected, "USD")


def test_zero_is_kept() -> None:
    """An amount of nothing is read as it is; deciding refuses it."""
    assert _read("payment_intent.succeeded", {**INTENT, "amount_received": 0}).amount == 0


@pytest.mark.parametrize("currency", [None, "", "us", "usdd", "u$d", 840, "üsd"])
def test_a_currency_that_is_none_is_a_mismatch_not_an_error(currency: object) -> None:
    """Without a currency the amount means nothing."""
    event = _read("payment_intent.succeeded", {**INTENT, "currency": currency})

    assert (event.amount, event.currency) == (None, None)


@pytest.mark.parametrize(
    ("currency", "sent", "minor"),
    [
        ("usd", 1050, 1050),
        ("jpy", 1050, 1050),
        ("kwd", 1050, 1050),
        ("isk", 1000, 10),
        ("ugx", 500, 5),
        ("mga", 3, 300),
    ],
)
def test_minor_units_become_those_of_iso_4217(currency: str, sent: int, minor: int) -> None:
    """Where Stripe counts other places than ISO 4217, the amount is converted exactly."""
    event = _read("payment_intent.succeeded", {**INTENT, "amount_received": sent, "currency": currency})

    assert (event.amount, event.currency) == (minor, currency.upper())


def test_half_a_krona_is_no_amount() -> None:
    """A remainder is not rounded away."""
    assert _read("payment_intent.succeeded", {**INTENT, "amount_received": 1050, "currency": "isk"}).amount is None


def test_only_three_currencies_are_shifted() -> None:
    """Among the currencies that Stripe pays in, ISK, UGX and MGA alone differ from ISO 4217."""
    named = {*stripe_amounts.PLACES, "ISK", "UGX", "USD", "EUR", "CNY", "HUF", "TWD"}

    assert {"ISK", "UGX", "MGA"} == {code for code in named if exponent(code) != stripe_amounts.PLACES.get(code, 2)}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": 5},
        {"id": ""},
        {"id": "e" * 256},
        {"id": "evt\n1"},
        {"type": None},
        {"data": None},
        {"data": {"object": {**INTENT, "id": None}}},
        {"data": {"object": {**INTENT, "id": "p" * 256}}},
        {"data": {"object": {**INTENT, "id": 7}}},
        {"data": {"object": {**INTENT, "metadata": {"order_no": "o" * 256}}}},
        {"data": {"object": {**INTENT, "metadata": {"order_no": "O\t1"}}}},
        {"data": {"object": {**INTENT, "metadata": {"order_no": 7}}}},
    ],
)
def test_ids_that_are_none_are_malformed(changes: dict[str, Any]) -> None:
    """No id, a number for an id, 256 characters, a control character: not a notification we can keep."""
    with pytest.raises(MalformedNotification):
        _read("payment_intent.succeeded", INTENT, **changes)


@pytest.mark.parametrize(
    "order_no", ["'; DROP TABLE orders;--", "${jndi:x}", "<b>7</b>", "订单-7", "🦫", "\u202egnp.exe"]
)
def test_odd_but_harmless_texts_are_kept(order_no: str) -> None:
    """Text is data: what looks like SQL, HTML or right-to-left is kept as it is."""
    assert _read("payment_intent.succeeded", {**INTENT, "metadata": {"order_no": order_no}}).order_no == order_no


def test_thin_events_have_no_effect() -> None:
    """A v2 event names its object by URL only."""
    body = b'{"id":"evt_v2","object":"v2.core.event","type":"payment_intent.succeeded","livemode":true}'

    [event] = STRIPE.parse(Delivery({}, body))

    assert event.kind is K.OTHER


def test_digest_leaves_out_what_a_redelivery_changes() -> None:
    """pending_webhooks counts down while deliveries succeed; everything else is part of what was said."""
    said = _read("charge.refunded", CHARGE)

    assert said.digest == _read("charge.refunded", CHARGE, pending_webhooks=0).digest
    assert said.digest != _read("charge.refunded", {**CHARGE, "amount_refunded": 501}).digest


def test_one_right_signature_among_two_is_enough() -> None:
    """While a secret is rolled Stripe signs twice; v0 and unknown schemes say nothing."""
    wrong = "0" * 64

    for header in (f"t={NOW},v1={wrong},v1={_v1()}", f"t={NOW},v1={_v1()},v0={wrong},v9=x", f"v1={_v1()},t={NOW}"):
        assert STRIPE.verify(_delivery(header), NOW) == "env:STRIPE_SECRET"


@pytest.mark.parametrize(
    "header",
    [
        f"t={NOW},v0=" + _v1(),
        f"t={NOW},v1=" + _v1() + ",v1=0" * 5,
        f"t={NOW},t={NOW},v1=" + _v1(),
        f"t={NOW}" + f",v1={_v1()}" * 500,
        f"v1={_v1()}",
        "t=" + str(NOW),
    ],
)
def test_headers_that_are_refused(header: str) -> None:
    """Only v0, six signatures, two times, five hundred signatures, no time, no signature."""
    with pytest.raises(SignatureInvalid):
        STRIPE.verify(_delivery(header), NOW)


def test_old_and_new_secret_both_verify() -> None:
    """During a rotation either secret proves, and the answer says which one did."""
    rotating = Stripe("shop", True, (Key("env:NEW", b"a new secret, sixteen"), SECRET))

    assert rotating.verify(_delivery(f"t={NOW},v1={_v1()}"), NOW) == "env:STRIPE_SECRET"


def test_what_stripe_cannot_say_is_not_signed() -> None:
    """A hundredth of an ariary has no word in Stripe's currency."""
    notice = Notice(
        notification_id="evt_1",
        kind=K.PAYMENT,
        order_no="O-1",
        transaction_id="pi_1",
        amount=150,
        currency="MGA",
        order_amount=150,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )

    with pytest.raises(ConfigurationError):
        STRIPE.sign(notice, NOW)


def test_an_event_that_says_nothing_of_its_mode_differs_in_nothing() -> None:
    """Only a livemode that is there and is the other one is a difference."""
    account = Stripe(account="kiosk", live=True, secrets=(Key("env:KIOSK", b"whsec_uncommon_walrus"),))
    for said, foreign in ({}, ()), ({"livemode": True}, ()), ({"livemode": False}, ("live",)):
        event = {"id": "evt_1", "object": "event", "type": "customer.updated", "data": {"object": {}}} | said

        assert account.parse(Delivery({}, json.dumps(event).encode()))[0].foreign == foreign
