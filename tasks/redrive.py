"""Tries again what waits: failed attempts whose pause is over, and parked rows whose order has come."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import shared_task
from sqlalchemy import Connection

from domain.errors import DatabaseAway
from domain.verdict import Verdict
from models.notification import RECEIVED, due, notifications, record_attempts
from tasks.attempt import end_attempt, give_up, pause_after
from tasks.chore import alone
from tasks.context import Context, context
from tasks.settle import pending_of, settle
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
    parked = run(own.engine, _settle_parked, patience=0)
    tried = run(own.engine, lambda c: _begin_attempts(c, own), patience=0)
    return parked + sum((_try(own, row_id) for row_id in tried), Counter[Verdict]())


def _due_rows(connection: Connection, *statuses: str) -> Sequence[Any]:
    statement = due(datetime.now(UTC), BATCH).where(notifications.c.status.in_(statuses))
    return connection.execute(statement).all()


def _settle_parked(connection: Connection) -> Counter[Verdict]:
    if not alone(connection, "redrive"):
        return Counter()
    return settle(connection, pending_of(_due_rows(connection, Verdict.PARKED)), datetime.now(UTC))


def _begin_attempts(connection: Connection, own: Context) -> list[int]:
    """Ids whose attempt is now recorded; rows without attempts left are given up."""
    if not alone(connection, "redrive"):
        return []
    now, again = datetime.now(UTC), {}
    for row in _due_rows(connection, RECEIVED, Verdict.FAILED):
        if row.attempts >= own.settings.max_attempts:
            give_up(connection, row.id, row.last_error or "the process died")
        else:
            again[row.id] = now + pause_after(row.attempts, own.settings.retry_base_seconds)
    if again:
        record_attempts(connection, again)
    return list(again)


def _try(own: Context, row_id: int) -> Counter[Verdict]:
    try:
        return run(own.engine, lambda c: _settle_one(c, row_id), patience=0)
    except DatabaseAway:
        raise
    except Exception as error:  # noqa: BLE001 - the reason is recorded with the row
        raised = error
    return Counter({run(own.engine, lambda c: end_attempt(c, own, row_id, raised), patience=0): 1})


def _settle_one(connection: Connection, row_id: int) -> Counter[Verdict]:
    statement = (
        notifications.select()
        .where(notifications.c.id == row_id, notifications.c.status.in_([RECEIVED, Verdict.FAILED.value]))
        .with_for_update()
    )
    return settle(connection, pending_of(connection.execute(statement)), datetime.now(UTC))
