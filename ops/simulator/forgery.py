"""Deliveries that no provider sent: the receiver must refuse every one."""

import secrets
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.asymmetric import rsa

from domain.money import to_decimal
from providers.dialect import Delivery, Dialect, Notice
from providers.keys import Key

#: The ways to forge, taken in turn.
WAYS = ("other_key", "changed_amount", "borrowed_signature")


class Forger:
    """Knows everything but the keys."""

    def __init__(self) -> None:
        self._impostors: dict[str, Dialect] = {}

    def forge(self, way: str, dialect: Dialect, notice: Notice, now: float) -> Delivery:
        """A delivery about the order of `notice` that is not genuine, made in one of WAYS."""
        if way == "other_key":
            return self._impostor(dialect).sign(_invented(notice), now)
        genuine = dialect.sign(notice, now)
        if way == "changed_amount":
            return Delivery(genuine.headers, _changed(genuine.body, notice))
        return _with_signature_of(genuine, dialect.sign(_invented(notice), now))

    def _impostor(self, dialect: Dialect) -> Dialect:
        """The same account with keys of the forger's own, under the names of the real ones."""
        known = self._impostors.get(dialect.account)
        if known is None:
            known = self._impostors[dialect.account] = _impostor(dialect)
        return known


def _impostor(dialect: Dialect) -> Dialect:
    account: Any = dialect
    if not hasattr(account, "signing_key"):
        with_secret: Dialect = replace(account, secrets=(Key("forged", secrets.token_bytes(32)),))
        return with_secret
    own = rsa.generate_private_key(65537, 2048)
    named = tuple(Key(key.id, own.public_key()) for key in account.public_keys[:1])
    with_key: Dialect = replace(account, signing_key=own, public_keys=named)
    return with_key


def _invented(notice: Notice) -> Notice:
    """A second payment of the same order: accepted, it would move money that nobody paid."""
    return replace(
        notice,
        notification_id=f"{notice.notification_id[:-8]}{secrets.token_hex(4)}",
        transaction_id=f"{notice.transaction_id[:-8]}{secrets.randbelow(10**8):08d}",
    )


def _changed(body: bytes, notice: Notice) -> bytes:
    """Another amount; where the amount is sealed, another ciphertext."""
    for wording in (lambda minor: to_decimal(minor, notice.currency), str):
        said, lie = (wording(minor).encode() for minor in (notice.amount, notice.amount + 1))
        if said in body:
            return body.replace(said, lie)
    middle = len(body) // 2
    return body[:middle] + (b"A" if body[middle : middle + 1] != b"A" else b"B") + body[middle + 1 :]


def _with_signature_of(genuine: Delivery, other: Delivery) -> Delivery:
    """The body of one under the signature of another; Alipay's stands in the form."""
    if genuine.headers:
        return Delivery(other.headers, genuine.body)
    form = dict(parse_qsl(genuine.body.decode("ascii")))
    return Delivery({}, urlencode(form | {"sign": dict(parse_qsl(other.body.decode("ascii")))["sign"]}).encode("ascii"))
