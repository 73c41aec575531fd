"""Tells the rest of the shop what the outbox holds: published with confirms, then marked. At least once, in order.

A row is marked only when the broker confirmed it, so a death in between repeats and never loses. Events of one order
follow one another: the next is not sent before the one before it is confirmed. Guarded by
tests/integration/test_relay_outbox.py.
"""

from collections import Counter
from collections.abc import Sequence
from time import monotonic

import structlog
from celery import shared_task
from sqlalchemy import Connection

from domain.errors import DatabaseAway
from models.outbox import mark_relayed, waiting
from tasks.chore import alone
from tasks.context import Context, context
from worker import failpoint
from worker.topic import Topic, topic
from worker.topic_line import Announcement
from worker.transaction import run

log = structlog.get_logger()

#: Rows in one transaction: more only means more repeated after a death.
BATCH = 1000
#: Seconds for the confirms of a batch. The transaction is idle meanwhile, and PostgreSQL ends an idle one after 10 s.
PATIENCE = 4.0
#: Seconds that one run may take. It keeps one child of the worker from packs; the next beat goes on.
BUDGET = 5.0


@shared_task(name="tasks.relay_outbox")
def relay_outbox() -> None:
    """The Celery entry."""
    relay_quietly(context(), topic())


def relay_quietly(own: Context, publisher: Topic) -> None:
    """A broker or a database that is away is waited for by the next beat, not here."""
    try:
        relay(own, publisher)
    except DatabaseAway as away:
        log.warning("outbox not relayed", error=str(away))


def relay(own: Context, publisher: Topic) -> int:
    """Batches until nothing waits, something was not confirmed, or the time is up; how many rows were relayed."""
    total, until = 0, monotonic() + BUDGET
    while monotonic() < until:
        seen, relayed = run(own.engine, lambda c: _batch(c, publisher), patience=0)
        total += relayed
        if seen < BATCH or relayed < seen:
            break
    if total:
        log.info("relayed", count=total)
    return total


def _batch(connection: Connection, publisher: Topic) -> tuple[int, int]:
    """How many rows waited, and how many of them are relayed now."""
    if not alone(connection, "relay_outbox"):
        return 0, 0
    rows = [Announcement(*row) for row in waiting(connection, BATCH)]
    confirmed = _published(rows, publisher) if rows else set()
    failpoint.at("relay.confirmed")
    mark_relayed(connection, confirmed)
    return len(rows), len(confirmed)


def _published(rows: Sequence[Announcement], publisher: Topic) -> set[int]:
    confirmed: set[int] = set()
    until = monotonic() + PATIENCE
    for wave in waves(rows):
        left = until - monotonic()
        taken = publisher.publish(wave, left) if left > 0 else set()
        confirmed |= taken
        if len(taken) < len(wave):
            break
    return confirmed


def waves(rows: Sequence[Announcement]) -> list[list[Announcement]]:
    """`rows` in parts that hold at most one of each order, an order's earlier ones in the earlier parts.

    A broker may refuse one message and take the next: sent together, the second would overtake the first.
    """
    found: list[list[Announcement]] = []
    sizes: Counter[tuple[str, str]] = Counter()
    for row in rows:
        depth = 0
        if row.order_no is not None:
            depth = sizes[row.account, row.order_no]
            sizes[row.account, row.order_no] += 1
        if depth == len(found):
            found.append([])
        found[depth].append(row)
    return found
