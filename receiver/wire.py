"""HTTP/1.1 straight from the socket: `uvicorn receiver.app:app --http receiver.wire:Wire`.

uvicorn owns the process: sockets, signals, the app's life. This is its protocol class, and does nothing but what the
doors need: no task, no scope and no message for each request. docs/performance.md says what that saves.
"""

import asyncio
from collections import deque
from typing import Any

from receiver.answer import Headers, Reply, lines
from receiver.doors import Door, Doors
from receiver.reader import Reader, Request
from worker import failpoint

#: Requests that a sender may put behind one another before it has read the first answer.
MAX_PIPELINED = 16


class Wire(asyncio.Protocol):
    """One connection. The app leaves its Doors in the lifespan's state."""

    #: uvicorn's headers for every answer (the date, new each second) and their bytes, shared by all connections.
    _common: tuple[Headers, bytes] = ([], b"")

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self._doors: Doors = app_state["doors"]
        self._reader = Reader(self._doors, self)
        self._server = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: Any = None
        #: What is asked and not answered yet, oldest first.
        self._asked: deque[_Asked] = deque()
        self._is_clogged = self._is_reading_paused = self._is_stopping = False
        self._idle_seconds: float = config.timeout_keep_alive
        self._idle_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # ---- the connection, as asyncio and uvicorn tell it

    def connection_made(self, transport: Any) -> None:
        """A sender has come, and has `timeout_keep_alive` seconds to begin."""
        self._transport = transport
        self._server.connections.add(self)
        self._idle_since = self._loop.time()
        self._watch()

    def connection_lost(self, _: Exception | None) -> None:
        """It has gone; what it asked for is published all the same, and answered to nobody."""
        self._server.connections.discard(self)
        self._reader.close()
        self._asked.clear()
        for timer in (self._idle_timer, self._deadline):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes. A request whose end is not among them has body_timeout_seconds from here."""
        reader = self._reader
        if not reader.is_over:
            reader.feed(data)
            if reader.in_request and self._deadline is None:
                self._deadline = self._loop.call_later(self._doors.settings.body_timeout_seconds, reader.too_slow)

    def pause_writing(self) -> None:
        """It does not read its answers: then we read no more questions."""
        self._is_clogged = True
        self._regulate()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_clogged = False
        self._regulate()

    def shutdown(self) -> None:
        """The process is to end: what has begun is read and answered, and that was all."""
        self._is_stopping = True
        if self._asked and not self._reader.in_request:
            self._reader.is_over = self._asked[-1].is_last = True
        elif not self._reader.in_request:
            self._transport.close()

    # ---- requests, as the reader finds them

    def asked(self, request: Request) -> None:
        """One that is whole: published, or answered at once."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        target = request.target
        asked = _Asked(self, target, request.is_last or self._is_stopping, request.is_head)
        self._reader.is_over = asked.is_last
        self._asked.append(asked)
        if len(self._asked) > MAX_PIPELINED:
            self._regulate()
        if isinstance(target, Door):
            try:
                self._doors.take(target, request.kept, request.body).add_done_callback(asked.confirmed)
            except Exception as error:  # noqa: BLE001 - a stranger's input must not choose between an answer and a trace
                asked.answer(target.refusal(error))
        else:
            asked.answer(target)

    def refuse(self, reply: Reply) -> None:
        """What cannot be read to its end: an answer after those before it, and the end."""
        asked = _Asked(self, reply, is_last=True, is_head=False)
        self._asked.append(asked)
        asked.answer(reply)

    def go_on(self) -> None:
        """Whoever expects it before the body."""
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # ---- answers

    def flush(self) -> None:
        """Sends the answers that are due, in the order of their requests."""
        asked, transport = self._asked, self._transport
        while asked and (reply := asked[0].reply) is not None:
            first = asked.popleft()
            self._server.total_requests += 1
            common = self._headers_of_all()
            if first.is_last and not reply.is_last:
                common += b"connection: close\r\n"
            transport.write(b"".join((reply.line, common, reply.head)))
            failpoint.at("receiver.half_answered")
            if reply.text and not first.is_head:
                transport.write(reply.text)  # uvloop sends both at once
            if first.is_last or reply.is_last:
                self._reader.is_over = True
                asked.clear()
                transport.close()
        if not asked:
            self._idle_since = self._loop.time()
            if self._is_reading_paused:
                self._regulate()

    def _headers_of_all(self) -> bytes:
        headers = self._server.default_headers
        if Wire._common[0] is not headers:
            Wire._common = headers, lines(headers)
        return Wire._common[1]

    def _regulate(self) -> None:
        """Reads, unless too much is asked or answers pile up."""
        if self._transport.is_closing():
            return
        self._is_reading_paused = self._is_clogged or len(self._asked) > MAX_PIPELINED
        if self._is_reading_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _watch(self) -> None:
        """Ends an idle connection. One timer looks again and again: to set one for each request would cost more."""
        left = self._idle_since + self._idle_seconds - self._loop.time()
        busy = self._reader.in_request or self._asked
        if left <= 0 and not busy:
            # The second time: it does not even take its last answer.
            (self._transport.abort if self._transport.is_closing() else self._transport.close)()
        self._idle_timer = self._loop.call_later(self._idle_seconds if busy or left <= 0 else left, self._watch)


class _Asked:
    """A request that was read whole, until it is answered."""

    __slots__ = ("is_head", "is_last", "reply", "target", "wire")

    def __init__(self, wire: Wire, target: Any, is_last: bool, is_head: bool) -> None:
        self.wire, self.target, self.is_last, self.is_head = wire, target, is_last, is_head
        self.reply: Reply | None = None

    def confirmed(self, confirm: asyncio.Future[None]) -> None:
        """The broker's answer is ours."""
        self.answer(self.target.told(confirm))

    def answer(self, reply: Reply) -> None:
        """Sends it, as soon as the requests before have theirs."""
        self.reply = reply
        self.wire.flush()
