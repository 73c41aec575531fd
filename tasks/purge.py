"""Cleans up: payloads by whole days, settled rows after the redelivery horizon, packs. The ledger stays for ever."""

from datetime import UTC, date, datetime, timedelta

import structlog
from celery import shared_task
from sqlalchemy import Connection

from models.notification import delete_settled
from models.pack import delete_packs
from models.payload import create_partition, drop_partition, evidence_in, existing_days
from tasks.chore import alone
from tasks.context import Context, check_retention, context
from worker.transaction import run

log = structlog.get_logger()

#: Days that have their partition in advance: beat may be away that long before rows go to the default partition.
DAYS_AHEAD = 7
#: Rows in one transaction: short locks, and vacuum keeps up.
BATCH = 1000
#: A run that finds more than this has been away for long; the next hour goes on.
BATCHES = 500


@shared_task(name="tasks.purge")
def purge() -> None:
    """The Celery entry."""
    purge_all(context(), datetime.now(UTC))


def purge_all(own: Context, now: datetime) -> int:
    """Everything past its retention at `now` (UTC); how many rows of `notifications` went."""
    check_retention(own.settings, own.dialects)
    run(own.engine, lambda c: _ahead(c, now.date()), patience=0)
    for day in run(own.engine, existing_days, patience=0):
        if day < (now - timedelta(days=own.settings.payload_retention_days)).date():
            run(own.engine, lambda c, day=day: _drop(c, day), patience=0)  # type: ignore[misc]
    older_than = now - timedelta(days=own.settings.status_retention_days)
    deleted = 0
    for _ in range(BATCHES):
        gone = run(own.engine, lambda c: _delete(c, older_than), patience=0)
        deleted += gone
        if gone < BATCH:
            break
    log.info("purged", deleted=deleted)
    return deleted


def _ahead(connection: Connection, today: date) -> None:
    if not alone(connection, "purge"):
        return
    for days in range(DAYS_AHEAD + 1):
        day = today + timedelta(days=days)
        if not create_partition(connection, day):
            log.warning("payloads of this day stay in the default partition", partition=str(day))


def _drop(connection: Connection, day: date) -> None:
    """Payloads of open cases are evidence: their day stays until a person has resolved them."""
    if alone(connection, "purge") and not evidence_in(connection, day):
        drop_partition(connection, day)
        log.info("payloads dropped", partition=str(day))


def _delete(connection: Connection, older_than: datetime) -> int:
    if not alone(connection, "purge"):
        return 0
    delete_packs(connection, older_than)
    return delete_settled(connection, older_than, BATCH)
