"""A queue of pgmq, for the embedded stack: one transaction for what is sent, and the queue has a bound."""

import json
from collections.abc import Sequence
from contextlib import suppress

import psycopg

from worker.broker import pgmq_dsn
from worker.settings import Settings
from worker.topic_line import Announcement

QUEUE = "paidonce_events"
_SEND = f"SELECT max(sent) FROM pgmq.send_batch('{QUEUE}', %s::text[]::jsonb[]) AS sent"  # noqa: S608 - a constant
#: Nobody may be reading: it is one queue with one kind of reader, where a stream keeps its newest for all.
_TRIM = f"DELETE FROM pgmq.q_{QUEUE} WHERE msg_id <= %s"  # noqa: S608


class PgmqLine:
    """One session."""

    def __init__(self, settings: Settings) -> None:
        """Connects and makes the queue. Raises psycopg's errors."""
        self._connection = psycopg.connect(
            pgmq_dsn(settings.broker_url), connect_timeout=2, options="-c statement_timeout=3s -c lock_timeout=1s"
        )
        self._kept = settings.events_kept
        try:
            with self._connection.transaction():
                self._connection.execute("SELECT pgmq.create(%s)", (QUEUE,))
        except BaseException:
            self.drop()
            raise

    def send(self, announcements: Sequence[Announcement], confirmed: set[int], seconds: float) -> None:  # noqa: ARG002
        """As Line says: all of them, or none. PostgreSQL's statement_timeout is the bound."""
        with self._connection.transaction():
            sent = self._connection.execute(_SEND, ([_message(each) for each in announcements],)).fetchone()
            if sent and sent[0] > self._kept:
                self._connection.execute(_TRIM, (sent[0] - self._kept,))
        confirmed.update(announcement.id for announcement in announcements)

    def drop(self) -> None:
        """Closes the session."""
        with suppress(Exception):
            self._connection.close()


def _message(announcement: Announcement) -> str:
    head = announcement._asdict() | {"at": announcement.at.isoformat(), "body": None}
    return json.dumps(head | {"body": json.loads(announcement.body)})
