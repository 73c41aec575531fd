"""Our own HTTP: connections, order, and senders who stretch either. The answers themselves: test_receiver.py."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import Got, Line, answer, listening

from domain.errors import BrokerUnavailable, SignatureInvalid
from providers.dialect import Answer
from providers.envelope import from_json
from receiver.doors import Doors
from receiver.wire import Wire
from worker.settings import Settings


class Parrot:
    """A dialect that takes any body but `bad` and names itself in its answers."""

    provider = "parrot"
    headers = ("x-signature",)
    account = "shop"
    live = True

    def verify(self, delivery: Any, now: float) -> str:
        if delivery.body == b"bad":
            raise SignatureInvalid("x-signature")
        return "key"

    def parse(self, delivery: Any) -> tuple[()]:
        return ()

    def accepted(self) -> Answer:
        return Answer(200, b"yes")

    def refused(self, status: int) -> Answer:
        return Answer(status, b"no")


class Held:
    """A publisher whose confirms come when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []

    def ready(self) -> bool:
        return True

    def submit(self, _: bytes) -> asyncio.Future[None]:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    async def has(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.waiting) < count:
                await asyncio.sleep(0.002)


def talk(say: Callable[[Line, Held], Awaitable[Any]], *, keep_alive: float = 5.0, **settings: Any) -> Any:
    """What `say` finds out on one connection."""

    async def run() -> Any:
        publisher = Held()
        doors = Doors(Settings(**settings), {"shop": Parrot()}, publisher)  # type: ignore[dict-item, arg-type]
        async with listening({"doors": doors}, keep_alive) as line:
            return await say(line, publisher)

    return asyncio.run(run())


def request(body: bytes = b"{}", *headers: bytes, path: bytes = b"/notify/shop", version: bytes = b"1.1") -> bytes:
    lines = b"".join(header + b"\r\n" for header in (b"host: x", b"content-length: %d" % len(body), *headers))
    return b"POST %b HTTP/%b\r\n%b\r\n%b" % (path, version, lines, body)


