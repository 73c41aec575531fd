"""Brokers that must be asked for messages, inside Celery's event loop.

Without an event loop Celery gives all children of its pool one pipe with one lock: a child killed while it waits there
takes the lock with it, and the worker stands still. In the loop each child has a pipe of its own, and a killed child
costs nothing but its pack's redelivery.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, pgmq, virtual

IN_THE_LOOP = virtual.Transport.implements.extend(asynchronous=True)


class Polled:
    """Mixed into a virtual transport: the event loop asks every `poll_seconds`, and takes all there is room for."""

    implements = IN_THE_LOOP
    #: A question costs the server a fraction of a millisecond; the pause is the most that a lone message waits.
    poll_seconds = 0.02
    drain_events: Any

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Celery calls this once for each connection; its errors end the loop's round and lead to a new connection."""
        loop.call_repeatedly(self.poll_seconds, self._poll, (connection,))

    def _poll(self, connection: Any) -> None:
        try:
            while True:
                self.drain_events(connection, timeout=0)
        except TimeoutError:
            """Nothing more, or no room for more."""


class PgmqTransport(Polled, pgmq.Transport):
    """kombu's own transport for pgmq, in the event loop."""

    #: Two statements each time, one for each queue.
    poll_seconds = 0.05


def register() -> None:
    """Lets kombu find it as `polledpgmq://`."""
    TRANSPORT_ALIASES["polledpgmq"] = f"{__name__}:PgmqTransport"
