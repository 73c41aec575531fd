"""What is going to be said, drawn from a seed: the same seed gives the same orders, amounts and ids on any machine."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from domain.event import EventKind
from providers.dialect import Dialect, Notice

#: Alipay and WeChat Pay settle in CNY; the others draw one, JPY among them because it has no minor unit.
_CURRENCIES = {"alipay": ("CNY",), "wechat_v3": ("CNY",)}
_OTHER_CURRENCIES = ("USD", "EUR", "GBP", "JPY")
_SMALLEST, _LARGEST = 100, 500_000

#: The providers' clock begins here: what a notification says must not depend on when it is sent, or the same seed run
#: twice would be a conflict instead of a duplicate.
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_PREFIXES = {"stripe": ("evt_", "pi_"), "standard_webhooks": ("msg_", "txn_")}


@dataclass(frozen=True, slots=True)
class SimulatedOrder:
    """An order that will be paid, and perhaps refunded in part or whole. Amounts in minor units."""

    dialect: Dialect
    order_no: str
    amount: int
    currency: str
    #: Zero: no refund.
    refund: int
    number: int

    def row(self) -> tuple[str, str, int, str]:
        """(account, order_no, amount, currency), as the import reads it."""
        return self.dialect.account, self.order_no, self.amount, self.currency

    def notices(self, seed: int) -> Iterator[Notice]:
        """The payment, then the refund if there is one."""
        paid_at = _BEGIN + timedelta(seconds=self.number)
        payment = self._notice(seed, EventKind.PAYMENT, self.amount, paid_at)
        yield payment
        if self.refund:
            yield self._notice(seed, EventKind.REFUND, self.refund, paid_at + timedelta(hours=1), payment)

    def _notice(self, seed: int, kind: EventKind, amount: int, at: datetime, payment: Notice | None = None) -> Notice:
        message, transaction = _PREFIXES.get(self.dialect.provider, ("", ""))
        proof = hashlib.sha256(f"{seed}:{self.order_no}:{kind}".encode()).hexdigest()
        number = f"{transaction}{int(proof, 16) % 10**28:028d}"
        if payment is not None and self.dialect.provider == "alipay":
            number = f"{payment.transaction_id}:{number}"  # a refund is told apart within its trade
        if payment is not None and self.dialect.provider == "wechat_v3":
            number = f"{number}:R{number}"  # WeChat's number, and ours
        return Notice(
            notification_id=f"{message}{proof[:32]}",
            kind=kind,
            order_no=self.order_no,
            transaction_id=number,
            amount=amount,
            currency=self.currency,
            order_amount=self.amount,
            refunded=self.refund if payment is not None else 0,
            payment_id=payment.transaction_id if payment is not None else "",
            occurred_at=at,
        )


def draw_orders(dialects: Sequence[Dialect], count: int, seed: int, refunds: float) -> list[SimulatedOrder]:
    """`count` orders, dealt out to the accounts in turn; a share `refunds` of them is refunded."""
    return [_draw(dialects[index % len(dialects)], index // len(dialects) + 1, seed, refunds) for index in range(count)]


def _draw(dialect: Dialect, number: int, seed: int, refunds: float) -> SimulatedOrder:
    """Dice of its own for each order: it does not change with the number of orders or accounts around it."""
    dice = Random(f"{seed}:{dialect.account}:{number}")
    amount = dice.randint(_SMALLEST, _LARGEST)
    currency = dice.choice(_CURRENCIES.get(dialect.provider, _OTHER_CURRENCIES))
    refunded = dice.random() < refunds and EventKind.REFUND in dialect.sayable
    refund = dice.choice((amount, dice.randint(1, amount))) if refunded else 0
    return SimulatedOrder(dialect, f"SIM-{seed}-{dialect.account}-{number}", amount, currency, refund, number)
