"""Real signed notifications: payments of orders that nobody has paid yet, failed attempts at one order, RSA ones."""

import itertools
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from domain.event import EventKind
from providers.alipay import Alipay
from providers.dialect import Delivery, Notice
from providers.stripe import Stripe

ACCOUNT = "shop-bench"
RSA_ACCOUNT = "shop-rsa"
AMOUNT = 1000
CURRENCY = "EUR"
#: Counts through all sides of a run: no two notifications of it share an id.
_numbers = itertools.count(1)


class Payment(NamedTuple):
    """One signed notification, its id, and when it was signed (unix seconds)."""

    delivery: Delivery
    signed_at: float
    id: str


class Payments:
    """Notifications about the orders O1..O<orders> of one side, in random order: their rows lie all over the table."""

    def __init__(self, dialect: Stripe, orders: int) -> None:
        self._dialect = dialect
        self._unpaid = list(range(1, orders + 1))
        random.Random(1).shuffle(self._unpaid)

    def take(self, count: int) -> list[Payment]:
        """`count` payments of orders that are unpaid yet. Raises RuntimeError when there are no more orders."""
        if len(self._unpaid) < count:
            raise RuntimeError("every order is paid; measure with more --orders")
        return [self._sign(self._unpaid.pop(), EventKind.PAYMENT) for _ in range(count)]

    def failures(self, count: int) -> list[Payment]:
        """`count` failed attempts at paying one order."""
        order = self._unpaid.pop()
        return [self._sign(order, EventKind.FAILED) for _ in range(count)]

    def _sign(self, order: int, kind: EventKind) -> Payment:
        now, notice = time.time(), _notice(kind, f"O{order}", CURRENCY)
        return Payment(self._dialect.sign(notice, now), now, notice.notification_id)


def rsa_payments(dialect: Alipay, count: int) -> list[Payment]:
    """Alipay's, for loads of the door alone: their orders are nowhere."""
    now, notices = time.time(), [_notice(EventKind.PAYMENT, f"O{number}", "CNY") for number in range(count)]
    return [Payment(dialect.sign(notice, now), now, notice.notification_id) for notice in notices]


def _notice(kind: EventKind, order_no: str, currency: str) -> Notice:
    number = next(_numbers)
    return Notice(
        notification_id=f"evt_{number:024}",
        kind=kind,
        order_no=order_no,
        transaction_id=f"pi_{number:024}",
        amount=AMOUNT,
        currency=currency,
        order_amount=AMOUNT,
        occurred_at=datetime.now(UTC),
    )


def write_requests(payments: Sequence[Payment], account: str, path: Path) -> Path:
    """The payments as HTTP requests, for the load generators: a line with the length, then the request."""
    with path.open("wb") as file:
        for payment in payments:
            request = _request(payment.delivery, account)
            file.write(b"%d\n" % len(request) + request)
    return path


def _request(delivery: Delivery, account: str) -> bytes:
    headers = {
        "Host": "localhost",
        "Content-Type": "application/json" if delivery.headers else "application/x-www-form-urlencoded",
        "Content-Length": str(len(delivery.body)),
        **{name.title(): value for name, value in delivery.headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /notify/{account} HTTP/1.1\r\n{head}\r\n".encode() + delivery.body
