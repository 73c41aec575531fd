"""A consumer of `order.paid` on Redis Streams that does its work once, however often it is told.

python redis_streams.py, with the settings SHOP_DATABASE_URL: the shop's own PostgreSQL; BROKER_URL: Paidonce's Redis;
STREAM: the key of its stream (paidonce:events).
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import psycopg
import redis
from rabbitmq import TABLES, ship

STREAM = os.environ.get("STREAM", "paidonce:events")
GROUP, NAME = "shipping", "shipping-1"


def entries(client: redis.Redis) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """First what we were handed before we died, then what is new, for ever."""
    for start in ("0", ">"):
        while True:
            answer = dict(client.xreadgroup(GROUP, NAME, {STREAM: start}, count=100, block=5000) or ())
            found = [entry for each in answer.values() for entry in each]
            yield from found
            if start == "0" and not found:
                break


def on_entry(shop: psycopg.Connection[Any], fields: dict[bytes, bytes]) -> None:
    """Seen and shipped in one transaction."""
    with shop.transaction():
        seen = "INSERT INTO seen_events (id) VALUES (%s) ON CONFLICT DO NOTHING"
        if fields[b"name"] == b"order.paid" and shop.execute(seen, (int(fields[b"id"]),)).rowcount:
            ship(shop, json.loads(fields[b"body"]))


def main() -> None:
    """Until it is stopped."""
    client = redis.Redis.from_url(os.environ["BROKER_URL"], socket_timeout=10)
    try:
        client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
    with psycopg.connect(os.environ["SHOP_DATABASE_URL"], autocommit=True) as shop:
        shop.execute(TABLES)
        for entry_id, fields in entries(client):
            if fields:  # else it was trimmed away while we were dead
                on_entry(shop, fields)
            client.xack(STREAM, GROUP, entry_id)


if __name__ == "__main__":
    main()
