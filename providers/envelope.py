"""The verified, JSON-safe form of a delivery on the queue. Receiver and worker meet by this and a task name alone."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from domain.errors import MalformedNotification
from providers.dialect import Delivery


@dataclass(frozen=True, slots=True)
class Envelope:
    """A delivery, the account it was posted to, and when (unix seconds, the receiver's clock)."""

    account: str
    provider: str
    delivery: Delivery
    received_at: float

    def to_json(self) -> dict[str, Any]:
        """The body travels as text where it is UTF-8 (a third smaller), as base64 elsewhere."""
        shape: dict[str, Any] = {
            "account": self.account,
            "provider": self.provider,
            "headers": dict(self.delivery.headers),
            "received_at": self.received_at,
        }
        try:
            shape["body"] = self.delivery.body.decode("utf-8")
        except UnicodeDecodeError:
            shape["body_b64"] = base64.b64encode(self.delivery.body).decode("ascii")
        return shape

    def encoded(self) -> bytes:
        """to_json as JSON in UTF-8."""
        return orjson.dumps(self.to_json())


def from_json(shape: object) -> Envelope:
    """The envelope of a broker message's member. Raises MalformedNotification for anything else."""
    if not isinstance(shape, Mapping):
        raise MalformedNotification("envelope")
    account, provider, received_at = shape.get("account"), shape.get("provider"), shape.get("received_at")
    headers = shape.get("headers")
    if not (isinstance(account, str) and isinstance(provider, str) and isinstance(headers, Mapping)):
        raise MalformedNotification("envelope")
    if not isinstance(received_at, int | float) or isinstance(received_at, bool) or not 0 < received_at < 1e11:
        raise MalformedNotification("received_at")
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in headers.items()):
        raise MalformedNotification("headers")
    return Envelope(account, provider, Delivery(dict(headers), _body(shape)), float(received_at))


def _body(shape: Mapping[str, Any]) -> bytes:
    text, packed = shape.get("body"), shape.get("body_b64")
    try:
        if isinstance(text, str):
            return text.encode("utf-8")
        if isinstance(packed, str):
            return base64.b64decode(packed, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise MalformedNotification("body") from None
    raise MalformedNotification("body")
