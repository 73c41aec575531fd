"""Group commit at the door: every envelope that waits goes to the broker as one message, and one confirm answers all.

One thread, one connection. A lone envelope goes at once; while its confirm is on the way the next ones gather. On any
error every envelope in hand fails and the connection is thrown away: what was in doubt is sent again by its provider.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, sleep
from typing import NamedTuple

import structlog

from domain.errors import BrokerUnavailable
from worker.broker import family
from worker.link import Link
from worker.settings import Settings

log = structlog.get_logger()

#: While the broker is away a new connection is tried this often, also without traffic (seconds).
PROBE_SECONDS = 1.0
#: After a failed attempt to connect, requests fail at once for this long instead of each waiting for the next one.
REFUSE_SECONDS = 0.3
#: A connection unused for longer may have been cut by something in between: its first error is worth one retry.
STALE_SECONDS = 1.0
#: After this much silence an empty pack marks the tail, again and again: what the broker lost since is known soon.
TAIL_SECONDS = 30.0
#: Under load a pack gathers for as long as the last confirm took, this at the most: half as many packs, and each costs
#: every part of the system the same, whatever it holds. After a lone envelope nothing waits.
GATHER_SECONDS = 0.005


class Waiting(NamedTuple):
    """An encoded envelope, and the future of the request that waits for the confirm."""

    envelope: bytes
    confirm: asyncio.Future[None]


class Deadlines:
    """Fails what waits for longer than `seconds` on `loop`. All wait equally long: one timer is enough for all."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self._seconds = seconds
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, confirm: asyncio.Future[None]) -> None:
        """`confirm` has until then."""
        waiting = self._waiting
        while waiting and waiting[0][1].done():
            waiting.popleft()
        waiting.append((self.loop.time() + self._seconds, confirm))
        if self._timer is None:
            self._timer = self.loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        waiting, now = self._waiting, self.loop.time()
        while waiting and (waiting[0][0] <= now or waiting[0][1].done()):
            _fail(waiting.popleft()[1], "deadline")
        self._timer = self.loop.call_at(waiting[0][0], self._look) if waiting else None


