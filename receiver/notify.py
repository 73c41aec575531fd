"""POST /notify/{account}: verify, publish, answer in the provider's own words. Never a success before the confirm."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import structlog

from domain.errors import BrokerUnavailable, MalformedNotification, SignatureInvalid
from providers.dialect import Answer, Delivery, Dialect
from providers.envelope import Envelope
from receiver.request import Message, Receive, Refused, Send, kept_headers, read_body
from worker.publisher import Publisher
from worker.settings import Settings

log = structlog.get_logger()

#: Answered before the body was read to its end: the rest of it must not be taken for the next request.
_UNREAD = (400, 401, 408, 413, 415)
#: Seconds; providers have their own schedules, proxies and our simulator heed it.
_RETRY_AFTER = b"2"


class Reply(NamedTuple):
    """An answer as ASGI wants it, made once and sent many times."""

    start: Message
    body: Message


class Door:
    """One merchant account: its dialect and every answer it can give, constant."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.wanted = frozenset(name.encode("ascii") for name in dialect.headers)
        self.accepted = _reply(dialect.accepted())
        self.refused = {
            status: _reply(dialect.refused(status), status) for status in (400, 401, 408, 413, 415, 500, 503)
        }


class Notify:
    """An ASGI application for the one public route; `scope["path_params"]["account"]` names the account."""

    def __init__(self, settings: Settings, dialects: Mapping[str, Dialect], publisher: Publisher) -> None:
        self._settings = settings
        self._doors = {account: Door(dialect) for account, dialect in dialects.items()}
        self._publisher = publisher
        self._unknown = _reply(Answer(404, b"not found"))

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request."""
        door = self._doors.get(scope["path_params"]["account"])
        reply = self._unknown if door is None else await self._receive(door, scope["headers"], receive)
        await send(reply.start)
        await send(reply.body)

    async def _receive(self, door: Door, headers: list[tuple[bytes, bytes]], receive: Receive) -> Reply:
        try:
            await self._take(door, headers, receive)
        except Exception as error:  # noqa: BLE001 - a stranger's input must not choose between an answer and a trace
            return door.refused[_status(error, door.dialect)]
        return door.accepted

    async def _take(self, door: Door, headers: list[tuple[bytes, bytes]], receive: Receive) -> None:
        settings, dialect = self._settings, door.dialect
        kept = kept_headers(headers, door.wanted, settings.max_body_bytes)
        body = await read_body(receive, settings.max_body_bytes, settings.body_timeout_seconds)
        delivery, now = Delivery(kept, body), time.time()
        dialect.verify(delivery, now)
        dialect.parse(delivery)  # what nobody could ever read is not worth a place in the queue
        envelope = Envelope(dialect.account, dialect.provider, delivery, now)
        await self._publisher.publish(envelope.to_json(), len(body) + sum(map(len, kept.values())))


def _status(error: Exception, dialect: Dialect) -> int:
    """The HTTP status for what went wrong. The publisher has its own line for a broker that is away."""
    match error:
        case BrokerUnavailable():
            return 503
        case Refused():
            status, reason = error.status, str(error.status)
        case SignatureInvalid():
            status, reason = 401, "signature"
        case MalformedNotification():
            status, reason = 400, "malformed"
        case _:
            # The type alone: the text of a foreign exception may quote the body.
            log.error("receiver failed", account=dialect.account, error=type(error).__name__, stack=_places(error))
            return 500
    log.info("delivery refused", account=dialect.account, provider=dialect.provider, reason=reason)
    return status


def _places(error: BaseException) -> str:
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(places)


def _reply(answer: Answer, status: int = 0) -> Reply:
    headers = [
        (b"content-type", answer.content_type.encode("latin-1")),
        (b"content-length", str(len(answer.body)).encode("ascii")),
    ]
    if status in _UNREAD:
        headers.append((b"connection", b"close"))
    if status == 503:
        headers.append((b"retry-after", _RETRY_AFTER))
    return Reply(
        {"type": "http.response.start", "status": answer.status, "headers": headers},
        {"type": "http.response.body", "body": answer.body},
    )
