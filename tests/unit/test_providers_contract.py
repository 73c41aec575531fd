"""What every dialect promises, held against all of them with the same words."""

import base64
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import FunctionType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import SIGNS, EventKind
from providers.alipay import Alipay
from providers.dialect import Answer, Delivery, Dialect, Notice
from providers.horizon import Horizon
from providers.keys import Key, hmac_sha256
from providers.registry import DIALECTS
from providers.standard_webhooks import StandardWebhooks
from providers.stripe import Stripe
from providers.wechat_v3 import WechatV3

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
SECRET = b"a marsupilami keeps this one....."[:32]
DAY = 86_400.0

SIGNING_KEY: RSAPrivateKey = generate_private_key(65537, 2048)
RSA = Key("RSA-1", SIGNING_KEY.public_key())
HMAC = Key("env:SECRET", SECRET)

ACCOUNTS: Mapping[str, Dialect] = {
    "alipay": Alipay("shop", False, "2021000118634035", (RSA,), "2088621993877853", SIGNING_KEY),
    "wechat_v3": WechatV3("shop", False, "wx8888", "1900000001", (RSA,), (HMAC,), SIGNING_KEY),
    "stripe": Stripe("shop", False, (HMAC,), "acct_1"),
    "standard_webhooks": StandardWebhooks("shop", False, (HMAC,)),
}
#: The headers whose bytes are signed, or are the signature.
SIGNED_HEADERS = {
    "wechat_v3": ("wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature"),
    "stripe": ("stripe-signature",),
    "standard_webhooks": ("webhook-id", "webhook-timestamp", "webhook-signature"),
}
CLOCKED = {
    "wechat_v3": "wechatpay-timestamp",
    "stripe": "stripe-signature",
    "standard_webhooks": "webhook-timestamp",
}

_METHODS = (FunctionType, classmethod)

each_dialect = pytest.mark.parametrize("provider", ACCOUNTS)

_NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789_-", min_size=1, max_size=40)


@st.composite
def _notices(draw: st.DrawFn) -> tuple[str, Notice]:
    provider = draw(st.sampled_from(sorted(ACCOUNTS)))
    kind = draw(st.sampled_from(sorted(ACCOUNTS[provider].sayable)))
    currency = "CNY" if provider == "alipay" else draw(st.sampled_from(["CNY", "USD", "JPY", "KWD", "ISK"]))
    amount = draw(st.integers(1, 10**10))
    notification_id = draw(_NAMES)
    notice = Notice(
        notification_id=notification_id,
        kind=kind,
        payment_id=draw(_NAMES) if kind in SIGNS.keys() - {EventKind.PAYMENT} else "",
        order_no=draw(_NAMES),
        # Stripe's word for a refund names no refund: the event's id stands in.
        transaction_id=notification_id if (provider, kind) == ("stripe", EventKind.REFUND) else draw(_NAMES),
        amount=amount,
        currency=currency,
        order_amount=amount + draw(st.integers(0, 10**9)),
        refunded=amount + draw(st.integers(0, 10**9)),
        occurred_at=datetime.fromtimestamp(draw(st.integers(10**9, 2 * 10**9)), UTC),
    )
    return provider, notice


def _notice(kind: EventKind = EventKind.PAYMENT) -> Notice:
    return Notice(
        notification_id="N-ominous-mirror",
        kind=kind,
        order_no="crunchy-armchair",
        transaction_id="T-42",
        amount=1999,
        currency="CNY",
        order_amount=1999,
        occurred_at=datetime(2025, 12, 31, 23, 59, 1, tzinfo=UTC),
    )


def _flipped(value: bytes) -> Iterator[bytearray]:
    for bit in range(len(value) * 8):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        yield changed


