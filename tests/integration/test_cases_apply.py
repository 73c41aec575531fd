"""A person has a notification applied after all, and whoever looks later sees who and why."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from shop import Shop
from sqlalchemy import text, update

from domain.event import EventKind
from models import case_actions, cases, ledger_entries, notifications, orders
from ops.audit import violations
from tasks.expire_overdue import expire
from tasks.redrive import redrive_batch


@contextmanager
def worker(shop: Shop) -> Iterator[None]:
    """Somebody redrives while the block runs."""
    done = threading.Event()

    def sweep() -> None:
        while not done.wait(0.05):
            redrive_batch(shop.own)

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def audited(shop: Shop) -> dict[str, int]:
    """What is broken."""
    with shop.engine.connect() as connection:
        return {name: count for name, count in violations(connection, drained=True).items() if count}


def expired_payment(shop: Shop, order_no: str = "TEAPOT") -> None:
    """It waited for its order until its deadline was over."""
    shop.apply(shop.payment(order_no))
    with shop.engine.begin() as connection:
        connection.execute(update(notifications).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert expire(shop.own).total() == 1


def test_an_expired_payment_is_applied_by_a_person(shop: Shop, paidonce: Any) -> None:
    """Applied once, the case resolved, the action on record, every invariant whole."""
    expired_payment(shop)
    shop.order("TEAPOT")

    with worker(shop):
        done = paidonce("cases", "apply", "1", "--note", "money is there", "--by", "ada", "--json")

    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-2])
    assert (told["verdict"], told["case"]["status"], told["case"]["resolution"]) == ("applied", "resolved", "applied")
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    [action] = shop.rows(case_actions)
    assert (action.actor, action.action, action.note) == ("ada", "apply", "money is there")
    assert audited(shop) == {}


def test_a_late_payment_is_let_in(shop: Shop, paidonce: Any) -> None:
    """The closed order becomes paid, and its money leaves suspense: one entry, not two."""
    shop.order("TEAPOT")
    shop.apply(shop.envelope(shop.notice("TEAPOT", EventKind.CLOSED)))
    shop.apply(shop.payment("TEAPOT"))
    assert [row.standing for row in shop.rows(ledger_entries)] == ["counted", "suspense"]

    with worker(shop):
        done = paidonce("cases", "apply", "1", "--note", "we still ship")

    assert done.exit_code == 0, done.stderr
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert [row.standing for row in shop.rows(ledger_entries)] == ["counted", "counted"]
    assert audited(shop) == {}


def test_a_mismatch_needs_its_order_put_right(shop: Shop, paidonce: Any) -> None:
    """Money is never overruled: refused while the amounts differ, applied once the order says the same."""
    shop.order("TEAPOT", amount=900)
    shop.apply(shop.payment("TEAPOT"))

    with worker(shop):
        refused = paidonce("cases", "apply", "1", "--note", "try")
        assert (refused.exit_code, "stays open: mismatch (amount_differs)" in refused.stderr) == (1, True)
        with shop.engine.begin() as connection:
            connection.execute(update(orders).values(amount=1000))
        done = paidonce("cases", "apply", "1", "--note", "the order was wrong")

    assert done.exit_code == 0, done.stderr
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert len(shop.rows(cases)) == 1
    assert audited(shop) == {}


def test_a_dead_notification_gets_all_its_attempts_again(shop: Shop, paidonce: Any) -> None:
    """What killed it is gone."""
    shop.own = type(shop.own)(shop.own.settings.model_copy(update={"max_attempts": 1}), shop.engine, shop.own.dialects)
    shop.order("TEAPOT")
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders ADD CONSTRAINT never CHECK (paid = 0)"))
    shop.apply(shop.payment("TEAPOT"))
    assert shop.statuses() == {"dead": 1}
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders DROP CONSTRAINT never"))

    with worker(shop):
        done = paidonce("cases", "apply", "1", "--note", "fixed")

    assert done.exit_code == 0, done.stderr
    assert shop.statuses() == {"applied": 1}
    assert audited(shop) == {}


def test_what_cannot_be_applied_is_said(shop: Shop, paidonce: Any) -> None:
    """Second payments, conflicts, unreadable members, settled and unknown cases: nothing changes."""
    shop.order("TEAPOT")
    first = shop.notice("TEAPOT")
    shop.apply(shop.envelope(first), shop.payment("TEAPOT"))
    shop.apply(shop.envelope(shop.notice("TEAPOT", notification_id=first.notification_id, amount=9)), {"account": "x"})
    numbers = {row.kind: str(row.id) for row in shop.rows(cases)}
    before = shop.counts()

    said = {kind: paidonce("cases", "apply", number, "--note", "try") for kind, number in numbers.items()}

    assert "refund it at the provider" in said["duplicate_payment"].stderr
    assert "the first copy stands" in said["conflict"].stderr
    assert "nothing to apply" in said["dead"].stderr
    assert {result.exit_code for result in said.values()} == {1}
    assert "there is no case 77" in paidonce("cases", "apply", "77", "--note", "x").stderr
    assert paidonce("cases", "apply", numbers["dead"], "--note", " ").exit_code == 2
    assert shop.counts() == before
    assert audited(shop) == {}


def test_without_a_worker_it_waits_its_turn(shop: Shop, paidonce: Any) -> None:
    """Said so; the next worker applies it."""
    expired_payment(shop)
    shop.order("TEAPOT")

    done = paidonce("cases", "apply", "1", "--note", "x", "--wait", "0")

    assert (done.exit_code, "no worker took it up" in done.stdout) == (0, True)
    redrive_batch(shop.own)
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert [row.status for row in shop.rows(cases)] == ["resolved"]


def test_an_order_that_never_came_expires_again(shop: Shop, paidonce: Any) -> None:
    """Overruling the clock makes no order; the case stays open with the reason."""
    expired_payment(shop)

    with worker(shop):
        done = paidonce("cases", "apply", "1", "--note", "x")

    assert (done.exit_code, "expired (order_not_found)" in done.stderr) == (1, True)
    assert [row.status for row in shop.rows(cases)] == ["open"]
    assert audited(shop) == {}
