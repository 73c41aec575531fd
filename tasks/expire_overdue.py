"""What was not applied in time is never applied on its own any more: `expired`, and a person decides."""

from datetime import UTC, datetime

import structlog
from celery import shared_task
from sqlalchemy import Connection

from domain.verdict import Verdict
from models.notification import overdue
from tasks.chore import alone
from tasks.context import Context, context
from tasks.settle import pending_of, settle
from worker.transaction import run

log = structlog.get_logger()

BATCH = 500


@shared_task(name="tasks.expire_overdue")
def expire_overdue() -> None:
    """The Celery entry."""
    expired = expire(context())
    if expired:
        log.warning("expired", count=expired)


def expire(own: Context) -> int:
    """Expires every overdue row; how many."""
    total = 0
    while count := run(own.engine, _expire_batch, patience=0):
        total += count
    return total


def _expire_batch(connection: Connection) -> int:
    """`settle` rules overdue rows `expired` and opens their cases, by the same code as a late delivery."""
    now = datetime.now(UTC)
    if not alone(connection, "expire_overdue"):
        return 0
    return settle(connection, pending_of(connection.execute(overdue(now, BATCH))), now)[Verdict.EXPIRED]
