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
    _asking: Any = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Celery calls this for each connection; an error in asking ends the loop's round and leads to a new one."""
        self._stop_asking()
        self._asking = loop.call_repeatedly(self.poll_seconds, self._poll, connection)

    def close_connection(self, connection: Any) -> None:
        """Asks no more: a closed connection's channels are gone, and asking them would end the worker."""
        self._stop_asking()
        super().close_connection(connection)  # type: ignore[misc]

    def _stop_asking(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

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
