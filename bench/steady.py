"""A provider that does not wait: request i is due at i / rate, whatever became of those before.

`python -m bench.steady HOST PORT FILE RATE` prints {began (unix seconds, when request 0 was due), answered, refused}.
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.client import content_length, requests_of

#: Connections: more than any side here can keep busy without falling behind.
CONNECTIONS = 64


class Provider:
    """What is due and not sent, for want of a connection; and what was answered."""

    def __init__(self, count: int) -> None:
        self.due: deque[bytes] = deque()
        self.idle: deque[Conversation] = deque()
        self.answers: list[bool] = []
        self.all_answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count = count

    def send(self) -> None:
        """What is due, as far as there are connections; the rest stays due at its time."""
        while self.due and self.idle:
            self.idle.popleft().ask(self.due.popleft())

    def answered(self, conversation: "Conversation", success: bool) -> None:
        """An answer is whole."""
        self.answers.append(success)
        self.idle.append(conversation)
        self.send()
        if len(self.answers) == self._count:
            self.all_answered.set_result(None)

    def lost(self, error: Exception | None) -> None:
        """A connection has gone."""
        if not self.all_answered.done():
            self.all_answered.set_exception(error or ConnectionResetError("the door hung up"))


class Conversation(asyncio.Protocol):
    """One keep-alive connection; one request at a time on it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._transport: Any = None
        self._answer = b""

    def connection_made(self, transport: Any) -> None:
        """Ready."""
        self._transport = transport
        self._provider.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, ours or the door's."""
        self._provider.lost(exc)

    def ask(self, request: bytes) -> None:
        """Sends it whole."""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Most often a whole answer."""
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if end and len(body) >= content_length(head):
            self._answer = b""
            self._provider.answered(self, head.startswith(b"HTTP/1.1 200"))


async def send(host: str, port: int, requests: Sequence[bytes], rate: float) -> dict[str, float]:
    """The figures of one run."""
    loop, provider = asyncio.get_running_loop(), Provider(len(requests))
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Conversation(provider), host, port)
    began = time.time() + 0.05
    for number, request in enumerate(requests):
        pause = began + number / rate - time.time()
        if pause > 0:
            await asyncio.sleep(pause)
        provider.due.append(request)
        provider.send()
    await provider.all_answered
    good = sum(provider.answers)
    return {"began": began, "answered": good, "refused": len(requests) - good}


if __name__ == "__main__":
    host, port, path, rate = sys.argv[1:]
    print(json.dumps(uvloop.run(send(host, int(port), list(requests_of(Path(path))), float(rate)))))
