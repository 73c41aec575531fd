"""Receiver and worker meet by the envelope alone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedNotification
from providers.dialect import Delivery
from providers.envelope import Envelope, from_json

SHAPE: dict[str, Any] = {
    "account": "shop",
    "provider": "stripe",
    "headers": {"stripe-signature": "t=1,v1=2"},
    "received_at": 1767225600.25,
    "body": "{}",
}
ENVELOPE = Envelope("shop", "stripe", Delivery({"stripe-signature": "t=1,v1=2"}, b"{}"), 1767225600.25)


@given(
    st.text(),
    st.dictionaries(st.text(), st.text()),
    st.binary(),
    st.floats(1, 10**11, exclude_min=True, exclude_max=True),
)
def test_every_byte_survives_the_queue(account: str, headers: dict[str, str], body: bytes, received_at: float) -> None:
    """Through JSON and back an envelope is what it was: the signature is over the body's exact bytes."""
    envelope = Envelope(account, "stripe", Delivery(headers, body), received_at)

    assert from_json(json.loads(json.dumps(envelope.to_json()))) == envelope
    assert json.loads(envelope.encoded()) == envelope.to_json()


def test_utf8_travels_as_text_and_the_rest_as_base64() -> None:
    """What people look for in the broker's console is readable there."""
    text = Envelope("shop", "alipay", Delivery({}, "订单".encode()), 1.0).to_json()
    packed = Envelope("shop", "alipay", Delivery({}, "订单".encode("gbk")), 1.0).to_json()

    assert (text["body"], "body_b64" in text) == ("订单", False)
    assert (packed["body_b64"], "body" in packed) == ("tqm1pQ==", False)


def test_an_envelope_is_read() -> None:
    """The written shape is a promise between releases: receiver and worker are not deployed together."""
    assert from_json(SHAPE) == ENVELOPE
    assert ENVELOPE.to_json() == SHAPE
    assert ENVELOPE.encoded() == json.dumps(SHAPE, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "shape",
    [
        None,
        [],
        "text",
        {},
        *({name: value for name, value in SHAPE.items() if name != missing} for missing in SHAPE),
        {**SHAPE, "account": 7},
        {**SHAPE, "provider": None},
        {**SHAPE, "headers": []},
        {**SHAPE, "headers": {"a": 7}},
        {**SHAPE, "headers": {7: "a"}},
        {**SHAPE, "received_at": True},
        {**SHAPE, "received_at": "1767225600"},
        {**SHAPE, "received_at": 0},
        {**SHAPE, "received_at": -1},
        {**SHAPE, "received_at": 1e11},
        {**SHAPE, "received_at": float("nan")},
        {**SHAPE, "received_at": float("inf")},
        {**SHAPE, "body": 7},
        {**SHAPE, "body": "\ud800"},
        {**SHAPE, "body": None, "body_b64": "no base64!"},
        {**SHAPE, "body": None, "body_b64": "é"},
        {**SHAPE, "body": None, "body_b64": 7},
    ],
)
def test_what_somebody_else_put_on_the_queue_is_malformed(shape: object) -> None:
    """Missing members, other types, times that are none, bodies that are none: malformed, no other error."""
    with pytest.raises(MalformedNotification):
        from_json(shape)
