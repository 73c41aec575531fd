"""One connection's bytes as requests: llhttp parses, and everything a stranger can make large has a bound.

llhttp is strict: two lengths, a length beside chunks, a bare line feed or a folded header are no HTTP.
"""

from typing import Any, NamedTuple, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url

from receiver.answer import Headers, Reply
from receiver.doors import DOORLESS, Door, Doors
from receiver.request import Refused, kept_headers

#: Bytes of one request's first line and headers; real ones have under 4 kB.
MAX_HEAD = 64 * 1024
_VERSIONS = ("1.1", "1.0")


class Request(NamedTuple):
    """One that was read whole: the door it knocks at with what that needs, or the answer it has already."""

    target: Door | Reply
    kept: dict[str, str]
    body: bytes
    is_head: bool
    #: Its sender expects no other answer on this connection.
    is_last: bool


class Listener(Protocol):
    """Who is told."""

    def asked(self, request: Request) -> None:
        """A request is whole."""

    def refuse(self, reply: Reply) -> None:
        """Nothing more can be read; `reply` is why."""

    def go_on(self) -> None:
        """The sender waits for a word before it sends the body."""


class Reader:
    """llhttp's callbacks. After `is_over` nothing is read any more."""

    def __init__(self, doors: Doors, listener: Listener) -> None:
        self._doors = doors
        self._max_body = doors.settings.max_body_bytes
        self._listener = listener
        self._parser: Any = HttpRequestParser(self)
        self.is_over = False
        self.on_message_begin()
        #: The first byte of a request is here and the last one is not.
        self.in_request = False

    def feed(self, data: bytes) -> None:
        """Reads on; most often exactly one request."""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass  # the request was read as plain HTTP, and marked as the last one
        except HttpParserError:
            self.refuse(DOORLESS[400])
        if self.in_request and self._target is None:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.refuse(DOORLESS[400])

    def close(self) -> None:
        """Lets go of the parser, which holds us: no work for the garbage collector."""
        self.is_over = True
        self._parser = None

    def too_slow(self) -> None:
        """The time for this request is over."""
        self.refuse(self._refusal(408))

    def refuse(self, reply: Reply) -> None:
        """Ends the reading, once."""
        if not self.is_over:
            self.is_over, self.in_request = True, False
            self._listener.refuse(reply)

    # ---- llhttp's

    def on_message_begin(self) -> None:
        """Its first byte."""
        self.in_request = not self.is_over
        self._head = 0
        self._url = self._method = b""
        self._headers: Headers = []
        self._is_old = self._expects = False
        self._body: list[bytes] = []
        self._size = 0
        self._kept: dict[str, str] = {}
        self._target: Door | Reply | None = None

    def on_url(self, url: bytes) -> None:
        """A piece of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One, whole."""
        name = name.lower()
        if name == b"expect":
            self._expects = value.lower() == b"100-continue"
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Everything but the body is known: refuses before it is read."""
        if self.is_over:
            return
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            self.refuse(DOORLESS[400])
            return
        self._is_old = version == "1.0"
        self._method = self._parser.get_method()
        self._target = target = self._doors.straight(self._method, self._url) or self._find()
        if isinstance(target, Door):
            try:
                self._kept = kept_headers(self._headers, target.wanted, self._max_body)
            except Refused as error:
                self.refuse(target.refusal(error))
        if self._expects and not self.is_over:
            self._listener.go_on()

    def on_body(self, body: bytes) -> None:
        """A piece of it, its chunks already taken apart."""
        self._size += len(body)
        if self._size > self._max_body:
            self.refuse(self._refusal(413))
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Its last byte."""
        if self.is_over or self._target is None:
            return
        self.in_request = False
        parser, body = self._parser, self._body
        whole = body[0] if len(body) == 1 else b"".join(body)
        is_last = self._is_old or not parser.should_keep_alive() or parser.should_upgrade()
        self.is_over = is_last
        self._listener.asked(Request(self._target, self._kept, whole, self._method == b"HEAD", is_last))

    def _find(self) -> Door | Reply:
        try:
            path = parse_url(self._url).path or b""
        except HttpParserError:
            return DOORLESS[400]
        return self._doors.find(self._method, path)

    def _refusal(self, status: int) -> Reply:
        return self._target.refusal(Refused(status)) if isinstance(self._target, Door) else DOORLESS[status]
