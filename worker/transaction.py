"""One transaction, one owner: runs a piece of work, commits it, and waits when the database is away."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from domain.errors import DatabaseAway, EffectRaced, TransactionEnded, TransactionLost
from worker import failpoint
from worker.database import is_away, is_contention

log = structlog.get_logger()
T = TypeVar("T")

#: Tries against other transactions in the way, before the caller takes the pack apart.
TRIES = 3
#: Longest pause between two looks at an absent database, seconds.
LONGEST_PAUSE = 5.0


def run(engine: Engine, work: Callable[[Connection], T], patience: float) -> T:
    """Runs `work` in a transaction and commits; the work must be idempotent, since a lost COMMIT answer repeats it.

    Anything raised rolls back. Deadlocks, lock time-outs, raced effects and what a handler lost are tried again at
    once, TRIES times, then raised. While the database is away it waits, `patience` seconds in all, then raises
    DatabaseAway.
    """
    contended = 0
    deadline = time.monotonic() + patience
    pause = 0.1
    while True:
        try:
            return _once(engine, work)
        except DBAPIError as error:
            if is_away(error):
                pause = _wait(error, pause, deadline)
                continue
            contended += 1
            if not is_contention(error) or contended >= TRIES:
                raise
        except (EffectRaced, TransactionLost):
            contended += 1
            if contended >= TRIES:
                raise
        time.sleep(random.uniform(0.005, 0.05) * contended)  # noqa: S311 - spreads two losers, hides nothing


def is_in_the_way(error: Exception) -> bool:
    """Whether `run` raised it for what others did, or a handler to the transaction, and not for the work itself."""
    return isinstance(error, EffectRaced | TransactionLost | TransactionEnded) or (
        isinstance(error, DBAPIError) and is_contention(error)
    )


def _once(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        result = work(connection)
        failpoint.at("transaction.done")
        connection.commit()
        failpoint.at("transaction.committed")
        return result


def _wait(error: DBAPIError, pause: float, deadline: float) -> float:
    """Sleeps and returns the next, longer pause. Raises DatabaseAway when the patience is used up."""
    if time.monotonic() + pause > deadline:
        raise DatabaseAway(type(error.orig).__name__) from None
    log.warning("database away", error=type(error.orig).__name__, seconds=round(pause, 1))
    time.sleep(pause)
    return min(pause * 2, LONGEST_PAUSE)
