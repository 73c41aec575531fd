"""WeChat Pay API v3: RSA over time, nonce and raw body; the meaning is sealed. Facts: pay.weixin.qq.com, its SDKs."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from domain.errors import ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from providers.dialect import Answer, Delivery, Notice
from providers.keys import RsaKey, Secret, base64_bytes, clock, first_usable, rsa_signature, rsa_verifies, usable
from providers.reading import BEIJING, digest, member, moment, money, optional_id, text_id
from providers.strict_json import read_object
from providers.wechat_resource import open_resource, seal_resource

K = EventKind

#: Seconds; at five minutes WeChat's own libraries refuse already.
TOLERANCE = 300
SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"
#: WeChat sends deliveries with such a signature to see whether anybody checks: accepting one is a finding.
PROBE = "WECHATPAY/SIGNTEST/"
#: Time, nonce and body are signed as lines: a nonce must not be able to hold one.
_NONCE = re.compile(r"[!-~]{1,128}")

#: What a transaction's trade_state means. SUCCESS alone is money; REFUND says only that some refund was begun.
_STATES: Mapping[object, EventKind] = {
    "SUCCESS": K.PAYMENT,
    "CLOSED": K.CLOSED,
    "REVOKED": K.CLOSED,
    "PAYERROR": K.FAILED,
}
_WORDS = {K.PAYMENT: "SUCCESS", K.CLOSED: "CLOSED", K.FAILED: "PAYERROR", K.OTHER: "USERPAYING"}
#: Domestic notifications may leave the currency out.
CURRENCY = "CNY"


@dataclass(frozen=True, slots=True)
class WechatV3:
    """One merchant number. `public_keys` are told apart by the serial (or PUB_KEY_ID_..) that a delivery names."""

    provider: ClassVar[str] = "wechat_v3"
    headers: ClassVar[tuple[str, ...]] = (
        *("wechatpay-timestamp", "wechatpay-nonce", "wechatpay-serial"),
        *("wechatpay-signature", "wechatpay-signature-type"),
    )
    #: Fifteen deliveries within 24 hours 4 minutes.
    horizon: ClassVar[timedelta] = timedelta(days=2)
    sayable: ClassVar[frozenset[EventKind]] = frozenset({*_WORDS, K.REFUND})

    account: str
    live: bool
    app_id: str
    merchant_id: str
    #: Key.id is the serial, in upper case.
    public_keys: tuple[RsaKey, ...]
    #: The API v3 key: 32 bytes. It seals the resource and proves nothing.
    secrets: tuple[Secret, ...]
    signing_key: RSAPrivateKey | None = field(default=None, repr=False)

    def verify(self, delivery: Delivery, now: float) -> str:
        """SHA256withRSA over `time LF nonce LF body LF`, under the key that Wechatpay-Serial names."""
        headers = delivery.headers
        if headers.get("wechatpay-signature-type", SIGNATURE_TYPE) != SIGNATURE_TYPE:
            raise SignatureInvalid("wechatpay-signature-type")
        stamp, nonce = headers.get("wechatpay-timestamp", ""), headers.get("wechatpay-nonce", "")
        if not clock(stamp, now) < TOLERANCE:
            raise SignatureInvalid("timestamp")
        if not _NONCE.fullmatch(nonce):
            raise SignatureInvalid("wechatpay-nonce")
        signature = _signature(headers.get("wechatpay-signature", ""))
        signed = _message(stamp, nonce, delivery.body)
        serial = headers.get("wechatpay-serial", "").upper()
        for key in usable(self.public_keys, now):
            if key.id == serial and rsa_verifies(key.value, signature, signed):
                return key.id
        raise SignatureInvalid("wechatpay-signature")

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        """One event, or one for each order of a combined payment. The digest leaves out what each sealing changes."""
        body = read_object(delivery.body)
        notification_id = text_id(body.get("id"), "id")
        word = text_id(body.get("event_type"), "event_type")
        said = read_object(open_resource(member(body, "resource"), self.secrets))
        proof = digest({"id": notification_id, "event_type": word, "resource": said})
        foreign = self._foreign(said)
        if "sub_orders" not in said:
            return (_event(notification_id, word, said, proof, foreign),)
        parts = _sub_orders(said)
        return tuple(_event(f"{notification_id}:{_named(part)}", word, part, proof, foreign) for part in parts)

    def accepted(self) -> Answer:
        """200 or 204 would do; the words are those of the payment page."""
        return Answer(200, _SUCCESS, "application/json")

    def refused(self, status: int) -> Answer:
        """4xx or 5xx, and the words of the documentation."""
        return Answer(status, _FAIL, "application/json")

    def sign(self, notice: Notice, now: float) -> Delivery:
        """A notification under `signing_key`, its resource sealed with the first usable API v3 key."""
        serial = self._signing_serial()
        body = json.dumps(self._body(notice, now), ensure_ascii=False).encode()
        stamp = str(int(now))
        nonce = hashlib.sha256(f"{notice.notification_id}|{now}".encode()).hexdigest()[:32]
        headers = {
            "wechatpay-timestamp": stamp,
            "wechatpay-nonce": nonce,
            "wechatpay-serial": serial,
            "wechatpay-signature": rsa_signature(self.signing_key, _message(stamp, nonce, body)),
            "wechatpay-signature-type": SIGNATURE_TYPE,
        }
        return Delivery(headers, body)

    def _foreign(self, said: Mapping[str, Any]) -> tuple[str, ...]:
        """A service provider's number and a combined payment's stand under other names."""
        merchant = next((said[name] for name in ("combine_mchid", "sp_mchid", "mchid") if name in said), None)
        app = next((said[name] for name in ("combine_appid", "sp_appid", "appid") if name in said), self.app_id)
        wrong = [] if merchant == self.merchant_id else ["merchant_id"]
        return tuple(wrong if app == self.app_id else [*wrong, "app_id"])

    def _signing_serial(self) -> str:
        if self.signing_key is None:
            raise ConfigurationError("signing_key is not set")
        ours = self.signing_key.public_key()
        serials = [key.id for key in self.public_keys if key.value == ours]
        if not serials:
            raise ConfigurationError("signing_key belongs to none of public_keys")
        return serials[0]

    def _body(self, notice: Notice, now: float) -> dict[str, Any]:
        refund = notice.kind is K.REFUND
        said = {"mchid": self.merchant_id, **(_refund(notice) if refund else self._transaction(notice))}
        seed = f"{notice.notification_id}|{now}"
        return {
            "id": notice.notification_id,
            "create_time": notice.occurred_at.astimezone(BEIJING).isoformat(),
            "resource_type": "encrypt-resource",
            "event_type": "REFUND.SUCCESS" if refund else "TRANSACTION.SUCCESS",
            "summary": "退款成功" if refund else "支付成功",
            "resource": seal_resource(
                said, first_usable(self.secrets, now), seed, "refund" if refund else "transaction"
            ),
        }

    def _transaction(self, notice: Notice) -> dict[str, Any]:
        if notice.kind not in _WORDS:
            raise ConfigurationError("wechat_v3 has no word for", notice.kind)
        return {
            "appid": self.app_id,
            "out_trade_no": notice.order_no,
            "transaction_id": notice.transaction_id,
            "trade_state": _WORDS[notice.kind],
            "success_time": notice.occurred_at.astimezone(BEIJING).isoformat(),
            "amount": {"total": notice.amount, "payer_total": notice.amount, "currency": notice.currency},
        }


_SUCCESS = json.dumps({"code": "SUCCESS", "message": "成功"}, ensure_ascii=False).encode()
_FAIL = json.dumps({"code": "FAIL", "message": "失败"}, ensure_ascii=False).encode()


def _signature(text: str) -> bytes:
    if text.startswith(PROBE):
        raise SignatureInvalid("probe")
    try:
        return base64_bytes(text)
    except ValueError:
        raise SignatureInvalid("wechatpay-signature") from None


def _message(stamp: str, nonce: str, body: bytes) -> bytes:
    return f"{stamp}\n{nonce}\n".encode("ascii") + body + b"\n"


def _sub_orders(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The orders of a combined payment, each named once: a repeated one would share its delivery key."""
    parts = said["sub_orders"]
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise MalformedNotification("sub_orders")
    if len({_named(part) for part in parts}) != len(parts):
        raise MalformedNotification("sub_orders")
    return parts


