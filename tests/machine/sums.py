"""The model's own arithmetic: every order, added up again from what was said, in the order of its history."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from saying import FOLLOWING, Said
from seen import OrderRow, Seen

from domain.event import EventKind

K = EventKind


class Wrong(AssertionError):
    """An order is not the sum of what was said about it."""


def agree(true: bool, promise: str, *facts: object) -> None:
    """Raises Wrong unless `true`."""
    if not true:
        raise Wrong(promise, *facts)


@dataclass(slots=True)
class Sum:
    """An order as a child would keep it: what came, what went back, what the bank holds."""

    order: OrderRow
    paid: int = 0
    refunded: int = 0
    held: int = 0
    #: What no money says: pending, closed, failed.
    word: str = "pending"
    payments: set[str] = field(default_factory=set)

    def add(self, said: Said, by_hand: bool) -> None:
        """One thing that was applied; `by_hand`: a person said so."""
        agree(not said.foreign and said.account == self.order.account, "of this account", said)
        agree(self._ours(said), "about this order", said, self.order)
        if said.moves_money:
            agree(said.currency == self.order.currency and said.amount > 0, "in the order's currency", said)
        match said.kind:
            case K.PAYMENT:
                agree(said.amount == self.order.amount and not self.paid, "the whole amount, once", said)
                agree(self.word != "closed" or by_hand, "nothing is paid after the order was closed", said)
                self.paid = said.amount
                self.payments.add(said.transaction_id)
            case K.PAYMENT_REVERSAL:
                agree(said.amount == self.paid and not (self.refunded or self.held), "what was paid goes back", said)
                self.paid, self.word = 0, "failed"
            case K.REFUND:
                self.refunded = said.amount if said.cumulative else self.refunded + said.amount
            case K.REFUND_REVERSAL:
                self.refunded -= said.amount
            case K.CHARGEBACK:
                self.held += said.amount
            case K.CHARGEBACK_REVERSAL:
                self.held -= said.amount
            case K.CLOSED | K.FAILED:
                agree(not self.paid, "a paid order is neither closed nor failed", said)
                self.word = said.kind.value
            case _:
                raise Wrong("no effect", said)
        agree(0 <= self.refunded <= self.paid, "no more goes back than came", said)
        agree(0 <= self.held <= self.paid, "the bank holds no more than came", said)

    def _ours(self, said: Said) -> bool:
        if said.kind in FOLLOWING and said.payment_id and said.payment_id not in self.payments:
            return False
        return said.order_no == self.order.order_no or (said.order_no is None and bool(said.payment_id))

    @property
    def status(self) -> str:
        """The state that the sums spell."""
        if not self.paid:
            return self.word
        if self.held:
            return "charged_back"
        if not self.refunded:
            return "paid"
        return "refunded" if self.refunded == self.paid else "partially_refunded"


def sums_of(seen: Seen, said: Mapping[int, Said], overruled: set[int]) -> dict[int, Sum]:
    """Every order's sum; `said`: what each row of `notifications` means."""
    sums = {order.id: Sum(order) for order in seen.orders}
    spent = set()
    for change in sorted(seen.transitions, key=lambda change: (change.order_id, change.seq)):
        what = said[change.notification_row]
        agree(what.effect not in spent, "each effect once, for ever", what)
        spent.add(what.effect)
        sums[change.order_id].add(what, change.notification_row in overruled)
    return sums


def check_sums(seen: Seen, said: Mapping[int, Said], overruled: set[int]) -> dict[int, Sum]:
    """Every order is the sum of what was applied to it, and so is the money beside the orders."""
    sums = sums_of(seen, said, overruled)
    for order in seen.orders:
        own = sums[order.id]
        ours = (own.status, own.paid, own.refunded, own.held)
        theirs = (order.status, order.paid, order.refunded, order.charged_back)
        agree(ours == theirs, "an order is the sum of what was applied to it", ours, order)
    _check_beside(seen, said)
    return sums


def _check_beside(seen: Seen, said: Mapping[int, Said]) -> None:
    """No more leaves a payment in suspense than came; one that counts after all is whole."""
    payments = {entry.effect: entry for entry in seen.ledger_entries if entry.kind == "payment"}
    refunded: Counter[tuple[str, str, str]] = Counter()
    held: Counter[tuple[str, str, str]] = Counter()
    for entry in seen.ledger_entries:
        if entry.standing == "suspense" and entry.kind != "payment":
            what = said[entry.notification_row]
            left = refunded if what.kind in (K.REFUND, K.REFUND_REVERSAL) else held
            left[what.account, what.payment_id, "payment"] -= entry.amount
    for key in refunded.keys() | held.keys():
        whole = payments[key].amount if payments[key].standing == "suspense" else 0
        agree(0 <= refunded[key] <= whole, "no more is refunded than came", payments[key], refunded[key])
        agree(0 <= held[key] <= whole, "the bank takes no more than came", payments[key], held[key])


def check_waiting(seen: Seen, said: Mapping[int, Said], sums: Mapping[int, Sum]) -> None:
    """After the sweeps nothing waits that could be applied: what it speaks of is not here."""
    orders = {(own.order.account, own.order.order_no): own for own in sums.values()}
    counted = {entry.effect: entry for entry in seen.ledger_entries if entry.standing == "counted"}
    for row in seen.notifications:
        agree(row.status not in ("received", "failed"), "after the sweeps nothing is still tried", row)
        if row.status != "parked":
            continue
        what = said[row.id]
        agree(what.kind not in (K.PENDING, K.OTHER), "what has no effect does not wait", row)
        payment = counted.get((what.account, what.payment_id, "payment"))
        if what.order_no is None:
            own = sums[payment.order_id] if payment else None
        else:
            own = orders.get((what.account, what.order_no))
        if own is None or (what.payment_id and (payment is None or payment.order_id != own.order.id)):
            continue
        agree(what.kind in FOLLOWING and not _possible(what.kind, own), "nothing waits for what is here", row, what)


def _possible(kind: EventKind, own: Sum) -> bool:
    """Whether the order has what this kind speaks of."""
    if kind is K.REFUND_REVERSAL:
        return bool(own.refunded)
    return bool(own.held) if kind is K.CHARGEBACK_REVERSAL else bool(own.paid)
