"""A provider that does not wait: request i is due at i / rate, whatever became of those before.

`python -m bench.steady HOST PORT FILE RATE` prints {began (unix seconds, when request 0 was due), answered, refused}.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.client import content_length, requests_of

#: Connections: more than any side here can keep busy without falling behind.
CONNECTIONS = 64

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def send(host: str, port: int, requests: Sequence[bytes], rate: float) -> dict[str, float]:
    """The figures of one run."""
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await asyncio.open_connection(host, port))
    answers: list[bool] = []
    began = time.time() + 0.05
    tasks = []
    for number, request in enumerate(requests):
        pause = began + number / rate - time.time()
        if pause > 0:
            await asyncio.sleep(pause)
        # Waits for a connection here only where every one is busy; the request stays due at its time.
        connection = await idle.get()
        tasks.append(asyncio.ensure_future(_converse(connection, request, idle, answers)))
    await asyncio.gather(*tasks)
    while not idle.empty():
        idle.get_nowait()[1].close()
    return {"began": began, "answered": sum(answers), "refused": len(answers) - sum(answers)}


async def _converse(
    connection: Connection, request: bytes, idle: "asyncio.Queue[Connection]", answers: list[bool]
) -> None:
    reader, writer = connection
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(content_length(head))
    answers.append(head.startswith(b"HTTP/1.1 200"))
    idle.put_nowait(connection)


if __name__ == "__main__":
    host, port, path, rate = sys.argv[1:]
    print(json.dumps(asyncio.run(send(host, int(port), list(requests_of(Path(path))), float(rate)))))
