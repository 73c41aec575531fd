"""One look at the whole database: its rows, and what breaks an invariant, in one round trip."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine, create_engine, text

from ops.audit import INVARIANTS
from ops.audit.run import _facts, examine
from worker.settings import Settings


class Row(NamedTuple):
    """Of `notifications`."""

    id: int
    account: str
    notification_id: str
    digest: str
    status: str
    reason: str
    deliveries: int

    @property
    def copy(self) -> tuple[str, str, str]:
        """The content that it holds."""
        return self.account, self.notification_id, self.digest


class Entry(NamedTuple):
    """Of `ledger_entries`."""

    id: int
    account: str
    transaction_id: str
    kind: str
    order_id: int
    notification_row: int
    amount: int
    standing: str

    @property
    def effect(self) -> tuple[str, str, str]:
        """The effect key; an account has one provider."""
        return self.account, self.transaction_id, self.kind


class OrderRow(NamedTuple):
    """Of `orders`."""

    id: int
    account: str
    order_no: str
    status: str
    amount: int
    currency: str
    paid: int
    refunded: int
    charged_back: int


class Change(NamedTuple):
    """Of `transitions`."""

    order_id: int
    seq: int
    kind: str
    notification_row: int


class Case(NamedTuple):
    """Of `cases`."""

    id: int
    account: str
    notification_id: str
    digest: str
    kind: str
    status: str

    @property
    def copy(self) -> tuple[str, str, str]:
        """The content that opened it."""
        return self.account, self.notification_id, self.digest


class Announcement(NamedTuple):
    """Of `outbox`."""

    id: int
    name: str


class Told(NamedTuple):
    """What the shop's own code wrote."""

    account: str
    transaction_id: str
    kind: str
    version: int


SHAPES: dict[str, type[Any]] = {
    "notifications": Row,
    "ledger_entries": Entry,
    "orders": OrderRow,
    "transitions": Change,
    "cases": Case,
    "outbox": Announcement,
    "told": Told,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The database at one moment."""

    notifications: list[Row]
    ledger_entries: list[Entry]
    orders: list[OrderRow]
    transitions: list[Change]
    cases: list[Case]
    outbox: list[Announcement]
    told: list[Told]
    #: How many rows break each invariant that is broken.
    broken: dict[str, int]

    @property
    def lasting(self) -> tuple[object, ...]:
        """What a replay may not change."""
        return self.orders, self.ledger_entries, self.transitions, self.cases, self.outbox, self.told


class Look:
    """The auditor's own connection."""

    def __init__(self, url: str, max_attempts: int = Settings.model_fields["max_attempts"].default) -> None:
        # One plan for all: the tables are small and planning thirty queries costs more than running them.
        options = "-c plan_cache_mode=force_generic_plan -c jit=off -c application_name=auditor"
        self._max_attempts = max_attempts
        self._engine: Engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"options": options})
        self._connection = self._engine.connect()
        self._facts = {drained: _facts(drained, max_attempts) for drained in (False, True)}
        self._statement = text(f"SELECT json_build_object('broken', {_broken()}, {_tables()})")

    def __call__(self, *, drained: bool = False) -> Seen:
        """Everything as it stands; `drained` as for the audit."""
        found = self._connection.execute(self._statement, self._facts[drained]).scalar_one()
        rows = {table: [shape._make(row) for row in found[table]] for table, shape in SHAPES.items()}
        return Seen(**rows, broken=found["broken"])

    def why(self, *, drained: bool) -> dict[str, list[tuple[Any, ...]]]:
        """The rows that break an invariant."""
        found = examine(self._connection, drained=drained, max_attempts=self._max_attempts)
        return {name: rows for name, rows in found.items() if rows}

    def close(self) -> None:
        """Lets the database go."""
        self._connection.close()
        self._engine.dispose()


def _broken() -> str:
    counts = " UNION ALL ".join(
        f"SELECT '{invariant.name}' AS name, count(*) AS rows FROM ({query}) AS broken"
        for invariant in INVARIANTS
        for query in invariant.queries
    )
    return f"(SELECT coalesce(json_object_agg(name, rows), '{{}}') FROM ({counts}) AS counted WHERE rows > 0)"


def _tables() -> str:
    return ", ".join(
        f"'{table}', (SELECT coalesce(json_agg(json_build_array({', '.join(shape._fields)}) "
        f"ORDER BY {', '.join(shape._fields[:2])}), '[]') FROM {table})"
        for table, shape in SHAPES.items()
    )
