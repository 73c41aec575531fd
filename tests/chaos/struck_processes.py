"""Faults of our own processes: killed, stopped for a while, asked to end."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM

from .processes import Process
from .target import Target, between, pick

#: Seconds that a process is given for its good-bye; a platform gives 45 (docs/adr/0009).
GOOD_BYE = 45
#: Seconds by which a clock jumps.
JUMP = 600


async def _kill_child(target: Target, choice: float) -> bool:
    """One child of a worker's pool: its pack is requeued by the parent, or by the broker."""
    for _ in range(100):  # a worker that was just started has none yet
        pools = [pool for worker in target.stack.workers if (pool := worker.children())]
        if pools:
            with suppress(ProcessLookupError):
                os.kill(pick(pick(pools, choice), choice * 7 % 1), SIGKILL)
            return True
        await asyncio.sleep(0.05)
    return False


def _kill(kind: str) -> Callable[[Target, float], Awaitable[bool]]:
    """A kill -9 of one process of `kind` with its children; the supervisor starts it again."""

    async def kill(target: Target, choice: float) -> bool:
        if not (victims := target.stack.of(kind)):
            return False
        await asyncio.to_thread(pick(victims, choice).kill)
        return True

    return kill


def _stop(kind: str) -> Callable[[Target, float], Awaitable[bool]]:
    """It stands still, holding its locks and its packs, and then goes on as if nothing had been."""

    async def stop(target: Target, choice: float) -> bool:
        async with target.alone(f"stopped {kind}"):
            victim = pick(target.stack.of(kind), choice)
            victim.send(SIGSTOP)
            await asyncio.sleep(_a_while(target, choice))
            victim.send(SIGCONT)
        return True

    return stop


def _a_while(target: Target, choice: float) -> float:
    return between(choice, min(5.0, target.longest_stop / 2), target.longest_stop)


async def _set_clock(target: Target, choice: float) -> bool:
    """One process' clock goes wrong, ahead or behind, and is set right again while it runs."""
    victim = pick(target.stack.processes, choice)
    if victim.machine is None:
        return False
    async with target.alone(f"clock of {victim.name}"):
        victim.machine.set_clock(JUMP if choice * 13 % 1 < 0.5 else -JUMP)
        await asyncio.sleep(_a_while(target, choice))
        victim.machine.set_clock(0)
    return True


async def _end_warm(target: Target, choice: float) -> bool:
    """SIGTERM under load: what it holds it finishes or hands back."""
    return await _end(target, pick(target.stack.workers, choice), SIGTERM)


async def _end_cold(target: Target, choice: float) -> bool:
    """SIGQUIT under load: it lets everything fall."""
    return await _end(target, pick(target.stack.workers, choice), SIGQUIT)


async def _end_receiver(target: Target, choice: float) -> bool:
    """SIGTERM under load: requests in hand are answered first."""
    return await _end(target, pick(target.stack.receivers, choice), SIGTERM)


async def _end(target: Target, victim: Process, number: int) -> bool:
    async with target.alone(victim.name):
        if not await asyncio.to_thread(victim.ask, number, GOOD_BYE):
            target.stack.did_not_end.append(victim.name)
    return True


PROCESSES = {
    "worker_child_kill": _kill_child,
    "worker_kill": _kill("worker"),
    "worker_stop": _stop("worker"),
    "worker_sigterm": _end_warm,
    "worker_sigquit": _end_cold,
    "receiver_kill": _kill("receiver"),
    "receiver_stop": _stop("receiver"),
    "receiver_sigterm": _end_receiver,
    "beat_kill": _kill("beat"),
    "clock_jump": _set_clock,
}