def _resigned(provider: str, body: bytes) -> Delivery:
    """`body` as the provider itself would sign it, whatever it says."""
    stamp = str(int(NOW))
    if provider == "stripe":
        signature = hmac_sha256(SECRET, f"{stamp}.".encode() + body).hex()
        return Delivery({"stripe-signature": f"t={stamp},v1={signature}"}, body)
    signature = base64.b64encode(hmac_sha256(SECRET, f"msg_1.{stamp}.".encode() + body)).decode()
    return Delivery({"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}, body)


@each_dialect
def test_registry_names_each_dialect(provider: str) -> None:
    """The one list names each dialect as the class does, and this file leaves none of them out."""
    assert DIALECTS.keys() == ACCOUNTS.keys()
    assert DIALECTS[provider] is type(ACCOUNTS[provider])
    assert DIALECTS[provider].provider == provider


@each_dialect
def test_dialects_have_one_shape(provider: str) -> None:
    """Each dialect has the same public methods, in the same order, with the same parameters."""
    wanted = ["build", "verify", "parse", "accepted", "refused", "sign", "query", "read_query"]
    found = [name for name, member in vars(DIALECTS[provider]).items() if isinstance(member, _METHODS)]

    assert [name for name in found if not name.startswith("_")] == wanted
    for name in wanted:
        ours = inspect.signature(getattr(DIALECTS[provider], name))
        assert list(ours.parameters) == list(inspect.signature(getattr(Dialect, name)).parameters)


@each_dialect
def test_the_horizon_says_what_retention_needs(provider: str) -> None:
    """Every provider sends again for at least a day; the longest counts by hand too; a document says so."""
    horizon = DIALECTS[provider].horizon

    assert horizon.automatic > timedelta(days=1)
    assert horizon.longest == max(time for time in (horizon.automatic, horizon.manual) if time is not None)
    assert re.match(r"(docs|opendocs|pay|github)\.[a-z.]+/", horizon.source)


@each_dialect
def test_the_usual_deadline_outlives_the_providers_own_redeliveries(provider: str) -> None:
    """What the provider may still send by itself can still be applied."""
    assert ACCOUNTS[provider].expires_after > DIALECTS[provider].horizon.automatic


def test_a_resend_by_hand_counts_only_where_it_is_longer() -> None:
    """Retention must exceed whichever way of sending again lasts longer."""
    hour, day = timedelta(hours=1), timedelta(days=1)

    assert Horizon(automatic=day, manual=hour, source="").longest == day
    assert Horizon(automatic=hour, manual=day, source="").longest == day
    assert Horizon(automatic=day, lifecycle=day * 99, source="").longest == day


@each_dialect
def test_header_names_are_lower_case(provider: str) -> None:
    """The receiver keeps the headers that a dialect names, by their name in lower case."""
    assert [name.lower() for name in DIALECTS[provider].headers] == list(DIALECTS[provider].headers)
    assert ACCOUNTS[provider].sign(_notice(), NOW).headers.keys() <= set(DIALECTS[provider].headers)


@each_dialect
def test_success_is_200_and_failure_keeps_its_status(provider: str) -> None:
    """A success answer stops redeliveries, a failure answer never reads as one."""
    accepted = ACCOUNTS[provider].accepted()

    assert accepted.status == 200
    for status in (400, 401, 413, 503):
        refused = ACCOUNTS[provider].refused(status)
        assert refused.status == status
        assert (refused.body == b"") or (refused.body != accepted.body)


def test_answers_are_the_providers_own_words() -> None:
    """Byte for byte: Alipay's seven letters, WeChat's JSON, nothing where nobody reads."""
    assert ACCOUNTS["alipay"].accepted() == Answer(200, b"success")
    assert json.loads(ACCOUNTS["wechat_v3"].accepted().body) == {"code": "SUCCESS", "message": "成功"}
    assert json.loads(ACCOUNTS["wechat_v3"].refused(401).body) == {"code": "FAIL", "message": "失败"}
    assert ACCOUNTS["stripe"].accepted() == Answer(200)
    assert ACCOUNTS["standard_webhooks"].accepted() == Answer(200)


@settings(max_examples=150, deadline=None)
@given(_notices())
def test_what_is_signed_verifies_and_says_the_notice(drawn: tuple[str, Notice]) -> None:
    """Sign, then verify holds, and parse gives the notice's facts back."""
    provider, notice = drawn
    dialect = ACCOUNTS[provider]

    delivery = dialect.sign(notice, NOW)

    assert dialect.verify(delivery, NOW) in {RSA.id, HMAC.id}
    [event] = dialect.parse(delivery)
    assert (event.notification_id, event.kind, event.foreign) == (notice.notification_id, notice.kind, ())
    if notice.kind is not EventKind.OTHER:
        assert (event.order_no, event.transaction_id) == (notice.order_no, notice.transaction_id)
        assert event.occurred_at == notice.occurred_at
        # Alipay has one number for both: a refund's stands behind that of its trade.
        refunded_trade = (provider, notice.kind) == ("alipay", EventKind.REFUND)
        assert event.payment_id == (notice.transaction_id if refunded_trade else notice.payment_id)
    if notice.kind in SIGNS:
        assert (event.amount, event.currency) == (
            notice.refunded if event.cumulative else notice.amount,
            notice.currency,
        )
    else:
        assert (event.amount, event.currency) == (None, None)


def _proven(dialect: Dialect, delivery: Delivery) -> bool:
    try:
        dialect.verify(delivery, NOW)
    except SignatureInvalid:
        return False
    return True


@each_dialect
@pytest.mark.parametrize("kind", [EventKind.PAYMENT, EventKind.REFUND])
def test_no_flipped_bit_of_the_body_says_something_else(provider: str, kind: EventKind) -> None:
    """Each bit of the body changed in turn: the signature fails, or (a form's %2b for %2B) the same thing is said."""
    dialect = ACCOUNTS[provider]
    genuine = dialect.sign(_notice(kind), NOW)
    said = dialect.parse(genuine)

    for forged in map(bytes, _flipped(genuine.body)):
        delivery = Delivery(genuine.headers, forged)
        if _proven(dialect, delivery):
            assert provider == "alipay"
            assert dialect.parse(delivery) == said


@pytest.mark.parametrize("provider", SIGNED_HEADERS)
def test_no_flipped_bit_of_a_signed_header_verifies(provider: str) -> None:
    """Each bit of the signed headers and of the signature changed in turn: SignatureInvalid, and nothing else."""
    dialect = ACCOUNTS[provider]
    genuine = dialect.sign(_notice(), NOW)

    for name in SIGNED_HEADERS[provider]:
        for forged in _flipped(genuine.headers[name].encode("latin-1")):
            headers = {**genuine.headers, name: forged.decode("latin-1")}
            assert not _proven(dialect, Delivery(headers, genuine.body))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(ACCOUNTS)),
    st.dictionaries(
        st.sampled_from(sorted(name for dialect in DIALECTS.values() for name in dialect.headers)),
        st.one_of(st.text(max_size=60), st.from_regex(r"(t|v1)[=,]?[0-9a-f,=v ]{0,80}", fullmatch=True)),
    ),
    st.binary(max_size=200),
    st.floats(allow_nan=True),
)
def test_nonsense_is_an_invalid_signature(provider: str, headers: dict[str, str], body: bytes, now: float) -> None:
    """Whatever the headers, the body and the clock are, verify raises nothing but SignatureInvalid."""
    with pytest.raises(SignatureInvalid):
        ACCOUNTS[provider].verify(Delivery(headers, body), now)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(ACCOUNTS)), st.binary(max_size=300))
