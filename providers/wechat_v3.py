"""WeChat Pay API v3: RSA over time, nonce and raw body; the meaning is sealed. Facts: pay.weixin.qq.com, its SDKs."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Self

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from domain.errors import ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from providers.account_table import AccountTable
from providers.dialect import Answer, Delivery, Notice
from providers.horizon import Horizon
from providers.keys import RsaKey, Secret, base64_bytes, clock, first_usable, rsa_signature, rsa_verifies, usable
from providers.query import Finding, Query, refusal, unknown
from providers.reading import BEIJING, digest, member, text_id
from providers.strict_json import read_object
from providers.wechat_account import apiv3_key, keys_by_serial
from providers.wechat_event import WORDS, event_of, named, refund, sub_orders, transaction
from providers.wechat_query import WechatCredentials, credentials_of, finding, request
from providers.wechat_resource import open_resource, seal_resource

K = EventKind

#: Seconds; at five minutes WeChat's own libraries refuse already.
TOLERANCE = 300
SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"
#: WeChat sends deliveries with such a signature to see whether anybody checks: accepting one is a finding.
PROBE = "WECHATPAY/SIGNTEST/"
#: Time, nonce and body are signed as lines: a nonce must not be able to hold one.
_NONCE = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class WechatV3:
    """One merchant number. `public_keys` are told apart by the serial (or PUB_KEY_ID_..) that a delivery names."""

    provider: ClassVar[str] = "wechat_v3"
    headers: ClassVar[tuple[str, ...]] = (
        *("wechatpay-timestamp", "wechatpay-nonce", "wechatpay-serial"),
        *("wechatpay-signature", "wechatpay-signature-type"),
    )
    keys: ClassVar[frozenset[str]] = frozenset(
        {"app_id", "merchant_id", "public_keys", "secrets", "signing_key", "query"}
    )
    #: Fifteen redeliveries. A transaction can be refunded for a year.
    horizon: ClassVar[Horizon] = Horizon(
        automatic=timedelta(hours=24, minutes=4),
        lifecycle=timedelta(days=365),
        source="pay.weixin.qq.com/wiki/doc/apiv3/apis/chapter3_2_5.shtml",
    )
    sayable: ClassVar[frozenset[EventKind]] = frozenset({*WORDS, K.REFUND})

    account: str
    live: bool
    app_id: str
    merchant_id: str
    #: Key.id is the serial, in upper case.
    public_keys: tuple[RsaKey, ...]
    #: The API v3 key: 32 bytes. It seals the resource and proves nothing.
    secrets: tuple[Secret, ...]
    signing_key: RSAPrivateKey | None = field(default=None, repr=False)
    expires_after: timedelta = horizon.deadline
    credentials: WechatCredentials | None = None

    @classmethod
    def build(cls, table: AccountTable, live: bool) -> Self:
        """The merchant number of one account's table."""
        public_keys = keys_by_serial(table)
        return cls(
            account=table.account,
            live=live,
            app_id=table.text("app_id"),
            merchant_id=table.text("merchant_id"),
            public_keys=public_keys,
            secrets=table.keys("secrets", apiv3_key),
            signing_key=table.signing_key(live, public_keys),
            expires_after=table.expires_after(cls.horizon),
            credentials=credentials_of(table),
        )

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
            return (event_of(notification_id, word, said, proof, foreign),)
        parts = sub_orders(said)
        return tuple(event_of(f"{notification_id}:{named(part)}", word, part, proof, foreign) for part in parts)

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

    def query(self, event: PaymentEvent, now: float) -> Query | None:
        """GET of the order or the refund, signed with the merchant's own key: providers/wechat_query.py."""
        return request(self.credentials, self.merchant_id, self.public_keys, event, now) if self.credentials else None

    def read_query(
        self, event: PaymentEvent, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> Finding:
        """An answer is verified as a notification is; who refuses us or falls over does not sign."""
        refused = refusal(status)
        if refused is not None:
            return refused
        try:
            self.verify(Delivery(headers, body), now)
            said = read_object(body)
            return finding(event, status, said, self._foreign(said))
        except SignatureInvalid:
            return unknown("signature_invalid" if headers.get("wechatpay-signature") else "unsigned")
        except MalformedNotification:
            return unknown("unreadable")

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
        refunded = notice.kind is K.REFUND
        said = {"mchid": self.merchant_id, **(refund(notice) if refunded else transaction(notice, self.app_id))}
        seed = f"{notice.notification_id}|{now}"
        return {
            "id": notice.notification_id,
            "create_time": notice.occurred_at.astimezone(BEIJING).isoformat(),
            "resource_type": "encrypt-resource",
            "event_type": "REFUND.SUCCESS" if refunded else "TRANSACTION.SUCCESS",
            "summary": "退款成功" if refunded else "支付成功",
            "resource": seal_resource(
                said, first_usable(self.secrets, now), seed, "refund" if refunded else "transaction"
            ),
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
