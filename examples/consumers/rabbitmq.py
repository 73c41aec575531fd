"""A consumer of `order.paid` on RabbitMQ that does its work once, however often it is told.

python rabbitmq.py, with the settings SHOP_DATABASE_URL: the shop's own PostgreSQL; BROKER_URL: Paidonce's RabbitMQ.
"""

import json
import os
from typing import Any

import kombu
import psycopg

EVENTS = kombu.Exchange("paidonce.events", "topic", durable=True)
#: Durable and of our own: it fills while we are away.
QUEUE = kombu.Queue("shop.shipping", EVENTS, routing_key="order.paid", queue_arguments={"x-queue-type": "quorum"})
TABLES = """
CREATE TABLE IF NOT EXISTS seen_events (id bigint PRIMARY KEY, seen_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS shipments (order_no text NOT NULL, amount bigint NOT NULL);
"""


def ship(shop: psycopg.Connection[Any], order: dict[str, Any]) -> None:
    """The work: here a row, that something else turns into a parcel."""
    shop.execute("INSERT INTO shipments (order_no, amount) VALUES (%s, %s)", (order["order_no"], order["paid"]))


def on_message(shop: psycopg.Connection[Any], message: Any) -> None:
    """Seen and shipped in one transaction, acknowledged after its COMMIT."""
    with shop.transaction():
        seen = "INSERT INTO seen_events (id) VALUES (%s) ON CONFLICT DO NOTHING"
        if shop.execute(seen, (int(message.properties["message_id"]),)).rowcount:
            ship(shop, json.loads(message.body))
    message.ack()


def main() -> None:
    """Until it is stopped. Whatever raises ends it, and what was not acknowledged comes again."""
    with (
        psycopg.connect(os.environ["SHOP_DATABASE_URL"], autocommit=True) as shop,
        kombu.Connection(os.environ["BROKER_URL"], heartbeat=20) as connection,
    ):
        shop.execute(TABLES)
        with connection.Consumer(QUEUE, on_message=lambda message: on_message(shop, message), prefetch_count=100):
            while True:
                try:
                    connection.drain_events(timeout=5)
                except TimeoutError:
                    connection.heartbeat_check()


if __name__ == "__main__":
    main()
