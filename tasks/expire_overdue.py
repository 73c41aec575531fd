"""What was not applied in time is never applied on its own any more: the provider is asked, or a person decides."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial
from time import monotonic, time

import structlog
from celery import shared_task
from sqlalchemy import Connection

from domain.finding import Finding, Testimony
from domain.verdict import Verdict
from models.clock import database_time
from models.notification import lock_open
from models.sweep import overdue
from tasks.chore import alone
from tasks.context import Context, context
from tasks.pending import Pending, pending_of
from tasks.settle import settle
from worker import failpoint
from worker.inquiry import ask
from worker.transaction import run

log = structlog.get_logger()

BATCH = 500
#: A provider that cannot be reached is asked again every minute for this long, then the row expires unasked.
ASKED_FOR = timedelta(hours=1)
#: The most questions of one run, and the seconds that they may take: a child of the worker is busy with them.
QUESTIONS = 200
BUDGET = 60.0


@shared_task(name="tasks.expire_overdue")
def expire_overdue() -> None:
    """The Celery entry."""
    verdicts = expire(context())
    if verdicts:
        log.warning("overdue", **{verdict.value: count for verdict, count in verdicts.items()})


def expire(own: Context) -> Counter[Verdict]:
    """Settles every overdue row; how often each verdict fell. `expired` unless its provider confirms it.

    Where the account has credentials for it the provider is asked first, outside of any transaction: what it confirms
    is applied late, what it denies expires with its reason, and where it cannot say the row waits for the next run.
    """
    verdicts: Counter[Verdict] = Counter()
    aside: dict[int, Pending] = {}
    while len(aside) < QUESTIONS:
        settled, askable = run(own.engine, partial(_batch, own=own, aside=list(aside)), patience=0)
        verdicts += settled
        aside |= {item.row_id: item for item in askable}
        if not settled and not askable:
            break
        failpoint.at("expire.batch_done")
    until = monotonic() + BUDGET
    for item in aside.values():
        if monotonic() > until:
            break
        verdicts += _by_the_providers_word(own, item)
    return verdicts


def _batch(connection: Connection, own: Context, aside: list[int]) -> tuple[Counter[Verdict], list[Pending]]:
    """Settles overdue rows by the same code as a late delivery, but for those whose provider can be asked."""
    if not alone(connection, "expire_overdue"):
        return Counter(), []
    now = database_time(connection)
    rows = pending_of(connection.execute(overdue(BATCH, aside)))
    askable = [item for item in rows if item.expires_at > now - ASKED_FOR and _can_be_asked(own, item)]
    others = [item for item in rows if item not in askable]
    return settle(connection, own, others, now), askable


def _can_be_asked(own: Context, item: Pending) -> bool:
    dialect = own.dialects.get(item.account)
    return dialect is not None and dialect.query(item.event, time()) is not None


def _by_the_providers_word(own: Context, item: Pending) -> Counter[Verdict]:
    finding = ask(own.dialects[item.account], item.event)
    if finding is None or finding.testimony is Testimony.UNKNOWN:
        log.warning("provider cannot say", account=item.account, reason=finding.detail if finding else "")
        return Counter()
    return run(own.engine, lambda c: _settle_one(c, own, item, finding), patience=0)


def _settle_one(connection: Connection, own: Context, item: Pending, finding: Finding) -> Counter[Verdict]:
    """Unless somebody else settled it while the provider was asked."""
    confirmed = finding.testimony is Testimony.CONFIRMED
    locked = [
        replace(each, confirmed=confirmed, overdue_reason=f"provider_says_{finding.detail}")
        for each in pending_of(lock_open(connection, item.row_id))
    ]
    return settle(connection, own, locked, database_time(connection))
