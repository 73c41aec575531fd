"""Small packs that are in the worker's hands together travel to a child as one task.

After an outage the queue is full of packs of one, and each transaction costs the same whatever it holds. What is
gathered is acknowledged, rejected or requeued together, by the end of the one task: an exception or a lost child
requeues all of it. A pack that comes back travels alone, so that one which kills the process is found out.
"""

import re
from collections.abc import Callable
from time import monotonic
from typing import Any

from kombu.message import Message

from worker.link import TASK

#: The task that takes gathered packs; its one argument is a list of the bodies as they came.
GATHERED_TASK = "tasks.apply_packs"
_EPOCH = re.compile(r"[0-9a-f]{32}")
#: Packs in one task. Half of what a child may have in hand (worker_prefetch_multiplier), so that it never idles.
MOST_PACKS = 64
#: Bytes in one task, and of a pack worth gathering: a larger one has its own transaction's worth.
MOST_BYTES = 256 * 1024
SMALL_BYTES = 64 * 1024
#: Seconds that packs may wait for company, whatever the last task took, and while every child is busy.
LONGEST_WAIT = 0.05

#: Seconds in which more may arrive before packs are handed on.
BREATH = 0.001

Handle = Callable[[Any], Any]


class Gathering:
    """What has arrived and was not handed on yet. One for each connection, used by the event loop alone."""

    def __init__(self, handle: Handle, loop: Any, children: int, clock: Callable[[], float] = monotonic) -> None:
        """`handle` is Celery's own way of taking a message; `loop` has call_later; `clock` in seconds."""
        self._handle = handle
        self._loop = loop
        self._children = children
        self._clock = clock
        self._waiting: list[Any] = []
        self._bytes = 0
        self._under_way = 0
        #: When the first of those that wait arrived, and how long the last gathered task took: so long they may wait.
        self._since = self._patience = 0.0
        self._is_watched = self._was_quiet = False
        self._seen = 0

    def take(self, message: Any) -> None:
        """Hands `message` on: with others that arrive in the same breath, or alone."""
        if not is_small(message):
            self._send([message], self._ended)
            return
        if not self._waiting:
            self._since = self._clock()
        self._waiting.append(message)
        self._bytes += len(message.body)
        if len(self._waiting) >= MOST_PACKS or self._bytes >= MOST_BYTES:
            self._flush()
        else:
            self._watch()

    def _watch(self) -> None:
        """Looks, breath by breath, whether more arrive."""
        if not self._is_watched:
            self._is_watched, self._was_quiet, self._seen = True, False, len(self._waiting)
            self._look_later()

    def _look_later(self) -> None:
        """A timer and not call_soon: what a callback adds to the hub waits there until the next event, for seconds."""
        self._loop.call_later(BREATH, self._look)

    def _look(self) -> None:
        """Once nothing more has arrived for two breaths, or for as long as the last task took, a free child takes all.

        Two, because the loop's timers come before its sockets: after a pause of the whole process the first breath is
        always quiet, and the queue's next packs stand unread in the socket.
        """
        is_quiet = len(self._waiting) == self._seen
        if self._waiting and not (is_quiet and self._was_quiet) and self._clock() < self._since + self._patience:
            self._was_quiet, self._seen = is_quiet, len(self._waiting)
            self._look_later()
            return
        self._is_watched = False
        if self._under_way < self._children:
            self._flush()
        else:
            self._loop.call_later(LONGEST_WAIT, self._flush)

    def _flush(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            began = self._clock()
            self._send(waiting, lambda: self._gathered_ended(began))

    def _send(self, messages: list[Any], ended: Callable[[], None]) -> None:
        self._under_way += 1
        self._handle(Together(messages, ended))

    def _gathered_ended(self, began: float) -> None:
        """A chore's time says nothing about a pack's: the relay may take seconds."""
        self._patience = min(self._clock() - began, LONGEST_WAIT)
        self._ended()

    def _ended(self) -> None:
        """A child is free, and what was acknowledged makes room for more: they are worth a breath."""
        self._under_way -= 1
        if self._waiting:
            self._watch()


class Together(Message):
    """Messages that share one fate, in the shape of one. Celery answers it by ack_log_error and reject_log_error."""

    def __init__(self, messages: list[Any], ended: Callable[[], None]) -> None:
        """Of a single message everything is its own."""
        first = messages[0]
        alone = len(messages) == 1
        super().__init__(
            body=first.body if alone else gathered(messages),
            delivery_tag=first.delivery_tag,
            content_type=first.content_type,
            content_encoding=first.content_encoding,
            delivery_info=first.delivery_info,
            properties=first.properties,
            headers=first.headers if alone else first.headers | {"task": GATHERED_TASK},
            channel=first.channel,
            accept=first.accept,
        )
        # Celery asks the decoded body whether this is protocol 1, and for callbacks. Ours has none (see quarantine),
        # and decoding it once more would cost as much as the first time.
        self._decoded_cache: Any = ((), {}, {})
        self._messages = messages
        self._tell_ended = ended

    def ack_log_error(self, *args: Any, **kwargs: Any) -> None:
        """All of them."""
        self._each("ack_log_error", *args, **kwargs)

    def reject_log_error(self, *args: Any, **kwargs: Any) -> None:
        """All of them: to the queue, or to the quarantine."""
        self._each("reject_log_error", *args, **kwargs)

    def reject(self, requeue: bool = False) -> None:
        """All of them, each in its own way: the worker's quarantine asks for this one."""
        self._each("reject", requeue=requeue)

    def _each(self, answer: str, *args: Any, **kwargs: Any) -> None:
        try:
            for message in self._messages:
                getattr(message, answer)(*args, **kwargs)
        finally:
            self._tell_ended()


def is_small(message: Any) -> bool:
    """Whether `message` may be gathered: a small pack, delivered for the first time, from a broker that knows that.

    One whose shape a child might stumble over travels alone, or it would take its company to the quarantine.
    """
    if message.headers.get("task") != TASK or message.delivery_info.get("redelivered") is not False:
        return False
    if len(message.body) > SMALL_BYTES:
        return False
    match message.payload:
        case [[list()], {"epoch": str() as epoch, **facts}, _]:
            return bool(_EPOCH.fullmatch(epoch)) and all(_is_figure(fact) for fact in facts.values())
        case _:
            return False


def _is_figure(fact: object) -> bool:
    """Small enough for any column."""
    return isinstance(fact, int | float) and 0 <= fact < 2**53


def gathered(messages: list[Any]) -> Any:
    """One body from many, each as it came: a child decodes them."""
    bodies = [message.body for message in messages]
    if all(isinstance(body, str) for body in bodies):
        return f"[[[{','.join(bodies)}]], {{}}, null]"
    plain = [body.encode() if isinstance(body, str) else bytes(body) for body in bodies]
    return b"[[[" + b",".join(plain) + b"]], {}, null]"
