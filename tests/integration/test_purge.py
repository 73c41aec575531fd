"""Cleanup never breaks exactly-once: everything purged is delivered again and nothing changes."""

import time
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from shop import Shop
from sqlalchemy import text, update

from domain.errors import ConfigurationError
from domain.event import EventKind
from domain.verdict import Verdict
from models import cases, ledger_entries, notifications, outbox, packs, payloads
from models.payload import create_partition, existing_days
from tasks.context import check_retention
from tasks.purge import DAYS_AHEAD, purge_all

LATER = timedelta(days=60)


def _now() -> datetime:
    return datetime.now(UTC)


def test_replaying_everything_purged_changes_nothing(shop: Shop) -> None:
    """The ledger's key outlives the rows: payments, refunds and closings delivered again after the purge do nothing."""
    shop.order("TEAPOT")
    shop.order("KETTLE")
    notices = [
        shop.notice("TEAPOT"),
        shop.notice("TEAPOT", EventKind.REFUND, amount=300, refunded=300),
        shop.notice("TEAPOT", EventKind.REFUND, amount=200, refunded=500),
        shop.notice("KETTLE", EventKind.CLOSED),
        shop.notice("TEAPOT", EventKind.CLOSED),
    ]
    for notice in notices:
        shop.apply(shop.envelope(notice))
    before = {order_no: shop.state(order_no) for order_no in ("TEAPOT", "KETTLE")}
    ledger = shop.counts()["ledger_entries"]

    assert purge_all(shop.own, _now() + LATER) == 5
    assert shop.counts()["notifications"] == 0
    replayed = [shop.apply(shop.envelope(notice)) for notice in reversed(notices)]

    assert not any(verdicts[Verdict.APPLIED] for verdicts in replayed)
    assert {order_no: shop.state(order_no) for order_no in before} == before
    assert shop.counts()["ledger_entries"] == ledger
    assert shop.counts()["cases"] == 0


def test_what_waits_and_what_a_person_must_see_is_never_purged(shop: Shop) -> None:
    """Only settled rows go."""
    shop.order("TEAPOT")
    shop.apply(shop.payment("TEAPOT"), shop.payment("NOT-HERE-YET"))
    shop.apply(shop.payment("TEAPOT"))

    assert purge_all(shop.own, _now() + LATER) == 1
    assert shop.statuses() == {"parked": 1, "duplicate_payment": 1}


def test_young_rows_stay(shop: Shop) -> None:
    """Inside the retention a duplicate is still found by its row."""
    shop.order("TEAPOT")
    shop.apply(shop.payment("TEAPOT"))

    assert purge_all(shop.own, _now() + timedelta(days=44)) == 0


def test_payloads_go_by_days_and_the_days_ahead_are_made(shop: Shop) -> None:
    """Old partitions are dropped whole; a week of partitions stands ready."""
    today = _now().date()
    with shop.engine.begin() as connection:
        for days in (13, 14, 15, 40):
            assert create_partition(connection, today - timedelta(days=days))

    purge_all(shop.own, _now())

    with shop.engine.connect() as connection:
        days = existing_days(connection)
    assert days == [
        *(today - timedelta(days=days) for days in (14, 13)),
        *(today + timedelta(days=days) for days in range(DAYS_AHEAD + 1)),
    ]


def test_the_payload_of_an_open_case_is_kept(shop: Shop) -> None:
    """Evidence outlives its retention until a person has resolved the case."""
    old = _now() - timedelta(days=20)
    with shop.engine.begin() as connection:
        create_partition(connection, old.date())
    shop.apply(shop.envelope(shop.notice("TEAPOT"), received_at=old.timestamp()))
    assert [case.kind for case in shop.rows(cases)] == ["expired"]

    purge_all(shop.own, _now())
    assert len(shop.rows(payloads)) == 1

    with shop.engine.begin() as connection:
        connection.execute(update(cases).values(status="resolved"))
    purge_all(shop.own, _now())
    assert shop.rows(payloads) == []


