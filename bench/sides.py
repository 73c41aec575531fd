"""Ours and the peers, each with its own database and queue on the same servers."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from celery import Celery
from dramatiq import Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from sqlalchemy import create_engine

import celeryconfig
from bench import dramatiq_worker, naive_worker
from bench.payments import ACCOUNT, AMOUNT, CURRENCY, Payment, Payments
from bench.side import Side
from providers.envelope import Envelope
from tests.chaos.processes import Process, free_port, from_procfile
from tests.chaos.servers import plain
from worker.link import TASK, Link
from worker.settings import Settings


def ours(database_url: str, broker_url: str, payments: Payments, environment: Mapping[str, str], folder: Path) -> Side:
    """The product, by the Procfile's own commands."""
    port = free_port()
    leads = {"PAIDONCE_DATABASE_URL": database_url, "PAIDONCE_BROKER_URL": broker_url, "PORT": str(port)}
    both = {"PAIDONCE_WORKERS": "2", **leads, **environment}
    return Side(
        database=plain(database_url),
        broker=broker_url,
        table="notifications",
        key="notification_id",
        queue=celeryconfig.task_routes[TASK]["queue"],
        worker=from_procfile("worker", f"{folder.name}-worker", both, folder),
        payments=payments,
        fill=lambda given, pack: _fill_ours(broker_url, given, pack),
        door=from_procfile("web", f"{folder.name}-receiver", both, folder),
        beat=from_procfile("beat", f"{folder.name}-beat", both, folder),
        port=port,
        ready="/readyz",
        environment=both,
    )


def _fill_ours(broker_url: str, payments: Sequence[Payment], pack: int) -> None:
    """By the publisher's own link: the very messages that the receiver sends."""
    envelopes = [Envelope(ACCOUNT, "stripe", one.delivery, one.signed_at).encoded() for one in payments]
    link = Link(Settings(broker_url=broker_url))
    for start in range(0, len(envelopes), pack):
        link.send(envelopes[start : start + pack], 10)
    link.close()


def naive(database_url: str, broker_url: str, payments: Payments, environment: Mapping[str, str], folder: Path) -> Side:
    """The usual answer, with as many processes."""
    port = free_port()
    own = {"NAIVE_DATABASE_URL": database_url, "NAIVE_BROKER_URL": broker_url, **environment}
    celery = ["-m", "celery", "-A", "bench.naive_worker", "worker", "-c", "2", "-l", "WARNING"]
    lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    uvicorn = ["-m", "uvicorn", "bench.naive_receiver:api", "--port", str(port), "--no-access-log"]
    return Side(
        database=plain(database_url),
        broker=broker_url,
        table=naive_worker.WebhookEvent.__tablename__,
        key="event_id",
        queue=naive_worker.QUEUE,
        worker=Process("naive-worker", [sys.executable, *celery, *lean], own, folder),
        payments=payments,
        fill=lambda given, _: _fill_naive(broker_url, given),
        door=Process("naive-receiver", [sys.executable, *uvicorn], own, folder),
        port=port,
        ready="/openapi.json",
    )


def _fill_naive(broker_url: str, payments: Sequence[Payment]) -> None:
    with Celery(broker=broker_url, set_as_current=False) as app:
        app.conf.task_default_queue = naive_worker.QUEUE
        with app.producer_pool.acquire() as producer:
            for one in payments:
                body = (one.delivery.body.decode(),)
                app.send_task(naive_worker.TASK, body, producer=producer, ignore_result=True)


def dramatiq(database_url: str, broker_url: str, payments: Payments, folder: Path) -> Side:
    """Dramatiq's usual 8 threads a process are more than two cores and 16 connections ask for: 2 x 4."""
    own = {"DRAMATIQ_DATABASE_URL": plain(database_url), "DRAMATIQ_BROKER_URL": broker_url}
    command = ["-m", "dramatiq", "bench.dramatiq_worker", "--processes", "2", "--threads", "4"]
    return Side(
        database=plain(database_url),
        broker=broker_url,
        table=naive_worker.WebhookEvent.__tablename__,
        key="event_id",
        queue=dramatiq_worker.QUEUE,
        worker=Process("dramatiq-worker", [sys.executable, *command], own, folder),
        payments=payments,
        fill=lambda given, _: _fill_dramatiq(broker_url, given),
    )


def _fill_dramatiq(broker_url: str, payments: Sequence[Payment]) -> None:
    broker = RabbitmqBroker(url=broker_url)
    broker.declare_queue(dramatiq_worker.QUEUE, ensure=True)
    for one in payments:
        body = (one.delivery.body.decode(),)
        message: Message[None] = Message(dramatiq_worker.QUEUE, dramatiq_worker.ACTOR, body, {}, {})
        broker.enqueue(message)
    broker.close()


def create_peers_tables(database_url: str) -> None:
    """By the naive peer's own models."""
    engine = create_engine(database_url)
    naive_worker.Base.metadata.create_all(engine)
    engine.dispose()


def add_our_orders(database_url: str, count: int) -> None:
    """Orders O1..O<count>, pending."""
    _insert(database_url, f"orders (account, order_no, amount, currency) SELECT '{ACCOUNT}',", count)


def add_peers_orders(database_url: str, count: int) -> None:
    """The same in the peers' table."""
    _insert(database_url, "orders (order_no, amount, currency) SELECT", count)


def _insert(database_url: str, into: str, count: int) -> None:
    rows = f"'O' || g, {AMOUNT}, '{CURRENCY}' FROM generate_series(1, {count}) AS g"
    with psycopg.connect(plain(database_url), autocommit=True) as connection:
        connection.execute(f"INSERT INTO {into} {rows}".encode())
        connection.execute("VACUUM (ANALYZE) orders")
