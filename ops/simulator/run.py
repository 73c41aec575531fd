"""Sends a schedule as providers do: again and again until it hears success, with pauses that grow."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from ops.simulator.forgery import Forger
from ops.simulator.http import Client, Refused
from ops.simulator.parcel import Parcel

#: Seconds before the first redelivery; it doubles. Providers wait minutes to hours: the same schedule, compressed.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
#: Seconds after which the sender gives a delivery up, counted from its first attempt.
PATIENCE = 60.0
#: "You are wrong" does not change with time: tried a few times and then left alone.
MOST_REFUSALS = 3


@dataclass(slots=True, eq=False)
class Shot:
    """One delivery on its way: how often it was tried, and since when (monotonic seconds)."""

    parcel: Parcel
    attempts: int = 0
    refusals: int = 0
    began: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What came back. Every HTTP request is a delivery, the repeated ones too."""

    answers: Counter[str] = field(default_factory=Counter)
    #: Deliveries answered with success: (account, notification id) -> how many.
    accepted: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Forged deliveries refused, and forged deliveries that got in.
    forged_refused: int = 0
    forged_accepted: int = 0
    #: Genuine notifications that the sender gave up, and of which no other copy got in.
    gave_up: set[tuple[str, str]] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def deliveries(self) -> int:
        """HTTP requests sent."""
        return self.answers.total()


class Simulation:
    """Sends one schedule to one base URL over `concurrency` connections."""

    def __init__(self, url: str, concurrency: int, patience: float = PATIENCE, journal: IO[str] | None = None) -> None:
        self._url = url
        self._concurrency = concurrency
        self._patience = patience
        self._journal = journal
        self._forger = Forger()
        self._queue: asyncio.Queue[Shot | None] = asyncio.Queue()
        self._open = 0
        self.outcome = Outcome()

    async def run(self, schedule: Sequence[Parcel], progress: Callable[[int], Any] = lambda _: None) -> Outcome:
        """Sends everything; `progress` is called with the number of deliveries settled so far."""
        began = time.monotonic()
        self._open = len(schedule)
        for parcel in schedule:
            self._queue.put_nowait(Shot(parcel))
        senders = [asyncio.create_task(self._send_all(Client(self._url))) for _ in range(self._concurrency)]
        if not schedule:
            self._stop()
        while not all(sender.done() for sender in senders):
            await asyncio.wait(senders, timeout=0.2, return_when=asyncio.FIRST_EXCEPTION)
            progress(len(schedule) - self._open)
            if any(sender.done() and sender.exception() for sender in senders):
                break
        await asyncio.gather(*senders)
        self.outcome.gave_up = {parcel.key for parcel in schedule if not (parcel.forged or parcel.accepted)}
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    async def _send_all(self, client: Client) -> None:
        try:
            while (shot := await self._queue.get()) is not None:
                await self._send(client, shot)
        finally:
            client.close()

    async def _send(self, client: Client, shot: Shot) -> None:
        parcel = shot.parcel
        shot.began = shot.began or time.monotonic()
        shot.attempts += 1
        delivery = parcel.delivery(time.time(), self._forger)
        try:
            path = f"/notify/{parcel.dialect.account}"
            status, body = await client.post(path, _headers(delivery.headers, delivery.body), delivery.body)
        except Refused:
            self.outcome.answers["none"] += 1
            self._again(shot)
            return
        self.outcome.answers[str(status)] += 1
        self._judge(shot, status, body)

    def _judge(self, shot: Shot, status: int, body: bytes) -> None:
        parcel = shot.parcel
        success = parcel.is_success(status, body)
        final = 400 <= status < 500 and status not in (408, 429)
        if success:
            self._accept(parcel)
        elif parcel.forged and final:
            self.outcome.forged_refused += 1
        else:
            shot.refusals += final
            self._again(shot)
            return
        self._done()

    def _accept(self, parcel: Parcel) -> None:
        parcel.accepted = True
        if parcel.forged:
            self.outcome.forged_accepted += 1
            return
        self.outcome.accepted[parcel.key] += 1
        if self._journal is not None:
            account, notification_id = parcel.key
            line = {"account": account, "notification_id": notification_id, "order_no": parcel.notice.order_no}
            self._journal.write(json.dumps(line | {"kind": parcel.notice.kind.value, "at": time.time()}) + "\n")
            self._journal.flush()

    def _again(self, shot: Shot) -> None:
        pause = min(FIRST_PAUSE * 2 ** (shot.attempts - 1), LONGEST_PAUSE)
        if shot.refusals >= MOST_REFUSALS or time.monotonic() + pause - shot.began > self._patience:
            self._done()
        else:
            asyncio.get_running_loop().call_later(pause, self._queue.put_nowait, shot)

    def _done(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._stop()

    def _stop(self) -> None:
        for _ in range(self._concurrency):
            self._queue.put_nowait(None)


def _headers(headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    kind = "application/json" if body.startswith(b"{") else "application/x-www-form-urlencoded; charset=utf-8"
    return {**headers, "content-type": kind}
