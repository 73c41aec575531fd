"""Asks a provider about an event over HTTP. Whatever the network does is a finding, never an error.

Bounds: the whole question takes at most `TOTAL` seconds, name look-up and a server that drips included; an answer is
read up to `LONGEST_ANSWER` bytes; a redirect is not followed, for it would carry the credentials along.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeAlias

import structlog

from domain.event import PaymentEvent
from domain.finding import Finding, Testimony

log = structlog.get_logger()

#: Seconds for everything. Beat asks about one event after another: a provider that is down must not hold it long.
TOTAL = 10.0
#: Seconds to connect, and to wait for the next bytes.
CONNECT, READ = 3.0, 5.0
#: Bytes. A transaction is told in two or three thousand.
LONGEST_ANSWER = 256 * 1024

#: (status, headers by lower-case name, body); None: too long.
Answer: TypeAlias = tuple[int, dict[str, str], bytes] | None


class Request(Protocol):
    """One HTTP request, ready to be sent."""

    @property
    def method(self) -> str:
        """GET or POST."""

    @property
    def url(self) -> str:
        """Where to, percent-encoded: it may be signed as it stands."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""

    @property
    def body(self) -> bytes:
        """Empty for GET."""


class Respondent(Protocol):
    """What a dialect is to this file: who says what to ask, and what the answer means."""

    @property
    def account(self) -> str:
        """The merchant account's name."""

    def query(self, event: PaymentEvent, now: float) -> Request | None:
        """The request at `now`, unix seconds; None where there is nothing to ask."""

    def read_query(
        self, event: PaymentEvent, status: int, headers: Mapping[str, str], body: bytes, now: float
    ) -> Finding:
        """What the answer says about the event."""


def ask(respondent: Respondent, event: PaymentEvent) -> Finding | None:
    """How `event` stands at its provider; None where the provider cannot be asked about it.

    Blocks for at most TOTAL seconds; not inside an event loop, nor while a row is locked. Logs the finding, and neither
    the request nor the answer.
    """
    request = respondent.query(event, time.time())
    if request is None:
        return None
    begun = time.monotonic()
    finding = _asked(respondent, event, request)
    log.info(
        "provider asked",
        account=respondent.account,
        status=finding.testimony.value,
        reason=finding.detail,
        seconds=round(time.monotonic() - begun, 3),
    )
    return finding


def _asked(respondent: Respondent, event: PaymentEvent, request: Request) -> Finding:
    # 0.1 s to import: the receiver, and a worker that asks nobody, need it not.
    import httpx

    # A line per request with its address, and at DEBUG the answer's headers: ids of payments.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        answer = _within(_fetched(request))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        # TimeoutError is an OSError; the last two are a proxy in the environment that cannot be used. The class alone
        # is logged: a message may hold the address.
        log.warning("provider not reached", account=respondent.account, error=type(error).__name__)
        return Finding(Testimony.UNKNOWN, "not_reached")
    if answer is None:
        return Finding(Testimony.UNKNOWN, "too_long")
    status, headers, body = answer
    if headers.get("content-encoding", "identity") != "identity":
        return Finding(Testimony.UNKNOWN, "unreadable")
    return respondent.read_query(event, status, headers, body, time.time())


def _within(fetched: Coroutine[Any, Any, Answer]) -> Answer:
    """In a loop of its own: no clock of httpx spans a whole request. Raises TimeoutError after TOTAL seconds.

    Not asyncio.run: in the end it waits for the thread that looks up a name, which nothing can stop.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(fetched, TOTAL))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _fetched(request: Request) -> Answer:
    import httpx

    timeout = httpx.Timeout(READ, connect=CONNECT)
    # What we did not ask for we do not unpack: a small answer could become a large one.
    headers = {**request.headers, "accept-encoding": "identity"}
    async with (
        httpx.AsyncClient(timeout=timeout, follow_redirects=False) as client,
        client.stream(request.method, request.url, headers=headers, content=request.body) as response,
    ):
        body = b""
        async for part in response.aiter_raw():
            body += part
            if len(body) > LONGEST_ANSWER:
                return None
        return response.status_code, {name.lower(): value for name, value in response.headers.items()}, body
