"""Faults: which, when and to whom is decided by the seed; the servers themselves are never stopped."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import NamedTuple, TypeVar

import psycopg

from .brokers import Broker
from .stack import Stack

Victim = TypeVar("Victim")

#: Backends of the database that one pg_terminate ends.
BACKENDS = 2


class Fault(NamedTuple):
    """Seconds after the start, what, and a number in [0, 1) that chooses the victim and how long."""

    at: float
    kind: str
    choice: float


@dataclass(frozen=True)
class Target:
    """What faults may strike: our processes, our place on the broker, our database (psycopg's URL)."""

    stack: Stack
    broker: Broker
    database: str


def schedule(seed: int, counts: Mapping[str, int], span: float) -> list[Fault]:
    """Every fault of a run in time order, the kinds mixed, evenly over the middle of `span`."""
    dice = random.Random(f"faults {seed}")
    kinds = [kind for kind, count in sorted(counts.items()) for _ in range(count)]
    dice.shuffle(kinds)
    step = span * 0.9 / max(1, len(kinds))
    starts = (span * 0.05 + step * (place + dice.uniform(0, 0.8)) for place in range(len(kinds)))
    return [Fault(at, kind, dice.random()) for at, kind in zip(starts, kinds, strict=True)]


class Struck(NamedTuple):
    """Faults that met a victim, and faults that this broker has not, by kind."""

    done: Counter[str]
    left_out: Counter[str]


async def strike(target: Target, faults: list[Fault], say: Callable[[str], None]) -> Struck:
    """Each fault at its time; a slow one does not hold up the next."""
    began = time.monotonic()
    struck = Struck(Counter(), Counter())

    async def one(fault: Fault) -> None:
        await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
        met = await FAULTS[fault.kind](target, fault.choice)
        say(f"{time.monotonic() - began:6.1f} s  {fault.kind}{'' if met else ': left out'}")
        (struck.done if met else struck.left_out)[fault.kind] += 1

    await asyncio.gather(*map(one, faults))
    return struck


def _pick(victims: Sequence[Victim], choice: float) -> Victim:
    return victims[int(choice * len(victims))]


async def _kill_child(target: Target, choice: float) -> bool:
    """One child of a worker's pool: its pack is requeued by the parent, or by the broker."""
    for _ in range(100):  # a worker that was just started has none yet
        pools = [pool for worker in target.stack.workers if (pool := worker.children())]
        if pools:
            with suppress(ProcessLookupError):
                os.kill(_pick(_pick(pools, choice), choice * 7 % 1), SIGKILL)
            return True
        await asyncio.sleep(0.05)
    return False


async def _kill_worker(target: Target, choice: float) -> bool:
    """Parent and children at once."""
    _pick(target.stack.workers, choice).kill()
    return True


async def _kill_receiver(target: Target, choice: float) -> bool:
    """Confirms may be on their way, answers half written."""
    _pick(target.stack.receivers, choice).kill()
    return True


async def _kill_beat(target: Target, choice: float) -> bool:
    _pick(target.stack.beats, choice).kill()
    return True


async def _stop_worker(target: Target, choice: float) -> bool:
    """It stands still for 3 to 6 s, holding its locks and its packs, and then goes on as if nothing had been."""
    victim = _pick(target.stack.workers, choice)
    victim.send(SIGSTOP)
    await asyncio.sleep(3 + 3 * (choice * 7 % 1))
    victim.send(SIGCONT)
    return True


async def _cut_broker(target: Target, choice: float) -> bool:
    return await asyncio.to_thread(target.broker.cut, target.stack.pids())


async def _end_backends(target: Target, choice: float) -> bool:
    return await asyncio.to_thread(_terminate, target.database, choice)


def _terminate(database: str, choice: float) -> bool:
    """Some of our database's sessions, whoever's they are, in the middle of whatever they do."""
    with psycopg.connect(database, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid"
        ).fetchall()
        victims = random.Random(choice).sample(rows, min(BACKENDS, len(rows)))
        for (pid,) in victims:
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
    return bool(victims)


FAULTS: Mapping[str, Callable[[Target, float], Awaitable[bool]]] = {
    "worker_child_kill": _kill_child,
    "worker_kill": _kill_worker,
    "worker_stop": _stop_worker,
    "receiver_kill": _kill_receiver,
    "broker_connections_closed": _cut_broker,
    "pg_terminate_backend": _end_backends,
    "beat_kill": _kill_beat,
}
