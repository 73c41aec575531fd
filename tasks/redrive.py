"""Tries again what waits: failed attempts whose pause is over, and parked rows whose order has come."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog
from celery import shared_task
from sqlalchemy import Connection

from domain.errors import DatabaseAway
from domain.verdict import Verdict
from models.clock import database_time
from models.notification import RECEIVED, notifications, record_attempts
from models.sweep import due
from tasks.attempt import end_attempt, give_up
from tasks.chore import alone
from tasks.context import Context, context
from tasks.handling import Run
from tasks.pending import pending_of
from tasks.rows import pause_after, said_by
from tasks.settle import settle
from worker import failpoint
from worker.transaction import run

log = structlog.get_logger()

#: Rows in one transaction; more only holds more locks.
BATCH = 200
#: Batches in one run, so that a long backlog does not keep a worker from packs.
BATCHES = 20


@shared_task(name="tasks.redrive")
def redrive() -> None:
    """The Celery entry."""
    own = context()
    total: Counter[Verdict] = Counter()
    for _ in range(BATCHES):
        verdicts = redrive_batch(own)
        total += verdicts
        if verdicts.total() - verdicts[Verdict.PARKED] < BATCH // 2:
            break
    if total:
        log.info("redriven", count=total.total(), applied=total[Verdict.APPLIED], parked=total[Verdict.PARKED])


def redrive_batch(own: Context) -> Counter[Verdict]:
    """Settles one batch of due rows. Parked rows are looked at; failed ones spend an attempt, counted before."""
    parked = _look_at_parked(own)
    waiting = run(own.engine, _due_ids, patience=0)
    return parked + sum((_try(own, row_id) for row_id in waiting), Counter[Verdict]())


def _look_at_parked(own: Context) -> Counter[Verdict]:
    """All due ones at once; if one of them raises, each alone, so that it holds nothing back but itself."""
    try:
        return run(own.engine, lambda c: _settle_parked(c, own), patience=0)
    except DatabaseAway:
        raise
    except Exception as error:  # noqa: BLE001 - whatever one raises must not hold back the others
        log.warning("parked rows taken apart", error=said_by(error))
    rows = run(own.engine, lambda c: _due_rows(c, Verdict.PARKED), patience=0)
    return sum((_look_at_one(own, row.id) for row in rows), Counter[Verdict]())


def _look_at_one(own: Context, row_id: int) -> Counter[Verdict]:
    try:
        return run(own.engine, lambda c: _settle_one(c, own, row_id, Run.LATER, Verdict.PARKED), patience=0)
    except DatabaseAway:
        raise
    except Exception as error:  # noqa: BLE001 - the reason is recorded with the row
        raised = error
    return Counter({run(own.engine, lambda c: _spend_attempt(c, own, row_id, raised), patience=0): 1})


def _spend_attempt(connection: Connection, own: Context, row_id: int, error: Exception) -> Verdict:
    """A look is no attempt, unless it raises: counted only then."""
    record_attempts(connection, {row_id: database_time(connection)})
    return end_attempt(connection, own, row_id, error)


def _due_rows(connection: Connection, *statuses: str) -> Sequence[Any]:
    statement = due(BATCH).where(notifications.c.status.in_(statuses))
    return connection.execute(statement).all()


def _settle_parked(connection: Connection, own: Context) -> Counter[Verdict]:
    if not alone(connection, "redrive"):
        return Counter()
    rows = _due_rows(connection, Verdict.PARKED)
    return settle(connection, own, pending_of(rows), database_time(connection), handlers=Run.LATER)


def _due_ids(connection: Connection) -> list[int]:
    if not alone(connection, "redrive"):
        return []
    return [row.id for row in _due_rows(connection, RECEIVED, Verdict.FAILED)]


def _try(own: Context, row_id: int) -> Counter[Verdict]:
    if not run(own.engine, lambda c: _begin_attempt(c, own, row_id), patience=0):
        return Counter()
    failpoint.at("redrive.picked")
    try:
        return run(own.engine, lambda c: _settle_one(c, own, row_id, Run.ALONE, RECEIVED, Verdict.FAILED), patience=0)
    except DatabaseAway:
        raise
    except Exception as error:  # noqa: BLE001 - the reason is recorded with the row
        raised = error
    return Counter({run(own.engine, lambda c: end_attempt(c, own, row_id, raised), patience=0): 1})


def _begin_attempt(connection: Connection, own: Context, row_id: int) -> bool:
    """Whether the attempt is on record and ours; a row without attempts left is given up.

    Each before its own, and not for the batch at once: one that kills the process would spend the others' too.
    """
    still = due(1).where(notifications.c.id == row_id, notifications.c.status.in_([RECEIVED, Verdict.FAILED]))
    row = connection.execute(still).one_or_none()
    if row is None:
        return False
    if row.attempts >= own.settings.max_attempts:
        give_up(connection, row.id, row.last_error or "the process died")
        return False
    again = database_time(connection) + pause_after(row.attempts, own.settings.retry_base_seconds)
    record_attempts(connection, {row.id: again})
    return True


def _settle_one(connection: Connection, own: Context, row_id: int, handlers: Run, *statuses: str) -> Counter[Verdict]:
    statement = (
        notifications.select()
        .where(notifications.c.id == row_id, notifications.c.status.in_(statuses))
        .with_for_update()
    )
    rows = connection.execute(statement)
    return settle(connection, own, pending_of(rows), database_time(connection), handlers=handlers)
