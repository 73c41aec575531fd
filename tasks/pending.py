"""Rows of `notifications` that wait for a verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.event import EventKind, PaymentEvent
from models.facts import Subject
from models.notification import event_of

#: Causes before effects, where the clocks cannot tell.
_RANK = {kind: rank for rank, kind in enumerate(EventKind)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A locked row of `notifications` without a verdict."""

    row_id: int
    provider: str
    account: str
    event: PaymentEvent
    received_at: datetime
    expires_at: datetime
    #: Attempts on record, this one not counted.
    attempts: int = 0
    #: A person said "apply anyway".
    overruled: bool = False
    #: The provider, asked after the deadline, says that it happened just so.
    confirmed: bool = False
    #: Why it expires, if it does.
    overdue_reason: str = "not_applied_in_time"

    @property
    def subject(self) -> Subject:
        """What is to be decided."""
        return Subject(self.provider, self.account, self.event)

    @property
    def when(self) -> tuple[datetime, int]:
        """By the provider's clock where it says, so that a payment is decided before its refund."""
        return self.event.occurred_at or self.received_at, _RANK[self.event.kind]


def pending_of(rows: Iterable[Any]) -> list[Pending]:
    """Whole rows of `notifications` as work to settle."""
    return [
        Pending(
            row_id=row.id,
            provider=row.provider,
            account=row.account,
            event=event_of(row),
            received_at=row.received_at,
            expires_at=row.expires_at,
            attempts=row.attempts,
            overruled=row.overruled,
        )
        for row in rows
    ]
