"""`python -m tests.chaos.peers`: ours and the usual Celery worker, each through the same load and the same faults.

True payments only, since the peer reads nothing else; the same seed, journal, provider and schedule for everybody.
"""

import argparse
import asyncio
import base64
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench import naive_worker

from .__main__ import revision, say
from .accounts import sandbox_accounts
from .faults import Struck, schedule, strike
from .guard import guarded
from .own_redis import OwnRedis
from .own_servers import Servers, own_servers
from .peer_app import VARIANTS
from .peer_stacks import STACKS
from .planned import ACCOUNTS, Workload
from .profiles import KILLS, PROFILES
from .provider import Journal, Provider
from .servers import ServerMissing
from .target import Target
from .workload import build

OURS = "paidonce"
SIDES = (OURS, *VARIANTS)
#: Seconds: for what was not acknowledged; without any progress, before what is missing is missing; and at most.
PATIENCE, STANDSTILL, DRAIN = 60.0, 20.0, 300.0
#: Smoke's faults of processes alone, four times as many: the servers stay up.
_KILLS = {kind: 4 * PROFILES["smoke"].faults[kind] for kind in KILLS}


@dataclass(frozen=True)
class Row:
    """One run of one side.

    `lost`: acknowledged payments that are neither applied nor in the broker when nothing moves any more. `held`: those
    that the broker will bring after the visibility timeout, which is an hour on Redis.
    """

    side: str
    broker: str
    seed: int
    kills: int
    faults: int
    acknowledged: int
    lost: int
    held: int
    double_applied: int


def main() -> int:
    """Every side on each broker, one after the other; the table, and a JSON object per run."""
    options = _options()
    say(f"revision {revision()}, smoke's load, faults: {options.faults}")
    rows = []
    for broker in options.brokers:
        for side in options.sides:
            for seed in options.seeds:
                try:
                    rows.append(_one(side, broker, seed, options.faults))
                except ServerMissing as why:
                    say(f"peers: {why}")
                    return 2
                sys.stdout.write(json.dumps(rows[-1].__dict__) + "\n")
                sys.stdout.flush()
    say(table(rows))
    return 1 if any(row.lost or row.double_applied for row in rows if row.side == OURS) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.peers", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--brokers", nargs="+", choices=("rabbitmq", "redis"), default=["rabbitmq", "redis"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--faults", choices=("all", "kills"), default="all", help="kills: of processes alone")
    return parser.parse_args()


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| worker | broker | seed | kills | faults | acknowledged | lost | held | applied twice |",
        "|" + "---|" * 9,
    ]
    lines += [
        f"| {row.side} | {row.broker} | {row.seed} | {row.kills} | {row.faults} | {row.acknowledged} | {row.lost}"
        f" | {row.held} | {row.double_applied} |"
        for row in rows
    ]
    return "\n".join(lines)


def _one(side: str, broker: str, seed: int, faults: str) -> Row:
    with tempfile.TemporaryDirectory(prefix="paidonce-peers-") as name:
        folder = Path(name)
        with guarded(folder), own_servers(broker, folder, with_lock=False) as servers:
            row = _run(side, seed, servers, folder, _KILLS if faults == "kills" else PROFILES["smoke"].faults)
    say(f"{row.side} on {row.broker}: {row.acknowledged} acknowledged, {row.lost} lost, {row.double_applied} twice")
    return row


def _run(side: str, seed: int, servers: Servers, folder: Path, counts: Any) -> Row:
    profile = PROFILES["smoke"]
    workload = build(seed, profile.notifications, profile.span, payments_only=True)
    accounts, dialects = sandbox_accounts(folder, ACCOUNTS[:1])
    stack = STACKS[side == OURS](side, servers, folder, accounts, workload.orders)
    journal = Journal(folder / "acknowledged")
    provider = Provider(dialects, stack.doors, journal, seed)
    target = Target(stack, servers.broker, servers.postgres, servers.proxy, None, profile.longest_stop)
    with stack.running():
        struck = asyncio.run(_live(target, provider, workload, seed, counts))
        unpaid, held = _drain(servers, journal)
    journal.close()
    kills = sum(struck.done[kind] for kind in _KILLS)
    return Row(
        side=side,
        broker=servers.broker.kind,
        seed=seed,
        kills=kills,
        faults=struck.done.total(),
        acknowledged=len(journal.acknowledged),
        lost=len(unpaid - held),
        held=len(unpaid & held),
        double_applied=_twice(servers),
    )


async def _live(target: Target, provider: Provider, workload: Workload, seed: int, counts: Any) -> Struck:
    profile = PROFILES["smoke"]
    load = asyncio.create_task(provider.deliver(workload.planned, PATIENCE))
    supervisor = asyncio.create_task(target.stack.supervise())
    struck = await strike(target, schedule(seed, counts, profile.span), lambda _: None)
    target.proxy.flow()
    await asyncio.to_thread(target.stack.heal)
    await load
    supervisor.cancel()
    return struck


def _drain(servers: Servers, journal: Journal) -> tuple[set[str], set[str]]:
    """Until everything acknowledged is paid, or nothing moves any more: what is unpaid, and what the broker holds."""
    deadline = time.monotonic() + DRAIN
    moved, before = time.monotonic(), None
    while True:
        now = _unpaid(servers, journal), servers.broker.depth()
        if now != before:
            moved, before = time.monotonic(), now
        if not now[0] or time.monotonic() > min(deadline, moved + STANDSTILL):
            return now[0], _held(servers)
        time.sleep(1)


def _unpaid(servers: Servers, journal: Journal) -> set[str]:
    """Acknowledged payments without effect. Each order has one payment, both of the same number."""
    with psycopg.connect(servers.postgres.url) as connection:
        paid = {int(row[0][2:]) for row in connection.execute("SELECT order_no FROM orders WHERE paid > 0")}
    return {name for _, name in journal.acknowledged if int(name.removeprefix("evt_")) - 1 not in paid}


def _held(servers: Servers) -> set[str]:
    """The payments in the peer's list on Redis, and in what kombu noted as delivered and not acknowledged."""
    if not isinstance(servers.broker, OwnRedis):
        return set()
    client = servers.broker.client
    messages = [json.loads(raw) for raw in client.lrange(naive_worker.QUEUE, 0, -1)]
    messages += [json.loads(raw)[0] for raw in client.hvals("unacked")]
    calls = [json.loads(base64.b64decode(message["body"])) for message in messages]
    return {json.loads(call[0][0])["id"] for call in calls}


def _twice(servers: Servers) -> int:
    with psycopg.connect(servers.postgres.url) as connection:
        rows = connection.execute("SELECT order_no FROM orders WHERE paid > amount").fetchall()
    return len(rows)


if __name__ == "__main__":
    sys.exit(main())
