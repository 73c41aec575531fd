"""Finds packs that the broker confirmed and never delivered: a purged queue, a lost disk, a failover to an old copy.

Numbers rise by one inside an epoch, and each was confirmed before the next was sent. So a number that was not seen
while a higher one was is a pack on its way, or a lost one. It counts as lost once the workers have seen a pack that was
sent a patience after the gap had shown: whatever stood in the queue then, handed back to its end by a stopping worker
or by one without a database, has been delivered before. A backlog only makes this later. Where the broker hands a dead
worker's packs on after a time-out, that is added.

False alarms remain: a worker that is cut off from the database, or stands still with its connection to the broker open,
keeps its packs for longer than the patience while others go on. When they come, their case is resolved by itself.
Packs in the quarantine are told too: they were never seen. Not found: what was lost together with the receiver's
process, before it could name its last pack: half a minute at most.
"""

from datetime import timedelta
from time import monotonic

import structlog
from celery import shared_task
from sqlalchemy import Connection

from models.clock import database_time
from models.gap import MOST_FOLDED, Gap, fold, gaps, look_far
from models.lost_pack import is_remembered, lost_packs, open_lost_packs, resolve_arrived, tell_anew, told
from tasks.chore import alone
from tasks.context import Context, context
from worker.broker import transport_options
from worker.transaction import run

log = structlog.get_logger()

#: What was finished longer ago is folded: the table holds minutes of packs, and one row for each older epoch.
FOLDED_AFTER = timedelta(minutes=10)
#: Seconds that one run may fold for. It keeps one child of the worker from packs; the next run goes on.
BUDGET = 5.0


@shared_task(name="tasks.watch_packs")
def watch_packs() -> None:
    """The Celery entry."""
    watch(context())


def watch(own: Context) -> list[Gap]:
    """Folds, opens a case for each loss that has none, resolves those whose packs came; the new losses."""
    until = monotonic() + BUDGET
    while run(own.engine, _fold, patience=0) >= MOST_FOLDED // 2 and monotonic() < until:
        """Beat was away for long: there is more."""
    lost = run(own.engine, lambda c: _watch(c, own), patience=0)
    for gap in lost:
        log.error("packs lost", epoch=str(gap.epoch), number=gap.first, packs=gap.packs, count=gap.members)
    return lost


def _watch(connection: Connection, own: Context) -> list[Gap]:
    if not alone(connection, "watch_packs"):
        return []
    look_far(connection)
    found = gaps(connection, _patience(own))
    known = lost_packs(connection)
    lost = [gap for gap in found if gap.is_due and not any(case.covers(gap) for case in known)]
    open_lost_packs(connection, lost)
    for case in known:
        left = [gap for gap in found if case.covers(gap)]
        if case.is_open and not left and is_remembered(connection, case):
            resolve_arrived(connection, case)
        elif case.is_open and left and (detail := "; ".join(map(told, left))) != case.detail:
            tell_anew(connection, case, detail)
    return lost


def _fold(connection: Connection) -> int:
    if not alone(connection, "watch_packs"):
        return 0
    look_far(connection)
    return fold(connection, database_time(connection) - FOLDED_AFTER)


def _patience(own: Context) -> timedelta:
    comes_back_after = transport_options(own.settings).get("visibility_timeout", 0)
    return timedelta(seconds=own.settings.lost_pack_patience_seconds + comes_back_after)
