"""What was committed is on disk: the acknowledgement rests on it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from chaos.ground import Ground
from chaos.own_postgres import OwnPostgres
from chaos.servers import ServerMissing
from shop import Shop
from sqlalchemy import create_engine

from worker.database import build_engine


@pytest.fixture
def postgres_of_its_own() -> Iterator[OwnPostgres]:
    """A PostgreSQL that writes by itself as seldom as it can: what is on disk somebody waited for."""
    # Not below pytest's own folder, which the server's user may not enter.
    with tempfile.TemporaryDirectory(prefix="paidonce-durability-") as folder:
        try:
            server = OwnPostgres(Ground(Path(folder)))
        except ServerMissing as why:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(why))
        try:
            yield _started(server)
        finally:
            server.stop()


def _started(server: OwnPostgres) -> OwnPostgres:
    server.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.execute("SELECT pg_reload_conf()")
    server.migrate()
    return server


def test_a_pack_that_was_committed_outlives_a_crash_at_once(postgres_of_its_own: OwnPostgres) -> None:
    """The broker forgets the pack right after COMMIT; PostgreSQL dies in that instant, and has it all the same."""
    engine = build_engine(postgres_of_its_own.sqlalchemy_url)
    shop = Shop(engine)
    shop.order("TEAPOT")
    shop.apply(shop.payment("TEAPOT"))
    postgres_of_its_own.crash()
    engine.dispose()

    postgres_of_its_own.start()

    after = create_engine(postgres_of_its_own.sqlalchemy_url)
    assert Shop(after).state("TEAPOT") == ("paid", 1000, 0)
    after.dispose()
