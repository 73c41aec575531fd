"""The shape that every dialect has: the one seam of this room with several real sides."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Protocol, Self

from domain.event import EventKind, PaymentEvent
from providers.account_table import AccountTable
from providers.horizon import Horizon
from providers.query import Finding, Query


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP request as far as a signature needs it: header names in lower case, the body's exact bytes."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer in the provider's own words."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the simulator wants a provider to say. Amounts in minor units, times UTC.

    `refunded` is the order's total refunded including this notice: some dialects say only totals. `payment_id` is the
    transaction id of the payment that a refund, a reversal or a chargeback speaks of; Alipay's stands in the
    transaction id already.
    """

    notification_id: str
    kind: EventKind
    order_no: str
    transaction_id: str
    amount: int
    currency: str
    order_amount: int
    refunded: int = 0
    payment_id: str = ""
    occurred_at: datetime


class Dialect(Protocol):
    """One merchant account of one provider, with its keys."""

    #: The provider's name in accounts.toml, in tables and in metrics.
    provider: ClassVar[str]
    #: The request headers that the signature or the meaning needs, in lower case; no other header is kept.
    headers: ClassVar[tuple[str, ...]]
    #: What its table in accounts.toml may hold beside what every table may.
    keys: ClassVar[frozenset[str]]
    #: How long the provider may send the same notification again, by itself or by hand.
    horizon: ClassVar[Horizon]
    #: The kinds that `sign` can say in this dialect.
    sayable: ClassVar[frozenset[EventKind]]

    @property
    def account(self) -> str:
        """The merchant account's name: the last part of POST /notify/{account}."""

    @property
    def live(self) -> bool:
        """False for a sandbox account: notifications of the other mode are a mismatch."""

    @property
    def expires_after(self) -> timedelta:
        """How long a notification may wait to be applied; past it, it is never applied on its own."""

    @classmethod
    def build(cls, table: AccountTable, live: bool) -> Self:
        """The account that a table of accounts.toml describes; unknown keys are gone. Raises ConfigurationError."""

    def verify(self, delivery: Delivery, now: float) -> str:
        """The id of the key that proves `delivery` at `now` (unix seconds). Raises SignatureInvalid."""

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        """What a verified delivery says, one event for each notification in it. Raises MalformedNotification.

        Identity and content are the dialect's to say, and may not come from anything that a redelivery changes:
        - `notification_id` is the provider's id where it has one that a redelivery keeps. Where it has none (WeChat Pay
          v2, UnionPay, Braintree, Lemon Squeezy, Paystack, Adyen) it is made of what the notification is about:
          transaction and state ("4200:SUCCESS"). A redelivery then makes the same one, the next state another one.
          Never a clock, a counter of attempts, or a hash of the body.
        - `digest` is over all that a redelivery keeps, the amount above all, and over nothing else (ADR 0003). The same
          id with another digest is a conflict: a field too many makes each redelivery one, a field too few hides one.
        - `occurred_at` is for people and for the order within a pack: it may come from a field that changes.
        """

    def accepted(self) -> Answer:
        """The success answer, byte for byte: it stops the provider's redeliveries."""

    def refused(self, status: int) -> Answer:
        """The failure answer with `status` (400, 401, 503, ...): the provider will send again."""

    def sign(self, notice: Notice, now: float) -> Delivery:
        """A delivery as the provider would send it at `now`.

        Raises ConfigurationError without a signing key, and for what the dialect has no word for.
        """

    def query(self, event: PaymentEvent, now: float) -> Query | None:
        """The request that asks the provider at `now` about the event's payment or refund.

        None without credentials, and where the provider cannot be asked about such an event.
        """

    def read_query(
        self, event: PaymentEvent, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> Finding:
        """What an answer to that request says about the event; header names in lower case. Never raises.

        Where the provider signs its answers, one whose signature does not hold at `now` is UNKNOWN, whatever it says.
        """
