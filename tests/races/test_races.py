"""Races with threads and a barrier, each thread with its own connection, on a real PostgreSQL."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from at_once import at_once
from failpoints.children import DONE, Child, stop_at
from shop import Shop
from sqlalchemy import Engine

from domain.event import EventKind
from domain.verdict import Verdict
from models import ledger_entries, notifications, transitions
from ops.audit import violations
from tasks.purge import purge_all
from tasks.redrive import redrive_batch
from worker.database import build_engine
from worker.lock import OrderLock

#: PostgreSQL's usual 100 connections leave room for 50 and the rest of the suite.
COPIES = 50


def verdicts_of(shop: Shop, jobs: Sequence[Callable[[Shop], Counter[Verdict]]]) -> Counter[Verdict]:
    """Runs the jobs at once; the sum of their verdicts."""
    return +sum(at_once(shop, jobs), Counter[Verdict]())


def test_fifty_copies_at_once_are_applied_once(shop: Shop) -> None:
    """One is applied, forty-nine are duplicates, and every delivery is counted."""
    shop.order("TEAPOT")
    copy = shop.payment("TEAPOT")

    verdicts = verdicts_of(shop, [lambda twin: twin.apply(copy)] * COPIES)

    assert verdicts == {Verdict.APPLIED: 1, Verdict.DUPLICATE: COPIES - 1}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert shop.counts() == {"notifications": 1, "ledger_entries": 1, "transitions": 1, "cases": 0}
    assert shop.rows(notifications)[0].deliveries == COPIES


def test_two_notifications_of_one_payment_at_once(shop: Shop) -> None:
    """Different ids, the same transaction: one effect, the others are stale."""
    shop.order("TEAPOT")
    envelopes = [shop.payment("TEAPOT", transaction_id="pi_same") for _ in range(12)]

    verdicts = verdicts_of(shop, [lambda twin, one=one: twin.apply(one) for one in envelopes])  # type: ignore[misc]

    assert verdicts == {Verdict.APPLIED: 1, Verdict.STALE: 11}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)


def test_two_payments_of_one_order_at_once(shop: Shop) -> None:
    """Different transactions: one pays, every other stands in front of a person."""
    shop.order("TEAPOT")
    envelopes = [shop.payment("TEAPOT") for _ in range(12)]

    verdicts = verdicts_of(shop, [lambda twin, one=one: twin.apply(one) for one in envelopes])  # type: ignore[misc]

    assert verdicts == {Verdict.APPLIED: 1, Verdict.DUPLICATE_PAYMENT: 11}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert shop.counts()["cases"] == 11


def test_payment_and_refunds_of_one_order_at_once(shop: Shop) -> None:
    """Whatever overtakes what, after the sweeps the order is the sum of its ledger and its history is dense."""
    shop.order("TEAPOT")
    envelopes = [shop.payment("TEAPOT")] + [
        shop.envelope(shop.notice("TEAPOT", EventKind.REFUND, amount=100, refunded=100 * step)) for step in range(1, 6)
    ]

    verdicts_of(shop, [lambda twin, one=one: twin.apply(one) for one in envelopes])  # type: ignore[misc]
    with shop.engine.begin() as connection:
        connection.execute(
            notifications.update().values(processed_at=notifications.c.processed_at - timedelta(seconds=5))
        )
    redrive_batch(shop.own)

    assert shop.state("TEAPOT") == ("partially_refunded", 1000, 500)
    assert -sum(row.amount for row in shop.rows(ledger_entries) if row.kind == "refund") == 500
    assert [row.seq for row in shop.rows(transitions)] == list(range(1, len(shop.rows(transitions)) + 1))


def test_the_same_packs_in_opposite_order_do_not_deadlock(shop: Shop) -> None:
    """Keys are locked sorted, so that packs with the same members wait in one direction; nothing is taken apart."""
    order_nos = [shop.order(f"TEAPOT-{number:02}") for number in range(40)]
    envelopes = [shop.payment(order_no) for order_no in order_nos]

    verdicts = verdicts_of(
        shop,
        [lambda twin: twin.apply(*envelopes), lambda twin: twin.apply(*reversed(envelopes))] * 4,
    )

    assert verdicts == {Verdict.APPLIED: 40, Verdict.DUPLICATE: 7 * 40}
    assert all(row.attempts == 0 for row in shop.rows(notifications))


def test_copies_of_a_parked_notification_at_once(shop: Shop) -> None:
    """Its order has come and so have twelve copies: the row's lock lets one settle it, the others find it settled."""
    copy = shop.payment("TEAPOT")
    shop.apply(copy)
    assert shop.statuses() == {"parked": 1}
    shop.order("TEAPOT")

    verdicts = verdicts_of(shop, [lambda twin: twin.apply(copy)] * 12)

    # Each is a delivery of a row that was there before, the one that settled it too.
    assert verdicts == {Verdict.APPLIED: 1, Verdict.DUPLICATE: 12}
    assert shop.statuses() == {"applied": 1}
    assert shop.counts() == {"notifications": 1, "ledger_entries": 1, "transitions": 1, "cases": 0}


