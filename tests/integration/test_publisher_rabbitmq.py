"""What the publisher confirmed is in the queue, whatever is cut, stalled, deleted or full."""

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import kombu
import pytest

from domain.errors import BrokerUnavailable
from worker import link as link_module
from worker import publisher as publisher_module
from worker.publisher import Publisher
from worker.settings import Settings

Pack = dict[str, Any]


class Proxy:
    """A TCP proxy before the broker that can hold back either direction, and cut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._valves: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        self.flow_anew()
        threading.Thread(target=self._accept, daemon=True).start()

    def flow_anew(self) -> None:
        """What is held back stays so; connections made from now on flow."""
        self.requests_flow, self.answers_flow = threading.Event(), threading.Event()
        self._valves += [self.requests_flow, self.answers_flow]
        self.requests_flow.set()
        self.answers_flow.set()

    def cut(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for valve in self._valves:
            valve.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink, flows in (
                    (client, server, self.requests_flow),
                    (server, client, self.answers_flow),
                ):
                    threading.Thread(target=self._pump, args=(source, sink, flows), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, flows: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                flows.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(rabbitmq_url: str) -> Iterator[Proxy]:
    """A proxy before RabbitMQ."""
    parts = urlsplit(rabbitmq_url)
    proxy = Proxy((parts.hostname or "127.0.0.1", parts.port or 5672))
    yield proxy
    proxy.close()


@pytest.fixture
def proxied_url(rabbitmq_url: str, proxy: Proxy) -> str:
    """The vhost through the proxy."""
    parts = urlsplit(rabbitmq_url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()


@pytest.fixture
def started() -> Iterator[Callable[..., Publisher]]:
    """Makes publishers that are connected, and closes them."""
    made: list[Publisher] = []

    def make(url: str, *, connected: bool = True, **settings: Any) -> Publisher:
        publisher = Publisher(Settings(broker_url=url, **settings))
        made.append(publisher)
        publisher.start()
        if connected:
            eventually(publisher.ready)
        return publisher

    yield make
    for publisher in made:
        publisher.close(10)


def eventually(is_so: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.02)


def envelope(number: int, size: int = 60) -> bytes:
    bare = json.dumps({"account": "shop", "id": number, "body": "é"}, ensure_ascii=False).encode()
    return bare + b" " * (size - len(bare))


async def publish_all(publisher: Publisher, numbers: range, size: int = 60) -> set[int]:
    """The numbers that were confirmed; every other one failed as it should."""
    answers = await asyncio.gather(
        *[publisher.publish(envelope(number, size)) for number in numbers], return_exceptions=True
    )
    unexpected = [a for a in answers if a is not None and not isinstance(a, BrokerUnavailable)]
    assert unexpected == []
    return {number for number, answer in zip(numbers, answers, strict=True) if answer is None}


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def queued(url: str, queue: str = "paidonce.apply") -> list[Pack]:
    """Takes every message off the queue: {envelopes, epoch, number, properties}."""
    packs: list[Pack] = []
    with kombu.Connection(url) as connection:
        channel = connection.default_channel
        while message := channel.basic_get(queue, no_ack=True):
            (envelopes,), kwargs, _ = json.loads(message.body)
            packs.append({"envelopes": envelopes, "properties": message.properties, **kwargs})
    return packs


def members(packs: list[Pack]) -> list[int]:
    return [each["id"] for pack in packs for each in pack["envelopes"]]


def rabbitmqctl(*words: str) -> None:
    subprocess.run(["rabbitmqctl", "-q", *words], check=True, capture_output=True, timeout=60)


def vhost(url: str) -> str:
    return unquote(urlsplit(url).path[1:])


def test_a_confirmed_envelope_is_in_the_queue_as_it_was(rabbitmq_url: str, started: Callable[..., Publisher]) -> None:
    """Whole, persistent, as JSON that any reader understands."""
    run(started(rabbitmq_url).publish(envelope(7)))
    (pack,) = queued(rabbitmq_url)
    assert pack["envelopes"] == [json.loads(envelope(7))]
    assert pack["properties"]["delivery_mode"] == 2
    assert pack["properties"]["content_type"] == "application/json"


def test_who_waits_together_goes_together_and_each_once(rabbitmq_url: str, started: Callable[..., Publisher]) -> None:
    """300 at a time make a handful of messages, numbered without a gap inside one epoch."""
    publisher = started(rabbitmq_url)
    confirmed = run(publish_all(publisher, range(300)))
    packs = queued(rabbitmq_url)
    assert confirmed == set(range(300))
    assert sorted(members(packs)) == list(range(300))
    assert len(packs) < 30
    assert len({pack["epoch"] for pack in packs}) == 1
    assert [pack["number"] for pack in packs] == list(range(1, len(packs) + 1))


def test_a_pack_keeps_within_its_bytes_and_its_members(rabbitmq_url: str, started: Callable[..., Publisher]) -> None:
    """1,000 bytes hold three of 300; one that is larger than the whole goes alone, and is not held up for ever."""
    publisher = started(rabbitmq_url, pack_max_bytes=1000)
    assert run(publish_all(publisher, range(50), size=300)) == set(range(50))
    assert run(publish_all(publisher, range(50, 55), size=5000)) == set(range(50, 55))
    packs = queued(rabbitmq_url)
    sizes = [sum(300 if each["id"] < 50 else 5000 for each in pack["envelopes"]) for pack in packs]
    assert sorted(members(packs)) == list(range(55))
    assert all(size <= 1000 or len(pack["envelopes"]) == 1 for size, pack in zip(sizes, packs, strict=True))
    assert max(len(pack["envelopes"]) for pack in packs) == 3


def test_a_pack_has_no_more_members_than_allowed(rabbitmq_url: str, started: Callable[..., Publisher]) -> None:
    """The worker's transaction has a known greatest size."""
    run(publish_all(started(rabbitmq_url, pack_max_envelopes=7), range(40)))
    assert max(len(pack["envelopes"]) for pack in queued(rabbitmq_url)) == 7