def test_nonsense_is_a_malformed_notification(provider: str, body: bytes) -> None:
    """Whatever a signed body holds, parse gives events or raises MalformedNotification."""
    try:
        events = ACCOUNTS[provider].parse(Delivery({"webhook-id": "msg_1"}, body))
    except MalformedNotification:
        return
    assert all(event.kind is EventKind.OTHER for event in events)


@pytest.mark.parametrize("provider", SIGNED_HEADERS)
@pytest.mark.parametrize("value", [None, "", "é" * 9, "x" * 10_000, "\ud800", "=,", "v1=", "t=,v1=", "v1,", "A" * 343])
def test_a_broken_signature_header_is_refused(provider: str, value: str | None) -> None:
    """Missing, empty, non-ASCII, 10 kB or half a header: refused without another error."""
    dialect = ACCOUNTS[provider]
    genuine = dialect.sign(_notice(), NOW)
    name = SIGNED_HEADERS[provider][-1]
    headers = {**genuine.headers, name: value} if value is not None else {}

    with pytest.raises(SignatureInvalid):
        dialect.verify(Delivery(headers, genuine.body), NOW)


@pytest.mark.parametrize("provider", ["stripe", "standard_webhooks"])
@pytest.mark.parametrize("change", [str.upper, lambda signature: signature[:-1], lambda signature: signature + "0"])
def test_a_signature_in_other_letters_is_refused(provider: str, change: Any) -> None:
    """The wrong case, an odd number of digits: not the signature."""
    dialect = ACCOUNTS[provider]
    genuine = dialect.sign(_notice(), NOW)
    name = SIGNED_HEADERS[provider][-1]
    mark = "v1=" if provider == "stripe" else "v1,"
    before, signature = genuine.headers[name].split(mark)

    with pytest.raises(SignatureInvalid):
        dialect.verify(Delivery({**genuine.headers, name: before + mark + change(signature)}, genuine.body), NOW)


