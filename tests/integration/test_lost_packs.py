"""A broker that loses what it confirmed is found out, to the notification; killed workers are no loss."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import kombu
import pytest
from click.testing import Result
from provider_side import accepted, post, post_during
from running import Stack, stack, until
from shop import Shop
from sqlalchemy import Engine

from models import cases, notifications
from ops.audit.run import violations
from tasks.watch_packs import watch

PATIENCE, VISIBILITY = 3.0, 3
#: Small packs, so that there are many.
SETTINGS = {
    "PAIDONCE_PACK_MAX_ENVELOPES": "4",
    "PAIDONCE_LOST_PACK_PATIENCE_SECONDS": str(PATIENCE),
    "PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": str(VISIBILITY),
}


def running(folder: Path, database_url: str, broker_url: str, **more: str) -> AbstractContextManager[Stack]:
    return stack(folder, database_url, broker_url, **SETTINGS, **more)


@contextmanager
def stopped(own: Stack, name: str) -> Iterator[None]:
    """A process of the stack stands still while the block runs."""
    os.killpg(own.running[name].pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(own.running[name].pid, signal.SIGCONT)


def seen(shop: Shop) -> set[str]:
    return {row.notification_id for row in shop.rows(notifications)}


def told(shop: Shop) -> int:
    """Notifications that the open cases tell of."""
    found = [re.match(r"(\d+) notifications in", part) for part in details(shop)]
    return sum(int(match[1]) for match in found if match)


def details(shop: Shop) -> list[str]:
    open_ones = [row for row in shop.rows(cases) if row.kind == "lost_pack" and row.status == "open"]
    return [part for row in open_ones for part in row.detail.split("; ")]


def missing(database: Engine) -> int:
    """Gaps that the audit sees."""
    with database.connect() as connection:
        return violations(connection, drained=True)["I1"]


def test_exactly_what_a_purge_took_is_told(
    tmp_path: Path, database_url: str, database: Engine, rabbitmq_url: str, paidonce: Callable[..., Result]
) -> None:
    """The queue is purged under load, twice: beat opens cases that count every notification, and no other."""
    shop = Shop(database)
    purged: list[int] = []
    with running(tmp_path, database_url, rabbitmq_url) as own:
        own.start("web", "worker", "beat")
        own.wait_ready()

        def purge() -> bool:
            with kombu.Connection(rabbitmq_url) as connection:
                purged.append(connection.default_channel.queue_purge("paidonce.apply"))
            return purged[-1] > 0

        def purge_twice() -> None:
            for _ in range(2):
                # What a worker has in hand no purge can take, and it may have all of this.
                own.kill("worker")
                until(purge, "there is nothing to purge")
                own.start("worker")
                known = len(seen(shop))
                until(lambda known=known: len(seen(shop)) > known + 50, lambda: own.tail("worker"))

        answers = post_during(own.url, purge_twice, clients=4)
        time.sleep(PATIENCE + 1)
        answers |= post(own.url, 8)
        until(lambda: told(shop) == len(accepted(answers) - seen(shop)) > 0, lambda: own.tail("worker"))

    assert sum(count > 0 for count in purged) == 2
    assert told(shop) == len(accepted(answers) - seen(shop))
    assert f"\npaidonce_lost_notifications {float(told(shop))}\n" in paidonce("metrics").stdout
    assert len(details(shop)) >= 2
    # The audit excuses what is younger than ten seconds.
    until(lambda: missing(database) == len(details(shop)), lambda: f"{missing(database)}, told are {details(shop)}")


@pytest.mark.parametrize("broker", ["rabbitmq_node", "redis_node"])
def test_a_broker_that_loses_its_disk_is_told_to_the_last_notification(
    tmp_path: Path, database_url: str, database: Engine, broker: str, request: pytest.FixtureRequest
) -> None:
    """The connections die with it: the next one names the last pack that the broker had confirmed."""
    node = request.getfixturevalue(broker)
    shop = Shop(database)
    with running(tmp_path, database_url, node.url) as own:
        own.start("web", "worker", "beat")
        own.wait_ready()
        answers = post(own.url, 20)
        until(lambda: accepted(answers) <= seen(shop), lambda: own.tail("worker"))
        with stopped(own, "worker"):
            answers |= post_during(own.url, node.lose_everything, clients=4)
        until(lambda: len(seen(shop)) > 40, lambda: own.tail("worker"))
        time.sleep(PATIENCE + VISIBILITY + 1)
        answers |= post(own.url, 8)
        until(lambda: told(shop) == len(accepted(answers) - seen(shop)) > 0, lambda: own.tail("worker"))

    assert told(shop) == len(accepted(answers) - seen(shop))


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_killed_workers_are_no_loss(
    tmp_path: Path, database_url: str, database: Engine, broker: str, request: pytest.FixtureRequest
) -> None:
    """Three kills -9 of one of two under load, looked at all the while: what comes back later is not told."""
    broker_url = request.getfixturevalue("rabbitmq_url" if broker == "rabbitmq" else "redis_server")
    prefix = {} if broker == "rabbitmq" else {"PAIDONCE_BROKER_PREFIX": request.getfixturevalue("redis_prefix")}
    shop = Shop(
        database,
        broker_url=broker_url,
        lost_pack_patience_seconds=PATIENCE,
        visibility_timeout_seconds=VISIBILITY,
    )
    found: list[object] = []

    def watch_for(seconds: float) -> None:
        for _ in range(int(seconds / 0.25)):
            found.extend(watch(shop.own))
            time.sleep(0.25)

    (tmp_path / "other").mkdir()
    with (
        running(tmp_path, database_url, broker_url, **prefix) as own,
        running(tmp_path / "other", database_url, broker_url, **prefix) as other,
    ):
        own.start("web", "worker")
        other.start("worker")
        own.wait_ready()

        def kill_workers() -> None:
            for _ in range(3):
                watch_for(2)
                own.kill("worker")
                own.start("worker")

        answers = post_during(own.url, kill_workers, clients=4)
        watch_for(PATIENCE + 1)
        answers |= post(own.url, 8)
        until(lambda: accepted(answers) <= seen(shop), lambda: own.tail("worker"))
        watch_for(1)

    assert found == []
    assert [row.kind for row in shop.rows(cases)] == []
