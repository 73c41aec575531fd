"""Attempts are counted in the database and before the work, so that a death counts too."""

import structlog
from sqlalchemy import Connection, select

from domain.errors import TransactionEnded
from domain.verdict import Verdict
from models.case import open_cases
from models.clock import database_time
from models.notification import (
    OPEN,
    event_of,
    insert_new,
    lock_notifications,
    notifications,
    record_attempts,
    record_failure,
)
from models.payload import insert_payloads
from tasks.context import Context
from tasks.incoming import Incoming, notification_row, payload_row
from tasks.rows import case_row, pause_after, said_by

log = structlog.get_logger()


def begin_attempt(connection: Connection, own: Context, item: Incoming) -> int | None:
    """Records that `item` is about to be tried: the row's id, or None if there is nothing left to try."""
    new = insert_new(connection, [notification_row(item, own.expires_after(item.envelope.account))])
    locked = lock_notifications(connection, [item.key])
    if not locked:
        raise RuntimeError("row of notifications vanished between insert and lock")
    row = connection.execute(select(notifications).where(notifications.c.id == locked[0].id)).one()
    if new:
        insert_payloads(connection, [payload_row(item)])
    if row.status not in OPEN:
        return int(row.id)
    if row.attempts >= own.settings.max_attempts:
        give_up(connection, row.id, row.last_error or "the process died")
        return None
    due = database_time(connection) + pause_after(row.attempts, own.settings.retry_base_seconds)
    record_attempts(connection, {row.id: due})
    return int(row.id)


def end_attempt(connection: Connection, own: Context, row_id: int, error: Exception) -> Verdict:
    """Records why an attempt raised: `failed`, to be tried again, or `dead` with a case after the last.

    A copy may have settled the row since the attempt was rolled back: what it says stands.
    """
    row = connection.execute(select(notifications).where(notifications.c.id == row_id).with_for_update()).one()
    if row.status not in OPEN:
        return Verdict.DUPLICATE
    said = said_by(error)
    log.warning("attempt failed", notification_id=row.notification_id, attempts=row.attempts, error=said)
    # What it wrote stays although its order does not, and each further attempt would write it again.
    if row.attempts >= own.settings.max_attempts or isinstance(error, TransactionEnded):
        give_up(connection, row_id, said)
        return Verdict.DEAD
    due = database_time(connection) + pause_after(row.attempts, own.settings.retry_base_seconds)
    record_failure(connection, row_id, Verdict.FAILED, said, due)
    return Verdict.FAILED


def give_up(connection: Connection, row_id: int, said: str) -> None:
    """`dead`, and a case."""
    row = connection.execute(select(notifications).where(notifications.c.id == row_id)).one()
    record_failure(connection, row_id, Verdict.DEAD, said, None)
    open_cases(connection, [case_row(row.provider, row.account, event_of(row), Verdict.DEAD, "attempts_exhausted")])
