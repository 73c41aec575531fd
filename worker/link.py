"""One connection to the broker, and the one message that is on its way over it."""

import os
import socket
from contextlib import suppress
from time import monotonic
from typing import Any
from uuid import uuid4

import kombu
import orjson

import celeryconfig
from worker import failpoint
from worker.broker import connect, declare, tune
from worker.numbering import Numbering
from worker.settings import Settings

#: The task's name is all that receiver and worker share. It decides the route, as for Celery itself.
TASK = "tasks.apply_notifications"
_ROUTE = celeryconfig.task_routes[TASK]
_QUEUE = next(queue for queue in celeryconfig.task_queues if queue.name == _ROUTE["queue"])

#: Celery's message protocol 2: what it demands, and who sent it. No repr of the arguments, which would end in logs and
#: events; nothing else that is optional: py-amqp takes longer over a header than RabbitMQ over the message.
_HEADERS: dict[str, Any] = {
    "lang": "py",
    "task": TASK,
    "parent_id": None,
    "group": None,
    "origin": f"{os.getpid()}@{socket.gethostname()}",
}
_NO_SIGNATURES = b'{"callbacks":null,"errbacks":null,"chain":null,"chord":null}'


class Link:
    """One connection, one channel, one epoch, one unconfirmed message. For one thread.

    py-amqp takes any late confirm for the one it waits for, so after an error nothing of a link may be used again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._patience = settings.publish_timeout_seconds / 2
        self._connection: Any = None
        self._producer: Any = None
        self.packs = Numbering()
        self.last_used = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a message can be sent without connecting first."""
        return self._producer is not None

    def open(self) -> None:
        """Connects once, declares the queues, begins an epoch. Raises whatever the transport raises."""
        self._connection = connect(self._settings, pool_timeout=self._patience)
        self._connection.ensure_connection(max_retries=0)
        tune(self._connection, self._patience)
        failpoint.at("link.connected")
        declare(self._connection)
        self._producer = kombu.Producer(self._connection.channel(), auto_declare=False)
        self.packs.begin()
        self.last_used = monotonic()

    def send(self, envelopes: list[bytes], seconds: float) -> None:
        """Returns when the broker has confirmed the pack (of JSON). Raises whatever the transport raises."""
        if not self.is_open:
            self.open()
        pack = self.packs.next()
        task_id = str(uuid4())
        failpoint.at("link.numbered")
        self._producer.publish(
            b"[[[%b]],%b,%b]" % (b",".join(envelopes), orjson.dumps(pack), _NO_SIGNATURES),
            exchange=_QUEUE.exchange.name,
            routing_key=_ROUTE["routing_key"],
            content_type="application/json",
            content_encoding="utf-8",
            headers=_HEADERS | {"id": task_id, "root_id": task_id},
            correlation_id=task_id,
            delivery_mode=2,
            # A confirm alone is also given for a message that no queue took.
            mandatory=True,
            timeout=seconds,
            confirm_timeout=seconds,
        )
        failpoint.at("link.confirmed")
        self.packs.confirmed(pack, len(envelopes))
        self.last_used = monotonic()

    def is_lost_by(self, error: Exception) -> bool:
        """Whether `error` says that the connection is gone, rather than that the broker refused."""
        return self._connection is not None and isinstance(error, self._connection.connection_errors)

    def discard(self) -> None:
        """Drops the connection without a word: a good-bye would wait for an answer (py-amqp has no bound there)."""
        connection, self._connection, self._producer = self._connection, None, None
        self.packs.end()
        if connection is not None:
            with suppress(Exception):
                connection.collect(socket_timeout=0.3)

    def close(self) -> None:
        """Says good-bye; for a link without errors."""
        if self.is_open:
            with suppress(Exception):
                self._connection.release()
        self.discard()
