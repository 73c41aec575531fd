"""The careful peer: Dramatiq, psycopg and SQL by hand, one notification per message and transaction.

`dramatiq bench.dramatiq_worker`. The tables are the naive peer's; a connection for each thread, statements prepared.
"""

import json
import os
import threading
from typing import Any

import dramatiq
import psycopg
from dramatiq.brokers.rabbitmq import RabbitmqBroker

QUEUE = "dramatiq"
ACTOR = "process_event"

_own = threading.local()

if "DRAMATIQ_BROKER_URL" in os.environ:
    dramatiq.set_broker(RabbitmqBroker(url=os.environ["DRAMATIQ_BROKER_URL"], confirm_delivery=True))


def connection() -> psycopg.Connection[Any]:
    """This thread's."""
    if not hasattr(_own, "connection"):
        _own.connection = psycopg.connect(os.environ["DRAMATIQ_DATABASE_URL"], prepare_threshold=1)
    found: psycopg.Connection[Any] = _own.connection
    return found


def process_event(payload: str) -> None:
    """One notification in one transaction."""
    event = json.loads(payload)
    with connection().transaction(), connection().cursor() as cursor:
        cursor.execute(
            "INSERT INTO webhook_events (event_id, payload, status, processed_at)"
            " VALUES (%s, %s, 'processed', clock_timestamp()) ON CONFLICT DO NOTHING",
            (event["id"], payload),
        )
        if cursor.rowcount == 0:
            return
        pay(cursor, event["data"]["object"])


def pay(cursor: psycopg.Cursor[Any], intent: dict[str, Any]) -> None:
    """The payment intent's effect on its order."""
    order_no = intent["metadata"]["order_no"]
    cursor.execute("SELECT id, amount, currency FROM orders WHERE order_no = %s FOR UPDATE", (order_no,))
    order_id, amount, currency = cursor.fetchone() or (0, 0, "")
    if intent["amount_received"] != amount or intent["currency"].upper() != currency:
        raise ValueError("amount or currency differs")
    cursor.execute(
        "INSERT INTO payments (order_id, transaction_id, amount) VALUES (%s, %s, %s)",
        (order_id, intent["id"], amount),
    )
    cursor.execute("UPDATE orders SET status = 'paid', paid = paid + %s WHERE id = %s", (amount, order_id))


if "DRAMATIQ_BROKER_URL" in os.environ:
    dramatiq.actor(process_event, actor_name=ACTOR, queue_name=QUEUE)
