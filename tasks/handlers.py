"""The shop's own code: functions that run inside the transaction that applies an event. docs/handlers.md has the rules.

    from tasks.handlers import on

    @on("order.paid")
    def take_from_stock(session, order, event):
        session.execute(text("UPDATE ..."), {...})

What a handler writes commits with the order or not at all, so it happens exactly once. It must do nothing that a
rollback cannot undo: no mail, no HTTP; consumers of the outbox are the place for those.
"""

import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from domain.announcement import ANNOUNCED
from domain.errors import ConfigurationError, EndingRefused, TransactionEnded, TransactionLost
from domain.event import PaymentEvent
from domain.order import Order

#: (session, the order as it is afterwards, the event). The order's row itself is written after the handlers.
Handler = Callable[[Session, Order, PaymentEvent], object]

_registered: defaultdict[str, list[Handler]] = defaultdict(list)

#: Statements that would end the transaction; a savepoint may be rolled back to.
_ENDING = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(?:BEGIN|START|COMMIT|END|ABORT|PREPARE\s+TRANSACTION"
    r"|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)


def on(name: str) -> Callable[[Handler], Handler]:
    """Registers a function for an event's name (domain/announcement.py). Raises ConfigurationError for another."""
    if name not in ANNOUNCED.values():
        raise ConfigurationError("handlers", f"{name!r} is none of", *sorted(ANNOUNCED.values()))

    def register(handler: Handler) -> Handler:
        if inspect.iscoroutinefunction(handler):
            raise ConfigurationError("handlers", handler.__qualname__, "is async, and nobody would await it")
        try:
            inspect.signature(handler).bind(None, None, None)
        except TypeError as error:
            raise ConfigurationError("handlers", handler.__qualname__, "takes (session, order, event)") from error
        if handler not in _registered[name]:
            _registered[name].append(handler)
        return handler

    return register


def load_handlers(module: str | None) -> Mapping[str, Sequence[Handler]]:
    """Imports PAIDONCE_HANDLERS; the handlers by event name. Raises ConfigurationError, naming what is wrong."""
    if not module:
        return {}
    try:
        importlib.import_module(module)
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError("PAIDONCE_HANDLERS", module, f"{type(error).__name__}: {error}") from error
    found = {name: tuple(handlers) for name, handlers in _registered.items() if handlers}
    if not found:
        raise ConfigurationError("PAIDONCE_HANDLERS", module, "registers nothing")
    return found


def run_handlers(
    connection: Connection, handlers: Sequence[Handler], order: Order, payment_event: PaymentEvent
) -> None:
    """Runs them in a savepoint: whatever one raises leaves here, and nothing of them is left behind.

    Raises TransactionLost or TransactionEnded where a handler did not leave the caller's transaction as it was: then
    nothing of that transaction may be built on.
    """
    # Its own savepoints: a handler that commits or rolls back its session ends those, never our transaction.
    with _guarded(connection), Session(bind=connection, join_transaction_mode="create_savepoint") as session:
        for handler in handlers:
            handler(session, order, payment_event)
        session.commit()


@contextmanager
def _guarded(connection: Connection) -> Iterator[None]:
    """A savepoint of the driver's own, inside which it refuses every commit and rollback but ours."""
    driver: Any = connection.connection.driver_connection
    ours = connection.get_transaction()
    event.listen(connection, "before_cursor_execute", _refuse_ending)
    try:
        with driver.transaction():
            yield
    except Exception as error:
        _check(connection, ours, driver, error)
        raise
    finally:
        event.remove(connection, "before_cursor_execute", _refuse_ending)
    _check(connection, ours, driver, None)


def _check(connection: Connection, ours: object, driver: Any, error: Exception | None) -> None:
    """Whether the transaction is still the one that the handlers were given."""
    status = driver.pgconn.transaction_status
    if status == TransactionStatus.INTRANS and connection.in_transaction() and connection.get_transaction() is ours:
        return
    # SQLAlchemy takes a commit that the driver refused for the end: it would hand the open transaction to whoever
    # comes next, and his COMMIT would write it.
    with suppress(Exception):
        connection.invalidate()
    driver.close()
    if status in (TransactionStatus.INTRANS, TransactionStatus.UNKNOWN):
        raise TransactionLost from error
    raise TransactionEnded from error


def _refuse_ending(_: Connection, __: Any, statement: str, *___: Any) -> None:
    if _ENDING.match(statement):
        raise EndingRefused(statement.split(maxsplit=1)[0].upper())
