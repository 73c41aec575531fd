"""The published signed notifications of each provider, none of which we wrote."""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domain.errors import MalformedNotification, SignatureInvalid
from domain.event import EventKind
from providers.alipay import Alipay
from providers.dialect import Delivery, Dialect
from providers.keys import Key, base64_bytes, rsa_public_key, rsa_verifies
from providers.standard_webhooks import StandardWebhooks
from providers.stripe import Stripe
from providers.webhook_keys import secret_bytes
from providers.wechat_resource import open_resource
from providers.wechat_v3 import WechatV3

VECTORS = Path(__file__).parents[2] / ".." / "shared" / "vectors"
COUNTS = {"alipay": 6, "wechat_v3": 10, "stripe": 6, "standard_webhooks": 7}

Vector = Mapping[str, Any]


def _vectors(provider: str) -> list[Vector]:
    path = VECTORS / f"{provider}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def _named(provider: str, name: str) -> Vector:
    found = [vector for vector in _vectors(provider) if vector["name"] == name]
    if not found and not VECTORS.exists():
        pytest.skip("no published vectors beside the checkout")
    return found[0]


def _each(provider: str) -> pytest.MarkDecorator:
    found = _vectors(provider)
    return pytest.mark.parametrize(
        "vector",
        [pytest.param(vector, id=vector["name"]) for vector in found]
        or [pytest.param({}, marks=pytest.mark.skip(reason="no published vectors beside the checkout"))],
    )


def _delivery(vector: Vector) -> Delivery:
    headers = {name.lower(): value for name, value in vector["headers"].items()}
    return Delivery(headers, base64.b64decode(vector["body_b64"]))


def _verified(dialect: Dialect, vector: Vector) -> str:
    """As the vectors spell it."""
    try:
        dialect.verify(_delivery(vector), float(vector["now"] or 0))
    except SignatureInvalid:
        return "invalid"
    return "valid"


def _alipay(vector: Vector) -> Alipay:
    keys = vector["secret_or_key"]
    key = Key("published", rsa_public_key(keys["alipay_public_key_pem"].encode()))
    return Alipay("shop", False, keys.get("app_id", ""), (key,), keys.get("seller_id"))


def _wechat(vector: Vector) -> WechatV3:
    keys = vector["secret_or_key"]
    pem = keys.get("platform_cert_pem") or keys["platform_public_key_pem"]
    public = (Key(keys["serial"], rsa_public_key(pem.encode())),)
    secrets = (Key("apiv3", keys["apiv3_key"].encode()),) if keys["apiv3_key"] else ()
    return WechatV3("shop", False, "wx", "1234567890", public, secrets)


def _alipay_node(vector: Vector) -> str:
    """An API answer: the signature covers the raw JSON node, not a form."""
    key = rsa_public_key(vector["secret_or_key"]["alipay_public_key_pem"].encode())
    proven = rsa_verifies(key, base64_bytes(vector["signature"]), base64.b64decode(vector["body_b64"]))
    return "valid" if proven else "invalid"


def _opened(vector: Vector) -> str:
    """A sealed resource without a delivery around it."""
    secrets = (Key("apiv3", vector["secret_or_key"]["apiv3_key"].encode()),)
    try:
        plain = open_resource(json.loads(vector["body"]), secrets)
    except MalformedNotification:
        return "invalid"
    assert vector["resource_plaintext"] == plain.decode()
    return "valid"


ALIPAY_KINDS: Mapping[str | None, Callable[[Vector], str]] = {
    None: lambda vector: _verified(_alipay(vector), vector),
    "sync_return": lambda vector: _verified(_alipay(vector), vector),
    "response_node": _alipay_node,
}
WECHAT_KINDS: Mapping[str | None, Callable[[Vector], str]] = {
    None: lambda vector: _verified(_wechat(vector), vector),
    "signature_only": lambda vector: _verified(_wechat(vector), vector),
    "aead_only": _opened,
}


