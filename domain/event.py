"""What a notification means, in our words."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EventKind(StrEnum):
    """What happened to the money, or to the order."""

    #: The buyer's money arrived.
    PAYMENT = "payment"
    #: Money that had arrived was taken back by the bank or the provider.
    PAYMENT_REVERSAL = "payment_reversal"
    #: The merchant gave money back.
    REFUND = "refund"
    #: A refund failed after it had been announced: the money stays with the merchant.
    REFUND_REVERSAL = "refund_reversal"
    #: The buyer's bank took the money back against the merchant's will.
    CHARGEBACK = "chargeback"
    #: The merchant won the dispute.
    CHARGEBACK_REVERSAL = "chargeback_reversal"
    #: The provider gave up waiting for the buyer; no money moved.
    CLOSED = "closed"
    #: An attempt to pay failed; the buyer may try again.
    FAILED = "failed"
    #: The provider waits for the buyer, or the bank; no money moved yet.
    PENDING = "pending"
    #: No effect on an order.
    OTHER = "other"


#: Kinds that carry an amount; the sign is that of the ledger entry.
SIGNS = {
    EventKind.PAYMENT: 1,
    EventKind.PAYMENT_REVERSAL: -1,
    EventKind.REFUND: -1,
    EventKind.REFUND_REVERSAL: 1,
    EventKind.CHARGEBACK: -1,
    EventKind.CHARGEBACK_REVERSAL: 1,
}


#: Kinds that never stand in the ledger.
WITHOUT_EFFECT = frozenset({EventKind.PENDING, EventKind.OTHER})


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentEvent:
    """One thing that happened, as one notification says it."""

    #: The provider's id of the notification: the delivery key within (provider, account).
    notification_id: str
    kind: EventKind
    #: sha256 (hex) of what the notification says, without the fields that a redelivery changes: the same id with
    #: another digest is a conflict.
    digest: str
    #: The merchant's order number; None where the notification names no order.
    order_no: str | None = None
    #: The provider's id of the effect: with `kind` the effect key within (provider, account). Empty for OTHER.
    transaction_id: str = ""
    #: The provider's id of the payment that a refund, a reversal or a chargeback speaks of, where it names one: the
    #: `transaction_id` of that payment's own event.
    payment_id: str = ""
    #: Minor units, never negative; None where the kind moves no money.
    amount: int | None = None
    #: ISO 4217, upper case.
    currency: str | None = None
    #: True: `amount` is the order's total of this kind so far (Alipay's refund_fee, Stripe's amount_refunded), not
    #: the amount of this event alone.
    cumulative: bool = False
    #: Names of the fields that speak of another merchant account than ours: ("app_id",), ("live",).
    foreign: tuple[str, ...] = ()
    #: When it happened, by the provider's clock, UTC; None where it does not say.
    occurred_at: datetime | None = None
    #: The provider's own word for it ("TRADE_SUCCESS", "payment_intent.succeeded"), for people.
    provider_kind: str = ""

    @property
    def effect_key(self) -> tuple[str, EventKind]:
        """(transaction id, kind): at most one effect for ever."""
        return self.transaction_id, self.kind