@each_dialect
def test_a_signature_of_another_body_is_refused(provider: str) -> None:
    """Another notification's signature, and a body written anew with one space more, prove nothing."""
    dialect = ACCOUNTS[provider]
    genuine, other = dialect.sign(_notice(), NOW), dialect.sign(replace(_notice(), amount=1), NOW)
    swapped = Delivery(genuine.headers, other.body)
    if provider == "alipay":
        signature = genuine.body.rsplit(b"&sign=", 1)[1]
        swapped = Delivery({}, other.body.rsplit(b"&sign=", 1)[0] + b"&sign=" + signature)

    for forged in (swapped, Delivery(genuine.headers, genuine.body + b" "), Delivery(genuine.headers, b"")):
        with pytest.raises(SignatureInvalid):
            dialect.verify(forged, NOW)


@pytest.mark.parametrize("provider", CLOCKED)
@pytest.mark.parametrize("late", [-301, 301])
def test_a_delivery_from_another_time_is_refused(provider: str, late: int) -> None:
    """More than five minutes old, or from the future: refused on both sides."""
    dialect = ACCOUNTS[provider]

    with pytest.raises(SignatureInvalid, match="timestamp"):
        dialect.verify(dialect.sign(_notice(), NOW), NOW + late)


@pytest.mark.parametrize("provider", CLOCKED)
@pytest.mark.parametrize("late", [-299, 0, 299])
def test_a_delivery_inside_the_tolerance_verifies_twice(provider: str, late: int) -> None:
    """Just inside five minutes it verifies, as often as it comes: the clock is no dedupe."""
    dialect = ACCOUNTS[provider]
    delivery = dialect.sign(_notice(), NOW)

    assert dialect.verify(delivery, NOW + late) == dialect.verify(delivery, NOW + late)


def test_at_five_minutes_wechat_refuses_and_the_others_accept() -> None:
    """The border is each provider's own: WeChat's libraries refuse at 300 seconds, the others beyond."""
    outcomes = {}
    for provider in CLOCKED:
        dialect = ACCOUNTS[provider]
        try:
            outcomes[provider] = bool(dialect.verify(dialect.sign(_notice(), NOW), NOW + 300))
        except SignatureInvalid:
            outcomes[provider] = False

    assert outcomes == {"wechat_v3": False, "stripe": True, "standard_webhooks": True}


@pytest.mark.parametrize("provider", CLOCKED)
@pytest.mark.parametrize(
    "stamp", ["0", "-1767225600", "1e30", "1767225600.0", "yesterday", "", "9" * 300, "１７６７２２５６００"]
)
def test_a_time_that_is_none_is_refused(provider: str, stamp: str) -> None:
    """Zero, negative, too large, a float, text, or digits of another script: refused."""
    dialect = ACCOUNTS[provider]
    genuine = dialect.sign(_notice(), NOW)
    name = CLOCKED[provider]
    value = genuine.headers[name].replace(str(int(NOW)), stamp)

    for now in (NOW, 0.0, float("nan")):
        with pytest.raises(SignatureInvalid):
            dialect.verify(Delivery({**genuine.headers, name: value}, genuine.body), now)


@each_dialect
def test_a_retired_key_verifies_until_its_end(provider: str) -> None:
    """Inside the overlap a key's id comes back; a second after its end, and before its beginning, it is refused."""
    dialect: Any = ACCOUNTS[provider]
    field = "public_keys" if provider in ("alipay", "wechat_v3") else "secrets"
    current = getattr(dialect, field)[0]
    delivery = dialect.sign(_notice(), NOW)

    retiring = replace(dialect, **{field: (replace(current, not_after=NOW),)})
    assert retiring.verify(delivery, NOW) == current.id
    for window in ({"not_after": NOW - 1}, {"not_before": NOW + 1}):
        with pytest.raises(SignatureInvalid):
            replace(dialect, **{field: (replace(current, **window),)}).verify(delivery, NOW)


