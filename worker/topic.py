"""Publishes what the outbox holds: to a topic exchange on RabbitMQ, a stream on Redis, a queue of pgmq.

docs/outbox.md says what arrives where. At least once: the id is what consumers dedupe on.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from time import monotonic

import structlog

from worker.broker import family
from worker.settings import Settings, settings
from worker.topic_line import Announcement, Line
from worker.topic_pgmq import PgmqLine
from worker.topic_rabbitmq import RabbitMQLine
from worker.topic_redis import RedisLine

log = structlog.get_logger()


#: Opens a line; bounded, so that all its waits together stay far below PostgreSQL's patience with an idle transaction.
_LINES: Mapping[str, Callable[[Settings], Line]] = {
    "rabbitmq": RabbitMQLine,
    "redis": RedisLine,
    "pgmq": PgmqLine,
}


class Topic:
    """Opens a line when there is something to say, keeps it, and throws it away when anything is in doubt."""

    def __init__(self, own: Settings) -> None:
        """Connects to nothing yet. Raises ConfigurationError for a broker that we cannot use."""
        self._open = _LINES[family(own.broker_url)]
        self._settings = own
        self._line: Line | None = None

    def publish(self, announcements: Sequence[Announcement], seconds: float) -> set[int]:
        """The ids that the broker confirmed within `seconds`. Never raises for the broker's sake."""
        confirmed: set[int] = set()
        began = monotonic()
        error: Exception | None = None
        try:
            self._line = self._line or self._open(self._settings)
            self._line.send(announcements, confirmed, seconds)
        except Exception as raised:  # noqa: BLE001 - whatever happened, only a new line is known to be good
            error = raised
        missing = len(announcements) - len(confirmed)
        if error or missing:
            self.drop()
            said = type(error).__name__ if error else "refused"
            log.warning("not confirmed", error=said, count=missing, seconds=round(monotonic() - began, 2))
        return confirmed

    def drop(self) -> None:
        """The next publish opens a new line."""
        line, self._line = self._line, None
        if line is not None:
            line.drop()


@cache
def topic() -> Topic:
    """This process's topic, made at first use and never before a fork."""
    return Topic(settings())
