"""What waits is tried again, on a real PostgreSQL."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from shop import Shop
from sqlalchemy import text, update

from domain.event import EventKind
from domain.verdict import Verdict
from models import cases, notifications
from ops.audit import violations
from tasks.attempt import begin_attempt, end_attempt
from tasks.chore import alone
from tasks.expire_overdue import expire
from tasks.incoming import read
from tasks.redrive import redrive_batch
from tasks.rows import LONGEST_PAUSE, pause_after


def _later(shop: Shop) -> None:
    """A few seconds go by for every open row."""
    with shop.engine.begin() as connection:
        connection.execute(
            update(notifications).values(
                processed_at=notifications.c.processed_at - timedelta(seconds=5),
                next_attempt_at=notifications.c.next_attempt_at - timedelta(seconds=5),
            )
        )


def test_a_parked_notification_is_applied_when_its_order_comes(shop: Shop) -> None:
    """The notification overtook its order; the next sweep after the order's commit applies it."""
    shop.apply(shop.payment("TEAPOT"))
    assert redrive_batch(shop.own).total() == 0
    shop.order("TEAPOT")
    _later(shop)

    verdicts = redrive_batch(shop.own)

    assert verdicts == {Verdict.APPLIED: 1}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)


def test_a_refund_that_overtook_its_payment_waits_for_it(shop: Shop) -> None:
    """Parked while the order is pending, applied in the sweep after the payment."""
    shop.order("TEAPOT")
    shop.apply(shop.envelope(shop.notice("TEAPOT", EventKind.REFUND, amount=400, refunded=400)))
    assert shop.statuses() == {"parked": 1}
    shop.apply(shop.payment("TEAPOT"))
    _later(shop)

    verdicts = redrive_batch(shop.own)

    assert verdicts == {Verdict.APPLIED: 1}
    assert shop.state("TEAPOT") == ("partially_refunded", 1000, 400)


def test_an_unchanged_order_wakes_nothing(shop: Shop) -> None:
    """A parked row whose order did not change since is not locked again and again."""
    shop.order("TEAPOT")
    with shop.engine.begin() as connection:
        connection.execute(text("UPDATE orders SET updated_at = now() - interval '10 minutes'"))
    shop.apply(shop.envelope(shop.notice("TEAPOT", EventKind.REFUND, amount=400, refunded=400)))
    _later(shop)

    assert redrive_batch(shop.own).total() == 0


def test_a_failed_attempt_is_tried_again_and_succeeds(shop: Shop) -> None:
    """Its cause is gone: applied, with the attempts on record."""
    shop.order("TEAPOT")
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders ADD CONSTRAINT never CHECK (paid = 0)"))
    assert shop.apply(shop.payment("TEAPOT"))[Verdict.FAILED] == 1
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders DROP CONSTRAINT never"))
    _later(shop)

    verdicts = redrive_batch(shop.own)

    assert verdicts == {Verdict.APPLIED: 1}
    assert shop.rows(notifications)[0].attempts == 2


def test_after_the_last_attempt_it_is_dead_and_a_case(shop: Shop) -> None:
    """Five attempts, then a person; no attempt after that."""
    shop.order("TEAPOT")
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders ADD CONSTRAINT never CHECK (paid = 0)"))
    shop.apply(shop.payment("TEAPOT"))
    for _ in range(10):
        _later(shop)
        redrive_batch(shop.own)

    [row] = shop.rows(notifications)
    assert (row.status, row.attempts, row.next_attempt_at) == ("dead", 5, None)
    assert "never" in row.last_error
    assert [(case.kind, case.reason) for case in shop.rows(cases)] == [("dead", "attempts_exhausted")]


