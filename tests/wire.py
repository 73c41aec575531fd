"""The receiver's own protocol on a real socket, without uvicorn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

from receiver.wire import Wire


class Got(NamedTuple):
    """An answer as the sender sees it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Line(NamedTuple):
    """One connection, and what uvicorn would keep about the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    served: Any


@asynccontextmanager
async def listening(state: dict[str, Any], keep_alive: float = 5.0) -> AsyncIterator[Line]:
    """A connection to a server of Wires; `state` is what the app's start-up left."""
    loop = asyncio.get_running_loop()
    served = SimpleNamespace(connections=set(), total_requests=0, default_headers=[(b"date", b"today")])
    config = SimpleNamespace(timeout_keep_alive=keep_alive)
    server = await loop.create_server(lambda: Wire(config, served, state), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield Line(reader, writer, served)
    finally:
        writer.close()
        server.close()


async def answer(reader: asyncio.StreamReader, *, has_body: bool = True) -> Got:
    """The next answer on a connection. Raises asyncio.IncompleteReadError when there is none."""
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.encode(): value.encode() for name, value in (line.split(": ", 1) for line in rest)}
        body = await reader.readexactly(int(headers[b"content-length"])) if has_body else b""
    return Got(int(first.split()[1]), headers, body)
