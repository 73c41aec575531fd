"""A stream on Redis, written by pipelines: every consumer group of it sees every event."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worker.settings import Settings
from worker.topic_line import Announcement

#: Behind the prefix of every key.
STREAM = "events"
#: Seconds to connect, and for the answer to a pipeline.
CONNECT, ANSWER = 2.0, 4.0


class RedisLine:
    """One connection. What Redis answers is as durable as its append-only file (`appendfsync always`)."""

    def __init__(self, settings: Settings) -> None:
        """Connects at the first command."""
        self._client = redis.Redis.from_url(
            settings.broker_url,
            socket_connect_timeout=CONNECT,
            socket_timeout=ANSWER,
            # A command that may or may not have been done is reported, and repeated by the next run.
            retry=Retry(NoBackoff(), 0),
        )
        self._stream = settings.broker_prefix + STREAM
        self._kept = settings.events_kept

    def send(self, announcements: Sequence[Announcement], confirmed: set[int], seconds: float) -> None:  # noqa: ARG002
        """As Line says; the client's own time-out is the bound."""
        with self._client.pipeline(transaction=False) as pipe:
            for announcement in announcements:
                pipe.xadd(self._stream, _fields(announcement), maxlen=self._kept, approximate=True)
            answers = pipe.execute(raise_on_error=False)
        refused: list[RedisError] = []
        for announcement, answer in zip(announcements, answers, strict=True):
            if isinstance(answer, RedisError):
                refused.append(answer)
            else:
                confirmed.add(announcement.id)
        if refused:
            raise refused[0]

    def drop(self) -> None:
        """Closes the connection."""
        with suppress(Exception):
            self._client.close()


def _fields(announcement: Announcement) -> dict[Any, Any]:
    return {
        "id": announcement.id,
        "name": announcement.name,
        "account": announcement.account,
        "order_no": announcement.order_no or "",
        "at": announcement.at.isoformat(),
        "body": announcement.body,
    }
