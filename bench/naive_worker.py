"""The peer: Celery and the SQLAlchemy ORM, one notification per task, acknowledged late, SELECT .. FOR UPDATE.

`celery -A bench.naive_worker worker`. What a careful user writes in an afternoon: the duplicate is seen, the order is
locked, amount and currency are checked, the payment is written once. A failed attempt is noted on the order.
"""

import datetime
import json
import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from sqlalchemy import BigInteger, DateTime, ForeignKey, Text, create_engine, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

QUEUE = "naive"
TASK = "naive.process_event"

app = Celery("naive", broker=os.environ.get("NAIVE_BROKER_URL"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=16,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True},
)
engine = create_engine(os.environ.get("NAIVE_DATABASE_URL", "postgresql+psycopg://"), pool_size=2)


class Base(DeclarativeBase):
    """Its tables."""


class Order(Base):
    """What the buyer owes and has paid."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    order_no: Mapped[str] = mapped_column(Text, unique=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    paid: Mapped[int] = mapped_column(BigInteger, server_default="0")


class WebhookEvent(Base):
    """The processed-status table."""

    __tablename__ = "webhook_events"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    event_id: Mapped[str] = mapped_column(Text, unique=True)
    payload: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="received")
    received_at: Mapped[datetime.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    processed_at: Mapped[datetime.datetime | None] = mapped_column(DateTime(timezone=True))


class Payment(Base):
    """Money that arrived."""

    __tablename__ = "payments"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id))
    transaction_id: Mapped[str] = mapped_column(Text, unique=True)
    amount: Mapped[int] = mapped_column(BigInteger)


@worker_process_init.connect
def forget_parents_connections(**_: Any) -> None:
    """Sockets must not be shared across a fork."""
    engine.dispose(close=False)


@app.task(name=TASK)
def process_event(payload: str) -> None:
    """One notification in one transaction."""
    event = json.loads(payload)
    with Session(engine) as session, session.begin():
        values = {"event_id": event["id"], "payload": payload}
        session.execute(insert(WebhookEvent).values(values).on_conflict_do_nothing())
        record = session.scalars(
            select(WebhookEvent).where(WebhookEvent.event_id == event["id"]).with_for_update()
        ).one()
        if record.status == "processed":
            return
        intent = event["data"]["object"]
        if event["type"] == "payment_intent.succeeded":
            pay(session, intent)
        else:
            fail(session, intent)
        record.status = "processed"
        record.processed_at = func.clock_timestamp()


def pay(session: Session, intent: dict[str, Any]) -> None:
    """The payment intent's effect on its order."""
    wanted = select(Order).where(Order.order_no == intent["metadata"]["order_no"]).with_for_update()
    order = session.scalars(wanted).one()
    if intent["amount_received"] != order.amount or intent["currency"].upper() != order.currency:
        raise ValueError("amount or currency differs")
    session.add(Payment(order_id=order.id, transaction_id=intent["id"], amount=order.amount))
    order.status = "paid"
    order.paid = order.paid + order.amount


def fail(session: Session, intent: dict[str, Any]) -> None:
    """A failed attempt: an order that waits for money says so."""
    wanted = select(Order).where(Order.order_no == intent["metadata"]["order_no"]).with_for_update()
    order = session.scalars(wanted).one()
    if order.status == "pending":
        order.status = "failed"
