"""Ours and the peer, each with its own database and queue on the same servers."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
from celery import Celery
from sqlalchemy import create_engine

import celeryconfig
from bench import naive_worker
from bench.payments import ACCOUNT, AMOUNT, CURRENCY, Payment
from bench.side import Side
from providers.envelope import Envelope
from tests.chaos.processes import Process, free_port, from_procfile
from tests.chaos.servers import plain
from worker.link import TASK, Link
from worker.settings import Settings


def ours(database_url: str, broker_url: str, environment: Mapping[str, str], folder: Path) -> Side:
    """The product, by the Procfile's own commands."""
    port = free_port()
    leads = {"PAIDONCE_DATABASE_URL": database_url, "PAIDONCE_BROKER_URL": broker_url, "PORT": str(port)}
    both = {**environment, **leads, "PAIDONCE_WORKERS": "2"}
    return Side(
        database=plain(database_url),
        broker=broker_url,
        table="notifications",
        queue=celeryconfig.task_routes[TASK]["queue"],
        worker=from_procfile("worker", "our-worker", both, folder),
        door=from_procfile("web", "our-receiver", both, folder),
        port=port,
        ready="/readyz",
        send=lambda payments, pack: _send_ours(broker_url, payments, pack),
    )


def _send_ours(broker_url: str, payments: Sequence[Payment], pack: int) -> None:
    """By the publisher's own link: the very messages that the receiver sends."""
    envelopes = [Envelope(ACCOUNT, "stripe", one.delivery, one.signed_at).to_json() for one in payments]
    link = Link(Settings(broker_url=broker_url))
    for start in range(0, len(envelopes), pack):
        link.send(envelopes[start : start + pack], 10)
    link.close()


def peer(database_url: str, broker_url: str, secret: str, folder: Path) -> Side:
    """The usual answer, with as many processes."""
    port = free_port()
    environment = {"NAIVE_DATABASE_URL": database_url, "NAIVE_BROKER_URL": broker_url, "NAIVE_SECRET": secret}
    celery = ["-m", "celery", "-A", "bench.naive_worker", "worker", "-c", "2", "-l", "WARNING"]
    lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    uvicorn = ["-m", "uvicorn", "bench.naive_receiver:api", "--port", str(port), "--no-access-log"]
    return Side(
        database=plain(database_url),
        broker=broker_url,
        table=naive_worker.WebhookEvent.__tablename__,
        queue=naive_worker.QUEUE,
        worker=Process("peer-worker", [sys.executable, *celery, *lean], environment, folder),
        door=Process("peer-receiver", [sys.executable, *uvicorn], environment, folder),
        port=port,
        ready="/openapi.json",
        send=lambda payments, _: _send_peers(broker_url, payments),
    )


def _send_peers(broker_url: str, payments: Sequence[Payment]) -> None:
    with Celery(broker=broker_url, set_as_current=False) as app:
        app.conf.task_default_queue = naive_worker.QUEUE
        with app.producer_pool.acquire() as producer:
            for one in payments:
                body = (one.delivery.body.decode(),)
                app.send_task(naive_worker.TASK, body, producer=producer, ignore_result=True)


def create_peers_tables(database_url: str) -> None:
    """By its own models."""
    engine = create_engine(database_url)
    naive_worker.Base.metadata.create_all(engine)
    engine.dispose()


def add_our_orders(database_url: str, first: int, last: int) -> None:
    """Orders O<first>..O<last>, pending."""
    _insert(database_url, f"orders (account, order_no, amount, currency) SELECT '{ACCOUNT}',", first, last)


def add_peers_orders(database_url: str, first: int, last: int) -> None:
    """The same in the peer's table."""
    _insert(database_url, "orders (order_no, amount, currency) SELECT", first, last)


def _insert(database_url: str, into: str, first: int, last: int) -> None:
    rows = f"'O' || g, {AMOUNT}, '{CURRENCY}' FROM generate_series({first}, {last}) AS g"
    with psycopg.connect(plain(database_url), autocommit=True) as connection:
        connection.execute(f"INSERT INTO {into} {rows}".encode())
        connection.execute("VACUUM (ANALYZE) orders")


@contextmanager
def running(*sides: Side, payments: Sequence[Sequence[Payment]], door: bool) -> Iterator[None]:
    """Every process of both sides, warm, while the block runs."""
    try:
        for side, first in zip(sides, payments, strict=True):
            side.start(first, door=door)
        yield
    finally:
        for side in sides:
            side.stop()
