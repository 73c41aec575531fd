"""Ours and the peer as stacks of as many processes, each with its own tables in the run's database."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import create_engine

from bench import naive_worker

from .own_servers import Servers
from .planned import Order
from .processes import Process, free_port
from .stack import Stack, our_stack


def _ours(side: str, servers: Servers, folder: Path, accounts: dict[str, str], orders: list[Order]) -> Stack:
    servers.postgres.migrate()
    _insert(servers, "orders (account, order_no, amount, currency)", [(o.account, *_facts(o)) for o in orders])
    environment = {
        **accounts,
        **servers.broker.environment(servers.proxy.port),
        "PAIDONCE_DATABASE_URL": servers.postgres.sqlalchemy_url,
        "PAIDONCE_RETRY_BASE_SECONDS": "0.1",
    }
    return our_stack(environment, folder, receivers=2, workers=2, beats=2)


def _peers(side: str, servers: Servers, folder: Path, accounts: dict[str, str], orders: list[Order]) -> Stack:
    """As many processes as ours."""
    engine = create_engine(servers.postgres.sqlalchemy_url)
    naive_worker.Base.metadata.create_all(engine)
    engine.dispose()
    _insert(servers, "orders (order_no, amount, currency)", [_facts(order) for order in orders])
    environment = {
        "NAIVE_DATABASE_URL": servers.postgres.sqlalchemy_url,
        "NAIVE_BROKER_URL": servers.broker.url(servers.proxy.port),
        "NAIVE_SECRET": next(value for name, value in accounts.items() if name.startswith("SECRET_OF_")),
        "NAIVE_VARIANT": side,
    }
    celery = [sys.executable, "-m", "celery", "-A", "tests.chaos.peer_app", "worker", "-c", "2", "-l", "WARNING"]
    lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    uvicorn = [sys.executable, "-m", "uvicorn", "tests.chaos.peer_app:api", "--no-access-log", "--port"]
    receivers = {
        port: Process(f"receiver-{port}", [*uvicorn, str(port)], environment, folder)
        for port in (free_port(), free_port())
    }
    workers = [
        Process(f"worker-{number}", [*celery, *lean, "-n", f"peer{number}@%h"], environment, folder)
        for number in range(2)
    ]
    return Stack(receivers, workers, ready="/openapi.json")


#: Whether it is ours -> what makes the stack, its tables and its orders.
STACKS: dict[bool, Callable[..., Stack]] = {True: _ours, False: _peers}


def _facts(order: Order) -> tuple[str, int, str]:
    return order.order_no, order.amount, order.currency


def _insert(servers: Servers, into: str, rows: list[tuple[Any, ...]]) -> None:
    values = ", ".join(["%s"] * len(rows[0]))
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {into} VALUES ({values})".encode(), rows)
