"""One database for every example of a test: each begins with empty tables."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import structlog
from mortal import SCHEMA, Mortal
from seen import Look
from sqlalchemy import Engine

from worker import failpoint, transaction


@pytest.fixture
def mortal(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mortal]:
    """A shop that may die. Waiting for a database that is never away takes no time, and nobody reads the log."""
    monkeypatch.setattr(transaction, "time", SimpleNamespace(monotonic=transaction.time.monotonic, sleep=id))
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    shop = Mortal(database)
    monkeypatch.setattr(failpoint, "at", shop.mortality.passes)
    shop.write(SCHEMA)
    yield shop
    structlog.configure(**before)


@pytest.fixture
def look(database_url: str) -> Iterator[Look]:
    """The auditor."""
    own = Look(database_url)
    yield own
    own.close()