def test_without_its_queue_nothing_is_confirmed_until_it_is_there_again(
    rabbitmq_url: str, started: Callable[..., Publisher]
) -> None:
    """RabbitMQ confirms what no queue took; `mandatory` tells the difference, and the new connection declares anew."""
    publisher = started(rabbitmq_url)
    with kombu.Connection(rabbitmq_url) as connection:
        connection.default_channel.queue_delete("paidonce.apply")

    async def both() -> tuple[set[int], set[int]]:
        return await publish_all(publisher, range(1)), await publish_all(publisher, range(1, 20))

    while_gone, after = run(both())
    assert while_gone == set()
    assert after == set(range(1, 20))
    assert sorted(members(queued(rabbitmq_url))) == sorted(after)


def test_a_full_queue_refuses_and_the_envelope_fails(rabbitmq_url: str, started: Callable[..., Publisher]) -> None:
    """A nack is no confirm."""
    publisher = started(rabbitmq_url)
    rabbitmqctl(
        "set_policy", "-p", vhost(rabbitmq_url), "full", "^paidonce.apply$", '{"max-length": 1}', "--apply-to", "queues"
    )

    async def fill() -> list[set[int]]:
        return [await publish_all(publisher, range(number, number + 1)) for number in range(12)]

    try:
        confirmed = set().union(*run(fill()))
    finally:
        rabbitmqctl("clear_policy", "-p", vhost(rabbitmq_url), "full")
    assert confirmed < set(range(12))
    assert confirmed <= set(members(queued(rabbitmq_url)))


def test_a_closed_connection_fails_what_was_pending_and_no_more(
    rabbitmq_url: str, started: Callable[..., Publisher]
) -> None:
    """The broker closes every connection in the middle of the traffic; what was confirmed is there, and it goes on."""
    publisher = started(rabbitmq_url, pack_max_envelopes=4)

    async def under_fire() -> tuple[set[int], set[int]]:
        confirmed: set[int] = set()
        numbers = iter(range(1_000_000))
        closing = asyncio.ensure_future(
            asyncio.to_thread(rabbitmqctl, "close_all_connections", "-p", vhost(rabbitmq_url), "test")
        )
        while not closing.done():
            first = next(numbers) * 20
            confirmed |= await publish_all(publisher, range(first, first + 20))
        await closing
        after = set()
        while not after:
            first = next(numbers) * 20
            after = await publish_all(publisher, range(first, first + 20))
        return confirmed, after

    confirmed, after = run(under_fire())
    packs = queued(rabbitmq_url)
    assert confirmed | after <= set(members(packs))
    assert len({pack["epoch"] for pack in packs}) == 2


def test_a_late_confirm_is_not_taken_for_another_envelope(
    proxied_url: str, rabbitmq_url: str, proxy: Proxy, started: Callable[..., Publisher]
) -> None:
    """The first one's confirm arrives while the second one, which never reached the broker, waits for its own."""
    publisher = started(proxied_url, publish_timeout_seconds=1)

    async def late() -> tuple[set[int], set[int]]:
        assert await publish_all(publisher, range(1)) == {0}
        proxy.answers_flow.clear()
        first = await publish_all(publisher, range(1, 2))
        proxy.requests_flow.clear()
        second = asyncio.ensure_future(publish_all(publisher, range(2, 3)))
        await asyncio.sleep(0.1)
        proxy.answers_flow.set()
        return first, await second

    assert run(late()) == (set(), set())
    proxy.flow_anew()
    eventually(publisher.ready)
    assert run(publish_all(publisher, range(3, 4))) == {3}
    # The one whose confirm was held may be there; its provider sends it again and it is a duplicate.
    assert set(members(queued(rabbitmq_url))) - {1} == {0, 3}


