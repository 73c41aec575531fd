"""SIGQUIT, the cold stop: at a turn of the event loop, and bounded.

Celery 5.7 does all of it inside the signal handler. Where that comes in the middle of a write, to the broker or to a
child, the worker waits for ever: for py-amqp's lock, which it holds itself, or for a child that has read half of a job.
One of two did under load. Nothing is lost by an end in the middle: what was not acknowledged is delivered again.
"""

import os
import signal
from types import FrameType
from typing import Any

import billiard
import structlog
from celery import bootsteps
from celery.platforms import EX_FAILURE

log = structlog.get_logger()

#: Seconds after which the worker ends, whatever it waits for; a platform waits 45 (docs/adr/0009).
AT_MOST = 30


class ColdStop(bootsteps.StartStopStep):
    """SIGQUIT writes a byte to a pipe of our own; the event loop reads it and does what Celery's handler does."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def __init__(self, c: Any, **options: Any) -> None:
        """Nothing is installed before the worker has installed its own handlers."""
        super().__init__(c, **options)
        self._reader, self._writer = -1, -1
        self._cold: Any = None

    def start(self, c: Any) -> None:
        """Runs at start and after every reconnect, when the loop has begun anew."""
        if c.hub is None:
            return
        if self._writer < 0:
            self._reader, self._writer = os.pipe()
            self._cold = signal.signal(signal.SIGQUIT, self._ask)
        c.hub.add_reader(self._reader, self._stop)

    def _ask(self, _: int, __: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, _end)
        signal.alarm(AT_MOST)
        os.write(self._writer, b"q")

    def _stop(self) -> None:
        os.read(self._reader, 1)
        self._cold(signal.SIGQUIT, None)


def _end(_: int, __: FrameType | None) -> None:
    log.error("the cold stop does not end by itself; ending", seconds=AT_MOST)
    for child in billiard.active_children():
        os.kill(child.pid, signal.SIGKILL)
    os._exit(EX_FAILURE)
