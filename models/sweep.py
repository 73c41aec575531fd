"""What sweeps look for in `notifications`: rows to try again, rows whose time ran out, rows that may go.

By the database's clock: a row that one worker wrote is another's to find.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, or_, select
from sqlalchemy.sql.expression import Exists

from domain.verdict import SETTLED, Verdict
from models.case import cases
from models.notification import OPEN, RECEIVED, notifications
from models.order import orders

c = notifications.c
_KEY = (c.provider, c.account, c.notification_id)


def due(limit: int) -> Select[Any]:
    """Rows to try again: a pause is over, or a parked row's order appeared or changed since it was decided.

    Rows that another worker holds are passed over: right for a sweep, and wrong for dedupe. A minute of overlap covers
    an order whose transaction began before our decision and committed after it.
    """
    changed = (
        select(orders.c.id)
        .where(orders.c.account == c.account, orders.c.order_no == c.order_no)
        .where(orders.c.updated_at >= c.processed_at - timedelta(minutes=1))
        .where(c.processed_at <= func.now() - timedelta(seconds=1))
        .exists()
    )
    waiting = c.status.in_([RECEIVED, Verdict.FAILED.value]) & (c.next_attempt_at <= func.now())
    woken = (c.status == Verdict.PARKED.value) & ((c.next_attempt_at <= func.now()) | changed)
    return (
        select(notifications)
        .where(c.next_attempt_at.is_not(None), c.status.in_(OPEN), or_(c.expires_at > func.now(), c.overruled))
        .where(or_(waiting, woken))
        # Longest unseen first; SKIP LOCKED never waits, so this order cannot deadlock.
        .order_by(c.processed_at.nulls_first())
        .limit(limit)
        .with_for_update(skip_locked=True, of=notifications)
    )


def overdue(limit: int, aside: Sequence[int] = ()) -> Select[Any]:
    """Open rows whose time ran out, locked, but for the ids `aside`; rows that another worker holds are passed over."""
    return (
        select(notifications)
        .where(c.next_attempt_at.is_not(None), c.status.in_(OPEN), c.expires_at <= func.now(), ~c.overruled)
        .where(c.id.not_in(aside))
        .order_by(*_KEY)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


class Swept(NamedTuple):
    """A window of the table that `delete_settled` walked over."""

    #: The last id seen; None where nothing came after.
    last_id: int | None
    #: Rows in it that are older than the retention, and how many of them went.
    old: int
    deleted: int


def delete_settled(connection: Connection, older_than: datetime, after_id: int, window: int) -> Swept:
    """Deletes what is settled and was received before `older_than` among the next `window` rows after `after_id`.

    By windows of ids and not by "the oldest thousand": that would walk over its own dead rows again with every batch.
    Rows that wait and rows that stand, or stood, in front of a person are never deleted: a purged conflict's other copy
    would be new, a purged closed case's notification would be decided again. Locked rows are passed over: a redelivery
    of them is under way.
    """
    seen = select(c.id, c.received_at).where(c.id > after_id).order_by(c.id).limit(window).cte("seen")
    old = (
        select(c.id)
        .where(c.id.in_(select(seen.c.id).where(seen.c.received_at < older_than)))
        .where(c.status.in_([verdict.value for verdict in sorted(SETTLED)]), ~_has_case())
        .with_for_update(skip_locked=True, of=notifications)
        .cte("old")
        .prefix_with("MATERIALIZED")
    )
    gone = notifications.delete().where(c.id.in_(select(old.c.id))).returning(c.id).cte("gone")
    statement = select(
        func.max(seen.c.id),
        func.count().filter(seen.c.received_at < older_than),
        select(func.count()).select_from(gone).scalar_subquery(),
    )
    return Swept(*connection.execute(statement).one())


def _has_case() -> Exists:
    same = (cases.c[column.name] == column for column in _KEY)
    return select(cases.c.id).where(*same).exists()
