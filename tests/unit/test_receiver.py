"""The receiver's answers, request by request, with a publisher that only notes down and a small real HMAC dialect.

Every case is asked twice: of the ASGI app, and of our own wire on a real socket.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import structlog
import structlog.testing
from wire import Got, answer, listening

from domain.errors import BrokerUnavailable, MalformedNotification, SignatureInvalid
from domain.event import PaymentEvent
from providers.dialect import Answer, Delivery, Notice
from providers.horizon import Horizon
from receiver import doors
from receiver.app import App, create_app
from worker.settings import Settings

KEY = b"a key of the test alone"
BODY = b'{"order": "A-1", "note": "\xe5\x88\xb0"}'


class Hmac:
    """Signs the body with one key; says yes and no in words that nothing else here uses."""

    provider: ClassVar[str] = "hmac"
    headers: ClassVar[tuple[str, ...]] = ("x-signature", "x-stamp")
    horizon: ClassVar[Horizon] = Horizon(automatic=timedelta(days=3), source="nowhere")
    account = "shop"
    live = True

    def verify(self, delivery: Delivery, now: float) -> str:
        given = delivery.headers.get("x-signature", "").encode()
        if not hmac.compare_digest(given, hmac.new(KEY, delivery.body, hashlib.sha256).hexdigest().encode()):
            raise SignatureInvalid("x-signature")
        return "key-1"

    def parse(self, delivery: Delivery) -> tuple[PaymentEvent, ...]:
        if delivery.body == b"explode":
            raise RuntimeError("the body says: card 4111")
        if not delivery.body.startswith(b"{") and delivery.body != b"\xff\xfe":
            raise MalformedNotification("body")
        return ()

    def accepted(self) -> Answer:
        return Answer(200, b"jolly good")

    def refused(self, status: int) -> Answer:
        return Answer(status, b"oh no", "text/x-oh")

    def sign(self, notice: Notice, now: float) -> Delivery:
        raise NotImplementedError


class Notes:
    """A publisher that confirms everything and keeps it, or refuses everything."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.is_ready = True
        self.life: list[str] = []

    def start(self) -> None:
        self.life.append("started")

    def close(self, timeout: float) -> None:
        self.life.append("closed")

    def ready(self) -> bool:
        return self.is_ready

    def submit(self, envelope: bytes) -> asyncio.Future[None]:
        if not self.is_ready:
            raise BrokerUnavailable("away")
        self.taken.append(json.loads(envelope))
        confirm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        confirm.set_result(None)
        return confirm


class Caller:
    """Calls a started app without a network, as any ASGI server does."""

    def __init__(self, app: App, publisher: Notes, state: dict[str, Any]) -> None:
        self.app = app
        self.publisher = publisher
        self.state = state

    def post(
        self,
        body: bytes = BODY,
        *,
        path: str = "/notify/shop",
        method: str = "POST",
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        chunks: list[dict[str, Any]] | None = None,
    ) -> Got:
        given = signed(body) if headers is None else headers
        pairs = given.items() if isinstance(given, Mapping) else given
        raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
        messages = chunks if chunks is not None else [{"type": "http.request", "body": body}]
        return asyncio.run(self.call(path, method, raw, messages))

    async def call(self, path: str, method: str, raw: list[tuple[bytes, bytes]], messages: list[dict[str, Any]]) -> Got:
        left = iter(messages)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            for message in left:
                return message
            return await asyncio.get_running_loop().create_future()  # the sender is silent from here on

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""}
        await self.app(scope, receive, send)
        start, body = sent
        return Got(start["status"], dict(start["headers"]), body["body"])


class WireCaller(Caller):
    """Calls the same app through our own protocol, over a socket."""

    async def call(self, path: str, method: str, raw: list[tuple[bytes, bytes]], messages: list[dict[str, Any]]) -> Got:
        names = {name for name, _ in raw}
        framed = [] if b"content-length" in names else [(b"transfer-encoding", b"chunked")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in [*raw, *framed])
        request = f"{method} {path} HTTP/1.1\r\nhost: x\r\n".encode() + head + b"\r\n"
        for message in messages:
            part = message.get("body", b"")
            request += b"%x\r\n%b\r\n" % (len(part), part) if framed and part else part
            request += b"0\r\n\r\n" if framed and not message.get("more_body") else b""
        async with listening(self.state) as line:
            line.writer.write(request)
            return await answer(line.reader, has_body=method != "HEAD")


def signed(body: bytes, **more: str) -> dict[str, str]:
    return {"x-signature": hmac.new(KEY, body, hashlib.sha256).hexdigest()} | more


