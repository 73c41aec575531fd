"""Consumers of what the outbox announces, on each broker: everything that arrived, in the order in which it did."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import kombu
import psycopg
import redis

import celeryconfig
from worker.broker import pgmq_dsn
from worker.topic_pgmq import QUEUE
from worker.topic_redis import STREAM


class Heard(NamedTuple):
    """One message."""

    id: int
    name: str
    account: str
    order_no: str | None
    body: dict[str, Any]


class Ears(Protocol):
    """Listens from now on."""

    def heard(self) -> list[Heard]:
        """What came since the last call, oldest first; on Redis and pgmq what came at all."""
        ...


def _heard(message: Any) -> Heard:
    known, headers = message.properties, message.headers
    body = json.loads(message.body)
    return Heard(int(known["message_id"]), known["type"], headers["account"], headers.get("order_no"), body)


class RabbitMQEars:
    """A queue of one's own on the exchange."""

    def __init__(self, connection: kombu.Connection, routing_key: str, arguments: dict[str, Any]) -> None:
        self._channel = connection.channel()
        self._queue = kombu.Queue(
            f"ears.{routing_key}.{id(self)}",
            celeryconfig.EVENTS,
            routing_key,
            queue_arguments=arguments,
            durable=False,
            exclusive=True,
        )(self._channel)
        self._queue.declare()

    def messages(self) -> Iterator[Any]:
        """As they are."""
        while message := self._queue.get():
            message.ack()
            yield message

    def heard(self) -> list[Heard]:
        """Every message that waits."""
        return [_heard(message) for message in self.messages()]

    def delete(self) -> None:
        """The queue is gone."""
        self._queue.delete()


@contextmanager
def rabbitmq_ears(url: str, routing_key: str = "#", **arguments: Any) -> Iterator[RabbitMQEars]:
    """Hears `routing_key` while the block runs. `arguments` of the queue, with `_` for `-`."""
    with kombu.Connection(url) as connection:
        ears = RabbitMQEars(connection, routing_key, {name.replace("_", "-"): each for name, each in arguments.items()})
        yield ears
        ears.delete()


class RedisEars:
    """Reads the stream."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url, self._key = url, prefix + STREAM

    def heard(self) -> list[Heard]:
        """The whole stream."""
        with redis.Redis.from_url(self._url, decode_responses=True) as client:
            entries = client.xrange(self._key)
        return [
            Heard(int(each["id"]), each["name"], each["account"], each["order_no"] or None, json.loads(each["body"]))
            for _, each in entries
        ]


class PgmqEars:
    """Looks into the queue."""

    def __init__(self, url: str) -> None:
        self._url = url

    def heard(self) -> list[Heard]:
        """The whole queue."""
        with psycopg.connect(pgmq_dsn(self._url)) as connection:
            if connection.execute("SELECT to_regclass(%s)", (f"pgmq.q_{QUEUE}",)).fetchone() == (None,):
                return []
            rows = connection.execute(f"SELECT message FROM pgmq.q_{QUEUE} ORDER BY msg_id".encode()).fetchall()
        return [Heard(*(each[name] for name in Heard._fields)) for (each,) in rows]
