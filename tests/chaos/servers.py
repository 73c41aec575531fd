"""The PostgreSQL that a whole run uses: a migrated database of the run's own, removed at the end."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import make_url

from ops.database import connected
from ops.migrate import upgrade

POSTGRES = os.environ.get("PAIDONCE_TEST_DATABASE_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


class ServerMissing(Exception):
    """A server that the run needs does not answer."""

    def __init__(self, server: str, where: str, why: object) -> None:
        text = (str(why).strip() or type(why).__name__).splitlines()[0]
        super().__init__(f"{server} is not there ({where}): {text}")


def unique_name(purpose: str) -> str:
    """A name for a database, a vhost or a key prefix that no other run has."""
    return f"paidonce_{purpose}_{os.getpid()}_{secrets.token_hex(3)}"


def plain(url: str) -> str:
    """`url` (SQLAlchemy's) as psycopg and pgbench read it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextmanager
def own_database(name: str, *, migrated: bool = True) -> Iterator[str]:
    """A database `name` while the block runs, as SQLAlchemy's URL. Raises ServerMissing."""
    _execute(f"CREATE DATABASE {name}")
    try:
        url = make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
        if migrated:
            with connected(url) as connection:
                upgrade(connection)
        yield url
    finally:
        _execute(f"DROP DATABASE {name} WITH (FORCE)")


def _execute(statement: str) -> None:
    try:
        with psycopg.connect(plain(POSTGRES), autocommit=True, connect_timeout=3) as connection:
            connection.execute(statement.encode())
    except psycopg.OperationalError as why:
        url = make_url(POSTGRES)
        raise ServerMissing("PostgreSQL", f"{url.host}:{url.port or 5432}, PAIDONCE_TEST_DATABASE_URL", why) from None