async def live_once(app: App, stop: bool = True, state: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """What a start-up, and a shutdown after it, say."""
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}] if stop else [{"type": "startup"}])
    said: list[Any] = []

    async def receive() -> Any:
        for event in events:
            return event
        raise asyncio.CancelledError

    async def send(message: Any) -> None:
        said.append(message)

    with contextlib.suppress(asyncio.CancelledError):
        await app({"type": "lifespan", "state": {} if state is None else state}, receive, send)
    return said


@pytest.fixture(params=[Caller, WireCaller], ids=["asgi", "wire"])
def caller(request: pytest.FixtureRequest) -> Caller:
    """A started receiver with one account, `shop`."""
    publisher = Notes()
    settings = Settings(max_body_bytes=1000, body_timeout_seconds=0.1)
    app = create_app(settings, {"shop": Hmac()}, publisher)  # type: ignore[arg-type]
    state: dict[str, Any] = {}
    asyncio.run(live_once(app, stop=False, state=state))
    made: Caller = request.param(app, publisher, state)
    return made


def test_a_signed_notification_is_published_and_answered_in_its_own_words(caller: Caller) -> None:
    """The envelope holds the exact body and only the headers that the dialect names."""
    got = caller.post(headers=signed(BODY, **{"x-stamp": "12", "cookie": "secret", "host": "pay.example"}))
    (envelope,) = caller.publisher.taken
    received_at = envelope.pop("received_at")
    assert (got.status, got.body) == (200, b"jolly good")
    assert envelope == {
        "account": "shop",
        "provider": "hmac",
        "headers": {"x-stamp": "12"} | signed(BODY),
        "body": BODY.decode(),
    }
    assert received_at > 1.7e9


def test_a_body_that_is_not_text_travels_whole(caller: Caller) -> None:
    """Bytes are never repaired: the signature is over them."""
    assert caller.post(b"\xff\xfe").status == 200
    assert caller.publisher.taken[0]["body_b64"] == "//4="


def test_a_body_in_chunks_is_one_body(caller: Caller) -> None:
    """The signature is over the whole, however the network cut it."""
    chunks = [{"type": "http.request", "body": BODY[at : at + 7], "more_body": True} for at in range(0, len(BODY), 7)]
    got = caller.post(BODY, chunks=[*chunks, {"type": "http.request"}])
    assert got.status == 200
    assert caller.publisher.taken[0]["body"] == BODY.decode()


FORGERIES: dict[str, list[tuple[str, str]]] = {
    "missing": [],
    "empty": [("x-signature", "")],
    "another body's": list(signed(b"{}").items()),
    "not ASCII": [("x-signature", "é" * 64)],
    "upper case": [("x-signature", signed(BODY)["x-signature"].upper())],
    "given twice": [*signed(BODY).items(), *signed(BODY).items()],
    "other signed header twice": [*signed(BODY).items(), ("x-stamp", "1"), ("x-stamp", "2")],
}


@pytest.mark.parametrize("headers", FORGERIES.values(), ids=FORGERIES.keys())
def test_every_forgery_gets_the_same_refusal(caller: Caller, headers: list[tuple[str, str]]) -> None:
    """401 with one body for all reasons: a forger learns nothing; nothing is published."""
    got = caller.post(headers=headers)
    assert (got.status, got.body, got.headers[b"content-type"]) == (401, b"oh no", b"text/x-oh")
    assert caller.publisher.taken == []


UNWANTED: dict[str, tuple[int, dict[str, str]]] = {
    "compressed": (415, {"content-encoding": "gzip"}),
    "compressed twice": (415, {"content-encoding": "identity, br"}),
    "multipart": (415, {"content-type": "Multipart/Form-Data; boundary=x"}),
    "announced too long": (413, {"content-length": "1001"}),
    "a length that is none": (400, {"content-length": "-1"}),
    "a length of 5,000 digits": (400, {"content-length": "1" * 5000}),
    "a header over 8 kB": (400, {"x-any": "a" * 8193}),
    "a signed header over 8 kB": (400, {"x-stamp": "a" * 8193}),
    "1,000 headers": (400, {f"x-{number}": "1" for number in range(1000)}),
}


@pytest.mark.parametrize(("status", "headers"), UNWANTED.values(), ids=UNWANTED.keys())
def test_what_is_too_large_or_wrapped_is_refused_before_it_is_read(
    caller: Caller, status: int, headers: dict[str, str]
) -> None:
    """The body is never waited for, the connection is not used again, and nothing is published."""
    got = caller.post(headers=signed(BODY, **headers), chunks=[])
    assert got.status == status
    assert got.headers[b"connection"] == b"close"
    assert caller.publisher.taken == []