async def is_closed(line: Line) -> bool:
    """Nothing more comes, and the other side says so."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):
            return await line.reader.read() == b""
        return True


def test_answers_keep_the_order_of_their_requests() -> None:
    """Whatever is confirmed or refused first: on one connection only the order tells whose answer it is."""

    async def say(line: Line, publisher: Held) -> list[bytes]:
        line.writer.write(request() + request(b"[]") + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        await publisher.has(2)
        publisher.waiting[1].set_exception(BrokerUnavailable())
        await asyncio.sleep(0.02)
        publisher.waiting[0].set_result(None)
        return [(await answer(line.reader)).body for _ in range(3)]

    assert talk(say) == [b"yes", b"no", b"ok"]


def test_a_connection_serves_one_request_after_another() -> None:
    """Kept alive, also where a request comes byte by byte."""

    async def say(line: Line, publisher: Held) -> list[int]:
        statuses = []
        for number in range(3):
            for byte in request():
                line.writer.write(bytes([byte]))
                await asyncio.sleep(0)
            await publisher.has(number + 1)
            publisher.waiting[-1].set_result(None)
            statuses.append((await answer(line.reader)).status)
        return [*statuses, line.served.total_requests]

    assert talk(say) == [200, 200, 200, 3]


def test_more_requests_in_a_row_than_are_allowed_wait_in_the_socket() -> None:
    """The crowd of one sender is bounded: the rest is not read before answers are due, and is not lost."""

    async def say(line: Line, publisher: Held) -> tuple[int, int]:
        for _ in range(200):
            line.writer.write(request(b"x" * 30_000))
        await publisher.has(17)
        await asyncio.sleep(0.1)
        before = len(publisher.waiting)
        for number in range(200):
            await publisher.has(number + 1)
            publisher.waiting[number].set_result(None)
        return before, len([await answer(line.reader) for _ in range(200)])

    before, answered = talk(say)
    assert before < 60
    assert answered == 200


LAST: dict[str, bytes] = {
    "that asks for it": request(b"{}", b"connection: close"),
    "of an old protocol": request(version=b"1.0"),
    "that wants another protocol": request(b"{}", b"connection: upgrade", b"upgrade: h2c"),
}


@pytest.mark.parametrize("last", LAST.values(), ids=LAST.keys())
def test_a_last_request_is_answered_and_nothing_is_read_after_it(last: bytes) -> None:
    """The answer says so, and what came behind it is not published."""

    async def say(line: Line, publisher: Held) -> tuple[Got, bool, int]:
        line.writer.write(last + request())
        await publisher.has(1)
        publisher.waiting[0].set_result(None)
        return await answer(line.reader), await is_closed(line), len(publisher.waiting)

    got, closed, published = talk(say)
    assert (got.status, got.headers[b"connection"], closed, published) == (200, b"close", True, 1)


NO_HTTP: dict[str, bytes] = {
    "noise": b"\x16\x03\x01\x02\x00",
    "no version": b"POST /notify/shop\r\n\r\n",
    "a bare line feed": request().replace(b"host: x\r\n", b"host: x\n"),
    "a space before the colon": request().replace(b"host:", b"host :"),
    "a folded header": request(b"{}", b"x-a: 1\r\n 2").replace(b"content-length: 2", b"content-length: 2"),
    "a NUL in a header": request(b"{}", b"x-a: \x00"),
    "two lengths": request(b"{}", b"content-length: 3"),
    "two equal lengths": request(b"{}", b"content-length: 2"),
    "a length and chunks": request(b"{}", b"transfer-encoding: chunked"),
    "an unknown transfer encoding": request(b"{}", b"transfer-encoding: gzip"),
    "chunks, hidden": request(b"{}", b"transfer-encoding: xchunked"),
    "a chunk size that is none": b"POST /notify/shop HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
}


@pytest.mark.parametrize("noise", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_ends_the_connection(noise: bytes) -> None:
    """400 at once, for what is read two ways elsewhere too; nothing is published, not even what stood behind."""

    async def say(line: Line, publisher: Held) -> tuple[Got, bool, int]:
        line.writer.write(noise)
        line.writer.write(request())
        return await answer(line.reader), await is_closed(line), len(publisher.waiting)

    got, closed, published = talk(say)
    assert (got.status, got.headers[b"connection"], closed, published) == (400, b"close", True, 0)


ENDLESS: dict[str, bytes] = {
    "a head without an end": b"POST /notify/shop HTTP/1.1\r\n" + b"x-a: b\r\n" * 12_000,
    "one header without an end": b"POST /notify/shop HTTP/1.1\r\nx-a: " + b"b" * 80_000,
    "a path without an end": b"POST /notify/" + b"a" * 80_000,
}


@pytest.mark.parametrize("start", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_head_has_a_bound(start: bytes) -> None:
    """It is kept in memory until it is whole: 400 after 64 KiB, and not at the end of its time."""

    async def say(line: Line, _: Held) -> tuple[Got, bool]:
        line.writer.write(start)
        return await answer(line.reader), await is_closed(line)

    got, closed = talk(say)
    assert (got.status, closed) == (400, True)


def test_an_earlier_request_is_answered_before_what_is_no_http() -> None:
    """The refusal of the second is not taken for the answer to the first."""

    async def say(line: Line, publisher: Held) -> list[int]:
        line.writer.write(request() + b"noise\r\n\r\n")
        await publisher.has(1)
        publisher.waiting[0].set_result(None)
        return [(await answer(line.reader)).status for _ in range(2)]

    assert talk(say) == [200, 400]


@pytest.mark.parametrize(
    ("start", "status", "body"),
    [
        (b"POST /notify/shop HTTP/1.1\r\nx-a", 408, b"refused"),
        (request()[:-1], 408, b"no"),
        (request(path=b"/elsewhere")[:-1], 408, b"refused"),
    ],
    ids=["in the head", "in the body", "in the body of nobody"],
)
def test_who_is_slow_is_cut_off(start: bytes, status: int, body: bytes) -> None:
    """body_timeout_seconds bound the whole request, from its first byte."""

    async def say(line: Line, _: Held) -> tuple[Got, bool]:
        line.writer.write(start)
        return await answer(line.reader), await is_closed(line)

    got, closed = talk(say, body_timeout_seconds=0.05)
    assert (got.status, got.body, closed) == (status, body, True)


def test_a_connection_that_says_nothing_is_closed() -> None:
    """Before the first request and after the last; one whose answer is not there yet is not idle."""

    async def silent(line: Line, _: Held) -> bool:
        return await is_closed(line)

    async def waits(line: Line, publisher: Held) -> tuple[int, bool]:
        line.writer.write(request())
        await publisher.has(1)
        await asyncio.sleep(0.2)
        publisher.waiting[0].set_result(None)
        return (await answer(line.reader)).status, await is_closed(line)

    assert talk(silent, keep_alive=0.05)
    assert talk(waits, keep_alive=0.05) == (200, True)


def test_a_body_too_long_for_nobody_is_not_read_either() -> None:
    """An unknown path swallows no more than an account's."""

    async def say(line: Line, _: Held) -> int:
        line.writer.write(request(b"x" * 1001, path=b"/elsewhere"))
        return (await answer(line.reader)).status

    assert talk(say, max_body_bytes=1000) == 413


def test_who_waits_for_100_is_told_to_go_on() -> None:
    """Unless the head alone is refused: then the body is never sent."""

    async def say(line: Line, publisher: Held) -> tuple[bytes, int]:
        head = request(b"{}", b"expect: 100-continue")[:-2]
        line.writer.write(head)
        told = await line.reader.readuntil(b"\r\n\r\n")
        line.writer.write(b"{}")
        await publisher.has(1)
        publisher.waiting[0].set_result(None)
        return told, (await answer(line.reader)).status

    async def refused(line: Line, _: Held) -> int:
        line.writer.write(request(b"{}", b"expect: 100-continue", b"content-encoding: gzip")[:-2])
        return (await answer(line.reader)).status

    assert talk(say) == (b"HTTP/1.1 100 Continue\r\n\r\n", 200)
    assert talk(refused) == 415


