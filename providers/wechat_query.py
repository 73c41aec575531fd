"""Asking WeChat Pay v3: the order by its number, the refund by ours.

Documents: pay.weixin.qq.com/doc/v3/merchant/4012791838 (query by out_trade_no) and .../4013071041 (query a refund);
pay.weixin.qq.com/docs/merchant/development/interface-rules/build-verify-sign-src.html (the answer's signature). Whoever
signs rightly gets a signed answer, 404 included; the dialect verifies it as it does a notification, its clock too.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from domain.errors import ConfigurationError
from domain.event import EventKind, PaymentEvent
from providers.account_table import AccountTable
from providers.keys import Key, RsaKey, rsa_private_key, rsa_signature, usable
from providers.query import NOT_SO, USER_AGENT, Finding, Query, Told, agreement, askable, denied, unknown
from providers.reading import currency_or_none, member, minor_or_none, optional_id
from providers.wechat_event import CURRENCY, STATES, named, transaction_of

K = EventKind

KEYS = frozenset({"key", "serial", "url"})
LIVE_URL = "https://api.mch.weixin.qq.com"
SCHEME = "WECHATPAY2-SHA256-RSA2048"

_SERIAL = re.compile(r"[0-9A-Fa-f]{1,40}")
#: What an order's number and a refund's may be made of; the former has 32 at most, the latter 64.
_NUMBER = re.compile(r"[0-9A-Za-z_|*@-]{1,64}")
_KINDS = frozenset({K.PAYMENT, K.CLOSED, K.FAILED, K.REFUND})
_NOT_THERE = frozenset({"ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS"})


@dataclass(frozen=True, slots=True)
class WechatCredentials:
    """The merchant's API private key, the serial of its certificate, and where to ask."""

    key: Key[RSAPrivateKey]
    serial: str
    url: str = LIVE_URL


def credentials_of(table: AccountTable) -> WechatCredentials | None:
    """Those of the account's `query` table, if it has one. Raises ConfigurationError."""
    inner = table.inner("query", KEYS)
    if inner is None:
        return None
    serial = inner.text("serial")
    if not _SERIAL.fullmatch(serial):
        raise ConfigurationError(inner.place("serial"), "is not the serial of a certificate: hexadecimal digits")
    key = inner.key("key", inner.members.get("key"), rsa_private_key)
    return WechatCredentials(key, serial.upper(), inner.url("url", LIVE_URL))


def request(
    credentials: WechatCredentials, merchant_id: str, public_keys: tuple[RsaKey, ...], event: PaymentEvent, now: float
) -> Query | None:
    """GET, signed over method, path, time and nonce; None where WeChat Pay cannot be asked about the event."""
    path = _path(event, merchant_id) if askable(event) and event.kind in _KINDS else None
    if path is None or not credentials.key.usable_at(now):
        return None
    url = credentials.url + path
    headers = {
        "authorization": _authorization(credentials, merchant_id, url, event, now),
        "accept": "application/json",
        "user-agent": USER_AGENT,
    }
    # Says under which of its keys the answer is to be signed, while a merchant changes over from certificates.
    named_keys = [key.id for key in usable(public_keys, now) if key.id.startswith("PUB_KEY_ID_")]
    return Query("GET", url, headers | {"wechatpay-serial": named_keys[0]} if named_keys else headers)


def finding(event: PaymentEvent, status: int, said: Mapping[str, Any], foreign: tuple[str, ...]) -> Finding:
    """What a verified answer says about the event; `foreign` names the fields that speak of another merchant.

    Raises MalformedNotification for what cannot be read.
    """
    if status == 404:
        return denied("not_found") if said.get("code") in _NOT_THERE else unknown("unexpected")
    if event.kind is K.REFUND:
        return _refund(event, said)
    if foreign:
        return denied(f"{foreign[0]}_differs")
    return _transaction(event, said)


def _path(event: PaymentEvent, merchant_id: str) -> str | None:
    """None for a combined payment too: it is asked by the combined order's number, which the event does not have."""
    if event.kind is K.REFUND:
        ours = event.transaction_id.partition(":")[2]
        return f"/v3/refund/domestic/refunds/{quote(ours, safe='')}" if _NUMBER.fullmatch(ours) else None
    order_no = event.order_no or ""
    if not _NUMBER.fullmatch(order_no) or event.notification_id.endswith(f":{order_no}"):
        return None
    return f"/v3/pay/transactions/out-trade-no/{quote(order_no, safe='')}?mchid={quote(merchant_id, safe='')}"


def _authorization(credentials: WechatCredentials, merchant_id: str, url: str, event: PaymentEvent, now: float) -> str:
    """The nonce needs no dice: it is under our own signature, and another one each microsecond."""
    parts, stamp = urlsplit(url), str(int(now))
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    nonce = hashlib.sha256(f"{event.notification_id}|{now!r}".encode()).hexdigest()[:32]
    signature = rsa_signature(credentials.key.value, f"GET\n{target}\n{stamp}\n{nonce}\n\n".encode())
    values = {"mchid": merchant_id, "nonce_str": nonce, "signature": signature, "timestamp": stamp}
    values["serial_no"] = credentials.serial
    return f"{SCHEME} " + ",".join(f'{name}="{value}"' for name, value in values.items())


def _transaction(event: PaymentEvent, said: Mapping[str, Any]) -> Finding:
    state = said.get("trade_state")
    kind = STATES.get(state) if isinstance(state, str) else None
    if kind is None and state != "REFUND":
        return unknown("unreadable")
    if kind is not event.kind:
        return _otherwise(event.kind, kind)
    paid = member(said, "amount")
    return agreement(
        event,
        Told(
            transaction_id=transaction_of(event.kind, said),
            order_no=named(said),
            amount=minor_or_none(paid.get("total")) if event.kind is K.PAYMENT else None,
            currency=currency_or_none(paid.get("currency", CURRENCY)),
        ),
    )


def _otherwise(asked: EventKind, found: EventKind | None) -> Finding:
    """The order stands elsewhere than the event says. REFUND: it was paid, and some of it or all went back since."""
    if asked is K.PAYMENT and found is None:
        return unknown("refunded")
    return denied("closed" if asked is K.PAYMENT and found is K.CLOSED else NOT_SO[asked])


def _refund(event: PaymentEvent, said: Mapping[str, Any]) -> Finding:
    status = said.get("status")
    if status not in ("SUCCESS", "PROCESSING", "CLOSED", "ABNORMAL"):
        return unknown("unreadable")
    if status != "SUCCESS":
        return unknown("processing") if status == "PROCESSING" else denied(NOT_SO[K.REFUND])
    returned = member(said, "amount")
    return agreement(
        event,
        Told(
            transaction_id=transaction_of(K.REFUND, said),
            payment_id=optional_id(said.get("transaction_id"), "transaction_id") or "",
            order_no=named(said),
            amount=minor_or_none(returned.get("refund")),
            currency=currency_or_none(returned.get("currency", CURRENCY)),
        ),
    )
