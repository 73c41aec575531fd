"""Real signed payments, each of an order that nobody has paid yet."""

import itertools
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from domain.event import EventKind
from providers.dialect import Delivery, Notice
from providers.stripe import Stripe

ACCOUNT = "shop-bench"
AMOUNT = 1000
CURRENCY = "EUR"


class Payment(NamedTuple):
    """One signed notification, and when it was signed (unix seconds)."""

    delivery: Delivery
    signed_at: float


class Payments:
    """Makes notifications; `add_orders(first, last)` puts orders O<first>..O<last> into every database of the run."""

    def __init__(self, dialect: Stripe, orders: int, add_orders: Callable[[int, int], None]) -> None:
        self._dialect = dialect
        self._batch = orders
        self._add = add_orders
        self._numbers = itertools.count(1)
        self._dice = random.Random(1)
        self._last = 0
        self._unpaid: list[int] = []

    def take(self, count: int) -> list[Payment]:
        """`count` notifications of orders in random order: their rows lie all over the table."""
        while len(self._unpaid) < count:
            self._grow()
        return [self._sign(self._unpaid.pop()) for _ in range(count)]

    def _grow(self) -> None:
        first, self._last = self._last + 1, self._last + self._batch
        self._add(first, self._last)
        fresh = list(range(first, self._last + 1))
        self._dice.shuffle(fresh)
        self._unpaid = fresh + self._unpaid

    def _sign(self, order: int) -> Payment:
        number, now = next(self._numbers), time.time()
        notice = Notice(
            notification_id=f"evt_{number:024}",
            kind=EventKind.PAYMENT,
            order_no=f"O{order}",
            transaction_id=f"pi_{number:024}",
            amount=AMOUNT,
            currency=CURRENCY,
            order_amount=AMOUNT,
            occurred_at=datetime.fromtimestamp(now, UTC),
        )
        return Payment(self._dialect.sign(notice, now), now)


def write_requests(payments: Sequence[Payment], path: Path) -> None:
    """The payments as HTTP requests, for post.lua and bench.client: a line with the length, then the request."""
    with path.open("wb") as file:
        for payment in payments:
            request = _request(payment.delivery)
            file.write(b"%d\n" % len(request) + request)


def _request(delivery: Delivery) -> bytes:
    headers = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(delivery.body)),
        **{name.title(): value for name, value in delivery.headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /notify/{ACCOUNT} HTTP/1.1\r\n{head}\r\n".encode() + delivery.body
