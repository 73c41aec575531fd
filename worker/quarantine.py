"""What the worker cannot read is kept whole for a person. Celery 5.7 acknowledges it, or ends, and then it is gone.

On RabbitMQ a reject goes to the dead-letter exchange, with confirms. Our Redis transport keeps what is rejected by
itself. pgmq deletes it, so there the message is put into the quarantine queue before it is taken off its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery import bootsteps
from celery.worker import consumer
from kombu.transport import virtual

import celeryconfig
from worker import failpoint
from worker.broker import declare
from worker.gathering import Gathering

log = structlog.get_logger()

#: Headers of protocol 2 with all that they may hold in a message of ours. An ETA would be kept in memory,
#: unacknowledged, until its day; a time limit of another shape ends the worker.
_OURS: Mapping[str, tuple[Any, ...]] = {
    "eta": (None,),
    "group": (None,),
    "retries": (None, 0),
    "stamped_headers": (None, []),
    # Beat writes our own limits, the publisher none.
    "timelimit": (None, [None, None], [celeryconfig.task_time_limit, celeryconfig.task_soft_time_limit]),
}


class DeclareQueues(bootsteps.StartStopStep):
    """Declares the quarantine beside the queues that are consumed: a dead-letter exchange with no queue drops."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, c: Any) -> None:
        """Runs at start and after every reconnect, before the first message."""
        declare(c.connection)
        channel = c.connection.default_channel
        if isinstance(channel, virtual.Channel) and not getattr(channel, "keeps_rejected", False):
            channel.Message = KeptMessage


class KeptMessage(virtual.Message):
    """A message whose rejection keeps it, also when it is Celery that rejects, after a task has failed."""

    def reject(self, requeue: bool = False) -> None:
        """A crash between the two steps leaves it in both queues, never in neither."""
        if not requeue and not self.acknowledged:
            self.channel._put(celeryconfig.QUARANTINE.name, self._raw)
        super().reject(requeue=requeue)


class Consumer(consumer.Consumer):
    """Celery's consumer, but nothing unreadable is acknowledged, and nothing readable ends the worker."""

    class Blueprint(consumer.Consumer.Blueprint):
        """Without delayed delivery, which would declare 28 exchanges and 28 quorum queues; nothing here has an ETA."""

        default_steps = tuple(
            step for step in consumer.Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        )

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's handler, behind a look at the message (it trusts headers and body to have the right types)."""
        gathering = Gathering(super().create_task_handler(*args, **kwargs), self.hub, self.pool.num_processes)

        def on_message(message: Any) -> None:
            failpoint.at("worker.received")
            reason, error = fault(message)
            if reason:
                quarantine(message, reason, error)
            else:
                gathering.take(message)

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Celery would acknowledge: not even a dead-letter exchange would see it."""
        quarantine(message, "undecodable", exc)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """A task's name that this worker does not know: a rolling deploy, or a forger."""
        quarantine(message, "unknown_task", exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """A header that Celery itself found wrong."""
        quarantine(message, "invalid_task", exc)


def fault(message: Any) -> tuple[str | None, Exception | None]:
    """Why `message` is none of ours, (None, None) if it may be. Decodes the body, which the message remembers."""
    headers = message.headers
    if not isinstance(headers.get("task"), str) or not isinstance(headers.get("id"), str):
        return "not_a_task", None
    if any(headers.get(name) not in allowed for name, allowed in _OURS.items()):
        return "foreign_header", None
    try:
        payload = message.payload
    except Exception as error:  # noqa: BLE001 - a codec, a compressor or the recursion limit: unreadable all the same
        return "undecodable", error
    match payload:
        case [list(), dict(), None]:
            return None, None
        case [list(), dict(), dict() as signatures]:
            # A callback would have this worker publish what a stranger wrote.
            return ("foreign_signature" if any(signatures.values()) else None), None
        case _:
            return "not_a_task", None


def quarantine(message: Any, reason: str, error: Exception | None = None) -> None:
    """Moves `message` to the quarantine, whole."""
    message.reject(requeue=False)
    log.error("message quarantined", reason=reason, error=type(error).__name__ if error else None)
