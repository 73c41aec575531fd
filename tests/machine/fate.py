"""How a process ends in the machine: at a failpoint, or with its connection cut at a COMMIT."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Engine

from domain.errors import DatabaseAway


class Died(BaseException):
    """The process ended here: nothing of it is left but what the database has."""


class How(StrEnum):
    """What happens to the process."""

    #: At a failpoint (worker/failpoint.py).
    KILLED = "killed"
    #: At a COMMIT: the connection is lost before it, or with its answer.
    CUT_BEFORE = "cut off before the commit"
    CUT_AFTER = "cut off after the commit"


class Fate(NamedTuple):
    """It happens at the `nth` failpoint, or commit, that is passed; counted from 0."""

    how: How
    nth: int


class Mortality:
    """What may befall whatever runs on `engine`; `passes` must stand for worker.failpoint.at."""

    def __init__(self, engine: Engine) -> None:
        self._fate: Fate | None = None
        self._commit = engine.dialect.do_commit
        engine.dialect.do_commit = self._do_commit  # type: ignore[method-assign]

    @contextmanager
    def meets(self, fate: Fate | None) -> Iterator[Callable[[], bool]]:
        """`fate` befalls what runs in the block; yields whether it came through."""
        lived = True
        self._fate = fate
        try:
            yield lambda: lived
        except (Died, DatabaseAway):
            if fate is None:
                raise
            lived = False
        finally:
            self._fate = None

    def passes(self, _: str) -> None:
        """A failpoint."""
        if self._falls(How.KILLED):
            raise Died

    def _do_commit(self, connection: Any) -> None:
        if self._falls(How.CUT_BEFORE):
            _cut(connection)
        self._commit(connection)
        if self._falls(How.CUT_AFTER):
            _cut(connection)

    def _falls(self, how: How) -> bool:
        if self._fate is None or self._fate.how is not how:
            return False
        nth = self._fate.nth
        self._fate = Fate(how, nth - 1) if nth else None
        return not nth


def _cut(connection: Any) -> None:
    connection.driver_connection.close()
    raise psycopg.OperationalError("server closed the connection unexpectedly")
