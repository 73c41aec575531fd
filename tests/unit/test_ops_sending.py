"""Sending as a provider does, against a server on a real socket: keep-alive, redelivery, giving up, the journal."""

import asyncio
import io
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from domain.errors import SignatureInvalid
from domain.event import EventKind
from ops.simulator import run as sending
from ops.simulator.http import Client, Refused
from ops.simulator.parcel import Parcel
from ops.simulator.run import Outcome, Simulation
from providers.dialect import Delivery, Notice
from providers.keys import Key
from providers.stripe import Stripe

SHOP = Stripe(account="shop-teapot", live=False, secrets=(Key("env:WALRUS", b"whsec_uncommon_walrus"),))
#: (status, body, close) or None to hang up without an answer; the request is (path, headers, body).
Answer = Callable[[str, dict[str, str], bytes], tuple[int, bytes, bool] | None]


class Door:
    """A small HTTP server that answers what the test says, and remembers what it was sent."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        request = (head[0].split(" ")[1], headers, await reader.readexactly(int(headers["content-length"])))
        self.requests.append(request)
        said = self.answer(*request)
        if said is None:
            return False
        status, body, close = said
        more = "connection: close\r\n" if close else ""
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body)
        await writer.drain()
        return not close


@asynccontextmanager
async def open_door(answer: Answer) -> AsyncIterator[Door]:
    """The server, on a free port."""
    door = Door(answer)
    server = await asyncio.start_server(door.serve, "127.0.0.1", 0)
    door.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield door


def parcel(number: int, forged: str = "") -> Parcel:
    """A payment of an order."""
    notice = Notice(
        notification_id=f"evt_{number:08d}",
        kind=EventKind.PAYMENT,
        order_no=f"TEAPOT-{number}",
        transaction_id=f"pi_{number:08d}",
        amount=700,
        currency="EUR",
        order_amount=700,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Parcel(SHOP, notice, forged)


def send(
    answer: Answer, parcels: list[Parcel], patience: float = 20.0, journal: io.StringIO | None = None
) -> tuple[Outcome, Door]:
    """Sends everything over two connections."""

    async def main() -> tuple[Outcome, Door]:
        async with open_door(answer) as door:
            return await Simulation(door.url, 2, patience, journal).run(parcels), door

    return asyncio.run(main())


def verifying(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, bool]:
    """Answers as a receiver does that checks signatures, and hangs up on a forger."""
    try:
        SHOP.verify(Delivery(headers, body), time.time())
    except SignatureInvalid:
        return 401, b"", True
    return 200, b"", False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of milliseconds: what matters is that they come."""
    monkeypatch.setattr(sending, "FIRST_PAUSE", 0.005)


def test_connections_are_kept() -> None:
    """Fifty deliveries over two connections, each to its account's address."""
    outcome, door = send(verifying, [parcel(number) for number in range(50)])

    assert outcome.answers == {"200": 50}
    assert door.connections == 2
    assert {path for path, *_ in door.requests} == {"/notify/shop-teapot"}
    assert outcome.gave_up == set()


def test_forged_deliveries_are_counted_as_refused() -> None:
    """Each is sent once, refused once, and its closed connection is opened again."""
    parcels = [
        parcel(1),
        parcel(2, "other_key"),
        parcel(3, "changed_amount"),
        parcel(4, "borrowed_signature"),
        parcel(5),
    ]

    outcome, _ = send(verifying, parcels)

    assert outcome.answers == {"200": 2, "401": 3}
    assert (outcome.forged_refused, outcome.forged_accepted, outcome.gave_up) == (3, 0, set())


def test_a_door_that_takes_everything_is_found_out() -> None:
    """A forged delivery that gets in is counted, and is not in the journal."""
    journal = io.StringIO()

    outcome, _ = send(lambda *_: (200, b"", False), [parcel(1), parcel(2, "other_key")], journal=journal)

    assert outcome.forged_accepted == 1
    assert dict(outcome.accepted) == {("shop-teapot", "evt_00000001"): 1}
    assert [json.loads(line)["order_no"] for line in journal.getvalue().splitlines()] == ["TEAPOT-1"]


def test_what_is_not_accepted_is_sent_again() -> None:
    """503, a connection cut in the middle and 500 are weather: every notification gets in."""
    seen: Counter[bytes] = Counter()
    weather = [(503, b"", False), None, (500, b"", True)]

    def answer(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, bool] | None:
        seen[body] += 1
        return weather[seen[body] - 1] if seen[body] <= 3 else (200, b"", False)

    outcome, _ = send(answer, [parcel(number) for number in range(5)])

    assert outcome.answers == {"503": 5, "none": 5, "500": 5, "200": 5}
    assert outcome.deliveries == 20
    assert outcome.gave_up == set()


def test_a_sender_gives_up_on_a_door_that_says_no() -> None:
    """A refusal does not change with time: three tries, and it is said which never got in."""
    outcome, _ = send(lambda *_: (404, b"", False), [parcel(1), parcel(1)])

    assert outcome.answers == {"404": 6}
    assert outcome.gave_up == {("shop-teapot", "evt_00000001")}


def test_a_sender_gives_up_when_its_patience_is_over() -> None:
    """Nobody listens: the run ends, and the notification counts as given up."""

    async def main() -> Outcome:
        async with open_door(verifying) as door:
            url = door.url
        return await Simulation(url, 2, 0.05).run([parcel(1)])

    outcome = asyncio.run(main())

    assert set(outcome.answers) == {"none"}
    assert outcome.gave_up == {("shop-teapot", "evt_00000001")}


def test_nothing_to_send_ends() -> None:
    """An empty schedule is a run of no deliveries."""
    outcome, _ = send(verifying, [])

    assert outcome.deliveries == 0


@pytest.mark.parametrize("url", ["ftp://teapot", "teapot:8000", "http://", ""])
def test_an_address_is_checked(url: str) -> None:
    """Only http and https, with a host."""
    with pytest.raises(ValueError, match="URL"):
        Client(url)


def test_who_does_not_speak_http_is_refused() -> None:
    """Noise instead of an answer is an error of the connection."""

    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 teapot ESMTP\r\n")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(noise, "127.0.0.1", 0)
        async with server:
            client = Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base/")
            with pytest.raises(Refused):
                await client.post("/notify/x", {}, b"")
            client.close()

    asyncio.run(main())


def test_a_base_path_stands_before_the_account() -> None:
    """A receiver behind a proxy's path is reached."""

    async def main() -> list[str]:
        async with open_door(lambda *_: (200, b"", True)) as door:
            client = Client(f"{door.url}/pay/")
            await client.post("/notify/x", {}, b"{}")
            return [path for path, *_ in door.requests]

    assert asyncio.run(main()) == ["/pay/notify/x"]
