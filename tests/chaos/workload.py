"""What the providers say in a run, by seed: notifications, their times, and what the orders must be afterwards.

The expectation is arithmetic of its own, not the product's table: a payment counts once, refunds count by their highest
total, a chargeback once, and everything that says something false counts not at all, in whatever order it all comes.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.event import EventKind
from providers.dialect import Notice

from .planned import ACCOUNTS, POISON, Order, Planned, Workload

K = EventKind

#: Shares of all notifications.
HOT, MISMATCHES, CONFLICTS, FORGED, TAMPERED = 0.05, 0.03, 0.01, 0.05, 0.01
REPEATED, REORDERED, LATE_ORDERS = 0.3, 0.1, 0.05
#: Deliveries come in bursts, so that some share a pack.
BURST = 16
#: Seconds by which a delivery may come late: out of order, or again.
DELAY = 4.0


def build(seed: int, notifications: int, span: float, *, payments_only: bool = False) -> Workload:
    """`notifications` genuine ones over `span` seconds, with their repetitions and what is forged beside them.

    `payments_only`: one true payment for each order and nothing else that is genuine, for who reads no more than that.
    """
    writer = _Writer(random.Random(f"workload {seed}"), Workload(notifications), span)
    if payments_only:
        writer.write_payments()
    else:
        writer.write()
    return writer.workload


class _Writer:
    def __init__(self, dice: random.Random, workload: Workload, span: float) -> None:
        self.dice, self.workload, self.span = dice, workload, span
        self.base = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        self.said: Counter[str] = Counter()

    def write(self) -> None:
        total = self.workload.notifications
        poison = int(total * POISON)
        self.workload.orders = [self._order(number) for number in range(max(8, int(total * 0.55)))]
        for account, notice, hand in list(self._notices(total - poison)):
            self._plan(self._moment(), account, notice, hand)
        for number in range(poison):
            order = Order(ACCOUNTS[number % 2], f"POISON-{number}", 1000, "EUR", is_poison=True)
            self.workload.orders.append(order)
            # Early: it is tried for the last time long after the first.
            at = self.span * self.dice.uniform(0, 0.6)
            self._plan(at, order.account, self._notice(order, K.PAYMENT, order.amount), "genuine")
        self.workload.planned.sort(key=lambda one: one.at)

    def write_payments(self) -> None:
        """Order numbers are the accounts' common ones: whoever has one account only must not mix two orders up."""
        for number in range(self.workload.notifications):
            order = Order(ACCOUNTS[0], f"O-{number}", self.dice.randrange(100_000, 200_000), "EUR")
            self.workload.orders.append(order)
            self._plan(self._moment(), *self._paying(order), conflicts=0.0)
        self.workload.planned.sort(key=lambda one: one.at)

    def _moment(self) -> float:
        bursts = max(1, self.workload.notifications // BURST)
        return self.span * self.dice.randrange(bursts) / bursts

    def _order(self, number: int) -> Order:
        hot = number == 0
        amount = 10_000_000 if hot else self.dice.randrange(100_000, 200_000)
        late = not hot and self.dice.random() < LATE_ORDERS
        return Order(ACCOUNTS[number % 2], f"O-{number // 2}", amount, self.dice.choice(("EUR", "USD", "CNY")), late)

    def _notices(self, total: int) -> Iterator[tuple[str, Notice, str]]:
        """A first word about each order, then more about some: the hot one, and by Zipf's law the others."""
        orders = self.workload.orders
        for number, order in enumerate(orders):
            yield self._closing(order) if number % 40 == 39 else self._paying(order)
        rest = total - len(orders)
        hot = int(self.workload.notifications * HOT)
        weights = [1 / rank for rank in range(1, len(orders) + 1)]
        chosen = [orders[0]] * hot + self.dice.choices(orders, weights, k=max(0, rest - hot))
        for order in chosen:
            yield self._more(order)

    def _notice(self, order: Order, kind: EventKind, amount: int, **facts: object) -> Notice:
        """Ids are counted per account: the same id in both accounts is two notifications."""
        self.said[order.account] += 1
        number = self.said[order.account]
        given: dict[str, object] = {
            "notification_id": f"evt_{number:06}",
            "kind": kind,
            "order_no": order.order_no,
            "transaction_id": f"tx_{number:06}",
            "amount": amount,
            "currency": order.currency,
            "order_amount": order.amount,
            "occurred_at": self.base + timedelta(seconds=number),
        }
        return Notice(**(given | facts))  # type: ignore[arg-type]

    def _paying(self, order: Order) -> tuple[str, Notice, str]:
        notice = self._notice(order, K.PAYMENT, order.amount)
        order.paid, order.payment_id = order.amount, notice.transaction_id
        return order.account, notice, "genuine"

    def _closing(self, order: Order) -> tuple[str, Notice, str]:
        return order.account, self._notice(order, K.CLOSED, order.amount), "genuine"

    def _more(self, order: Order) -> tuple[str, Notice, str]:
        """Something else about `order`, true or false."""
        dice = self.dice.random()
        if dice < MISMATCHES / 0.45:
            return self._mismatch(order)
        if not order.paid:
            return order.account, self._notice(order, K.OTHER, 1), "genuine"
        if dice < 0.60:
            return self._refund(order)
        if dice < 0.75 and order.disputed == 0:
            order.disputed = order.charged_back = self.dice.randrange(1, order.amount)
            return order.account, self._notice(order, K.CHARGEBACK, order.disputed), "genuine"
        if dice < 0.80 and order.charged_back:
            order.charged_back = 0
            return order.account, self._notice(order, K.CHARGEBACK_REVERSAL, order.disputed), "genuine"
        if dice < 0.90:  # a second event of the same payment
            return order.account, self._again(order), "genuine"
        return order.account, self._notice(order, K.FAILED, order.amount), "genuine"

    def _refund(self, order: Order) -> tuple[str, Notice, str]:
        step = self.dice.randrange(1, 100)
        order.refunded += step
        notice = self._notice(order, K.REFUND, step, refunded=order.refunded)
        return order.account, notice, "genuine"

    def _again(self, order: Order) -> Notice:
        return self._notice(order, K.PAYMENT, order.amount, transaction_id=order.payment_id)

    def _mismatch(self, order: Order) -> tuple[str, Notice, str]:
        """A payment that says something false: it opens a case and moves nothing, whenever it comes."""
        match self.dice.randrange(4):
            case 0:
                return order.account, self._notice(order, K.PAYMENT, order.amount + 1), "genuine"
            case 1:
                return order.account, self._notice(order, K.PAYMENT, order.amount, currency="GBP"), "genuine"
            case 2:
                return order.account, self._notice(order, K.PAYMENT, order.amount), "other account"
            case _:
                return order.account, self._notice(order, K.PAYMENT, order.amount), "other mode"

    def _plan(self, at: float, account: str, notice: Notice, hand: str, conflicts: float = CONFLICTS) -> None:
        """The deliveries of one notification, and what a forger makes of it."""
        if self.dice.random() < REORDERED:
            at += self.dice.uniform(0, DELAY)
        add = self.workload.planned.append
        add(Planned(at, account, notice, hand))
        if self.dice.random() < REPEATED:
            for _ in range(self.dice.randrange(1, 5)):
                later = self.dice.choice((0.0, self.dice.uniform(0, DELAY)))
                add(Planned(at + later, account, notice, hand))
        if self.dice.random() < conflicts:
            other = replace(notice, occurred_at=notice.occurred_at + timedelta(seconds=1))
            add(Planned(at + 0.5, account, other, hand))
        if self.dice.random() < FORGED:
            own_id = f"evt_forged_{len(self.workload.planned)}"
            add(Planned(at, account, replace(notice, notification_id=own_id), "forged"))
        if notice.kind is K.PAYMENT and self.dice.random() < TAMPERED / 0.55:
            add(Planned(at, account, notice, "tampered"))