def test_a_broker_that_stalls_while_connecting_does_not_hold_the_publisher(
    proxied_url: str, rabbitmq_url: str, proxy: Proxy, started: Callable[..., Publisher]
) -> None:
    """It stops answering after the handshake, when queues are declared: no library bounds that wait."""
    publisher = started(proxied_url, publish_timeout_seconds=1)
    declared = threading.Event()

    def stall_before_declaring(_: kombu.Connection) -> None:
        proxy.answers_flow.clear()
        declared.set()

    with pytest.MonkeyPatch.context() as patch:
        declare = link_module.declare
        patch.setattr(link_module, "declare", lambda link: (stall_before_declaring(link), declare(link)))
        proxy.cut()
        assert run(publish_all(publisher, range(5))) == set()
        eventually(declared.is_set)
    proxy.flow_anew()
    eventually(publisher.ready)
    assert run(publish_all(publisher, range(5, 9))) == set(range(5, 9))
    assert set(range(5, 9)) <= set(members(queued(rabbitmq_url)))


def test_a_connection_cut_while_idle_costs_nobody_an_error(
    proxied_url: str,
    rabbitmq_url: str,
    proxy: Proxy,
    started: Callable[..., Publisher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Something between us and the broker forgot the silent connection: one retry on a fresh one."""
    monkeypatch.setattr(publisher_module, "STALE_SECONDS", 0.0)
    publisher = started(proxied_url)
    assert run(publish_all(publisher, range(1))) == {0}
    proxy.cut()
    assert run(publish_all(publisher, range(1, 3))) == {1, 2}
    assert sorted(members(queued(rabbitmq_url))) == [0, 1, 2]


def test_it_becomes_ready_by_itself_when_the_broker_comes_back(
    proxied_url: str, proxy: Proxy, started: Callable[..., Publisher]
) -> None:
    """No request is needed to find out, so a load balancer may send none until then."""
    proxy.answers_flow.clear()
    publisher = started(proxied_url, connected=False, publish_timeout_seconds=0.5)
    assert run(publish_all(publisher, range(3))) == set()
    assert not publisher.ready()
    proxy.flow_anew()
    eventually(publisher.ready)


def test_closing_sends_what_waits(rabbitmq_url: str, started: Callable[..., Publisher]) -> None:
    """A restart answers everybody it has let in."""
    publisher = started(rabbitmq_url, pack_max_envelopes=8)

    async def close_behind_them() -> set[int]:
        answers = asyncio.ensure_future(publish_all(publisher, range(400)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.to_thread(publisher.close, 20)
        return await answers

    assert run(close_behind_them()) == set(range(400))
    assert sorted(members(queued(rabbitmq_url))) == list(range(400))


def test_closing_before_a_stalled_broker_fails_everybody(
    proxied_url: str, proxy: Proxy, started: Callable[..., Publisher]
) -> None:
    """The close ends too, and nobody is told a success."""
    publisher = started(proxied_url, publish_timeout_seconds=30)

    async def close_behind_them() -> set[int]:
        proxy.answers_flow.clear()
        answers = asyncio.ensure_future(publish_all(publisher, range(50)))
        await asyncio.sleep(0)
        await asyncio.to_thread(publisher.close, 0.2)
        return await answers

    assert run(close_behind_them()) == set()
    proxy.cut()


def test_empty_packs_mark_the_tail_while_nothing_comes(
    rabbitmq_url: str, started: Callable[..., Publisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again: the queue may be purged at any time. Where nothing was sent there is nothing to mark."""
    monkeypatch.setattr(publisher_module, "TAIL_SECONDS", 0.05)
    publisher = started(rabbitmq_url)
    time.sleep(0.2)
    assert queued(rabbitmq_url) == []
    run(publish_all(publisher, range(1)))
    eventually(lambda: publisher._link.packs.next()["number"] > 3)
    publisher.close(10)
    packs = queued(rabbitmq_url)
    assert [members([pack]) for pack in packs] == [[0], *([[]] * (len(packs) - 1))]
    assert [(pack["number"], pack["before"]) for pack in packs[:3]] == [(1, 0), (2, 1), (3, 1)]


def test_the_next_connection_names_the_end_of_the_one_before(
    proxied_url: str, rabbitmq_url: str, proxy: Proxy, started: Callable[..., Publisher]
) -> None:
    """A tail that the broker lost with its connection is known as soon as anything comes through again."""
    publisher = started(proxied_url, publish_timeout_seconds=1)
    assert run(publish_all(publisher, range(3))) == {0, 1, 2}
    proxy.answers_flow.clear()
    assert run(publish_all(publisher, range(3, 5))) == set()
    proxy.flow_anew()
    eventually(publisher.ready)
    assert run(publish_all(publisher, range(5, 7))) == {5, 6}
    packs = queued(rabbitmq_url)
    (ended,) = packs[-1].get("after") or packs[-2]["after"]
    first = [pack for pack in packs if pack["epoch"] == ended["epoch"]]
    promised = [pack for pack in first if pack["number"] < ended["number"]]
    assert (ended["number"], ended["before"]) == (len(promised) + 1, 3)
    assert sorted(members(promised)) == [0, 1, 2]


def test_the_quarantine_stands_before_the_first_message(rabbitmq_url: str, started: Callable[..., Publisher]) -> None:
    """A dead-letter exchange without a queue drops."""
    started(rabbitmq_url)
    assert queued(rabbitmq_url, "paidonce.quarantine") == []
