"""The operator's own connection: no statement time-out, since a person waits and may interrupt."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine, pool

from worker.settings import settings


@contextmanager
def connected(url: str | None = None) -> Iterator[Connection]:
    """A connection to `url`, else to PAIDONCE_DATABASE_URL. Who writes commits; leaving rolls back."""
    engine = create_engine(
        url or settings().database_url,
        poolclass=pool.NullPool,
        # Parameters are payments: they stay out of error messages.
        hide_parameters=True,
        # Nothing is prepared: PgBouncer in transaction mode may stand before it.
        connect_args={"connect_timeout": 5, "application_name": "paidonce-ops", "prepare_threshold": None},
    )
    with engine.connect() as connection:
        yield connection


@contextmanager
def snapshot(url: str | None = None) -> Iterator[Connection]:
    """A read-only connection that sees one moment, however long the reading takes."""
    with connected(url) as connection:
        yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
