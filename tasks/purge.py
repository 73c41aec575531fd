"""Cleans up: payloads by days, settled rows after the redelivery horizon, outbox, packs. The ledger stays for ever."""

from datetime import date, datetime, timedelta
from time import monotonic, sleep

import structlog
from celery import shared_task
from sqlalchemy import Connection

from models.clock import database_time
from models.outbox import delete_relayed
from models.pack import delete_epochs
from models.payload import create_partition, drop_partition, evidence_in, existing_days
from models.sweep import Swept, delete_settled
from tasks.chore import alone
from tasks.context import Context, check_retention, context
from worker import failpoint
from worker.transaction import run

log = structlog.get_logger()

#: Days that have their partition in advance: beat may be away that long before rows go to the default partition.
DAYS_AHEAD = 7
#: Rows in one transaction: short locks, and vacuum keeps up.
WINDOW = 1000
#: Seconds that one run may delete for. It keeps one child of the worker from packs; the next minute goes on.
BUDGET = 5.0


@shared_task(name="tasks.purge")
def purge() -> None:
    """The Celery entry."""
    own = context()
    # A worker whose clock is years ahead would delete what must still be known.
    purge_all(own, run(own.engine, database_time, patience=0))


def purge_all(own: Context, now: datetime) -> int:
    """Everything past its retention at `now` (UTC); how many rows of `notifications` went."""
    check_retention(own.settings, own.dialects)
    run(own.engine, lambda c: _ahead(c, now.date()), patience=0)
    for day in run(own.engine, existing_days, patience=0):
        if day < (now - timedelta(days=own.settings.payload_retention_days)).date():
            run(own.engine, lambda c, day=day: _drop(c, day), patience=0)  # type: ignore[misc]
            failpoint.at("purge.day_dropped")
    deleted = _delete_settled(own, now - timedelta(days=own.settings.status_retention_days))
    _delete_relayed(own, now - timedelta(days=own.settings.payload_retention_days))
    run(own.engine, lambda c: _forget(c, own, now), patience=0)
    log.info("purged", deleted=deleted)
    return deleted


def _delete_settled(own: Context, older_than: datetime) -> int:
    """From the smallest id on, until a whole window is young: ids rise with the time of receipt, but for a backlog."""
    deleted, after, until = 0, 0, monotonic() + BUDGET
    while (began := monotonic()) < until:
        swept = run(own.engine, lambda c, after=after: _window(c, older_than, after), patience=0)  # type: ignore[misc]
        if swept is None or swept.last_id is None or not swept.old:
            break
        deleted, after = deleted + swept.deleted, swept.last_id
        failpoint.at("purge.window_done")
        _give_way(began)
    return deleted


def _delete_relayed(own: Context, older_than: datetime) -> None:
    """Rows of the outbox go as payloads do: whoever consumes them has had days to ask again."""
    until = monotonic() + BUDGET
    while (began := monotonic()) < until and run(own.engine, lambda c: _told(c, older_than), patience=0) == WINDOW:
        _give_way(began)


def _give_way(began: float) -> None:
    """As long as the last window took: half of the time, at least, is the traffic's."""
    sleep(monotonic() - began)


def _told(connection: Connection, older_than: datetime) -> int:
    return delete_relayed(connection, older_than, WINDOW) if alone(connection, "purge") else 0


def _window(connection: Connection, older_than: datetime, after: int) -> Swept | None:
    if not alone(connection, "purge"):
        return None
    return delete_settled(connection, older_than, after, WINDOW)


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


def _forget(connection: Connection, own: Context, now: datetime) -> None:
    if alone(connection, "purge"):
        delete_epochs(connection, now - timedelta(days=own.settings.status_retention_days))