def test_purge_during_duplicates(shop: Shop) -> None:
    """Rows are purged under the feet of their redeliveries: the ledger's key stops every second effect."""
    shop.order("TEAPOT")
    copy = shop.payment("TEAPOT")
    shop.apply(copy)
    later = datetime.now(UTC) + timedelta(days=60)

    def purge(twin: Shop) -> Counter[Verdict]:
        for _ in range(10):
            purge_all(twin.own, later)
        return Counter()

    verdicts = verdicts_of(shop, [purge, purge] + [lambda twin: twin.apply(copy)] * 20)

    assert verdicts[Verdict.APPLIED] == 0
    assert verdicts[Verdict.DUPLICATE] + verdicts[Verdict.STALE] == 20
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert shop.counts()["ledger_entries"] == 1


def test_order_import_and_its_notification_at_once(shop: Shop) -> None:
    """The order commits while its notification is decided: applied now, or parked and applied by the sweep."""
    pairs = [(f"TEAPOT-{number}", shop.payment(f"TEAPOT-{number}")) for number in range(8)]

    def bring(order_no: str) -> Callable[[Shop], Counter[Verdict]]:
        def job(twin: Shop) -> Counter[Verdict]:
            twin.order(order_no)
            return Counter()

        return job

    jobs: list[Callable[[Shop], Counter[Verdict]]] = []
    for order_no, envelope in pairs:
        jobs += [bring(order_no), lambda twin, one=envelope: twin.apply(one)]  # type: ignore[misc]
    verdicts_of(shop, jobs)
    with shop.engine.begin() as connection:
        connection.execute(
            notifications.update().values(processed_at=notifications.c.processed_at - timedelta(seconds=5))
        )
    redrive_batch(shop.own)

    assert {shop.state(order_no) for order_no, _ in pairs} == {("paid", 1000, 0)}


class AlwaysGranted(OrderLock):
    """The order lock at its worst: everybody holds it."""

    def _acquire(self, keys: list[str], token: str) -> bool:
        return True


def _lock(kind: str, url: str, prefix: str) -> OrderLock:
    if kind == "always granted":
        return AlwaysGranted(url, 1.0, prefix)
    if kind == "dead":
        return OrderLock("redis://127.0.0.1:1/0", 1.0, prefix)
    return OrderLock(url, 1.0, prefix)


@pytest.mark.parametrize("kind", ["working", "dead", "always granted"])
def test_correctness_never_rests_on_the_order_lock(
    database: Engine, redis_server: str, redis_prefix: str, kind: str
) -> None:
    """With Redis working, dead, or granting the lock to everybody, each copy and each second payment ends the same."""
    shop = Shop(database, lock=_lock(kind, redis_server, redis_prefix))
    shop.order("TEAPOT")
    first, second = shop.payment("TEAPOT"), shop.payment("TEAPOT")

    verdicts = verdicts_of(shop, [lambda twin: twin.apply(first), lambda twin: twin.apply(second)] * 8)

    assert verdicts == {Verdict.APPLIED: 1, Verdict.DUPLICATE_PAYMENT: 1, Verdict.DUPLICATE: 14}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)


def test_a_holder_paused_beyond_its_ttl_takes_nothing_from_the_next(
    database: Engine, redis_server: str, redis_prefix: str, tmp_path: Path
) -> None:
    """It stands still with the order lock granted, the lock runs out, another payment is applied; then it goes on."""
    shop = Shop(database, lock=OrderLock(redis_server, 0.2, redis_prefix))
    shop.order("TEAPOT")
    paused, other = shop.payment("TEAPOT"), shop.payment("TEAPOT")
    plan = tmp_path / "plan"
    plan.write_text("apply.notifications_locked:1:stop")

    def work() -> None:
        engine = build_engine(database.url.render_as_string(hide_password=False))
        Shop(engine, lock=OrderLock(redis_server, 0.2, redis_prefix)).apply(paused)

    holder = Child(work, plan)
    try:
        assert stop_at(holder, plan)
        time.sleep(0.3)
        verdicts = shop.apply(other)
        holder.send(signal.SIGCONT)
        code = holder.end()
    finally:
        holder.bury()

    assert (+verdicts, code) == ({Verdict.APPLIED: 1}, DONE)
    assert shop.statuses() == {"applied": 1, "duplicate_payment": 1}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    with redis.Redis.from_url(redis_server) as client:
        assert list(client.scan_iter(f"{redis_prefix}*")) == []
    with database.connect() as connection:
        assert not any(violations(connection).values())


def test_the_order_lock_excludes_and_gives_back_only_its_own(redis_server: str, redis_prefix: str) -> None:
    """A second holder is refused while the first holds; a lock lost to its TTL is not taken from its new owner."""
    key = {("shop-crunchy", "TEAPOT")}
    lock = OrderLock(redis_server, 30.0, redis_prefix)

    with lock.hold(key) as first, lock.hold(key) as second:
        assert (first, second) == (True, False)
    with lock.hold(key) as again:
        assert again
        with redis.Redis.from_url(redis_server) as client:
            client.set(f"{redis_prefix}lock:shop-crunchy:TEAPOT", "somebody else")
    with redis.Redis.from_url(redis_server) as client:
        assert client.get(f"{redis_prefix}lock:shop-crunchy:TEAPOT") == b"somebody else"
