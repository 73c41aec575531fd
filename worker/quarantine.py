"""What the worker cannot read is kept whole for a person. Celery 5.7 acknowledges it, and then it is gone.

On RabbitMQ a reject goes to the dead-letter exchange, with confirms. Redis and pgmq know no such exchange, so the
message is put into the quarantine queue before it is taken off its own.
"""

from typing import Any

import structlog
from celery import bootsteps
from celery.worker import consumer

import celeryconfig
from worker.broker import declare

log = structlog.get_logger()


class DeclareQueues(bootsteps.StartStopStep):
    """Declares the quarantine beside the queues that are consumed: a dead-letter exchange with no queue drops."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, c: Any) -> None:
        """Runs at start and after every reconnect."""
        declare(c.connection)


class Consumer(consumer.Consumer):
    """Celery's consumer, but nothing unreadable is acknowledged."""

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Celery would acknowledge: not even a dead-letter exchange would see it."""
        quarantine(message, "undecodable", exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """A message that is not a task."""
        quarantine(message, "not_a_task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task's name that this worker does not know: a rolling deploy, or a forger."""
        quarantine(message, "unknown_task", exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """A task whose arguments do not fit."""
        quarantine(message, "invalid_task", exc)


def quarantine(message: Any, reason: str, error: Exception | None = None) -> None:
    """Moves `message` to the quarantine queue. A crash between the two steps leaves it in both, never in neither."""
    channel = message.channel
    if hasattr(channel, "_put") and not getattr(channel, "keeps_rejected", False):
        channel._put(celeryconfig.QUARANTINE.name, message_shape(message))
    message.reject(requeue=False)
    log.error("message quarantined", reason=reason, error=type(error).__name__ if error else None)


def message_shape(message: Any) -> dict[str, Any]:
    """The message as a virtual transport carries it."""
    body = message.body
    return {
        "body": body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else body,
        "content-type": message.content_type,
        "content-encoding": message.content_encoding,
        "headers": dict(message.headers or {}),
        "properties": {name: value for name, value in (message.properties or {}).items() if name != "delivery_info"}
        | {"delivery_info": {"exchange": "", "routing_key": celeryconfig.QUARANTINE.name}},
    }
