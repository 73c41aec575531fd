"""What Stripe is asked, and what its objects say of an event."""

import json
from dataclasses import replace
from typing import Any

import pytest

from domain.event import EventKind, PaymentEvent
from domain.finding import Finding
from providers.keys import Key
from providers.query import confirmed, denied, unknown
from providers.stripe import Stripe
from providers.stripe_query import VERSION, StripeCredentials

K = EventKind
NOW = 1_767_225_600.0
KEY = Key("env:RESTRICTED", b"rk_test_marsupilami7keeps7this")
STRIPE = Stripe("shop", False, (), "acct_1", credentials=StripeCredentials(KEY, stripe_account="acct_1"))

PAID = PaymentEvent(
    notification_id="evt_1",
    kind=K.PAYMENT,
    digest="",
    order_no="O-1",
    transaction_id="pi_1",
    amount=1999,
    currency="USD",
    provider_kind="payment_intent.succeeded",
)
SOLD = replace(PAID, provider_kind="checkout.session.completed")
BARE = replace(SOLD, transaction_id="cs_1")
CANCELED = replace(PAID, kind=K.CLOSED, amount=None, currency=None, provider_kind="payment_intent.canceled")
EXPIRED = replace(CANCELED, transaction_id="cs_1", provider_kind="checkout.session.expired")
FAILED = replace(CANCELED, kind=K.FAILED, provider_kind="payment_intent.payment_failed")
SESSION_FAILED = replace(FAILED, provider_kind="checkout.session.async_payment_failed")
REFUNDED = replace(
    PAID,
    kind=K.REFUND,
    transaction_id="evt_1",
    payment_id="pi_1",
    amount=500,
    cumulative=True,
    provider_kind="charge.refunded",
)
UNREFUNDED = replace(
    PAID,
    kind=K.REFUND_REVERSAL,
    order_no=None,
    transaction_id="re_1",
    payment_id="pi_1",
    amount=500,
    provider_kind="refund.failed",
)
DISPUTED = replace(
    PAID, kind=K.CHARGEBACK, transaction_id="du_1", payment_id="pi_1", provider_kind="charge.dispute.funds_withdrawn"
)
WON = replace(DISPUTED, kind=K.CHARGEBACK_REVERSAL, provider_kind="charge.dispute.funds_reinstated")