class Publisher:
    """Sends envelopes from an event loop's requests. One per process; start() once, close() once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deadlines: Deadlines | None = None
        self._link = Link(settings)
        # A None in the queue says: close after what came before.
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        #: Submitted in this turn of the event loop.
        self._fresh: list[Waiting] = []
        self._next: Waiting | None = None
        self._in_hand: list[Waiting] = []
        #: Seconds for which the next pack may gather; 0 unless the last one had company.
        self._gathers = 0.0
        self._thread = Thread(target=self._run, name="publisher", daemon=True)
        self._ready = False
        self._closing = False
        self._tail_is_marked = True
        self._refuse_until = 0.0

    def start(self) -> None:
        """Starts the thread, which connects by itself. Raises ConfigurationError for a broker we cannot use."""
        family(self._settings.broker_url)
        self._thread.start()

    def ready(self) -> bool:
        """Whether the last publish or connect succeeded."""
        return self._ready and self._thread.is_alive()

    def submit(self, envelope: bytes) -> asyncio.Future[None]:
        """The end of the returned future, of the running loop, is the broker's confirm of `envelope` (JSON).

        BrokerUnavailable, raised or within publish_timeout_seconds the future's end, says that there is none; the
        envelope may have reached the queue all the same.
        """
        waiting = self._queue.qsize() + len(self._fresh)
        if self._closing or monotonic() < self._refuse_until or waiting >= self._settings.max_waiting:
            raise BrokerUnavailable
        loop = asyncio.get_running_loop()
        if self._deadlines is None or self._deadlines.loop is not loop:
            self._deadlines = Deadlines(loop, self._settings.publish_timeout_seconds)
        confirm: asyncio.Future[None] = loop.create_future()
        self._deadlines.add(confirm)
        if not self._fresh:
            loop.call_soon(self._hand_over)
        self._fresh.append(Waiting(envelope, confirm))
        return confirm

    def _hand_over(self) -> None:
        # One turn of the loop together: else the thread wakes for the first and fights for the GIL.
        fresh, self._fresh = self._fresh, []
        for waiting in fresh:
            self._queue.put(waiting)

    async def publish(self, envelope: bytes) -> None:
        """Returns when the broker has confirmed `envelope`. Raises BrokerUnavailable as submit says."""
        await self.submit(envelope)

    def close(self, timeout: float) -> None:
        """Sends what waits, for `timeout` seconds, and fails the rest. Blocks: not for the event loop's own thread."""
        self._closing = True
        self._hand_over()
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        _settle([*self._in_hand, *self._everything_waiting()], "closed")

    # ---- the thread

    def _run(self) -> None:
        self._probe()
        while True:
            pack = self._next_pack()
            if pack:
                self._send(pack)
            elif self._closing:
                break
            else:
                self._idle()
        if self._ready and not self._tail_is_marked:
            self._send([])
        self._link.close()

    def _next_pack(self) -> list[Waiting]:
        """What waits, oldest first, as far as one message may hold. Empty after a while of silence, or at the end."""
        pack: list[Waiting] = []
        size = 0
        waiting = self._next or self._first()
        self._next = None
        if waiting is not None and self._gathers:
            sleep(self._gathers)
        while waiting is not None:
            if pack and size + len(waiting.envelope) > self._settings.pack_max_bytes:
                self._next = waiting
                break
            if not waiting.confirm.done():  # else its request has been answered meanwhile
                pack.append(waiting)
                size += len(waiting.envelope)
            if len(pack) == self._settings.pack_max_envelopes:
                break
            waiting = self._another()
        return pack

    def _first(self) -> Waiting | None:
        if self._closing:
            return self._another()
        with suppress(Empty):
            return self._queue.get(timeout=TAIL_SECONDS if self._ready else PROBE_SECONDS)
        return None

    def _another(self) -> Waiting | None:
        with suppress(Empty):
            return self._queue.get_nowait()
        return None

    def _send(self, pack: list[Waiting]) -> None:
        self._in_hand = pack
        began = monotonic()
        error = self._deliver([waiting.envelope for waiting in pack], self._settings.publish_timeout_seconds)
        self._ready = error is None
        self._gathers = min(monotonic() - began, GATHER_SECONDS) if len(pack) > 1 else 0.0
        if error is None:
            self._tail_is_marked = not pack
            _settle(pack, None)
        else:
            failed = [*pack, *self._everything_waiting()]
            log.error("pack not confirmed", error=type(error).__name__, count=len(failed))
            _settle(failed, type(error).__name__)
        self._in_hand = []

    def _deliver(self, envelopes: list[bytes], seconds: float) -> Exception | None:
        """None when confirmed. `seconds` bound a retry, which only a connection that stood idle is given."""
        began = monotonic()
        stood_idle = self._link.is_open and self._link.last_used < began - STALE_SECONDS
        try:
            self._link.send(envelopes, min(seconds, self._settings.publish_timeout_seconds / 2))
        except Exception as error:  # noqa: BLE001 - whatever happened, only a new connection is known to be good
            stale = stood_idle and self._link.is_lost_by(error)
            self._discard()
            left = seconds - (monotonic() - began)
            return self._deliver(envelopes, left) if stale and left > 0 else error
        return None

    def _idle(self) -> None:
        if not self._ready:
            self._probe()
        elif self._link.packs.has_tail:
            self._send([])

    def _probe(self) -> None:
        try:
            self._link.open()
        except Exception as error:  # noqa: BLE001 - as above
            self._discard()
            log.warning("broker away", error=type(error).__name__)
        else:
            self._ready = True
            log.info("broker connected", epoch=self._link.packs.epoch)

    def _discard(self) -> None:
        if not self._link.is_open:
            self._refuse_until = monotonic() + REFUSE_SECONDS
        self._link.discard()
        self._tail_is_marked = not self._link.packs.has_tail

    def _everything_waiting(self) -> list[Waiting]:
        waiting = [self._next] if self._next else []
        self._next = None
        with suppress(Empty):
            while True:
                another = self._queue.get_nowait()
                if another is not None:
                    waiting.append(another)
        return waiting


def _settle(pack: Iterable[Waiting], reason: str | None) -> None:
    """Ends the wait of every request of `pack`: one wake-up per event loop, not one per request."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
    for waiting in pack:
        by_loop[waiting.confirm.get_loop()].append(waiting.confirm)
    for loop, confirms in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_finish, confirms, reason)


def _finish(confirms: list[asyncio.Future[None]], reason: str | None) -> None:
    for confirm in confirms:
        if reason is not None:
            _fail(confirm, reason)
        elif not confirm.done():
            confirm.set_result(None)


def _fail(confirm: asyncio.Future[None], reason: str) -> None:
    if not confirm.done():
        confirm.set_exception(BrokerUnavailable(reason))
