"""Stands in for wrk where it is not installed: keep-alive connections on raw sockets, in a process of their own.

`python -m bench.client HOST PORT FILE CONNECTIONS SECONDS again|once` prints the same JSON object as post.lua. It is
slower than wrk, so that a fast door may be measured as slower than it is.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

#: Where the figures of every connection gather: (milliseconds, answered with 200).
Answers = list[tuple[float, bool]]


def requests_of(path: Path) -> Iterator[bytes]:
    """The requests of the file, each once."""
    with path.open("rb") as file:
        while line := file.readline():
            yield file.read(int(line))


async def converse(host: str, port: int, requests: Iterator[bytes], deadline: float, answers: Answers) -> None:
    """One connection: a request, its answer, the next request."""
    reader, writer = await asyncio.open_connection(host, port)
    while time.monotonic() < deadline and (request := next(requests, None)) is not None:
        began = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(content_length(head))
        answers.append(((time.monotonic() - began) * 1000, head.startswith(b"HTTP/1.1 200")))
    writer.close()


def content_length(head: bytes) -> int:
    """Of an answer's head; 0 where it says none."""
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)


async def load(host: str, port: int, path: Path, connections: int, seconds: float, *, again: bool) -> dict[str, float]:
    """The figures of `connections` conversations at once; `again`: the requests go round."""
    requests = itertools.cycle(requests_of(path)) if again else requests_of(path)
    answers, began = Answers(), time.monotonic()
    talks = (converse(host, port, requests, began + seconds, answers) for _ in range(connections))
    broken = sum(isinstance(end, Exception) for end in await asyncio.gather(*talks, return_exceptions=True))
    answered = sum(good for _, good in answers)
    return {
        "answered": answered,
        "refused": len(answers) - answered,
        "broken": broken,
        "seconds": time.monotonic() - began,
        "p50_ms": quantile([milliseconds for milliseconds, _ in answers], 0.5),
        "p99_ms": quantile([milliseconds for milliseconds, _ in answers], 0.99),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of `values` do not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


if __name__ == "__main__":
    host, port, path, connections, seconds, word = sys.argv[1:]
    found = load(host, int(port), Path(path), int(connections), float(seconds), again=word == "again")
    print(json.dumps(asyncio.run(found)))
