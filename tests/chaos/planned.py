"""What a run says and what must be true of it in the end: deliveries, orders, and both together."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from providers.dialect import Delivery, Notice
from providers.stripe import Stripe

ACCOUNTS = ("shop-north", "shop-south")
#: The share of notifications that can never be applied, and of broker messages that can never be read.
POISON = 0.01


class Planned(NamedTuple):
    """One delivery: seconds after the start, what it says, and how it is signed."""

    at: float
    account: str
    notice: Notice
    #: "genuine", "other mode" (live, to a sandbox), "other account" (of the same platform), "forged" (with another
    #: key), "tampered" (changed after signing).
    hand: str

    @property
    def is_genuine(self) -> bool:
        """Whether it must be acknowledged; the others must never be."""
        return self.hand in ("genuine", "other mode", "other account")

    def sign(self, dialects: dict[str, Stripe], now: float) -> Delivery:
        """The delivery as it is sent at `now` (unix seconds)."""
        dialect = dialects[self.account]
        match self.hand:
            case "other mode":
                dialect = replace(dialect, live=not dialect.live)
            case "other account":
                dialect = replace(dialect, stripe_account="acct_somebody_else")
            case "forged":
                key = replace(dialect.secrets[0], value=b"whsec_of_somebody_else")
                dialect = replace(dialect, secrets=(key,))
        delivery = dialect.sign(self.notice, now)
        if self.hand == "tampered":
            return Delivery(delivery.headers, delivery.body.replace(b'"amount_received": 1', b'"amount_received": 9'))
        return delivery


@dataclass
class Order:
    """An order, and what must be true of it at the end."""

    account: str
    order_no: str
    amount: int
    currency: str
    late: bool = False
    paid: int = 0
    refunded: int = 0
    charged_back: int = 0
    #: The amount of its chargeback, won back or not.
    disputed: int = 0
    payment_id: str = ""
    #: Our tables refuse whatever happens to it: each of its notifications must end in front of a person.
    is_poison: bool = False

    def status(self) -> str:
        """The state that the totals spell."""
        if self.is_poison:
            return "pending"
        if self.charged_back:
            return "charged_back"
        if not self.refunded:
            return "paid" if self.paid else "closed"
        return "refunded" if self.refunded == self.paid else "partially_refunded"


@dataclass
class Workload:
    """Everything of a run that the seed decides about what is said."""

    notifications: int
    orders: list[Order] = field(default_factory=list)
    planned: list[Planned] = field(default_factory=list)
