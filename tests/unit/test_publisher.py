"""The publisher without a broker: bounds on what waits, and the shape of its message."""

import asyncio
import itertools
from typing import Any

import pytest
from celery import Celery

from domain.errors import BrokerUnavailable, ConfigurationError
from worker import link
from worker import publisher as publisher_module
from worker.publisher import Publisher
from worker.settings import Settings


def not_started(**settings: Any) -> Publisher:
    return Publisher(Settings(broker_url="amqp://guest:guest@127.0.0.1:1//", **settings))


def test_a_request_that_no_confirm_reaches_fails_at_its_deadline() -> None:
    """Whatever the thread is stuck in, the request is answered."""
    publisher = not_started(publish_timeout_seconds=0.05)
    with pytest.raises(BrokerUnavailable, match="deadline"):
        asyncio.run(publisher.publish(b"{}"))


def test_too_many_waiting_fail_at_once_and_the_others_go_on_waiting() -> None:
    """The crowd is bounded by max_waiting, and who came first keeps its place."""

    async def crowd() -> list[str]:
        publisher = not_started(max_waiting=3, publish_timeout_seconds=60)
        waiting = [asyncio.ensure_future(publisher.publish(b"{}")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(b"{}")
        still = [task.done() for task in waiting]
        publisher.close(0)
        await asyncio.gather(*waiting, return_exceptions=True)
        return [str(done) for done in still]

    assert asyncio.run(crowd()) == ["False"] * 3


def test_closing_fails_what_still_waits_and_refuses_what_comes_later() -> None:
    """Nobody is left waiting for a thread that has ended."""

    async def close() -> list[object]:
        publisher = not_started(publish_timeout_seconds=60)
        waiting = [asyncio.ensure_future(publisher.publish(b"{}")) for _ in range(2)]
        await asyncio.sleep(0)
        publisher.close(0)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(b"{}")
        return [type(answer) for answer in answers]

    assert asyncio.run(close()) == [BrokerUnavailable, BrokerUnavailable]


def test_a_whole_pack_wakes_the_event_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call_soon_threadsafe per pack: it writes to a pipe, and would cost more than all the rest."""

    async def settle() -> int:
        loop = asyncio.get_running_loop()
        wakes = itertools.count()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: (next(wakes), wake(*args))[1])
        confirms = [loop.create_future() for _ in range(50)]
        publisher_module._settle([publisher_module.Waiting(b"{}", confirm) for confirm in confirms], None)
        await asyncio.gather(*confirms)
        return next(wakes)

    assert asyncio.run(settle()) == 1


def test_after_a_lone_envelope_nothing_waits_and_after_company_a_pack_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as the last confirm took, GATHER_SECONDS at the most: a sender alone is never slowed down."""
    pauses: list[float] = []
    now = itertools.count()
    monkeypatch.setattr(publisher_module, "sleep", pauses.append)
    monkeypatch.setattr(publisher_module, "monotonic", lambda: next(now) * 0.001)
    publisher = not_started()
    monkeypatch.setattr(publisher, "_deliver", lambda *_: None)

    async def send(*sizes: int) -> list[float]:
        pauses.clear()
        for size in sizes:
            for _ in range(size):
                confirm = asyncio.get_running_loop().create_future()
                publisher._queue.put(publisher_module.Waiting(b"{}", confirm))
            publisher._send(publisher._next_pack())
        return [round(pause, 6) for pause in pauses]

    assert asyncio.run(send(1, 1, 2)) == []
    assert asyncio.run(send(1, 2, 1)) == [0.001, 0.001]
    monkeypatch.setattr(publisher_module, "monotonic", lambda: next(now))
    assert asyncio.run(send(2, 1, 1)) == [publisher_module.GATHER_SECONDS]


def test_a_broker_that_would_lose_messages_stops_the_start() -> None:
    """Other transports take a message off the broker before anybody has done its work."""
    publisher = Publisher(Settings(broker_url="sqs://eu-west-1"))
    with pytest.raises(ConfigurationError, match="PAIDONCE_BROKER_URL"):
        publisher.start()


def test_the_headers_are_those_that_celery_writes() -> None:
    """What protocol 2 demands, as this Celery writes it, and of what is optional the sender alone: no arguments."""
    theirs = Celery("compare").amqp.as_task_v2("an-id", link.TASK, args=([],)).headers
    ours = link._HEADERS | {"id": "an-id", "root_id": "an-id"}
    assert ours.keys() == {"lang", "task", "id", "root_id", "parent_id", "group", "origin"}
    assert {**ours, "origin": None}.items() <= {**theirs, "origin": None}.items()


def test_each_request_has_its_own_deadline() -> None:
    """One timer serves them all: it passes over who was confirmed, and looks again for who came later."""

    async def wait() -> list[str]:
        publisher = not_started(publish_timeout_seconds=0.05)
        confirmed, first = publisher.submit(b"{}"), publisher.submit(b"{}")
        confirmed.set_result(None)
        said = []
        for waiting in (first, publisher.submit(b"{}")):
            with pytest.raises(BrokerUnavailable, match="deadline") as raised:
                await waiting
            said.append(str(raised.value))
        with pytest.raises(BrokerUnavailable, match="deadline"):
            await publisher.submit(b"{}")
        return [*said, str(confirmed.result())]

    assert asyncio.run(wait())[-1] == "None"
