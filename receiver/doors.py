"""POST /notify/{account}: verify, publish, answer in the provider's own words. Never a success before the confirm.

Three paths and no other: /notify/{account}, /healthz (the process lives), /readyz (the broker took the last message).
"""

import asyncio
import time
from collections.abc import Mapping
from urllib.parse import unquote

import structlog

from domain.errors import BrokerUnavailable, MalformedNotification, SignatureInvalid
from providers.dialect import Answer, Delivery, Dialect
from providers.envelope import Envelope
from receiver.answer import Reply, reply
from receiver.request import Refused
from worker import failpoint
from worker.publisher import Publisher
from worker.settings import Settings
from worker.telemetry import places

log = structlog.get_logger()

_FAILURES = (400, 401, 408, 413, 415, 500, 503)
_OK = reply(Answer(200, b"ok"))
_AWAY = reply(Answer(503, b"broker away"))
_NOT_FOUND = reply(Answer(404, b"not found"))
_ONLY_POST = reply(Answer(405, b"method not allowed"), headers=[(b"allow", b"POST")])
_ONLY_GET = reply(Answer(405, b"method not allowed"), headers=[(b"allow", b"GET, HEAD")])
#: For requests that reach no door, by status: no HTTP, too slow, too long.
DOORLESS = {status: reply(Answer(status, b"refused"), status) for status in (400, 408, 413)}


class Door:
    """One merchant account: its dialect and every answer it can give, constant."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.wanted = frozenset(name.encode("ascii") for name in dialect.headers)
        self.accepted = reply(dialect.accepted())
        self.refused = {status: reply(dialect.refused(status), status) for status in _FAILURES}

    def refusal(self, error: BaseException) -> Reply:
        """The answer for what went wrong, and its line in the log."""
        return self.refused[_status(error, self.dialect)]

    def told(self, confirm: asyncio.Future[None]) -> Reply:
        """The answer to a delivery whose `confirm` has ended."""
        if error := confirm.exception():
            return self.refusal(error)
        failpoint.at("receiver.confirmed")
        return self.accepted


class Doors:
    """Every account's door, and the two questions about the process."""

    def __init__(self, settings: Settings, dialects: Mapping[str, Dialect], publisher: Publisher) -> None:
        self.settings = settings
        self._publisher = publisher
        self._doors = {f"/notify/{account}": Door(dialect) for account, dialect in dialects.items()}
        self._straight = {path.encode("ascii"): door for path, door in self._doors.items()}

    def straight(self, method: bytes, url: bytes) -> Door | None:
        """What find says of nearly every request, for a lookup."""
        return self._straight.get(url) if method == b"POST" else None

    def find(self, method: bytes, path: bytes) -> Door | Reply:
        """The door that a request to `path` (percent-encoded, without its query) knocks at, or its answer at once."""
        decoded = unquote(path.decode("latin-1"))
        if decoded in ("/healthz", "/readyz"):
            if method not in (b"GET", b"HEAD"):
                return _ONLY_GET
            return _OK if decoded == "/healthz" or self._publisher.ready() else _AWAY
        folder, _, account = decoded.rpartition("/")
        if folder == "/notify" and account and method != b"POST":
            return _ONLY_POST
        return self._doors.get(decoded, _NOT_FOUND)

    def take(self, door: Door, kept: dict[str, str], body: bytes) -> asyncio.Future[None]:
        """Verifies a delivery and hands it to the publisher; the future ends with the broker's confirm.

        Raises SignatureInvalid, MalformedNotification, BrokerUnavailable; the future ends with the last of these too.
        """
        dialect, delivery, now = door.dialect, Delivery(kept, body), time.time()
        dialect.verify(delivery, now)
        dialect.parse(delivery)  # what nobody could ever read is not worth a place in the queue
        failpoint.at("receiver.verified")
        envelope = Envelope(dialect.account, dialect.provider, delivery, now).encoded()
        return self._publisher.submit(envelope)


def _status(error: BaseException, dialect: Dialect) -> int:
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
            where = places(error.__traceback__)
            log.error("receiver failed", account=dialect.account, error=type(error).__name__, stack=where)
            return 500
    log.info("delivery refused", account=dialect.account, provider=dialect.provider, reason=reason)
    return status
