"""Alipay: RSA2 over the sorted form. Facts: opendocs.alipay.com on asynchronous notifications; recorded ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from domain.errors import ConfigurationError, MalformedNotification, SignatureInvalid
from domain.event import EventKind, PaymentEvent
from domain.money import to_decimal
from providers.account_table import AccountTable
from providers.alipay_form import (
    BORDER_MOVED,
    CURRENCY,
    PER_DELIVERY,
    TIMES,
    TRADE,
    Form,
    amount_of,
    beijing,
    decoded,
    kind_of,
    order_of,
    said,
    string_to_sign,
    transaction_of,
)
from providers.alipay_query import AlipayCredentials, credentials_of, finding, request
from providers.dialect import Answer, Delivery, Notice
from providers.horizon import Horizon
from providers.keys import RsaKey, base64_bytes, rsa_public_key, rsa_signature, rsa_verifies, usable
from providers.query import Finding, Query
from providers.reading import BEIJING, digest, moment, payment_of, text_id
from providers.strict_form import read_form

K = EventKind


@dataclass(frozen=True, slots=True)
class Alipay:
    """One Alipay application. The algorithm is RSA2 for all of them."""

    provider: ClassVar[str] = "alipay"
    headers: ClassVar[tuple[str, ...]] = ()
    keys: ClassVar[frozenset[str]] = frozenset({"app_id", "seller_id", "public_keys", "signing_key", "query"})
    #: Eight deliveries within 25 hours. TRADE_FINISHED comes when refunds end: after three months, twelve at most.
    horizon: ClassVar[Horizon] = Horizon(
        automatic=timedelta(hours=25),
        lifecycle=timedelta(days=365),
        source="opendocs.alipay.com/open/270/105902",
    )
    sayable: ClassVar[frozenset[EventKind]] = frozenset({K.PAYMENT, K.REFUND, K.CLOSED, K.PENDING, K.OTHER})

    account: str
    live: bool
    app_id: str
    public_keys: tuple[RsaKey, ...]
    #: The payee; None: not compared.
    seller_id: str | None = None
    signing_key: RSAPrivateKey | None = field(default=None, repr=False)
    expires_after: timedelta = horizon.deadline
    credentials: AlipayCredentials | None = None

    @classmethod
    def build(cls, table: AccountTable, live: bool) -> Self:
        """The application of one account's table."""
        public_keys = table.keys("public_keys", rsa_public_key)
        return cls(
            account=table.account,
            live=live,
            app_id=table.text("app_id"),
            public_keys=public_keys,
            seller_id=table.optional_text("seller_id"),
            signing_key=table.signing_key(live, public_keys),
            expires_after=table.expires_after(cls.horizon),
            credentials=credentials_of(table, live),
        )

    def verify(self, delivery: Delivery, now: float) -> str:
        """SHA256withRSA over the sorted fields, as bytes: no charset can change what was signed. There is no clock."""
        try:
            form = read_form(delivery.body)
            signature = base64_bytes(form[b"sign"].decode("ascii"))
        except (MalformedNotification, KeyError, ValueError):
            raise SignatureInvalid("sign") from None
        if form.get(b"sign_type", b"RSA2") != b"RSA2":
            raise SignatureInvalid("sign_type")
        # Nothing else puts an & into a value.
        if b"%26" in delivery.body and any(map(BORDER_MOVED.search, form.values())):
            raise SignatureInvalid("ambiguous_form")
        signed = string_to_sign(form)
        for key in usable(self.public_keys, now):
            if rsa_verifies(key.value, signature, signed):
                return key.id
        raise SignatureInvalid("sign")

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        """One event. notify_id stays the same while a notification is sent again; a later status has another one."""
        form = decoded(read_form(delivery.body))
        notification_id = text_id(form.get("notify_id"), "notify_id")
        kind = kind_of(form)
        event = PaymentEvent(
            notification_id=notification_id,
            kind=kind,
            digest=digest({name: value for name, value in form.items() if name not in PER_DELIVERY}),
            order_no=order_of(form, kind),
            transaction_id=transaction_of(form, kind),
            payment_id=payment_of(kind, form.get("trade_no")),
            amount=amount_of(form, kind),
            currency=CURRENCY if kind in (K.PAYMENT, K.REFUND) else None,
            cumulative=kind is K.REFUND,
            foreign=self._foreign(form),
            occurred_at=moment(form.get(TIMES[kind]), BEIJING),
            provider_kind=(form.get("trade_status") or form["notify_type"])[:255],
        )
        return (event,)

    def accepted(self) -> Answer:
        """Exactly these seven letters; anything else counts as a failure, whatever the status."""
        return Answer(200, b"success")

    def refused(self, status: int) -> Answer:
        """The word of Alipay's own samples."""
        return Answer(status, b"fail")

    def sign(self, notice: Notice, now: float) -> Delivery:
        """A form under `signing_key`. A refund's transaction id is trade_no:out_request_no, or trade_no alone."""
        if notice.kind not in self.sayable or notice.currency != CURRENCY:
            raise ConfigurationError("alipay has no word for", notice.kind, notice.currency)
        form = {**self._common(notice, now), **said(notice)}
        raw = {name.encode(): value.encode() for name, value in form.items()}
        form["sign"] = rsa_signature(self.signing_key, string_to_sign(raw))
        return Delivery({}, urlencode(form).encode("ascii"))

    def query(self, event: PaymentEvent, now: float) -> Query | None:
        """POST to the gateway, signed with the application's own key: providers/alipay_query.py."""
        return request(self.credentials, self.app_id, event, now) if self.credentials else None

    def read_query(
        self, event: PaymentEvent, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> Finding:
        """The answer's `sign` must hold over the response node's text; there is no clock."""
        return finding(event, status, body, self.public_keys, now)

    def _foreign(self, form: Form) -> tuple[str, ...]:
        wrong = ["app_id"] if form.get("app_id") != self.app_id else []
        if self.seller_id is not None and form.get("seller_id") != self.seller_id:
            wrong.append("seller_id")
        return tuple(wrong)

    def _common(self, notice: Notice, now: float) -> dict[str, str]:
        form = {
            "notify_id": notice.notification_id,
            "notify_type": TRADE,
            "notify_time": beijing(datetime.fromtimestamp(now, UTC)),
            "charset": "utf-8",
            "version": "1.0",
            "sign_type": "RSA2",
            "app_id": self.app_id,
            "auth_app_id": self.app_id,
            "out_trade_no": notice.order_no,
            "total_amount": to_decimal(notice.order_amount, CURRENCY),
            "subject": f"订单+{notice.order_no}",
            "gmt_create": beijing(notice.occurred_at),
        }
        return form if self.seller_id is None else {**form, "seller_id": self.seller_id}
