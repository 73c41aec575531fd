"""Asking a provider: what every dialect promises of it, and how an answer is compared with an event."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.event import SIGNS, EventKind, PaymentEvent
from domain.finding import Finding
from domain.finding import Testimony as Witness  # pytest takes a name that begins with Test for a test
from providers.alipay import Alipay
from providers.alipay_query import AlipayCredentials
from providers.dialect import Dialect, Notice
from providers.keys import Key
from providers.query import NOT_SO, Query, Told, agreement, confirmed, denied, refusal, unknown
from providers.standard_webhooks import StandardWebhooks
from providers.stripe import Stripe
from providers.stripe_query import StripeCredentials
from providers.wechat_query import WechatCredentials
from providers.wechat_v3 import WechatV3

K = EventKind
NOW = 1_767_225_600.0

#: The provider's own key, and the merchant's.
THEIRS: RSAPrivateKey = generate_private_key(65537, 2048)
OURS: RSAPrivateKey = generate_private_key(65537, 2048)
PUBLIC = (Key("PUB_KEY_ID_1", THEIRS.public_key()),)
SECRET = Key("env:SECRET", b"a marsupilami keeps this one....")
RESTRICTED = Key("env:RESTRICTED", b"rk_test_marsupilami7keeps7this")
MINE = Key("file:merchant.pem", OURS)

ACCOUNTS: Mapping[str, Dialect] = {
    "alipay": Alipay(
        "shop",
        False,
        "2021",
        PUBLIC,
        signing_key=THEIRS,
        credentials=AlipayCredentials(MINE, "https://gateway.example/gateway.do"),
    ),
    "wechat_v3": WechatV3(
        "shop",
        False,
        "wx8888",
        "1900000001",
        PUBLIC,
        (SECRET,),
        THEIRS,
        credentials=WechatCredentials(MINE, "5157F09E"),
    ),
    "stripe": Stripe("shop", False, (SECRET,), credentials=StripeCredentials(RESTRICTED)),
    "standard_webhooks": StandardWebhooks("shop", False, (SECRET,)),
}
ASKING = [name for name in ACCOUNTS if name != "standard_webhooks"]
#: What each can be asked about, by the kinds that it can say itself.
ASKED = {
    "alipay": {K.PAYMENT, K.REFUND, K.CLOSED},
    "wechat_v3": {K.PAYMENT, K.REFUND, K.CLOSED, K.FAILED},
    "stripe": set(NOT_SO),
    "standard_webhooks": set(),
}


def event_of(provider: str, said: EventKind, **changes: Any) -> PaymentEvent:
    """As the provider itself would have said it."""
    transaction = {
        ("alipay", K.REFUND): "T1:R1",
        ("wechat_v3", K.REFUND): "5030:R1",
        ("stripe", K.REFUND): "evt_1",
        ("stripe", K.PAYMENT): "pi_1",
    }
    notice = Notice(
        notification_id="evt_1",
        kind=said,
        order_no="crunchy-armchair",
        transaction_id=transaction.get((provider, said), "T1"),
        payment_id="" if said not in SIGNS or said is K.PAYMENT else "T1",
        amount=500,
        currency="CNY",
        order_amount=1999,
        occurred_at=datetime(2025, 12, 31, tzinfo=UTC),
    )
    dialect = ACCOUNTS[provider]
    [event] = dialect.parse(dialect.sign(notice, NOW))
    return replace(event, **changes)


EVENT = PaymentEvent(
    notification_id="N1",
    kind=K.PAYMENT,
    digest="",
    order_no="O-1",
    transaction_id="T1",
    amount=500,
    currency="CNY",
)
REFUND = replace(EVENT, kind=K.REFUND, transaction_id="R1", payment_id="T1")
TOLD = Told(transaction_id="T1", order_no="O-1", amount=500, currency="CNY")
RETURNED = replace(TOLD, transaction_id="R1", payment_id="T1")


@pytest.mark.parametrize(
    ("event", "told", "finding"),
    [
        (EVENT, TOLD, confirmed()),
        (EVENT, replace(TOLD, transaction_id="T2"), denied("transaction_differs")),
        (EVENT, replace(TOLD, order_no="O-2"), denied("order_differs")),
        (EVENT, replace(TOLD, order_no=None), unknown("names_no_order")),
        (replace(EVENT, order_no=None), TOLD, unknown("names_no_order")),
        (replace(EVENT, order_no=None), replace(TOLD, order_no=None), confirmed()),
        (EVENT, replace(TOLD, amount=499), denied("amount_differs")),
        (EVENT, replace(TOLD, amount=501), denied("amount_differs")),
        (EVENT, replace(TOLD, amount=None), unknown("amount_unreadable")),
        (replace(EVENT, amount=None), TOLD, unknown("amount_unreadable")),
        (EVENT, replace(TOLD, currency="USD"), denied("currency_differs")),
        (EVENT, replace(TOLD, currency=None), unknown("amount_unreadable")),
        (replace(EVENT, kind=K.CLOSED), replace(TOLD, amount=None, currency=None), confirmed()),
        (replace(EVENT, kind=K.CLOSED), replace(TOLD, order_no="O-2"), denied("order_differs")),
        (REFUND, RETURNED, confirmed()),
        (REFUND, replace(RETURNED, payment_id="T2"), denied("payment_differs")),
        (replace(REFUND, payment_id=""), RETURNED, confirmed()),
        (replace(REFUND, cumulative=True), RETURNED, confirmed()),
        (replace(REFUND, cumulative=True), replace(RETURNED, amount=501), confirmed()),
        (replace(REFUND, cumulative=True), replace(RETURNED, amount=499), denied("amount_differs")),
    ],
)
def test_the_same_is_confirmed_and_the_first_difference_is_named(
    event: PaymentEvent, told: Told, finding: Finding
) -> None:
    """Transaction, payment, order, currency, amount; a total that has grown since was reached."""
    assert agreement(event, told) == finding


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (200, None),
        (404, None),
        (301, "redirected"),
        (302, "redirected"),
        (307, "redirected"),
        (400, "unexpected"),
        (401, "refused"),
        (403, "refused"),
        (429, "limited"),
        (500, "unavailable"),
        (503, "unavailable"),
        (204, "unexpected"),
        (100, "unexpected"),
    ],
)
def test_a_status_that_says_nothing_is_unknown(status: int, detail: str | None) -> None:
    """Only 200 and 404 are read further."""
    assert refusal(status) == (None if detail is None else unknown(detail))


@pytest.mark.parametrize("provider", ACCOUNTS)
def test_what_can_be_asked_about(provider: str) -> None:
    """Exactly the kinds that the page lists, where the dialect has credentials."""
    dialect = ACCOUNTS[provider]

    asked = {kind for kind in dialect.sayable if dialect.query(event_of(provider, kind), NOW) is not None}

    assert asked == ASKED[provider]


@pytest.mark.parametrize("provider", ASKING)
def test_nobody_is_asked_without_credentials_or_out_of_their_time(provider: str) -> None:
    """No `query` in the account, or a key whose window is over: None."""
    dialect: Any = ACCOUNTS[provider]
    event = event_of(provider, K.PAYMENT)
    late = replace(dialect.credentials, key=replace(dialect.credentials.key, not_after=NOW - 1))

    assert dialect.query(event, NOW) is not None
    assert replace(dialect, credentials=None).query(event, NOW) is None
    assert replace(dialect, credentials=late).query(event, NOW) is None


@pytest.mark.parametrize("provider", ASKING)
@pytest.mark.parametrize(
    "changes",
    [
        {"foreign": ("live",)},
        {"amount": None},
        {"currency": None},
        {"kind": K.PENDING},
        {"kind": K.OTHER},
        {"kind": K.PAYMENT_REVERSAL},
    ],
)
def test_what_no_answer_could_confirm_is_not_asked(provider: str, changes: dict[str, Any]) -> None:
    """Another account's event, one whose amount could not be read, one without an effect."""
    assert ACCOUNTS[provider].query(event_of(provider, K.PAYMENT, **changes), NOW) is None


