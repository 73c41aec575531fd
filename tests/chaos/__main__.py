"""`python -m tests.chaos --profile smoke --seed 1`: the whole stack under load and under faults, then the accounts.

The last line on standard output is one JSON object; exit code 1 when anything is lost, doubled, forged or broken.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from .accounts import sandbox_accounts
from .brokers import own_broker
from .check import Findings, examine, missing, open_rows
from .faults import Fault, Struck, Target, schedule, strike
from .provider import Journal, Provider
from .servers import ServerMissing, own_database, plain, unique_name
from .stack import Stack
from .workload import ACCOUNTS, Order, Workload, build

#: Seconds: for what was not acknowledged yet, and for what has no verdict yet, once everything runs again.
PATIENCE, DRAIN = 45.0, 60.0


@dataclasses.dataclass(frozen=True)
class Profile:
    """The size of a run. `span` in seconds, the start and the drain not counted."""

    notifications: int
    span: float
    receivers: int
    workers: int
    beats: int
    faults: Mapping[str, int]


_TINY = (3, 1, 1, 1, 1, 2, 1)
_SMOKE = (10, 3, 2, 3, 2, 8, 2)
_KINDS = (
    *("worker_child_kill", "worker_kill", "worker_stop", "receiver_kill"),
    *("broker_connections_closed", "pg_terminate_backend", "beat_kill"),
)
PROFILES = {
    "tiny": Profile(300, 8.0, 1, 2, 1, dict(zip(_KINDS, _TINY, strict=True))),
    "smoke": Profile(2_000, 45.0, 2, 2, 2, dict(zip(_KINDS, _SMOKE, strict=True))),
}


@dataclasses.dataclass
class Run:
    """One run: what was decided before it, and what came of it."""

    profile: Profile
    workload: Workload
    faults: list[Fault]
    provider: Provider
    journal: Journal
    target: Target
    unsettled_deliveries: int = 0

    async def live(self) -> Struck:
        """Load and faults at once; then heal, and wait for what was not acknowledged."""
        load = asyncio.create_task(self.provider.deliver(self.workload.planned, PATIENCE))
        late = asyncio.create_task(self._late_orders())
        supervisor = asyncio.create_task(self.target.stack.supervise())
        struck = await strike(self.target, self.faults, say)
        await late
        self.unsettled_deliveries = await load
        supervisor.cancel()
        await asyncio.to_thread(self.target.stack.heal)
        return struck

    async def _late_orders(self) -> None:
        await asyncio.sleep(self.profile.span * 0.6)
        orders = [order for order in self.workload.orders if order.late]
        await asyncio.to_thread(insert_orders, self.target.database, orders)

    def drain(self) -> float:
        """Waits until every acknowledged notification has its verdict and the queue is empty; seconds it took."""
        began = time.monotonic()
        with psycopg.connect(self.target.database, autocommit=True) as connection:
            while time.monotonic() - began < DRAIN:
                waiting = missing(connection, self.journal.acknowledged) or open_rows(connection)
                if not waiting and self.target.broker.depth() == 0:
                    break
                time.sleep(0.3)
        return time.monotonic() - began


def main() -> int:
    """Runs one seed."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="paidonce-chaos-"))
    try:
        report, found = _run(options, folder)
    except (ServerMissing, RuntimeError) as why:
        say(f"chaos: {why}")
        return 1
    is_clean = found.is_clean and not report["unacknowledged"]
    if is_clean and not report["died_alone"]:
        shutil.rmtree(folder)
    else:
        (folder / "findings.json").write_text(json.dumps(dataclasses.asdict(found), indent=2, default=str))
        say(f"seed {options.seed}, profile {options.profile}, broker {options.broker}: logs and findings in {folder}")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if is_clean else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="smoke")
    parser.add_argument("--seed", type=int, default=1, help="decides workload, schedule and victims")
    parser.add_argument("--broker", choices=("rabbitmq", "redis", "pgmq"), default="rabbitmq")
    return parser.parse_args()


def _run(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Findings]:
    began, profile = time.monotonic(), PROFILES[options.profile]
    workload = build(options.seed, profile.notifications, profile.span)
    faults = schedule(options.seed, profile.faults, profile.span)
    accounts, dialects = sandbox_accounts(folder, ACCOUNTS)
    with own_database(unique_name("chaos")) as url, own_broker(options.broker, url) as broker:
        insert_orders(plain(url), [order for order in workload.orders if not order.late])
        environment = {
            **accounts,
            **broker.environment,
            "PAIDONCE_DATABASE_URL": url,
            "PAIDONCE_RETRY_BASE_SECONDS": "0.5",
        }
        sizes = {"receivers": profile.receivers, "workers": profile.workers, "beats": profile.beats}
        stack = Stack(environment, folder, **sizes)
        journal = Journal(folder / "acknowledged")
        provider = Provider(dialects, stack.doors, journal, options.seed)
        run = Run(profile, workload, faults, provider, journal, Target(stack, broker, plain(url)))
        with stack.running():
            struck = asyncio.run(run.live())
            drained = run.drain()
        journal.close()
        found = examine(
            plain(url),
            os.environ | environment,
            acknowledged=journal.acknowledged,
            fooled=provider.fooled,
            orders=workload.orders,
        )
    return _report(options, run, struck, found, seconds=time.monotonic() - began, drained=drained), found


def _report(
    options: argparse.Namespace, run: Run, struck: Struck, found: Findings, *, seconds: float, drained: float
) -> dict[str, Any]:
    return {
        "profile": options.profile,
        "seed": options.seed,
        "broker": options.broker,
        "notifications": run.workload.notifications,
        "acknowledged": len(run.journal.acknowledged),
        "deliveries": run.provider.deliveries,
        "answers": {str(status): count for status, count in sorted(run.provider.answers.items())},
        "faults": dict(sorted(struck.done.items())),
        "faults_left_out": dict(sorted(struck.left_out.items())),
        "faults_survived": struck.done.total() if found.is_clean else 0,
        "died_alone": run.target.stack.died_alone,
        "unacknowledged": run.unsettled_deliveries,
        "lost": len(found.lost),
        "double_applied": len(found.double_applied),
        "under_applied": len(found.under_applied),
        "forged_accepted": len(found.forged_accepted),
        "unsettled": len(found.unsettled),
        "cases": found.cases,
        "invariants": found.invariants,
        "drain_seconds": round(drained, 1),
        "seconds": round(seconds, 1),
    }


def insert_orders(database: str, orders: list[Order]) -> None:
    """Pending orders."""
    with psycopg.connect(database, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO orders (account, order_no, amount, currency) VALUES (%s, %s, %s, %s)",
            [(order.account, order.order_no, order.amount, order.currency) for order in orders],
        )


def say(line: str) -> None:
    """For people."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
