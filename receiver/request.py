"""What a request must be before anybody looks at its signature. Bounds on everything a stranger can make large."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

#: A real one has 10 to 20.
MAX_HEADERS = 100
#: The longest real one is Alipay's Authorization or a list of signatures, under 2 kB.
MAX_HEADER_BYTES = 8192

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refused(Exception):
    """The request is answered with `status`, whatever it says."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def kept_headers(raw: Iterable[tuple[bytes, bytes]], wanted: frozenset[bytes], max_body: int) -> dict[str, str]:
    """The headers of `raw` (names in lower case) that `wanted` names, once each.

    Raises Refused: 400 too many or too long; 401 a wanted one given twice, so that no reader can choose which; 413 for
    a Content-Length over `max_body`; 415 for a body that would have to be inflated or split first.
    """
    kept: dict[str, str] = {}
    for count, (name, value) in enumerate(raw):
        if count >= MAX_HEADERS or len(value) > MAX_HEADER_BYTES:
            raise Refused(400)
        if name in _CHECKS:
            _CHECKS[name](value, max_body)
        if name in wanted:
            key = name.decode("ascii")
            if key in kept:
                raise Refused(401)
            kept[key] = value.decode("latin-1")
    return kept


def _check_length(value: bytes, max_body: int) -> None:
    if not value.isdigit() or len(value) > 18:
        raise Refused(400)
    if int(value) > max_body:
        raise Refused(413)


def _check_encoding(value: bytes, _: int) -> None:
    if value.strip().lower() not in (b"", b"identity"):
        raise Refused(415)


def _check_type(value: bytes, _: int) -> None:
    if value.lstrip().lower().startswith(b"multipart/"):
        raise Refused(415)


_CHECKS: dict[bytes, Callable[[bytes, int], None]] = {
    b"content-length": _check_length,
    b"content-encoding": _check_encoding,
    b"content-type": _check_type,
}


async def read_body(receive: Receive, max_body: int, seconds: float) -> bytes:
    """The exact bytes. Raises Refused: 413 over `max_body` bytes, 408 after `seconds`, 400 when the sender left."""
    chunks: list[bytes] = []
    size = 0
    more = True
    try:
        async with asyncio.timeout(seconds):
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refused(400)
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > max_body:
                    raise Refused(413)
                chunks.append(chunk)
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refused(408) from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
