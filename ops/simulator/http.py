"""An HTTP/1.1 client of one connection, keep-alive: what a provider's sender needs and no more.

httpx did 330 requests/s in one process where this does 14,500 (the same machine, loopback, 32 connections); the
simulator would have measured its own client. It parses with httptools, as the server does.
"""

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import httptools

#: Seconds for one request; a provider waits five to ten.
TIMEOUT = 10.0
#: What a receiver answers is short; whoever sends more than this is not one.
LARGEST_ANSWER = 64 * 1024


class Refused(Exception):
    """The connection failed before the answer was complete."""


class _Exchange(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.reusable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells mypy; TCP always is one
        self.transport = transport

    def send(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        """The future of (status, body)."""
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        if self.transport is None or self.transport.is_closing():
            self._answer.set_exception(Refused("closed"))
        else:
            self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("not HTTP")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > LARGEST_ANSWER:
            self._fail("answer too long")

    def on_message_complete(self) -> None:
        self.reusable = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), bytes(self._body)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._fail(type(exc).__name__ if exc else "closed")

    def _fail(self, why: str) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Refused(why))


class Client:
    """Posts to one base URL over one connection, opened again when the server closes it."""

    def __init__(self, base_url: str) -> None:
        """Raises ValueError for what is no http(s) URL."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{base_url!r} is no http:// or https:// URL")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/")
        self._common = f"host: {parts.netloc.rpartition('@')[2]}\r\nuser-agent: paidonce-simulator\r\naccept: */*\r\n"
        self._exchange: _Exchange | None = None

    async def post(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """(status, body). Raises Refused."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {self._prefix}{path} HTTP/1.1\r\n{self._common}{lines}content-length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(TIMEOUT):
                exchange = await self._connected()
                status, answer = await exchange.send(head.encode("latin-1") + body)
        except (OSError, TimeoutError) as error:
            self.close()
            raise Refused(type(error).__name__) from None
        except Refused:
            self.close()
            raise
        if not exchange.reusable:
            self.close()
        return status, answer

    async def _connected(self) -> _Exchange:
        if self._exchange is None:
            loop = asyncio.get_running_loop()
            _, self._exchange = await loop.create_connection(_Exchange, self._host, self._port, ssl=self._tls)
        return self._exchange

    def close(self) -> None:
        """Drops the connection; the next post opens another."""
        if self._exchange is not None and self._exchange.transport is not None:
            with suppress(RuntimeError):  # the loop is closing
                self._exchange.transport.abort()
        self._exchange = None