CHARGE = {
    "id": "ch_1",
    "object": "charge",
    "payment_intent": "pi_1",
    "amount": 1999,
    "amount_refunded": 0,
    "refunded": False,
    "disputed": False,
    "currency": "usd",
    "metadata": {"order_no": "O-1"},
}
INTENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "succeeded",
    "amount": 1999,
    "amount_received": 1999,
    "currency": "usd",
    "livemode": False,
    "last_payment_error": None,
    "latest_charge": CHARGE,
    "metadata": {"order_no": "O-1"},
}
SESSION = {
    "id": "cs_1",
    "object": "checkout.session",
    "status": "complete",
    "payment_status": "paid",
    "payment_intent": INTENT,
    "amount_total": 1999,
    "currency": "usd",
    "livemode": False,
    "client_reference_id": "O-1",
    "metadata": {},
}
RETURNED_INTENT = {**INTENT, "latest_charge": {**CHARGE, "refunded": True}}
UNPAID_SESSION = {**SESSION, "payment_intent": None, "payment_status": "unpaid", "status": "expired"}
TRIED = {"status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}}
REFUND = {
    "id": "re_1",
    "object": "refund",
    "payment_intent": "pi_1",
    "amount": 500,
    "currency": "usd",
    "status": "failed",
    "metadata": {},
}
DISPUTE = {
    "id": "du_1",
    "object": "dispute",
    "payment_intent": "pi_1",
    "amount": 1999,
    "currency": "usd",
    "livemode": False,
    "metadata": {"order_no": "O-1"},
    "balance_transactions": [{"amount": -1999, "fee": 1500}],
}
TAKEN, GIVEN_BACK = {"amount": -1999, "fee": 1500}, {"amount": 1999, "fee": 0}


def _listed(*sessions: object) -> dict[str, Any]:
    return {"object": "list", "data": list(sessions), "has_more": False}


def _read(event: PaymentEvent, said: object, status: int = 200) -> Finding:
    return STRIPE.read_query(event, status, {}, json.dumps(said).encode(), NOW)


@pytest.mark.parametrize(
    ("event", "target"),
    [
        (PAID, "/v1/payment_intents/pi_1?expand%5B%5D=latest_charge"),
        (CANCELED, "/v1/payment_intents/pi_1?expand%5B%5D=latest_charge"),
        (FAILED, "/v1/payment_intents/pi_1?expand%5B%5D=latest_charge"),
        (REFUNDED, "/v1/payment_intents/pi_1?expand%5B%5D=latest_charge"),
        (SOLD, "/v1/checkout/sessions?payment_intent=pi_1&expand%5B%5D=data.payment_intent.latest_charge"),
        (BARE, "/v1/checkout/sessions/cs_1?expand%5B%5D=payment_intent.latest_charge"),
        (EXPIRED, "/v1/checkout/sessions/cs_1?expand%5B%5D=payment_intent.latest_charge"),
        (UNREFUNDED, "/v1/refunds/re_1"),
        (DISPUTED, "/v1/disputes/du_1"),
        (WON, "/v1/disputes/du_1"),
    ],
)
def test_what_is_fetched(event: PaymentEvent, target: str) -> None:
    """The object that the event spoke of, under the restricted key, in the pinned version, of the connected account."""
    query = STRIPE.query(event, NOW)

    assert query is not None
    assert (query.method, query.url, query.body) == ("GET", f"https://api.stripe.com{target}", b"")
    assert query.headers["authorization"] == "Bearer rk_test_marsupilami7keeps7this"
    assert (query.headers["stripe-version"], query.headers["stripe-account"]) == (VERSION, "acct_1")


def test_a_platform_without_connected_account_names_none() -> None:
    """Stripe-Account goes along only where the account has one."""
    query = replace(STRIPE, credentials=StripeCredentials(KEY)).query(PAID, NOW)

    assert query is not None
    assert "stripe-account" not in query.headers


def test_a_refund_of_a_charge_without_intent_cannot_be_asked() -> None:
    """Its event names no payment."""
    assert STRIPE.query(replace(REFUNDED, payment_id=""), NOW) is None


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (PAID, INTENT),
        (PAID, {**INTENT, "latest_charge": {**CHARGE, "amount_refunded": 500}}),
        (SOLD, _listed(SESSION)),
        (BARE, UNPAID_SESSION | {"payment_status": "paid", "status": "complete"}),
        (CANCELED, {**INTENT, "status": "canceled"}),
        (EXPIRED, UNPAID_SESSION),
        (FAILED, {**INTENT, **TRIED}),
        (SESSION_FAILED, _listed({**SESSION, "payment_status": "unpaid", "payment_intent": {**INTENT, **TRIED}})),
        (REFUNDED, {**INTENT, "latest_charge": {**CHARGE, "amount_refunded": 500}}),
        (REFUNDED, {**INTENT, "latest_charge": {**CHARGE, "amount_refunded": 1999, "refunded": True}}),
        (UNREFUNDED, REFUND),
        (DISPUTED, DISPUTE),
        (WON, {**DISPUTE, "balance_transactions": [TAKEN, GIVEN_BACK]}),
    ],
)
def test_what_happened_just_so_is_confirmed(event: PaymentEvent, said: object) -> None:
    """Each kind, as the object shows it."""
    assert _read(event, said) == confirmed()


