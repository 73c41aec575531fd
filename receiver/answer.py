"""Answers as bytes, made once and sent many times."""

from http import HTTPStatus
from typing import Any, NamedTuple

from providers.dialect import Answer

#: Answered before the body was read to its end: the rest of it must not be taken for the next request.
_UNREAD = (400, 401, 408, 413, 415)
#: Seconds; providers have their own schedules, proxies and our simulator heed it.
_RETRY_AFTER = b"2"

Headers = list[tuple[bytes, bytes]]


class Reply(NamedTuple):
    """An answer: ASGI's two messages for any server, and the same as bytes for our own wire."""

    start: dict[str, Any]
    body: dict[str, Any]
    #: The first line, before the headers that the server adds.
    line: bytes
    #: Our own headers and the empty line.
    head: bytes
    text: bytes
    #: Whether the connection ends with it.
    is_last: bool


def reply(answer: Answer, status: int = 0, headers: Headers | None = None) -> Reply:
    """`answer` as sent for `status` of ours, with `headers` besides the usual ones."""
    own = [
        (b"content-type", answer.content_type.encode("latin-1")),
        (b"content-length", str(len(answer.body)).encode("ascii")),
        *(headers or []),
    ]
    if status in _UNREAD:
        own.append((b"connection", b"close"))
    if status == 503:
        own.append((b"retry-after", _RETRY_AFTER))
    head = lines(own) + b"\r\n"
    return Reply(
        {"type": "http.response.start", "status": answer.status, "headers": own},
        {"type": "http.response.body", "body": answer.body},
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n".encode("ascii"),
        head,
        answer.body,
        status in _UNREAD,
    )


def lines(headers: Headers) -> bytes:
    """`headers` as they stand on the wire."""
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers)
