"""Payments that go on while somebody operates the system, and what must be true when they are through."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import psycopg

from ops.audit import violations
from ops.database import connected

from .accounts import sandbox_accounts
from .planned import ACCOUNTS
from .provider import Journal, Provider
from .servers import plain
from .stack import Stack, our_stack
from .workload import build

#: Invariants that hold at every moment, and the one that says that no pack is missing.
HELD = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I15", "I18")
#: Seconds in which everything that was said must be acknowledged and applied once the operator is done.
PATIENCE = 90.0


class Traffic:
    """`payments` over `seconds`, repeated and forged as in every run, to the stack's doors."""

    def __init__(
        self, folder: Path, database_url: str, broker: Mapping[str, str], payments: int, seconds: float
    ) -> None:
        self.workload = build(1, payments, seconds, payments_only=True)
        self.database = plain(database_url)
        accounts, dialects = sandbox_accounts(folder, ACCOUNTS)
        self.environment = {
            **accounts,
            **broker,
            "PAIDONCE_DATABASE_URL": database_url,
            "PAIDONCE_RETRY_BASE_SECONDS": "0.1",
        }
        self.stack: Stack = our_stack(self.environment, folder, receivers=2, workers=2, beats=1)
        self.journal = Journal(folder / "acknowledged")
        self.provider = Provider(dialects, self.stack.doors, self.journal, 1)
        self._unacknowledged = -1
        self._thread = Thread(target=self._deliver, name="traffic", daemon=True)

    def write_orders(self) -> None:
        """The shop's."""
        with psycopg.connect(self.database, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO orders (account, order_no, amount, currency) VALUES (%s, %s, %s, %s)",
                [(order.account, order.order_no, order.amount, order.currency) for order in self.workload.orders],
            )

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Deliveries go on while the block runs; none is given up."""
        self._thread.start()
        yield
        self._thread.join(PATIENCE * 2)
        assert self._unacknowledged == 0
        self.journal.close()

    def _deliver(self) -> None:
        self._unacknowledged = asyncio.run(self.provider.deliver(self.workload.planned, PATIENCE))

    def wait_until_under_way(self, applied: int = 20) -> None:
        """Some are applied, and more are coming."""
        self._wait(lambda: len(self.paid()) >= applied)

    def wait_until_applied(self) -> None:
        """Everything, or the patience is over."""
        self._wait(lambda: len(self.paid()) == len(self.workload.orders))

    def _wait(self, condition: object) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
            time.sleep(0.1)

    def paid(self) -> dict[str, int]:
        """What was paid for each order that was paid for."""
        with psycopg.connect(self.database) as connection:
            try:
                return dict(connection.execute("SELECT order_no, paid FROM orders WHERE paid > 0").fetchall())
            except psycopg.errors.UndefinedTable:
                return {}

    def assert_all_is_well(self) -> None:
        """Each acknowledged, each applied once, no invariant broken."""
        assert len(self.journal.acknowledged) == len(self.workload.orders)
        assert self.paid() == self.wanted()
        with connected(self.environment["PAIDONCE_DATABASE_URL"]) as connection:
            found = violations(connection, drained=True, max_attempts=5)
        assert {name: found[name] for name in HELD} == dict.fromkeys(HELD, 0)
        assert self.stack.died_alone == []

    def wanted(self) -> dict[str, int]:
        """What must have been paid in the end."""
        return {order.order_no: order.amount for order in self.workload.orders}