def test_a_day_without_a_partition_loses_nothing(shop: Shop) -> None:
    """Beat was away: rows go to the default partition, and the day's own is not forced over them."""
    shop.apply(shop.payment("TEAPOT"))

    purge_all(shop.own, _now())

    assert len(shop.rows(payloads)) == 1
    with shop.engine.connect() as connection:
        assert _now().date() not in existing_days(connection)


def test_old_epochs_are_forgotten_as_a_whole(shop: Shop) -> None:
    """The record of pack numbers does not grow for ever; half an epoch would look like a loss."""
    old, running = uuid4(), uuid4()
    rows = [(old, 1, 50), (old, 2, 49), (running, 1, 50), (running, 2, 1)]
    with shop.engine.begin() as connection:
        for epoch, number, days in rows:
            seen = _now() - timedelta(days=days)
            row = {"epoch": epoch, "number": number, "deliveries": 1, "first_seen_at": seen, "applied_at": seen}
            connection.execute(packs.insert().values(row))

    purge_all(shop.own, _now())

    assert [(row.epoch, row.number) for row in shop.rows(packs)] == [(running, 1), (running, 2)]


@pytest.mark.parametrize(
    ("settings", "named"), [({"status_retention_days": 30}, "STATUS"), ({"payload_retention_days": 1}, "PAYLOAD")]
)
def test_a_retention_below_the_horizon_is_refused(shop: Shop, settings: dict[str, int], named: str) -> None:
    """Stripe redelivers for 30 days: keeping rows for 30 is too short, and the process does not start."""
    short = shop.own.settings.model_copy(update=settings)

    with pytest.raises(ConfigurationError, match=f"PAIDONCE_{named}_RETENTION_DAYS"):
        check_retention(short, shop.own.dialects)


def test_partitions_are_named_by_day() -> None:
    """A UTC day, sortable."""
    from models.payload import partition_name

    assert partition_name(date(2026, 11, 3)) == "payloads_p20261103"


def test_nothing_settled_is_lost_from_the_ledger(shop: Shop) -> None:
    """Purging a notification leaves its ledger entry and its order alone."""
    shop.order("TEAPOT")
    shop.apply(shop.envelope(shop.notice("TEAPOT"), received_at=time.time()))

    purge_all(shop.own, _now() + LATER)

    assert shop.rows(notifications) == []
    assert len(shop.rows(ledger_entries)) == 1
    assert shop.state("TEAPOT") == ("paid", 1000, 0)


def test_every_window_is_walked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that stay do not end the walk: behind a window without anything to delete there may be more."""
    monkeypatch.setattr("tasks.purge.WINDOW", 2)
    shop.order("TEAPOT")
    shop.apply(*(shop.payment("TEAPOT", amount=7) for _ in range(4)))
    shop.apply(shop.payment("TEAPOT"))
    assert shop.statuses() == {"mismatch": 4, "applied": 1}

    assert purge_all(shop.own, _now() + LATER) == 1

    assert shop.statuses() == {"mismatch": 4}


def test_the_row_beside_a_conflict_stays(shop: Shop) -> None:
    """Without it the other copy of its id would be new, and the ledger knows nothing of that copy's transaction."""
    shop.order("TEAPOT")
    shop.order("KETTLE")
    first = shop.notice("TEAPOT")
    other = shop.envelope(shop.notice("KETTLE", notification_id=first.notification_id))
    shop.apply(shop.envelope(first))
    shop.apply(other)

    assert purge_all(shop.own, _now() + LATER) == 0
    shop.apply(other)

    assert shop.state("KETTLE") == ("pending", 0, 0)


def test_what_the_outbox_told_long_ago_goes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """In windows; what still waits for its relay stays, however old."""
    monkeypatch.setattr("tasks.purge.WINDOW", 2)
    for number in range(5):
        shop.apply(shop.payment(shop.order(f"TEAPOT-{number}")))
    with shop.engine.begin() as connection:
        connection.execute(text("UPDATE outbox SET relayed_at = now(), created_at = now() WHERE id <> 3"))

    purge_all(shop.own, _now() + timedelta(days=13))
    assert len(shop.rows(outbox)) == 5
    purge_all(shop.own, _now() + timedelta(days=15))

    assert [row.id for row in shop.rows(outbox)] == [3]
