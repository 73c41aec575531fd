"""The same story on each broker: real HTTP, real signatures, the Procfile's own processes."""

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import psycopg
import pytest
from pgmq.install import get_embedded_install_sql
from running import SECRET, Stack, stack, until
from shop import ACCOUNT, Shop, stripe
from sqlalchemy import Engine, make_url

from domain.event import EventKind
from models import cases, notifications, orders, outbox

ORDERS = 40
OURS = {"paidonce.apply", "paidonce.chores", "paidonce.quarantine"}


@pytest.fixture(params=["rabbitmq", "redis", "pgmq"])
def running(request: pytest.FixtureRequest, tmp_path: Path, database_url: str) -> Iterator[Stack]:
    """Receiver, worker and beat on one of the three brokers."""
    more: dict[str, str] = {"PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": "5"}
    if request.param == "rabbitmq":
        broker_url = request.getfixturevalue("rabbitmq_url")
    elif request.param == "redis":
        broker_url = request.getfixturevalue("redis_server")
        more["PAIDONCE_BROKER_PREFIX"] = request.getfixturevalue("redis_prefix")
    else:
        broker_url = with_queues(database_url)
    with stack(tmp_path, database_url, broker_url, **more) as own:
        own.start("web", "worker", "beat")
        own.wait_ready()
        yield own


def with_queues(database_url: str) -> str:
    """Makes the database a pgmq broker too; the broker's URL."""
    url = make_url(database_url)
    with psycopg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    ) as own:
        own.execute(get_embedded_install_sql())
    return url.set(drivername="pgmq").render_as_string(hide_password=False)


def test_a_real_notification_pays_its_order_once(running: Stack, database: Engine) -> None:
    """Repeated, reordered, forged and early notifications: every order is paid once, nothing forged gets in."""
    shop = Shop(database)
    door = stripe(ACCOUNT, SECRET.encode())
    forger = stripe(ACCOUNT, b"whsec_somebody_elses_secret")
    notices = [shop.notice(f"TEAPOT-{number}") for number in range(ORDERS)]
    refunds = [
        shop.notice(f"TEAPOT-{number}", EventKind.REFUND, amount=250, refunded=250) for number in range(0, ORDERS, 4)
    ]
    for notice in notices[5:]:
        shop.order(notice.order_no)

    answers: Counter[int] = Counter()
    with httpx.Client(base_url=running.url) as client:
        for notice in (refunds + notices) * 3:
            genuine = door.sign(notice, time.time())
            forged = forger.sign(notice, time.time())
            for delivery in (genuine, forged):
                answer = client.post(f"/notify/{ACCOUNT}", content=delivery.body, headers=dict(delivery.headers))
                answers[answer.status_code] += 1
    first = {"parked": 5, "applied": ORDERS - 5}
    until(lambda: all(shop.statuses()[each] >= first[each] for each in first), lambda: running.tail("worker"))
    for notice in notices[:5]:
        shop.order(notice.order_no)
    until(lambda: shop.statuses() == {"applied": len(notices) + len(refunds)}, lambda: running.tail("worker"))

    assert answers == {200: 3 * (len(notices) + len(refunds)), 401: 3 * (len(notices) + len(refunds))}
    for number, notice in enumerate(notices):
        expected = ("partially_refunded", 1000, 250) if number % 4 == 0 else ("paid", 1000, 0)
        assert shop.state(notice.order_no) == expected
    assert shop.rows(cases) == []
    until(lambda: all(row.relayed_at for row in shop.rows(outbox)), lambda: running.tail("worker"))
    assert len(shop.rows(outbox)) == len(notices) + len(refunds)
    until(lambda: {row.deliveries for row in shop.rows(notifications)} == {3}, lambda: running.tail("worker"))


def test_what_waits_for_its_order_is_applied_within_five_seconds_of_it(running: Stack, database: Engine) -> None:
    """By the real beat, and in the order in which it happened: by the database's clock, from commit to verdict."""
    shop = Shop(database)
    door = stripe(ACCOUNT, SECRET.encode())
    payment = shop.notice("TEAPOT", transaction_id="pi_1")
    refund = shop.notice("TEAPOT", EventKind.REFUND, amount=250, refunded=250, payment_id="pi_1")
    with httpx.Client(base_url=running.url) as client:
        for notice in (refund, payment):
            said = door.sign(notice, time.time())
            client.post(f"/notify/{ACCOUNT}", content=said.body, headers=dict(said.headers)).raise_for_status()
    until(lambda: shop.statuses() == {"parked": 2}, lambda: running.tail("worker"))

    shop.order("TEAPOT")
    until(lambda: shop.statuses() == {"applied": 2}, lambda: running.tail("worker"))

    [order] = shop.rows(orders)
    assert shop.state("TEAPOT") == ("partially_refunded", 1000, 250)
    waited = [row.processed_at - order.created_at for row in shop.rows(notifications)]
    assert max(waited) < timedelta(seconds=5), waited


def test_the_vhost_holds_our_queues_and_no_others(tmp_path: Path, database_url: str, fresh_vhost_url: str) -> None:
    """Celery would declare 28 queues for delays that nothing here asks for."""
    with stack(tmp_path, database_url, fresh_vhost_url) as own:
        own.start("worker")
        until(lambda: queues_of(fresh_vhost_url) >= OURS, lambda: own.tail("worker"))
        until(lambda: "ready" in own.tail("worker"), lambda: own.tail("worker"))

        assert queues_of(fresh_vhost_url) == OURS


def queues_of(broker_url: str) -> set[str]:
    """The names of all queues of the vhost."""
    vhost = unquote(urlsplit(broker_url).path[1:])
    command = ["rabbitmqctl", "--quiet", "-p", vhost, "list_queues", "name", "--no-table-headers"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())
