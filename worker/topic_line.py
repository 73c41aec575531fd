"""What is published, and the shape of a connection that publishes it: one file for each broker."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class Announcement(NamedTuple):
    """A row of the outbox. `body` is JSON as text; `at` is when it became true, UTC."""

    id: int
    name: str
    account: str
    order_no: str | None
    body: str
    at: datetime


class Line(Protocol):
    """An open connection to one broker. After an error, or a missing confirm, only `drop` may be called."""

    def send(self, announcements: Sequence[Announcement], confirmed: set[int], seconds: float) -> None:
        """Sends all in their order, and adds to `confirmed` the id of each that the broker has taken durably.

        Returns when every one is confirmed or refused. Raises whatever the transport raises, at the latest after
        `seconds` without an answer; what is in `confirmed` by then counts.
        """

    def drop(self) -> None:
        """Closes it without a word."""
