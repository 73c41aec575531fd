"""A TCP proxy between our processes and the broker: it stands still, swallows one direction, or resets everybody."""

import asyncio
import socket
import struct
from contextlib import suppress
from threading import Thread

from .processes import free_port

_RESET = struct.pack("ii", 1, 0)
_CHUNK = 64 * 1024


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target` in a thread of its own, from start() to close()."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, free_port()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._gates: dict[str, asyncio.Event] = {}
        self._swallowing: set[str] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def start(self) -> None:
        """Opens its port."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)

    def close(self) -> None:
        """Drops everybody."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def hold(self, *directions: str) -> None:
        """Nothing passes in "up" (to the broker) or "down"; what comes waits, and the connections stay."""
        for direction in directions:
            self._loop.call_soon_threadsafe(self._gates[direction].clear)

    def swallow(self, direction: str) -> None:
        """What comes in `direction` is lost, as in a broken network; only reset() may follow."""
        self._loop.call_soon_threadsafe(self._swallowing.add, direction)

    def flow(self) -> None:
        """Everything passes again."""
        for gate in self._gates.values():
            self._loop.call_soon_threadsafe(gate.set)
        self._loop.call_soon_threadsafe(self._swallowing.clear)

    def reset(self) -> None:
        """RST to both sides of every connection."""
        self._loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        for writer in list(self._writers):
            _abort(writer)

    async def _open(self) -> None:
        self._gates = {"up": asyncio.Event(), "down": asyncio.Event()}
        for gate in self._gates.values():
            gate.set()
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def _end(self) -> None:
        self._server.close()
        self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _abort(writer)
            return
        both = {writer, far_writer}
        self._writers |= both
        up, down = self._pump("up", reader, far_writer), self._pump("down", far_reader, writer)
        pumps = [asyncio.create_task(up), asyncio.create_task(down)]
        try:
            # One side is gone: so is the other.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            """The proxy closes; Python 3.11 would print a trace for a cancelled handler."""
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= both
            for each in both:
                with suppress(OSError, RuntimeError):
                    each.close()

    async def _pump(self, direction: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._gates[direction].wait()
            if direction not in self._swallowing:
                writer.write(chunk)
                await writer.drain()


def _abort(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