@pytest.mark.parametrize(
    "headers", [{"content-encoding": "identity"}, {"content-length": "1000"}, {"x-any": "a" * 8192}]
)
def test_what_is_just_allowed_is_read(caller: Caller, headers: dict[str, str]) -> None:
    """The bounds refuse nobody who keeps to them."""
    body = b"{" + b" " * 999
    assert caller.post(body, headers=signed(body, **headers)).status == 200


def test_a_body_that_grows_past_the_cap_is_refused_while_it_is_read(caller: Caller) -> None:
    """No Content-Length is needed to bound it, and the rest is not waited for."""
    chunks = [{"type": "http.request", "body": b"x" * 400, "more_body": True}] * 3
    assert caller.post(chunks=chunks).status == 413


def test_a_body_that_does_not_come_is_answered_408(caller: Caller) -> None:
    """A slow sender holds a connection for body_timeout_seconds and no longer."""
    assert caller.post(chunks=[{"type": "http.request", "body": b"{", "more_body": True}]).status == 408


@pytest.mark.parametrize("caller", [Caller], indirect=True)
def test_a_sender_that_leaves_publishes_nothing(caller: Caller) -> None:
    """Half a body is none."""
    chunks = [{"type": "http.request", "body": BODY, "more_body": True}, {"type": "http.disconnect"}]
    assert caller.post(chunks=chunks).status == 400
    assert caller.publisher.taken == []


def test_a_signed_body_that_nobody_can_read_is_refused(caller: Caller) -> None:
    """The provider hears 400; the queue is not filled with it."""
    assert caller.post(b"[]").status == 400
    assert caller.publisher.taken == []


def test_without_the_broker_the_provider_is_asked_to_come_again(caller: Caller) -> None:
    """503 with Retry-After, never a success."""
    caller.publisher.is_ready = False
    got = caller.post()
    assert (got.status, got.body) == (503, b"oh no")
    assert got.headers[b"retry-after"] == b"2"


def test_an_unforeseen_error_shows_nothing(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """500 in the provider's words; neither the answer nor the log quotes the exception, which may quote the body."""
    lines = structlog.testing.CapturingLogger()
    monkeypatch.setattr(doors, "log", structlog.wrap_logger(lines, processors=[structlog.processors.JSONRenderer()]))

    got = caller.post(b"explode")

    logged = str(lines.calls) + "".join(capfd.readouterr())
    assert (got.status, got.body) == (500, b"oh no")
    assert "RuntimeError" in logged
    assert "4111" not in logged


@pytest.mark.parametrize(
    "path",
    ["/notify/other", "/notify/", "/notify", "/notify/shop/", "//notify/shop", "/notify//shop", "/notify/../shop", "/"],
)
def test_only_the_accounts_have_a_door(caller: Caller, path: str) -> None:
    """No redirect, no normalising, no other route."""
    assert caller.post(path=path).status == 404
    assert caller.publisher.taken == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_post_notifies(caller: Caller, method: str) -> None:
    """A link that somebody follows does nothing."""
    assert caller.post(method=method).status == 405
    assert caller.publisher.taken == []


def test_alive_and_ready_are_two_questions(caller: Caller) -> None:
    """A process without its broker is not restarted, only sent no traffic."""
    caller.publisher.is_ready = False
    away = [caller.post(path=path, method="GET").status for path in ("/healthz", "/readyz")]
    caller.publisher.is_ready = True
    there = [caller.post(path=path, method="GET").status for path in ("/healthz", "/readyz")]
    assert (away, there) == ([200, 503], [200, 200])


def test_the_publisher_lives_as_long_as_the_app() -> None:
    """Started before the first request, closed after the last."""
    publisher = Notes()
    said = asyncio.run(live_once(create_app(Settings(), {"shop": Hmac()}, publisher)))  # type: ignore[arg-type]
    assert [message["type"] for message in said] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert publisher.life == ["started", "closed"]


def test_a_wrong_configuration_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person who starts it sees what to mend, not how Python got there."""
    said = asyncio.run(live_once(create_app(Settings(accounts=tmp_path / "none.toml"))))
    monkeypatch.setenv("PAIDONCE_MAX_BODY_BYTES", "many")
    from worker.settings import settings

    settings.cache_clear()
    said += asyncio.run(live_once(create_app()))
    assert [message["type"] for message in said] == ["lifespan.startup.failed"] * 2
    assert "none.toml" in said[0]["message"]
    assert "PAIDONCE_MAX_BODY_BYTES" in said[1]["message"]
    assert all("\n" not in message["message"] and "many" not in message["message"] for message in said)
