"""Runs the invariants in one snapshot."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from domain.decide import ALLOWED
from domain.event import SIGNS
from domain.verdict import CASES
from ops.audit.delivery import DELIVERY
from ops.audit.history import HISTORY
from ops.audit.invariant import Invariant
from ops.audit.machine import MACHINE
from ops.audit.money import MONEY
from worker.settings import settings

#: In the order of their numbers.
INVARIANTS: Sequence[Invariant] = sorted(
    (*DELIVERY, *MONEY, *HISTORY, *MACHINE), key=lambda invariant: int(invariant.name[1:])
)

#: Seconds: as long as a task waits for an absent database, after which what is missing is missing.
PATIENCE = 600
#: The same once the queues are drained: redrive looks every two seconds.
PATIENCE_DRAINED = 10
#: Seconds; ours takes milliseconds, and PostgreSQL ends an idle one of ours after 10 s.
MOMENT = 60
MOMENT_DRAINED = 1

Row = tuple[Any, ...]


def violations(connection: Connection, *, drained: bool = False, max_attempts: int | None = None) -> dict[str, int]:
    """How many rows break each invariant: {"I1": 0, ...}. `connection` should see one snapshot.

    `drained`: the queues are empty and no worker is in the middle of something, so that nothing is excused for being
    young. `max_attempts` is that of the settings unless told.
    """
    return {name: len(rows) for name, rows in examine(connection, drained=drained, max_attempts=max_attempts).items()}


def examine(connection: Connection, *, drained: bool = False, max_attempts: int | None = None) -> dict[str, list[Row]]:
    """The rows that break each invariant."""
    facts = _facts(drained, settings().max_attempts if max_attempts is None else max_attempts)
    return {
        invariant.name: [row for query in invariant.queries for row in _rows(connection, query, facts)]
        for invariant in INVARIANTS
    }


def _rows(connection: Connection, query: str, facts: Mapping[str, Any]) -> list[Row]:
    statement = text(query)
    used = {name: value for name, value in facts.items() if f":{name}" in query}
    return [tuple(row) for row in connection.execute(statement, used)]


def _facts(drained: bool, max_attempts: int) -> dict[str, Any]:
    allowed = sorted(ALLOWED)
    return {
        "drained": drained,
        "patience": PATIENCE_DRAINED if drained else PATIENCE,
        "moment": MOMENT_DRAINED if drained else MOMENT,
        "max_attempts": max_attempts,
        "from_states": [before.value for before, _ in allowed],
        "to_states": [after.value for _, after in allowed],
        "kinds": [kind.value for kind in SIGNS],
        "signs": list(SIGNS.values()),
        "case_kinds": [verdict.value for verdict in CASES],
    }
