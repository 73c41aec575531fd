"""The provider's side of a run: delivers what was planned over HTTP, again and again until it is acknowledged."""

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from ops.simulator.http import Client, Refused
from providers.stripe import Stripe

from .planned import Planned

#: Seconds: the first pause before a delivery is repeated, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
#: Deliveries on their way at once.
MOST_AT_ONCE = 96
#: Seconds that a provider waits for an answer.
TIMEOUT = 6.0
#: Answers that say "this is not genuine"; a forger is not sent away by anything less.
REFUSALS = (400, 401)


class Journal:
    """Acknowledged ids on disk, each before anything else happens: what may not be lost."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self.acknowledged: set[tuple[str, str]] = set()

    def note(self, account: str, notification_id: str) -> None:
        """fsync: a promise is only a promise when the one who relies on it remembers it."""
        self._file.write(f"{account} {notification_id}\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.acknowledged.add((account, notification_id))

    def close(self) -> None:
        """No more notes."""
        self._file.close()


class Provider:
    """Delivers; `doors` gives the addresses of the receivers, and each delivery goes to one of them by chance."""

    def __init__(
        self, dialects: dict[str, Stripe], doors: Callable[[], list[str]], journal: Journal, seed: int
    ) -> None:
        self._dialects = dialects
        self._doors = doors
        self._journal = journal
        self._dice = random.Random(f"provider {seed}")
        #: Answers by status; 0 stands for no answer.
        self.answers: Counter[int] = Counter()
        #: Not genuine, and acknowledged all the same: (account, notification id).
        self.fooled: list[tuple[str, str]] = []
        self._began = 0.0
        self._lines = asyncio.Semaphore(MOST_AT_ONCE)
        self._idle: defaultdict[str, list[Client]] = defaultdict(list)

    @property
    def deliveries(self) -> int:
        """HTTP requests made."""
        return self.answers.total()

    async def deliver(self, planned: Sequence[Planned], patience: float) -> int:
        """Every delivery at its time; how many were never settled within `patience` seconds after the last was due."""
        self._began = time.monotonic()
        end = planned[-1].at + patience
        settled: Counter[bool] = Counter()
        under_way: set[asyncio.Task[bool]] = set()
        for one in planned:
            await asyncio.sleep(max(0.0, one.at - self._now()))
            task = asyncio.create_task(self._until_settled(one, end))
            task.add_done_callback(lambda done: settled.update([done.result()]))
            task.add_done_callback(under_way.discard)
            under_way.add(task)
        await asyncio.gather(*under_way)
        for client in (client for idle in self._idle.values() for client in idle):
            client.close()
        return len(planned) - settled[True]

    async def _until_settled(self, one: Planned, end: float) -> bool:
        pause = FIRST_PAUSE
        while self._now() < end:
            if self._is_settled(one, await self._once(one)):
                return True
            await asyncio.sleep(pause * self._dice.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE)
        return False

    async def _once(self, one: Planned) -> int:
        async with self._lines:
            delivery = one.sign(self._dialects, time.time())
            door = self._dice.choice(self._doors())
            client = self._idle[door].pop() if self._idle[door] else Client(door)
            status = 0
            try:
                async with asyncio.timeout(TIMEOUT):
                    status, _ = await client.post(f"/notify/{one.account}", dict(delivery.headers), delivery.body)
            except (Refused, TimeoutError):
                client.close()
            else:
                self._idle[door].append(client)
            self.answers[status] += 1
            return status

    def _is_settled(self, one: Planned, status: int) -> bool:
        said = one.account, one.notice.notification_id
        if status == 200 and one.is_genuine:
            self._journal.note(*said)
        elif status == 200:
            self.fooled.append(said)
        return status == 200 or (status in REFUSALS and not one.is_genuine)

    def _now(self) -> float:
        return time.monotonic() - self._began
