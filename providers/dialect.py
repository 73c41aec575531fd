"""The shape that every dialect has: the one seam of this room with several real sides."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Protocol

from domain.event import EventKind, PaymentEvent


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

    `refunded` is the order's total refunded including this notice: some dialects say only totals.
    """

    notification_id: str
    kind: EventKind
    order_no: str
    transaction_id: str
    amount: int
    currency: str
    order_amount: int
    refunded: int = 0
    occurred_at: datetime


class Dialect(Protocol):
    """One merchant account of one provider, with its keys."""

    #: The provider's name in accounts.toml, in tables and in metrics.
    provider: ClassVar[str]
    #: The request headers that the signature or the meaning needs, in lower case; no other header is kept.
    headers: ClassVar[tuple[str, ...]]
    #: How long after the first delivery the provider may send the same notification again, by itself or by hand.
    horizon: ClassVar[timedelta]
    #: The kinds that `sign` can say in this dialect.
    sayable: ClassVar[frozenset[EventKind]]

    @property
    def account(self) -> str:
        """The merchant account's name: the last part of POST /notify/{account}."""

    @property
    def live(self) -> bool:
        """False for a sandbox account: notifications of the other mode are a mismatch."""

    def verify(self, delivery: Delivery, now: float) -> str:
        """The id of the key that proves `delivery` at `now` (unix seconds). Raises SignatureInvalid."""

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        """What a verified delivery says. Raises MalformedNotification."""

    def accepted(self) -> Answer:
        """The success answer, byte for byte: it stops the provider's redeliveries."""

    def refused(self, status: int) -> Answer:
        """The failure answer with `status` (400, 401, 503, ...): the provider will send again."""

    def sign(self, notice: Notice, now: float) -> Delivery:
        """A delivery as the provider would send it at `now`.

        Raises ConfigurationError without a signing key, and for what the dialect has no word for.
        """
