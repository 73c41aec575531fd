"""Faults of the run's own servers, and of the network before the broker."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from signal import SIGCONT, SIGSTOP

import psycopg

from .broker import Broker
from .own_postgres import OwnPostgres
from .own_redis import OwnRedis
from .target import Target, between

#: Backends of the database that one pg_terminate ends.
BACKENDS = 2
#: Seconds after its queue was deleted in which a broker is not struck.
LET_LIVE = 10.0

# ---- the database


async def _end_backends(target: Target, choice: float) -> bool:
    for _ in range(100):  # whoever lost its session has a new one as soon as it has work
        async with target.alone("postgres"):
            if await asyncio.to_thread(_terminate, target.postgres.url, choice):
                return True
        await asyncio.sleep(0.1)
    return False


def _terminate(database: str, choice: float) -> bool:
    """Some of our database's sessions, whoever's they are, in the middle of whatever they do."""
    with psycopg.connect(database, autocommit=True, connect_timeout=5) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid"
        ).fetchall()
        victims = random.Random(choice).sample(rows, min(BACKENDS, len(rows)))
        for (pid,) in victims:
            connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
    return bool(victims)


async def _crash_postgres(target: Target, choice: float) -> bool:
    async with target.alone("postgres"):
        await asyncio.to_thread(target.postgres.crash)
        await asyncio.sleep(between(choice, 0.0, 2.0))
        await asyncio.to_thread(target.postgres.start)
    return True


async def _fill_disk_of_postgres(target: Target, choice: float) -> bool:
    async with target.alone("postgres"):
        return await _fill_disk(target.postgres, target, choice)


# ---- the broker


async def _fill_disk_of_broker(target: Target, choice: float) -> bool:
    async with target.alone("broker"):
        return target.broker.keeps_with_a_full_disk and await _fill_disk(target.broker, target, choice)


async def _fill_disk(server: Broker | OwnPostgres, target: Target, choice: float) -> bool:
    """No file grows for a while. Whoever ended meanwhile is started again once there is room."""
    machine = server.process.machine
    if machine is None:
        return False
    machine.fill_disk(full=True)
    await asyncio.sleep(between(choice, 3.0, min(20.0, target.longest_stop)))
    machine.fill_disk(full=False)
    await asyncio.to_thread(server.recover)
    return True


async def _delete_queue(target: Target, choice: float) -> bool:
    """While it stands empty and nothing is on its way: what it holds would go with it, and only its provider knew.

    Receivers stand still for some seconds, and no worker that stands still holds a pack meanwhile. The broker is let
    live for a while: RabbitMQ 3.10, killed a second after, had a queue that it could neither start nor replace.
    """
    for _ in range(3):
        async with AsyncExitStack() as held:
            for what in ("stopped worker", "stopped receiver", "network", "broker"):
                await held.enter_async_context(target.alone(what))
            for receiver in target.stack.receivers:
                receiver.send(SIGSTOP)
            try:
                is_deleted = await asyncio.to_thread(target.broker.delete_empty_queue)
            finally:
                for receiver in target.stack.receivers:
                    receiver.send(SIGCONT)
            if is_deleted:
                await asyncio.sleep(LET_LIVE)
                return True
        await asyncio.sleep(between(choice, 1.0, 5.0))
    return False


async def _crash_broker(target: Target, choice: float) -> bool:
    async with target.alone("broker"):
        if not await asyncio.to_thread(target.broker.crash):
            return False
        await asyncio.sleep(between(choice, 0.0, 2.0))
        await asyncio.to_thread(target.broker.start)
    return True


async def _cut_broker(target: Target, choice: float) -> bool:
    async with target.alone("broker"):
        return await asyncio.to_thread(target.broker.cut)


async def _memory_alarm(target: Target, choice: float) -> bool:
    return await _alarm(target, target.broker.memory_alarm, choice)


async def _disk_alarm(target: Target, choice: float) -> bool:
    return await _alarm(target, target.broker.disk_alarm, choice)


async def _alarm(target: Target, alarm: Callable[..., bool], choice: float) -> bool:
    """While it lasts nothing is taken: every delivery must be refused, and none acknowledged."""
    async with target.alone("broker"):
        try:
            if not await asyncio.to_thread(alarm, on=True):
                return False
            await asyncio.sleep(between(choice, 3.0, min(20.0, target.longest_stop)))
        finally:
            await asyncio.to_thread(_off, alarm)
        return True


def _off(alarm: Callable[..., bool]) -> None:
    """Whatever it takes: a node that was asked and did not answer may have heard it all the same."""
    for left in reversed(range(5)):
        try:
            alarm(on=False)
            return
        except RuntimeError:
            if not left:
                raise


async def _stop_broker(target: Target, choice: float) -> bool:
    """A node that hangs: its connections stand, and nobody is answered."""
    async with target.alone("broker"):
        if target.broker.kind == "pgmq":
            return False
        target.broker.process.send(SIGSTOP)
        await asyncio.sleep(between(choice, 2.0, min(20.0, target.longest_stop)))
        target.broker.process.send(SIGCONT)
    return True


# ---- the network before it


async def _stall(target: Target, choice: float) -> bool:
    async with target.alone("network"):
        target.proxy.hold("up", "down")
        await asyncio.sleep(between(choice, 1.0, min(20.0, target.longest_stop)))
        target.proxy.flow()
    return True


async def _reset(target: Target, choice: float) -> bool:
    async with target.alone("network"):
        target.proxy.reset()
    return True


async def _one_way(target: Target, choice: float) -> bool:
    """What goes in one direction is lost: the broker hears us and we do not hear it, or the other way round."""
    async with target.alone("network"):
        target.proxy.swallow("down" if choice < 0.5 else "up")
        await asyncio.sleep(between(choice, 1.0, min(10.0, target.longest_stop)))
        target.proxy.reset()
        target.proxy.flow()
    return True


# ---- the server of the order lock, on which nothing rests


def _lock(strike_it: Callable[[OwnRedis, float], None]) -> Callable[[Target, float], Awaitable[bool]]:
    async def fault(target: Target, choice: float) -> bool:
        lock = target.lock
        if lock is None:
            return False
        async with target.alone("lock"):
            await asyncio.to_thread(strike_it, lock, choice)
        return True

    return fault


def _crash_lock(lock: OwnRedis, choice: float) -> None:
    lock.crash()
    time.sleep(between(choice, 0.0, 3.0))
    lock.start()


SERVERS = {
    "pg_terminate_backend": _end_backends,
    "postgres_crash": _crash_postgres,
    "postgres_disk_full": _fill_disk_of_postgres,
    "broker_crash": _crash_broker,
    "broker_stop": _stop_broker,
    "broker_connections_closed": _cut_broker,
    "broker_memory_alarm": _memory_alarm,
    "broker_disk_alarm": _disk_alarm,
    "broker_disk_full": _fill_disk_of_broker,
    "queue_deleted": _delete_queue,
    "network_stall": _stall,
    "network_reset": _reset,
    "network_one_way": _one_way,
    "lock_crash": _lock(_crash_lock),
    "lock_flush": _lock(lambda lock, choice: lock.flush()),
    "lock_pause": _lock(lambda lock, choice: lock.pause(between(choice, 1.0, 5.0))),
}
