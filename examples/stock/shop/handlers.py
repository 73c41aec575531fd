"""What happens to the stock when something happens to an order, in the same transaction.

PAIDONCE_HANDLERS=shop.handlers brings it in.

Nothing here asks whether it has run before. Paidonce runs it once for each event that takes effect; what it writes
commits with the order, or is rolled back with it.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from domain.event import PaymentEvent
from domain.order import Order, OrderState
from tasks.handlers import on

# Sorted: whoever takes several rows takes them in one order, or two of them wait for each other in a circle.
ITEMS = text("SELECT sku, pieces FROM order_items WHERE account = :account AND order_no = :order_no ORDER BY sku")
BOOK = text("UPDATE products SET stock = stock + :pieces WHERE sku = :sku AND stock + :pieces >= 0")
NOTE = text(
    "INSERT INTO stock_moves (account, order_no, sku, pieces, because)"
    " VALUES (:account, :order_no, :sku, :pieces, :because)"
)


class OutOfStock(Exception):
    """The goods are not there, so the payment is not taken: a person restocks, or gives the money back."""


@on("order.paid")
def take_from_stock(session: Session, order: Order, event: PaymentEvent) -> None:
    """Everything that was ordered, or nothing."""
    _book(session, order, event, -1)


@on("order.refunded")
def put_back(session: Session, order: Order, event: PaymentEvent) -> None:
    """When all of the money went back. Refunds in part are for damage, and the goods stay with the buyer."""
    if order.state is OrderState.REFUNDED:
        _book(session, order, event, +1)


@on("order.refund_reversed")
def take_again(session: Session, order: Order, event: PaymentEvent) -> None:
    """The refund failed after it had been announced; if it had made the refunds whole, the goods leave once more."""
    if order.refunded + (event.amount or 0) == order.paid:
        _book(session, order, event, -1)


@on("order.payment_reversed")
def put_back_unpaid(session: Session, order: Order, event: PaymentEvent) -> None:
    """The bank took the payment back."""
    _book(session, order, event, +1)


def _book(session: Session, order: Order, event: PaymentEvent, sign: int) -> None:
    which = {"account": order.account, "order_no": order.order_no}
    items = session.execute(ITEMS, which).all()
    if not items:
        raise LookupError("an order without items")
    for sku, pieces in items:
        booked = {"sku": sku, "pieces": sign * pieces}
        if session.execute(BOOK, booked).rowcount != 1:
            raise OutOfStock(sku)
        session.execute(NOTE, which | booked | {"because": event.kind.value})