def test_a_parked_notification_that_raises_holds_nothing_back_but_itself(shop: Shop) -> None:
    """The batch is taken apart: its neighbours are applied, and what failed before is tried."""
    shop.order("KETTLE")
    shop.apply(shop.payment("TEAPOT"), shop.payment("SAMOVAR"))
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders ADD CONSTRAINT never CHECK (paid = 0 OR order_no = 'SAMOVAR')"))
    shop.apply(shop.payment("KETTLE"))
    shop.order("TEAPOT")
    shop.order("SAMOVAR")
    _later(shop)

    assert redrive_batch(shop.own)[Verdict.APPLIED] == 1

    assert shop.state("SAMOVAR") == ("paid", 1000, 0)
    found = {row.order_no: (row.status, row.attempts) for row in shop.rows(notifications)}
    assert (found["SAMOVAR"], found["KETTLE"]) == (("applied", 0), ("failed", 2))
    assert found["TEAPOT"][0] == "failed"
    for _ in range(10):
        _later(shop)
        redrive_batch(shop.own)
    assert shop.statuses() == {"applied": 1, "dead": 2}


def test_an_attempt_that_died_is_counted_and_tried_again(shop: Shop) -> None:
    """A row left in `received` by a killed process is found by the sweep."""
    shop.order("TEAPOT")
    shop.apply(shop.payment("TEAPOT"))
    with shop.engine.begin() as connection:
        connection.execute(text("DELETE FROM transitions"))
        connection.execute(text("DELETE FROM ledger_entries"))
        connection.execute(text("UPDATE orders SET status = 'pending', paid = 0, version = 0"))
        connection.execute(
            text("UPDATE notifications SET status = 'received', attempts = 1, next_attempt_at = now() - interval '1 s'")
        )

    assert redrive_batch(shop.own) == {Verdict.APPLIED: 1}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)


def test_a_parked_notification_expires_and_stays_expired(shop: Shop) -> None:
    """Past its time it is never applied on its own, not even when its order comes: a case, and a person decides."""
    shop.apply(shop.envelope(shop.notice("TEAPOT"), received_at=time.time() - 86_000))
    with shop.engine.begin() as connection:
        connection.execute(update(notifications).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))

    assert expire(shop.own).total() == 1
    shop.order("TEAPOT")
    _later(shop)

    assert redrive_batch(shop.own).total() == 0
    assert not expire(shop.own)
    assert shop.state("TEAPOT") == ("pending", 0, 0)
    assert [(case.kind, case.order_no) for case in shop.rows(cases)] == [("expired", "TEAPOT")]


def test_a_redelivery_of_an_expired_notification_changes_nothing(shop: Shop) -> None:
    """A duplicate is a duplicate, whatever the first one's ending was."""
    notice = shop.notice("TEAPOT")
    shop.apply(shop.envelope(notice, received_at=time.time() - 5 * 86_400))
    shop.order("TEAPOT")

    assert shop.apply(shop.envelope(notice))[Verdict.DUPLICATE] == 1
    assert shop.statuses() == {"expired": 1}


def test_two_beats_run_a_chore_once(shop: Shop) -> None:
    """While one transaction holds the chore's advisory lock, another does nothing."""
    with shop.engine.connect() as first, shop.engine.connect() as second:
        assert alone(first, "redrive")
        assert not alone(second, "redrive")
        assert alone(second, "purge")
        first.rollback()
        assert alone(second, "redrive")


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 5), (1, 10), (2, 20), (5, 160), (100, LONGEST_PAUSE.total_seconds())],  # 5 * 2**attempts, up to an hour
)
def test_pauses_double(attempts: int, seconds: float) -> None:
    """The pause doubles from the base, and never beyond an hour."""
    assert pause_after(attempts, 5.0).total_seconds() == seconds


def test_an_attempt_that_raised_leaves_a_row_alone_that_a_copy_has_settled(shop: Shop) -> None:
    """Between the end of an attempt and its entry a copy applies the notification: applied it stays, once."""
    shop.order("TEAPOT")
    copy = shop.payment("TEAPOT")
    (item,), _ = read([copy], shop.own.dialects)
    with shop.engine.begin() as connection:
        row_id = begin_attempt(connection, shop.own, item)
    shop.apply(copy)

    with shop.engine.begin() as connection:
        verdict = end_attempt(connection, shop.own, row_id or 0, RuntimeError("walrus"))
    redrive_batch(shop.own)

    assert verdict is Verdict.DUPLICATE
    assert shop.statuses() == {"applied": 1}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    with shop.engine.connect() as connection:
        assert violations(connection)["I2"] == 0
