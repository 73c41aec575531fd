"""One run: load and faults at once on servers of its own, then everything heals, drains and is counted."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from . import stranger
from .accounts import sandbox_accounts
from .check import Findings, compare_outbox, examine, missing, open_rows, unrelayed
from .faults import Fault, Struck, schedule, strike
from .own_redis import OwnRedis
from .own_servers import POISONED_ORDERS, Servers, insert_orders, own_servers
from .planned import ACCOUNTS, POISON, Workload
from .profiles import Profile
from .provider import Journal, Provider
from .stack import our_stack
from .target import Target
from .watch import Watch
from .workload import build

#: Seconds after the last fault: for what was not acknowledged yet; in which all must have its verdict; and after which
#: a run that is too slow is given up: what waits in a queue is late, and only what is in none is lost.
PATIENCE, DRAIN, GIVE_UP = 60.0, 60.0, 900.0


@dataclass
class Outcome:
    """What came of a run. Times in seconds."""

    struck: Struck
    found: Findings
    acknowledged: int
    deliveries: int
    answers: dict[str, int]
    unacknowledged: int
    looks: int
    told: int
    died_alone: list[str]
    did_not_end: list[str]
    drain_seconds: float


@dataclass
class Run:
    """A run of ours, decided by its seed. `say` tells people what happens."""

    seed: int
    kind: str
    profile: Profile
    folder: Path
    say: Callable[[str], None]
    workload: Workload = field(init=False)
    faults: list[Fault] = field(init=False)
    written: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Everything that the seed decides."""
        self.workload = build(self.seed, self.profile.notifications, self.profile.span)
        self.faults = schedule(self.seed, self.profile.faults, self.profile.span)

    def go(self) -> Outcome:
        """From empty servers to the findings. Raises ServerMissing and RuntimeError (something does not start)."""
        with own_servers(self.kind, self.folder) as servers:
            servers.postgres.migrate()
            with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
                connection.execute(POISONED_ORDERS)
            servers.broker.listen()
            insert_orders(servers.postgres.url, [order for order in self.workload.orders if not order.late])
            return self._on(servers)

    def _on(self, servers: Servers) -> Outcome:
        environment, dialects = self._environment(servers)
        sizes = {"receivers": self.profile.receivers, "workers": self.profile.workers, "beats": self.profile.beats}
        stack = our_stack(environment, self.folder, machines=servers.machines, **sizes)
        journal = Journal(self.folder / "acknowledged")
        provider = Provider(dialects, stack.doors, journal, self.seed)
        longest = self.profile.longest_stop
        target = Target(stack, servers.broker, servers.postgres, servers.proxy, servers.lock, longest)
        watch = Watch(servers.postgres.sqlalchemy_url)
        with stack.running():
            watch.start()
            struck, unacknowledged, healed = asyncio.run(self._live(target, provider))
            drained = drain(servers, journal) - healed
            watch.stop()
        journal.close()
        found = self._examine(servers, environment, journal, provider)
        found.breaches = watch.breaches
        told = servers.broker.told()
        compare_outbox(servers.postgres.url, told, found)
        kept = servers.broker.quarantined()
        found.not_quarantined = stranger.missing(self.written, kept)
        return Outcome(
            struck=struck,
            found=found,
            acknowledged=len(journal.acknowledged),
            deliveries=provider.deliveries,
            answers={str(status): count for status, count in sorted(provider.answers.items())},
            unacknowledged=unacknowledged,
            looks=watch.looks,
            told=len(told),
            died_alone=stack.died_alone,
            did_not_end=stack.did_not_end,
            drain_seconds=round(drained, 1),
        )

    def _environment(self, servers: Servers) -> tuple[dict[str, str], dict]:
        accounts, dialects = sandbox_accounts(self.folder, ACCOUNTS, 'stripe_account = "acct_ours"\n')
        lock = servers.lock or (servers.broker if isinstance(servers.broker, OwnRedis) else None)
        environment = {
            **accounts,
            **servers.broker.environment(servers.proxy.port),
            "PAIDONCE_DATABASE_URL": servers.postgres.sqlalchemy_url,
            "PAIDONCE_RETRY_BASE_SECONDS": "0.1",
        }
        if lock is not None:
            environment["PAIDONCE_LOCK_URL"] = lock.url()
        return environment, dialects

    async def _live(self, target: Target, provider: Provider) -> tuple[Struck, int, float]:
        """Load and faults at once; then heal, and wait for what was not acknowledged.

        The last is the moment from which the drain counts: of the healing, or of the load's end where that is later.
        """
        began = time.monotonic()
        patience = PATIENCE + self.profile.longest_stop
        load = asyncio.create_task(provider.deliver(self.workload.planned, patience))
        late = asyncio.create_task(self._late_orders(target))
        strangers = asyncio.create_task(self._strangers(target))
        supervisor = asyncio.create_task(target.stack.supervise())
        struck = await strike(target, self.faults, self.say)
        await late
        target.proxy.flow()
        await asyncio.to_thread(target.stack.heal)
        healed = max(time.monotonic(), began + self.profile.span)
        self.say("everything runs again")
        unacknowledged = await load
        await strangers
        supervisor.cancel()
        return struck, unacknowledged, healed

    async def _late_orders(self, target: Target) -> None:
        """The shop writes some orders when their notifications have long been there."""
        await asyncio.sleep(self.profile.span * 0.6)
        async with target.alone("postgres"):
            orders = [order for order in self.workload.orders if order.late]
            await asyncio.to_thread(insert_orders, target.postgres.url, orders)

    async def _strangers(self, target: Target) -> None:
        began = time.monotonic()
        moments = stranger.schedule(self.seed, int(self.profile.notifications * POISON), self.profile.span)
        for number, at in enumerate(moments):
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            if name := await asyncio.to_thread(stranger.write, target.broker.url(), number):
                self.written.append(name)

    def _examine(self, servers: Servers, environment: dict[str, str], journal: Journal, provider: Provider) -> Findings:
        return examine(
            servers.postgres.url,
            os.environ | environment,
            acknowledged=journal.acknowledged,
            fooled=provider.fooled,
            orders=self.workload.orders,
        )


def drain(servers: Servers, journal: Journal) -> float:
    """Waits until every acknowledged notification has its verdict and all is told; that moment."""
    deadline = time.monotonic() + GIVE_UP
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        while (began := time.monotonic()) < deadline:
            waiting = unrelayed(connection) or open_rows(connection) or missing(connection, journal.acknowledged)
            if not waiting and servers.broker.depth() == 0:
                break
            # Most of the machine is for those who drain.
            time.sleep(max(0.3, 2 * (time.monotonic() - began)))
    return time.monotonic()