def _named(part: Mapping[str, Any]) -> str:
    return text_id(part.get("out_trade_no"), "out_trade_no")


def _event(
    notification_id: str, word: str, said: Mapping[str, Any], proof: str, foreign: tuple[str, ...]
) -> PaymentEvent:
    kind = _kind(word, said)
    paid = member(said, "amount")
    # Never payer_total: coupons make it less than the order's amount. A combined payment writes total_amount.
    total = paid.get("refund") if kind is K.REFUND else paid.get("total", paid.get("total_amount"))
    amount, currency = money(kind, total, paid.get("currency", CURRENCY))
    return PaymentEvent(
        notification_id=text_id(notification_id, "id"),
        kind=kind,
        digest=proof,
        order_no=optional_id(said.get("out_trade_no"), "out_trade_no") if kind is K.OTHER else _named(said),
        transaction_id=_transaction_id(kind, said),
        amount=amount,
        currency=currency,
        foreign=foreign,
        occurred_at=moment(said.get("success_time")),
        provider_kind=word,
    )


def _kind(word: str, said: Mapping[str, Any]) -> EventKind:
    """REFUND.ABNORMAL and REFUND.CLOSED moved no money; payscore and the rest are no orders of ours."""
    if word == "TRANSACTION.SUCCESS":
        state = said.get("trade_state")
        return _STATES.get(state, K.OTHER) if isinstance(state, str) else K.OTHER
    if word == "REFUND.SUCCESS" and said.get("refund_status", "SUCCESS") == "SUCCESS":
        return K.REFUND
    return K.OTHER


def _transaction_id(kind: EventKind, said: Mapping[str, Any]) -> str:
    """A transaction that came to nothing may have no number: its order's stands in."""
    if kind is K.OTHER:
        return ""
    if kind in (K.CLOSED, K.FAILED):
        return optional_id(said.get("transaction_id"), "transaction_id") or _named(said)
    name = "refund_id" if kind is K.REFUND else "transaction_id"
    return text_id(said.get(name), name)


def _refund(notice: Notice) -> dict[str, Any]:
    return {
        "out_trade_no": notice.order_no,
        "refund_id": notice.transaction_id,
        "out_refund_no": f"R{notice.transaction_id}",
        "refund_status": "SUCCESS",
        "success_time": notice.occurred_at.astimezone(BEIJING).isoformat(),
        "amount": {"total": notice.order_amount, "refund": notice.amount, "currency": notice.currency},
    }
