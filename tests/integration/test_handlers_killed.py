"""Handlers in real workers that die: at COMMIT's door, and by their own hand; and workers that do not start."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import SECRET, Stack, stack, until
from shop import ACCOUNT, Shop, stripe
from sqlalchemy import text

from models import cases, notifications
from providers.dialect import Notice
from providers.envelope import Envelope
from worker.link import Link
from worker.settings import Settings

MODULE = """
import os, signal
from sqlalchemy import text
from tasks.handlers import on

@on("order.paid")
def take(session, order, event):
    session.execute(text("INSERT INTO moves (order_no) VALUES (:order_no)"), {"order_no": order.order_no})
    if order.order_no == "POISON":
        os.kill(os.getpid(), signal.SIGKILL)
"""


class Crew:
    """A worker with handlers, beat, and a way to hand it packs."""

    def __init__(self, shop: Shop, own: Stack, link: Link, plan: Path) -> None:
        self.shop, self.stack, self._link, self._plan = shop, own, link, plan
        self._door = stripe(ACCOUNT, SECRET.encode())
        self._notices: dict[str, Notice] = {}

    def publish(self, *order_nos: str) -> None:
        """One pack with a payment for each."""
        now = time.time()
        for order_no in order_nos:
            self._notices.setdefault(order_no, self.shop.notice(order_no))
        notices = [self._notices[order_no] for order_no in order_nos]
        self._link.send([Envelope(ACCOUNT, "stripe", self._door.sign(each, now), now).encoded() for each in notices], 5)

    def strike(self, words: str) -> None:
        """The next process that comes to the point dies there."""
        beside = self._plan.with_suffix(".new")
        beside.write_text(words)
        beside.rename(self._plan)

    def struck(self) -> list[Path]:
        """Whom the plan has struck."""
        return [each for each in self._plan.parent.glob("plan.*") if each.suffix != ".new"]

    def moves(self) -> list[str]:
        with self.shop.engine.connect() as connection:
            return list(connection.execute(text("SELECT order_no FROM moves ORDER BY order_no")).scalars())


@pytest.fixture(params=["rabbitmq", "redis"])
def crew(request: pytest.FixtureRequest, shop: Shop, tmp_path: Path) -> Iterator[Crew]:
    """A worker and beat of the Procfile, with PAIDONCE_HANDLERS."""
    (tmp_path / "kitchen.py").write_text(MODULE)
    with shop.engine.begin() as connection:
        connection.execute(text("CREATE TABLE moves (order_no text NOT NULL)"))
    plan = tmp_path / "plan"
    broker: dict[str, Any] = {"broker_url": request.getfixturevalue("rabbitmq_url")}
    if request.param == "redis":
        broker = {"broker_url": request.getfixturevalue("redis_server"), "visibility_timeout_seconds": 3}
        broker["broker_prefix"] = request.getfixturevalue("redis_prefix")
    environ = {f"PAIDONCE_{name.upper()}": str(value) for name, value in broker.items()} | {
        "PAIDONCE_HANDLERS": "kitchen",
        "PAIDONCE_FAILPOINTS": str(plan),
        "PAIDONCE_RETRY_BASE_SECONDS": "0.2",
        "PYTHONPATH": str(tmp_path),
    }
    url = shop.engine.url.render_as_string(hide_password=False)
    broker_url = environ.pop("PAIDONCE_BROKER_URL")
    link = Link(Settings(**broker))
    with stack(tmp_path, url, broker_url, **environ) as own:
        own.start("worker", "beat")
        yield Crew(shop, own, link, plan)
    link.close()


def test_a_worker_killed_between_handler_and_commit_runs_it_again_and_writes_once(crew: Crew) -> None:
    """Three times in a row SIGKILL strikes when the handlers have run and COMMIT is not sent."""
    order_nos = [crew.shop.order(f"TEAPOT-{number}") for number in range(9)]
    for at in range(0, 9, 3):
        crew.strike("transaction.done:1:kill")
        crew.publish(*order_nos[at : at + 3])
        until(lambda count=at // 3 + 1: len(crew.struck()) == count, lambda: crew.stack.tail("worker"))  # type: ignore[misc]
    until(lambda: crew.shop.statuses() == {"applied": 9}, lambda: crew.stack.tail("worker"), 90)

    assert crew.moves() == order_nos


def test_one_that_kills_its_process_ends_dead_and_its_neighbours_are_applied(crew: Crew) -> None:
    """Its pack comes back, is taken apart, and each death counts as an attempt; a later poison does not hold it up."""
    for order_no in ("TEAPOT", "POISON", "KETTLE"):
        crew.shop.order(order_no)
    crew.publish("TEAPOT", "POISON", "KETTLE")
    until(lambda: crew.shop.statuses() == {"applied": 2, "dead": 1}, lambda: crew.stack.tail("worker"), 150)

    assert crew.moves() == ["KETTLE", "TEAPOT"]
    [poison] = [row for row in crew.shop.rows(notifications) if row.status == "dead"]
    assert (poison.order_no, poison.attempts) == ("POISON", 5)
    assert [(case.kind, case.order_no) for case in crew.shop.rows(cases)] == [("dead", "POISON")]
    assert crew.shop.state("POISON") == ("pending", 0, 0)


def test_a_parked_poison_ends_dead_too(crew: Crew) -> None:
    """It waits for its order, which comes; the sweep that finds it dies of it no more often than it has attempts."""
    crew.publish("POISON", "LATE")
    until(lambda: crew.shop.statuses() == {"parked": 2}, lambda: crew.stack.tail("worker"))
    crew.shop.order("POISON")
    crew.shop.order("LATE")
    until(lambda: crew.shop.statuses() == {"applied": 1, "dead": 1}, lambda: crew.stack.tail("worker"), 150)

    assert crew.moves() == ["LATE"]


def test_a_stopped_process_is_outwaited(crew: Crew) -> None:
    """SIGSTOP before COMMIT: PostgreSQL ends its session, the pack comes again, and nothing is written late."""
    crew.shop.order("TEAPOT")
    crew.strike("transaction.done:1:stop")
    crew.publish("TEAPOT")
    until(lambda: len(crew.struck()) == 1, lambda: crew.stack.tail("worker"))
    [struck] = crew.struck()
    pid = int(struck.suffix[1:])
    crew.publish("TEAPOT")
    try:
        until(lambda: crew.moves() == ["TEAPOT"], lambda: crew.stack.tail("worker"), 60)
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: crew.shop.rows(notifications)[0].deliveries >= 2, lambda: crew.stack.tail("worker"), 60)

    assert crew.moves() == ["TEAPOT"]
    assert crew.shop.state("TEAPOT") == ("paid", 1000, 0)