@pytest.mark.parametrize("provider", ["stripe", "wechat_v3"])
@pytest.mark.parametrize("number", ["", "..", "a/b", "a?b=1", "a#b", "a b", "é", "a\r\nb", "%2e%2e", "x" * 256])
def test_a_number_that_would_lead_elsewhere_is_not_asked(provider: str, number: str) -> None:
    """It stands in a path: only what the provider makes its numbers of gets there."""
    changes = {"transaction_id": number, "order_no": number}

    assert ACCOUNTS[provider].query(event_of(provider, K.PAYMENT, **changes), NOW) is None


@pytest.mark.parametrize("provider", ASKING)
def test_a_query_shows_nothing_of_itself(provider: str) -> None:
    """Neither credentials nor ids stand in a traceback or a log line; the account shows no key either."""
    query = ACCOUNTS[provider].query(event_of(provider, K.PAYMENT), NOW)

    assert isinstance(query, Query)
    assert repr(query) == f"Query(method='{query.method}')"
    assert "marsupilami" not in repr(ACCOUNTS[provider])
    assert "RSAPrivateKey" not in repr(ACCOUNTS[provider])


@pytest.mark.parametrize("provider", ASKING)
def test_header_names_are_lower_case_and_say_who_asks(provider: str) -> None:
    """WeChat Pay refuses requests without a User-Agent."""
    query = ACCOUNTS[provider].query(event_of(provider, K.PAYMENT), NOW)

    assert query is not None
    assert query.headers["user-agent"] == "paidonce"
    assert [name.lower() for name in query.headers] == list(query.headers)


_PAYMENTS = {provider: event_of(provider, K.PAYMENT) for provider in ACCOUNTS}
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.text(max_size=8) | st.sampled_from(["succeeded", "T1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    [
        *("id", "object", "data", "status", "payment_status", "latest_charge", "payment_intent", "amount", "currency"),
        *("metadata", "balance_transactions", "livemode", "error", "alipay_trade_query_response", "sign", "code"),
        *("trade_state", "transaction_id", "out_trade_no", "mchid", "appid", "refund_id", "sub_code"),
    ]
)
_BODIES = st.one_of(
    st.binary(max_size=100), st.dictionaries(_NAMES, _VALUES, max_size=6).map(lambda said: json.dumps(said).encode())
)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(sorted(ACCOUNTS)),
    st.sampled_from(sorted(EventKind)),
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["wechatpay-timestamp", "wechatpay-signature"]), st.text(max_size=20)),
    _BODIES,
)
def test_nonsense_is_never_an_error_and_never_confirmed(
    provider: str, kind: EventKind, status: int, headers: dict[str, str], body: bytes
) -> None:
    """Whatever comes back, read_query has a finding, and it is not that all is well."""
    event = replace(_PAYMENTS[provider], kind=kind)

    finding = ACCOUNTS[provider].read_query(event, status, headers, body, NOW)

    assert finding.testimony is not Witness.CONFIRMED
    assert finding.detail.replace("_", "").isalpha()


def test_who_cannot_be_asked_has_nothing_to_say() -> None:
    """Standard Webhooks knows no question."""
    event = event_of("standard_webhooks", K.PAYMENT)

    assert ACCOUNTS["standard_webhooks"].query(event, NOW) is None
    assert ACCOUNTS["standard_webhooks"].read_query(event, 200, {}, b"{}", NOW) == unknown("not_asked")
