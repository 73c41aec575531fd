"""Faults: which, when and to whom is decided by the seed. Servers are killed too: they are the run's own."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import psycopg

from .struck_processes import PROCESSES
from .struck_servers import SERVERS
from .target import Target

#: By name; each takes a number in [0, 1) that chooses, and says whether it met a victim.
FAULTS: Mapping[str, Callable[[Target, float], Awaitable[bool]]] = {**PROCESSES, **SERVERS}


class Fault(NamedTuple):
    """Seconds after the start, what, and a number in [0, 1) that chooses the victim and how long."""

    at: float
    kind: str
    choice: float


def schedule(seed: int, counts: Mapping[str, int], span: float) -> list[Fault]:
    """Every fault of a run in time order, the kinds mixed, evenly over the middle of `span`."""
    dice = random.Random(f"faults {seed}")
    kinds = [kind for kind, count in sorted(counts.items()) for _ in range(count)]
    dice.shuffle(kinds)
    step = span * 0.9 / max(1, len(kinds))
    starts = (span * 0.05 + step * (place + dice.uniform(0, 0.8)) for place in range(len(kinds)))
    return [Fault(at, kind, dice.random()) for at, kind in zip(starts, kinds, strict=True)]


class Struck(NamedTuple):
    """Faults that met a victim, and faults that this run has not, by kind."""

    done: Counter[str]
    left_out: Counter[str]


async def strike(target: Target, faults: list[Fault], say: Callable[[str], None]) -> Struck:
    """Each fault at its time; a slow one does not hold up the next. Returns when the last is over."""
    began = time.monotonic()
    struck = Struck(Counter(), Counter())

    async def one(fault: Fault) -> None:
        await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
        try:
            met = await FAULTS[fault.kind](target, fault.choice)
        except (OSError, RuntimeError, psycopg.Error) as why:  # its victim was down already
            met = False
            say(f"{time.monotonic() - began:6.1f} s  {fault.kind}: {str(why).strip()[:100]}")
        say(f"{time.monotonic() - began:6.1f} s  {fault.kind}{'' if met else ': left out'}")
        (struck.done if met else struck.left_out)[fault.kind] += 1

    await asyncio.gather(*map(one, faults))
    return struck
