"""What the rest of the shop is told: the names of the events in the outbox, and of the handlers' events."""

from collections.abc import Mapping

from domain.event import EventKind

#: The name under which an applied event of each kind is announced.
ANNOUNCED: Mapping[EventKind, str] = {
    EventKind.PAYMENT: "order.paid",
    EventKind.PAYMENT_REVERSAL: "order.payment_reversed",
    EventKind.REFUND: "order.refunded",
    EventKind.REFUND_REVERSAL: "order.refund_reversed",
    EventKind.CHARGEBACK: "order.charged_back",
    EventKind.CHARGEBACK_REVERSAL: "order.chargeback_reversed",
    EventKind.CLOSED: "order.closed",
    EventKind.FAILED: "order.payment_failed",
}
#: A person has to see something.
CASE_OPENED = "case.opened"