@pytest.mark.parametrize("provider", ["stripe", "standard_webhooks"])
def test_an_empty_secret_proves_nothing(provider: str) -> None:
    """An HMAC under the empty key is refused, even by an account that was somehow given an empty secret."""
    empty: Any = replace(ACCOUNTS[provider], secrets=(Key("env:EMPTY", b""),))  # type: ignore[type-var]
    genuine = ACCOUNTS[provider].sign(_notice(), NOW)
    stamp = str(int(NOW)).encode()
    if provider == "stripe":
        value = f"t={int(NOW)},v1=" + hmac_sha256(b"", stamp + b"." + genuine.body).hex()
    else:
        signed = b"N-ominous-mirror." + stamp + b"." + genuine.body
        value = "v1," + base64.b64encode(hmac_sha256(b"", signed)).decode()
    forged = Delivery({**genuine.headers, SIGNED_HEADERS[provider][-1]: value}, genuine.body)

    with pytest.raises(SignatureInvalid):
        empty.verify(forged, NOW)
    with pytest.raises(ConfigurationError):
        empty.sign(_notice(), NOW)


@each_dialect
def test_another_tenants_key_is_refused(provider: str) -> None:
    """An account with other keys does not take this account's deliveries."""
    dialect: Any = ACCOUNTS[provider]
    other = Key("RSA-1", generate_private_key(65537, 2048).public_key()), Key("env:OTHER", b"quite another sixteen")
    field = "public_keys" if provider in ("alipay", "wechat_v3") else "secrets"
    stranger = replace(dialect, **{field: (other[0] if field == "public_keys" else other[1],)})

    with pytest.raises(SignatureInvalid):
        stranger.verify(dialect.sign(_notice(), NOW), NOW)


@each_dialect
def test_a_redelivery_has_the_same_digest_and_another_amount_has_not(provider: str) -> None:
    """Sent again an hour later it is the same notification; with another amount it is a conflict."""
    dialect = ACCOUNTS[provider]

    [first], [again] = (dialect.parse(dialect.sign(_notice(), when)) for when in (NOW, NOW + 3600))
    [changed] = dialect.parse(dialect.sign(replace(_notice(), amount=2000), NOW))

    assert first == again
    assert first.digest != changed.digest


@each_dialect
def test_what_the_dialect_cannot_say_is_not_signed(provider: str) -> None:
    """Every kind of `sayable` is said as itself; the others are refused, not said as something else."""
    dialect = ACCOUNTS[provider]

    for kind in dialect.sayable:
        [event] = dialect.parse(dialect.sign(_notice(kind), NOW))
        assert event.kind is kind
    for kind in set(EventKind) - dialect.sayable:
        with pytest.raises(ConfigurationError):
            dialect.sign(_notice(kind), NOW)


@each_dialect
def test_no_key_shows_in_a_repr(provider: str) -> None:
    """An account in a traceback or a log line shows no secret."""
    shown = repr(ACCOUNTS[provider])

    assert SECRET.decode() not in shown
    assert "RSAPrivateKey" not in shown


BAD_JSON = {
    "duplicate key": b'{"id":"evt_1","id":"evt_2","type":"x","object":"event"}',
    "deep": b'{"id":"evt_1","type":"x","object":"event","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deeper": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"x"',
    "one byte": b"{",
    "truncated": b'{"id":"evt_1","type":"payment_intent.succeeded"',
    "not utf-8": b'{"id":"\xff","type":"x"}',
    "utf-16": '{"id":"evt_1","type":"x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"id":"evt_1","type":"x"}',
    "lone surrogate": b'{"id":"evt_1","type":"x","note":"\\ud800"}',
    "lone surrogate in a key": b'{"id":"evt_1","type":"x","a\\uDFFF":1}',
    "nul": b'{"id":"evt_1","type":"x","note":"a\\u0000"}',
    "NaN": b'{"id":"evt_1","type":"x","amount":NaN}',
    "Infinity": b'{"id":"evt_1","type":"x","amount":-Infinity}',
    "5,000 digits": b'{"id":"evt_1","type":"x","amount":' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("provider", ["stripe", "standard_webhooks", "wechat_v3"])
@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_malformed_though_signed(provider: str, name: str) -> None:
    """Duplicate keys, depth, other encodings, NUL, NaN and the rest are refused after the signature, not before it."""
    dialect = ACCOUNTS[provider]
    body = BAD_JSON[name]
    if provider == "wechat_v3":
        delivery = Delivery({}, body)
    else:
        delivery = _resigned(provider, body)
        assert dialect.verify(delivery, NOW) == HMAC.id

    with pytest.raises(MalformedNotification):
        dialect.parse(delivery)