def test_a_stop_answers_what_it_has_read_and_closes_the_others() -> None:
    """As uvicorn asks each connection when the process is to end."""

    async def idle(line: Line, _: Held) -> bool:
        await asyncio.sleep(0.02)
        for wire in list(line.served.connections):
            wire.shutdown()
        return await is_closed(line)

    async def busy(line: Line, publisher: Held) -> tuple[int, bytes, bool, int]:
        line.writer.write(request())
        await publisher.has(1)
        for wire in list(line.served.connections):
            wire.shutdown()
        line.writer.write(request())
        await asyncio.sleep(0.02)
        publisher.waiting[0].set_result(None)
        got = await answer(line.reader)
        return got.status, got.headers[b"connection"], await is_closed(line), len(publisher.waiting)

    assert talk(idle)
    assert talk(busy) == (200, b"close", True, 1)


def test_who_leaves_is_forgotten() -> None:
    """The confirm that comes later harms nobody."""

    async def say(line: Line, publisher: Held) -> int:
        line.writer.write(request())
        await publisher.has(1)
        line.writer.close()
        async with asyncio.timeout(10):
            while line.served.connections:
                await asyncio.sleep(0.002)
        publisher.waiting[0].set_result(None)
        await asyncio.sleep(0.02)
        return len(line.served.connections)

    assert talk(say) == 0


def test_the_same_path_written_otherwise_is_the_same_door() -> None:
    """Percent-encoded, with a query, or as a proxy writes it: as any server before us would read it."""
    paths = [b"/notify/sh%6fp", b"/notify/shop?a=1", b"http://pay.example/notify/shop"]

    async def say(line: Line, publisher: Held) -> list[int]:
        statuses = []
        for number, path in enumerate(paths, 1):
            line.writer.write(request(path=path))
            await publisher.has(number)
            publisher.waiting[-1].set_result(None)
            statuses.append((await answer(line.reader)).status)
        return statuses

    assert talk(say) == [200] * 3


class Sink:
    """A transport that keeps what is written, and timers that never ring."""

    def __init__(self) -> None:
        self.written = b""
        self.is_over = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_over = True

    def is_closing(self) -> bool:
        return self.is_over

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def time(self) -> float:
        return 0.0

    def call_later(self, *_: Any) -> "Sink":
        return self

    def cancel(self) -> None: ...


class Done:
    """A confirm that was there before anybody asked."""

    def add_done_callback(self, callback: Callable[["Done"], None]) -> None:
        callback(self)

    def exception(self) -> None: ...


def fed(pieces: list[bytes]) -> tuple[bytes, bool, list[bytes]]:
    """What a connection writes for these pieces, whether it closes, and the bodies that were published."""
    taken: list[bytes] = []
    publisher = SimpleNamespace(ready=lambda: True, submit=lambda envelope: (taken.append(envelope), Done())[1])
    sink, served = Sink(), SimpleNamespace(connections=set(), total_requests=0, default_headers=[])
    doors = Doors(Settings(), {"shop": Parrot()}, publisher)  # type: ignore[dict-item, arg-type]
    wire = Wire(SimpleNamespace(timeout_keep_alive=5), served, {"doors": doors}, sink)
    wire.connection_made(sink)
    for piece in pieces:
        wire.data_received(piece)
    return sink.written, sink.is_over, [from_json(json.loads(envelope)).delivery.body for envelope in taken]


GOOD = request(bytes(range(48, 123)) * 2)
STREAM = st.lists(
    st.sampled_from(
        [GOOD, request(b"bad"), request(path=b"/healthz"), b"GET /healthz HTTP/1.1\r\n\r\n", *NO_HTTP.values()]
    )
    | st.binary(max_size=40)
    | st.integers(0, len(GOOD)).map(lambda end: GOOD[:end]),
    max_size=4,
)


@given(STREAM, st.lists(st.integers(1, 60), max_size=30))
def test_it_does_not_matter_how_the_network_cuts_a_stream(parts: list[bytes], cuts: list[int]) -> None:
    """Whole or in pieces, the same requests are found and the same answers given; nothing is raised."""
    stream, pieces, at = b"".join(parts), [], 0
    for length in cuts:
        pieces.append(stream[at : at + length])
        at += length

    assert fed([piece for piece in (*pieces, stream[at:]) if piece]) == fed([stream] if stream else [])


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=3))
def test_a_damaged_request_is_answered_or_waited_for(at: int, noise: bytes) -> None:
    """Never an exception, never two answers, and a body that verifies only where nothing that counts was hit."""
    written, _, published = fed([GOOD[:at] + noise + GOOD[at + len(noise) :]])

    assert written.count(b"HTTP/1.1 ") <= 2
    assert len(published) <= 1
    assert (b"HTTP/1.1 200" in written) == (len(published) == 1)
