"""The process of a Proxy: `python forward.py port target`, one order a line on standard input, each answered.

`hold up down`, `swallow up`, `flow`, `reset`. It ends when nobody is left to give orders.
"""

import asyncio
import socket
import struct
import sys
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)
_CHUNK = 64 * 1024


class Forward:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`."""

    def __init__(self, port: int, target: int) -> None:
        self._port, self._target = port, target
        self._gates = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._swallowing: set[str] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.flow()

    async def serve(self) -> None:
        """Until its standard input ends."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        _answer()
        while order := (await orders.readline()).decode().split():
            getattr(self, order[0])(*order[1:])
            _answer()
        server.close()
        self.reset()

    def hold(self, *directions: str) -> None:
        """As Proxy says; so are the others."""
        for direction in directions:
            self._gates[direction].clear()

    def swallow(self, direction: str) -> None:
        self._swallowing.add(direction)

    def flow(self) -> None:
        for gate in self._gates.values():
            gate.set()
        self._swallowing.clear()

    def reset(self) -> None:
        for writer in list(self._writers):
            _abort(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
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


def _answer() -> None:
    sys.stdout.write("done\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(Forward(int(sys.argv[1]), int(sys.argv[2])).serve())
