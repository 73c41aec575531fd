"""The demo's acts: import, storm, the late orders, the reckoning."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ops.audit import violations
from ops.database import connected, snapshot
from ops.demo import evidence
from ops.demo.evidence import Evidence
from ops.embedded.stack import Stack
from ops.orders_csv import Fault, Line
from ops.orders_import import import_lines
from ops.output import err, fail
from ops.simulator.command import send
from ops.simulator.run import Outcome
from ops.simulator.schedule import genuine_parcels, schedule
from ops.simulator.workload import SimulatedOrder, draw_orders
from providers.accounts import load_accounts

#: One order of so many comes to us after its payment: the shop's own database was slower than the provider.
LATE = 20
#: Seconds for everything to settle; redrive looks every two.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo is asked to do."""

    orders: int
    duplicates: int
    forged: float
    seed: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    plan: Plan
    outcome: Outcome
    evidence: Evidence
    parked: int
    settled: bool
    broken: dict[str, int]
    seconds: float

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing twice, nothing short, nothing forged, nothing stuck, no invariant broken."""
        found, outcome = self.evidence, self.outcome
        wrong = found.lost or found.double_applied or found.short or outcome.forged_accepted or outcome.gave_up
        return self.settled and not wrong and not any(self.broken.values())

    def figures(self) -> dict[str, Any]:
        """The last line for programs."""
        outcome, found = self.outcome, self.evidence
        return {
            "orders": self.plan.orders,
            "deliveries": outcome.deliveries,
            "accepted": outcome.accepted.total() + outcome.forged_accepted,
            "refused": outcome.forged_refused,
            "applied": found.statuses.get("applied", 0),
            "duplicates": found.duplicates,
            "parked": self.parked,
            "cases": found.cases,
            "lost": found.lost,
            "double_applied": found.double_applied,
            "seconds": round(self.seconds, 1),
        }


def play(stack: Stack, plan: Plan, began: float) -> Result:
    """All acts on a running stack; `began` (monotonic seconds) is when the command did."""
    dialects = load_accounts(stack.place.accounts, os.environ)
    drawn = draw_orders([dialects[name] for name in sorted(dialects)], plan.orders, plan.seed, refunds=0.1)
    late, early = drawn[::LATE], [order for index, order in enumerate(drawn) if index % LATE]
    err.print(f"{len(early)} orders imported; {len(late)} will come after their payment")
    _import(stack.database_url, early)
    outcome = _storm(stack, plan, drawn)
    err.print(f"{outcome.deliveries} deliveries in {outcome.seconds:.1f} s; waiting for the worker")
    settled = _settle(stack.database_url, outcome.accepted.total())
    with connected(stack.database_url) as connection:
        waiting = evidence.parked(connection)
    err.print(f"{waiting} notifications are parked; now their {len(late)} orders come")
    _import(stack.database_url, late)
    settled = _settle(stack.database_url, outcome.accepted.total()) and settled
    return _reckon(stack.database_url, plan, drawn, outcome, waiting, settled, began)


def _storm(stack: Stack, plan: Plan, drawn: Sequence[SimulatedOrder]) -> Outcome:
    planned = schedule(
        genuine_parcels(drawn, plan.seed),
        duplicates=plan.duplicates,
        reorder=True,
        forged=plan.forged,
        seed=plan.seed,
    )
    return send(stack.url, planned, concurrency=32)


def _reckon(  # noqa: PLR0917 - the acts' results, one by one
    url: str, plan: Plan, drawn: Sequence[SimulatedOrder], outcome: Outcome, waiting: int, settled: bool, began: float
) -> Result:
    with snapshot(url) as connection:
        found = evidence.gather(connection, drawn, outcome, plan.seed)
        broken = violations(connection, drained=settled)
    return Result(plan, outcome, found, waiting, settled, broken, time.monotonic() - began)


def _import(url: str, drawn: Iterable[SimulatedOrder]) -> None:
    faults: list[Fault] = []
    lines = (Line(number, *order.row()) for number, order in enumerate(drawn, 1))
    with connected(url) as connection:
        import_lines(connection, lines, faults.append)
        if faults:
            fail(f"{faults[0].what}: this directory holds orders of another run; choose another --seed or --data")
        connection.commit()


def _settle(url: str, accepted: int) -> bool:
    """Waits until nothing is under way; False when the patience is over."""
    return _until(url, lambda connection: evidence.unsettled(connection, accepted) == 0)


def _until(url: str, true: Callable[[Connection], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    with connected(url) as connection:
        while not true(connection):
            connection.rollback()  # the next look sees what was committed since
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    return True
