"""What faults may strike, and how the seed's one number chooses among victims."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .broker import Broker
from .own_postgres import OwnPostgres
from .own_redis import OwnRedis
from .proxy import Proxy
from .stack import Stack

Victim = TypeVar("Victim")


@dataclass
class Target:
    """What faults may strike: our processes and the run's own servers. `lock` is None where the broker is Redis."""

    stack: Stack
    broker: Broker
    postgres: OwnPostgres
    proxy: Proxy
    lock: OwnRedis | None
    #: The longest that a process stands still, in seconds.
    longest_stop: float
    #: One fault at a time for what cannot be in two states at once.
    held: dict[str, asyncio.Lock] = field(default_factory=dict)

    def alone(self, what: str) -> asyncio.Lock:
        """Held while `what` is down or under an alarm."""
        return self.held.setdefault(what, asyncio.Lock())


def pick(victims: Sequence[Victim], choice: float) -> Victim:
    """One of them."""
    return victims[int(choice * len(victims))]


def between(choice: float, least: float, most: float) -> float:
    """A second draw out of the same number, independent of the victim."""
    return least + (most - least) * (choice * 7 % 1)
