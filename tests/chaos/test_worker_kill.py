"""A worker killed -9 in the middle of its work, on every broker: nothing is lost and nothing is applied twice."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chaos.accounts import sandbox_accounts
from chaos.brokers import install_pgmq
from chaos.processes import Process, from_procfile
from shop import Shop

from domain.event import EventKind
from models import ledger_entries, notifications, orders
from models.order import insert_orders
from providers.dialect import Notice
from providers.envelope import Envelope
from providers.stripe import Stripe
from worker.link import Link
from worker.settings import Settings

ACCOUNT = "shop-badger"
NOTIFICATIONS = 600
PACK = 5


@pytest.fixture(params=["rabbitmq", "redis", "pgmq"])
def broker(request: pytest.FixtureRequest, database_url: str) -> dict[str, str]:
    """The environment that leads to a place of the test's own on each broker."""
    soon = {"PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": "3"}
    match request.param:
        case "rabbitmq":
            return {"PAIDONCE_BROKER_URL": request.getfixturevalue("rabbitmq_url")}
        case "redis":
            url, prefix = request.getfixturevalue("redis_server"), request.getfixturevalue("redis_prefix")
            return {"PAIDONCE_BROKER_URL": url, "PAIDONCE_BROKER_PREFIX": prefix, **soon}
        case _:
            install_pgmq(database_url)
            url = database_url.replace("postgresql+psycopg://", "pgmq://", 1)
            return {"PAIDONCE_BROKER_URL": url, **soon}


class Crew:
    """One worker with two children, a shop, and a link to the queue."""

    def __init__(self, shop: Shop, worker: Process, link: Link, dialect: Stripe) -> None:
        self.shop, self.worker, self._link, self._dialect = shop, worker, link, dialect
        with shop.engine.begin() as connection:
            insert_orders(connection, [self._order(number) for number in range(NOTIFICATIONS)])

    def _order(self, number: int) -> dict[str, Any]:
        return {"account": ACCOUNT, "order_no": f"BADGER-{number}", "amount": 700, "currency": "EUR"}

    def publish(self, numbers: Sequence[int]) -> None:
        """A payment for each, in packs."""
        envelopes = [self._payment(number) for number in numbers]
        for start in range(0, len(envelopes), PACK):
            self._link.send(envelopes[start : start + PACK], 5)

    def _payment(self, number: int) -> bytes:
        notice = Notice(
            notification_id=f"evt_{number}",
            kind=EventKind.PAYMENT,
            order_no=f"BADGER-{number}",
            transaction_id=f"pi_{number}",
            amount=700,
            currency="EUR",
            order_amount=700,
            occurred_at=datetime(2026, 11, 23, tzinfo=UTC),
        )
        now = time.time()
        return Envelope(ACCOUNT, "stripe", self._dialect.sign(notice, now), now).encoded()

    def applied(self) -> int:
        return self.shop.counts()["ledger_entries"]

    def delivered(self) -> int:
        """Repetitions included."""
        return sum(row.deliveries for row in self.shop.rows(notifications))

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            time.sleep(0.1)


@pytest.fixture
def crew(broker: dict[str, str], shop: Shop, tmp_path: Path) -> Iterator[Crew]:
    """A worker at work; it does not outlive the test."""
    accounts, dialects = sandbox_accounts(tmp_path, [ACCOUNT])
    url = shop.engine.url.render_as_string(hide_password=False)
    environment = {**accounts, **broker, "PAIDONCE_DATABASE_URL": url, "PAIDONCE_WORKERS": "2"}
    worker = from_procfile("worker", "worker", environment, tmp_path)
    own = {name.removeprefix("PAIDONCE_").lower(): value for name, value in broker.items()}
    link = Link(Settings(**own))  # type: ignore[arg-type]
    worker.start()
    yield Crew(shop, worker, link, dialects[ACCOUNT])
    worker.kill()
    link.close()


def test_a_worker_killed_in_the_middle_of_a_run_loses_and_doubles_nothing(crew: Crew) -> None:
    """Parent and children die with packs in hand, others still waiting; the next worker finishes every one, once."""
    half = NOTIFICATIONS // 2
    crew.publish(range(half))
    crew.wait_until(lambda: crew.applied() > 0, 60)
    crew.worker.send(signal.SIGSTOP)
    crew.publish(range(half, NOTIFICATIONS))
    before = crew.applied()
    crew.worker.kill()

    crew.worker.start()
    crew.publish(range(0, NOTIFICATIONS, 3))  # the provider has its doubts
    repeated = NOTIFICATIONS // 3
    # What was run twice counts as delivered twice: only both conditions together say that nothing is on its way.
    crew.wait_until(lambda: crew.applied() == NOTIFICATIONS and crew.delivered() >= NOTIFICATIONS + repeated, 90)

    assert 0 < before < NOTIFICATIONS
    assert crew.shop.statuses() == {"applied": NOTIFICATIONS}
    assert len(crew.shop.rows(ledger_entries)) == NOTIFICATIONS
    assert {(row.status, row.paid, row.version) for row in crew.shop.rows(orders)} == {("paid", 700, 1)}


def test_a_worker_whose_idle_children_are_killed_goes_on(crew: Crew) -> None:
    """As the kernel does when memory is short: new children take over, and what is published then is applied."""
    crew.publish(range(PACK))
    crew.wait_until(lambda: crew.applied() == PACK, 60)
    for _ in range(2):
        oldest = crew.worker.children()[0]
        os.kill(oldest, signal.SIGKILL)
        crew.wait_until(lambda gone=oldest: gone not in crew.worker.children(), 10)  # type: ignore[misc]
    crew.publish(range(PACK, 20 * PACK))
    crew.wait_until(lambda: crew.applied() == 20 * PACK, 10)

    assert crew.applied() == 20 * PACK
    assert {row.status for row in crew.shop.rows(notifications)} == {"applied"}