@pytest.mark.parametrize("provider", COUNTS)
def test_no_vector_is_left_out(provider: str) -> None:
    """The files hold as many vectors as were published when this was written."""
    if not VECTORS.exists():
        pytest.skip("no published vectors beside the checkout")

    assert COUNTS[provider] == len(_vectors(provider))


@_each("alipay")
def test_alipay(vector: Vector) -> None:
    """Alipay's recorded forms, and its signed API answer, have the published outcome."""
    assert vector["expect"] == ALIPAY_KINDS[vector.get("kind")](vector)


@_each("alipay")
def test_alipay_certificate_and_bare_key_are_the_same_key(vector: Vector) -> None:
    """A certificate, a PEM key and the console's bare base64 all give the key that the vector was signed with."""
    keys = vector["secret_or_key"]
    pem = keys["alipay_public_key_pem"]
    bare = "".join(line for line in pem.splitlines() if not line.startswith("-----"))

    assert rsa_public_key(pem.encode()) == rsa_public_key(bare.encode())
    if "alipay_cert_pem" in keys:
        assert rsa_public_key(pem.encode()) == rsa_public_key(keys["alipay_cert_pem"].encode())


@_each("wechat_v3")
def test_wechat_v3(vector: Vector) -> None:
    """WeChat Pay's deliveries and sealed resources have the published outcome."""
    assert vector["expect"] == WECHAT_KINDS[vector.get("kind")](vector)


@_each("stripe")
def test_stripe(vector: Vector) -> None:
    """Stripe's events have the published outcome; where the vector has an empty secret, the header alone must fail."""
    secret = vector["secret_or_key"] or "any secret would do here"
    dialect = Stripe("shop", False, (Key("published", secret.encode()),))

    assert vector["expect"] == _verified(dialect, vector)


@_each("standard_webhooks")
@pytest.mark.parametrize("prefix", ["webhook", "svix"])
def test_standard_webhooks(vector: Vector, prefix: str) -> None:
    """The reference libraries' messages have the published outcome, under both families of header names."""
    secrets = (Key("published", secret_bytes(vector["secret_or_key"].encode())),)
    headers = {name.replace("webhook", prefix): value for name, value in vector["headers"].items()}

    assert vector["expect"] == _verified(StandardWebhooks("shop", False, secrets), {**vector, "headers": headers})


def test_alipay_reads_the_recorded_payment() -> None:
    """The recorded payment is one fen for its order, at its Beijing time."""
    vector = _named("alipay", "sandbox-notify-trade-success")

    [event] = _alipay(vector).parse(_delivery(vector))

    assert event.kind is EventKind.PAYMENT
    assert (event.order_no, event.transaction_id) == ("1703147160", "2023122122001499160501589436")
    assert (event.amount, event.currency, event.foreign) == (1, "CNY", ())
    assert event.occurred_at == datetime(2023, 12, 21, 8, 26, 43, tzinfo=UTC)


def test_alipay_return_of_the_browser_is_no_notification() -> None:
    """The synchronous return carries a valid signature, and cannot pay anything."""
    vector = _named("alipay", "sandbox-sync-return")

    with pytest.raises(MalformedNotification, match="notify_id"):
        _alipay(vector).parse(_delivery(vector))


def test_wechat_reads_payscore_as_no_order() -> None:
    """A payscore notification opens, and has no effect on an order."""
    vector = _named("wechat_v3", "go-parse-notify")

    [event] = _wechat(vector).parse(_delivery(vector))

    assert (event.kind, event.provider_kind) == (EventKind.OTHER, "PAYSCORE.USER_OPEN_SERVICE")


def test_stripe_reads_a_customer_as_no_order() -> None:
    """The published event speaks of a customer: no effect on an order, though of another mode and account."""
    vector = _named("stripe", "dotnet-construct-event")
    dialect = Stripe("shop", True, (Key("published", b"webhook_secret"),), "acct_other")

    [event] = dialect.parse(_delivery(vector))

    assert (event.kind, event.notification_id, event.foreign) == (EventKind.OTHER, "evt_123", ("live", "account"))
