"""The engine: timeouts, durability and fork safety in one place. Whoever opens a transaction commits it."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from celery.signals import worker_process_init
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from worker.settings import settings

#: PostgreSQL gives up before anybody else does: a hung statement or a lock held by a stopped worker must not hold a
#: pack for ever. synchronous_commit: the acknowledgement rests on this commit.
SESSION = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
    "application_name": "paidonce",
}

#: The tasks look rows up by their keys, a pack at a time. The planner expects a hundred rows of every pack and reads a
#: whole table of orders to hash it; by the index ten rows cost a tenth of that.
BY_KEY = {"enable_hashjoin": "off", "enable_mergejoin": "off"}

#: SQLSTATE classes and codes after which the same work may pass: connection lost, server shutting down or starting,
#: out of resources, not writable (a failover left us on the old side), tables not migrated yet (a deploy is under way).
AWAY = ("08", "57P", "53", "25006", "42P01", "42703")
#: Another transaction was in the way: serialization failure, deadlock, lock or statement time-out.
CONTENTION = frozenset({"40001", "40P01", "55P03", "57014"})
#: Two transactions in each other's way: one of them has to begin anew.
DEADLOCK = frozenset({"40001", "40P01"})


def build_engine(url: str, plans: Mapping[str, str] = BY_KEY, *, pooler: bool = False) -> Engine:
    """An engine for `url`: one connection per process. `plans`: planner settings.

    Not checked before use: a dead connection raises, and worker/transaction.py does the work again on a fresh one.
    `pooler`: behind PgBouncer in transaction mode each transaction may have another session. What is set goes with the
    transaction, which costs a round trip, and nothing is prepared (PgBouncer keeps prepared statements from 1.21 on).
    """
    session = SESSION | dict(plans)
    engine = create_engine(
        url,
        pool_size=1,
        max_overflow=1,
        pool_recycle=1800,
        # Parameters are payments: they stay out of exceptions and logs.
        hide_parameters=True,
        connect_args={
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "tcp_user_timeout": 10_000,
            **({"prepare_threshold": None} if pooler else {"options": _options(session)}),
        },
    )
    if pooler:
        # One statement: PgBouncer refuses `options`, and a SET would stay behind in a session that others get.
        words = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in session.items())
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(f"SELECT {words}"))
    return engine


def _options(session: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in session.items())


@cache
def engine() -> Engine:
    """This process's engine, made at first use and never before a fork."""
    return build_engine(settings().database_url, pooler=settings().database_pooler)


@worker_process_init.connect
def _forget_parents_connections(**_: Any) -> None:
    """A child closing its parent's sockets would break them for both."""
    if engine.cache_info().currsize:
        engine().dispose(close=False)


def is_away(error: DBAPIError) -> bool:
    """Whether the database, and not the work, is at fault."""
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state.startswith(AWAY)


def is_contention(error: DBAPIError) -> bool:
    """Whether somebody else was in the way and trying again may pass."""
    return getattr(error.orig, "sqlstate", None) in CONTENTION


def is_deadlock(error: DBAPIError) -> bool:
    """Whether the whole transaction must be done again, and would pass."""
    return getattr(error.orig, "sqlstate", None) in DEADLOCK