@pytest.mark.parametrize(
    ("event", "said", "detail"),
    [
        (PAID, {**INTENT, "status": "processing"}, "not_paid"),
        (PAID, {**INTENT, "status": "requires_capture"}, "not_paid"),
        (PAID, {**INTENT, "status": "canceled"}, "closed"),
        (PAID, {**INTENT, "id": "pi_2"}, "transaction_differs"),
        (PAID, {**INTENT, "amount_received": 1998}, "amount_differs"),
        (PAID, {**INTENT, "currency": "eur"}, "currency_differs"),
        (PAID, {**INTENT, "metadata": {"order_no": "O-2"}}, "order_differs"),
        (SOLD, _listed(), "not_found"),
        (SOLD, _listed({**SESSION, "payment_status": "unpaid"}), "not_paid"),
        (SOLD, _listed({**SESSION, "payment_status": "no_payment_required"}), "not_paid"),
        (SOLD, _listed({**SESSION, "amount_total": 1}), "amount_differs"),
        (BARE, UNPAID_SESSION, "closed"),
        (CANCELED, INTENT, "not_closed"),
        (EXPIRED, {**UNPAID_SESSION, "status": "open"}, "not_closed"),
        (FAILED, INTENT, "not_failed"),
        (FAILED, {**INTENT, **TRIED, "last_payment_error": None}, "not_failed"),
        (REFUNDED, INTENT, "not_refunded"),
        (REFUNDED, {**INTENT, "latest_charge": {**CHARGE, "amount_refunded": 499}}, "amount_differs"),
        (REFUNDED, {**INTENT, "id": "pi_2", "latest_charge": {**CHARGE, "amount_refunded": 500}}, "payment_differs"),
        (UNREFUNDED, {**REFUND, "status": "succeeded"}, "not_reversed"),
        (UNREFUNDED, {**REFUND, "status": "pending"}, "not_reversed"),
        (UNREFUNDED, {**REFUND, "payment_intent": "pi_2"}, "payment_differs"),
        (DISPUTED, {**DISPUTE, "balance_transactions": []}, "not_charged_back"),
        (DISPUTED, {**DISPUTE, "amount": 1}, "amount_differs"),
        (WON, DISPUTE, "not_reversed"),
    ],
)
def test_what_happened_otherwise_is_denied(event: PaymentEvent, said: object, detail: str) -> None:
    """It stands elsewhere, or differs in one thing."""
    assert _read(event, said) == denied(detail)


@pytest.mark.parametrize(
    ("event", "said", "detail"),
    [
        (PAID, {**INTENT, "latest_charge": {**CHARGE, "refunded": True, "amount_refunded": 1999}}, "refunded"),
        (PAID, {**INTENT, "latest_charge": {**CHARGE, "disputed": True}}, "charged_back"),
        (SOLD, _listed({**SESSION, "payment_intent": RETURNED_INTENT}), "refunded"),
        (DISPUTED, {**DISPUTE, "balance_transactions": [TAKEN, GIVEN_BACK]}, "reversed"),
        (PAID, {**INTENT, "livemode": True}, "live_differs"),
        (PAID, {**INTENT, "metadata": {}}, "names_no_order"),
        (PAID, {**INTENT, "amount_received": "1999"}, "amount_unreadable"),
        (PAID, {**INTENT, "currency": None}, "amount_unreadable"),
        (PAID, {**INTENT, "latest_charge": "ch_1"}, "unreadable"),
        (PAID, {**INTENT, "latest_charge": None}, "unreadable"),
        (SOLD, _listed(SESSION, SESSION), "unreadable"),
        (SOLD, _listed("cs_1"), "unreadable"),
        (SOLD, {"object": "list"}, "unreadable"),
        (SESSION_FAILED, _listed({**SESSION, "payment_intent": None}), "unreadable"),
        (DISPUTED, {**DISPUTE, "balance_transactions": None}, "unreadable"),
        (DISPUTED, {**DISPUTE, "balance_transactions": ["txn_1"]}, "unreadable"),
        (replace(PAID, provider_kind="something.new"), INTENT, "unexpected"),
        (replace(PAID, provider_kind="payment_intent.canceled"), INTENT, "unexpected"),
    ],
)
def test_what_is_not_so_any_more_or_cannot_be_read_is_unknown(event: PaymentEvent, said: object, detail: str) -> None:
    """The money has moved on, the answer is of the other mode, or a fact is missing: a person decides."""
    assert _read(event, said) == unknown(detail)


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        ({"error": {"type": "invalid_request_error", "code": "resource_missing"}}, denied("not_found")),
        ({"error": {"type": "invalid_request_error", "code": "url_invalid"}}, unknown("unexpected")),
        ({"error": "Not found"}, unknown("unexpected")),
        ({}, unknown("unexpected")),
        ([], unknown("unreadable")),
    ],
)
def test_only_a_missing_resource_is_not_found(said: object, finding: Finding) -> None:
    """A proxy's 404, or a wrong address, is no word of Stripe's."""
    assert _read(PAID, said, 404) == finding
