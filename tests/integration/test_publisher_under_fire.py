"""The receiver before a broker that is stalled, choked, stopped or killed: an answer in time, no false success."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kombu
import pytest
import redis
from own_servers import RabbitMQ, Redis
from provider_side import Answers, accepted, post, post_during, statuses
from running import Stack, stack, until

from worker.broker import connect, declare
from worker.settings import Settings

QUEUE = "paidonce.apply"


@pytest.fixture
def door(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A receiver on the broker that the test is parametrized with, or RabbitMQ; the queue is empty."""
    broker = request.getfixturevalue(getattr(request, "param", "rabbitmq_node"))
    queued(broker.url)
    with stack(tmp_path, "postgresql+psycopg://nobody@127.0.0.1:1/none", broker.url) as own:
        own.start("web")
        own.wait_ready()
        yield own


def queued(url: str) -> set[str]:
    """Takes every message off the queue: the notification ids."""
    found: set[str] = set()
    with connect(Settings(broker_url=url)) as connection:
        declare(connection)
        channel = connection.default_channel
        queue = kombu.Queue(QUEUE, channel=channel, no_declare=True)
        while message := queue.get(no_ack=True):
            (envelopes,), _, _ = json.loads(message.body)
            found |= {json.loads(each["body"])["id"] for each in envelopes}
    return found


def settled(answers: Answers, url: str) -> None:
    """Each was answered in time, 200 or 503, and each 200 is in the queue."""
    assert statuses(answers) <= {200, 503}
    assert accepted(answers) <= queued(url)


def welcome(door: Stack) -> Answers:
    """Twenty at once, when the door says that it is ready: each is answered 200."""
    door.wait_ready()
    answers = post(door.url, 20)
    assert statuses(answers) == {200}
    return answers


def stop_and_start(node: RabbitMQ) -> None:
    node.stop()
    node.start()


def kill_and_start(node: RabbitMQ | Redis) -> None:
    """Away for a second: Redis alone would be back before anybody noticed."""
    node.kill()
    time.sleep(1)
    node.start()


def pause(node: RabbitMQ | Redis) -> None:
    """Connections stay open, and nobody answers for longer than any provider waits."""
    node.pause()
    time.sleep(7)
    node.resume()


@pytest.mark.parametrize("fault", [stop_and_start, kill_and_start, pause])
def test_rabbitmq_restarted_killed_or_stalled_under_load_loses_no_200(
    door: Stack, rabbitmq_node: RabbitMQ, fault: Callable[[RabbitMQ], None]
) -> None:
    """Sixteen clients send all the while: 503 in time while it is away, and every 200 is in the queue afterwards."""
    answers = post_during(door.url, lambda: fault(rabbitmq_node))

    assert 503 in statuses(answers)
    settled(answers, rabbitmq_node.url)


@pytest.mark.parametrize(
    ("choke", "relieve"),
    [
        (("set_vm_memory_high_watermark", "0.00001"), ("set_vm_memory_high_watermark", "0.4")),
        (("set_disk_free_limit", "1000000GB"), ("set_disk_free_limit", "50MB")),
    ],
    ids=["memory", "disk"],
)
def test_an_alarm_is_answered_503_until_it_is_over(
    door: Stack, rabbitmq_node: RabbitMQ, choke: tuple[str, str], relieve: tuple[str, str]
) -> None:
    """RabbitMQ stops reading from whoever publishes; nothing hangs, and nothing is promised."""
    before = welcome(door)
    rabbitmq_node.ctl(*choke)
    try:
        until(lambda: "resource_limit" in rabbitmq_node.ctl("eval", "rabbit_alarm:get_alarms()."), "no alarm")
        assert statuses(post(door.url, 20)) == {503}
    finally:
        rabbitmq_node.ctl(*relieve)

    settled(before | welcome(door), rabbitmq_node.url)


def test_a_queue_deleted_under_load_refuses_until_it_is_declared_anew(door: Stack, rabbitmq_node: RabbitMQ) -> None:
    """What it held is gone with it, and only the provider can say it again; of what came later nothing is missing."""
    deleted_at = 0.0

    def delete() -> None:
        nonlocal deleted_at
        with kombu.Connection(rabbitmq_node.url) as connection:
            connection.default_channel.queue_delete(QUEUE)
        deleted_at = time.monotonic()

    answers = post_during(door.url, delete)

    assert statuses(answers) == {200, 503}
    assert accepted(answers, since=deleted_at) <= queued(rabbitmq_node.url)


@pytest.mark.parametrize("door", ["redis_node"], indirect=True)
@pytest.mark.parametrize("fault", [kill_and_start, pause])
def test_redis_killed_or_stalled_under_load_loses_no_200(
    door: Stack, redis_node: Redis, fault: Callable[[Redis], None]
) -> None:
    """`appendfsync always`: what was answered 200 is in its file."""
    answers = post_during(door.url, lambda: fault(redis_node))

    assert 503 in statuses(answers)
    settled(answers, redis_node.url)


@pytest.mark.parametrize("door", ["redis_node"], indirect=True)
@pytest.mark.parametrize(
    ("choke", "relieve"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CLIENT", "PAUSE", "60000", "WRITE"), ("CLIENT", "UNPAUSE")),
        (("FLUSHALL",), ("PING",)),
    ],
    ids=["out of memory", "replica", "writes paused", "flushed"],
)
def test_a_redis_that_takes_no_writes_is_answered_503(
    door: Stack, redis_node: Redis, choke: tuple[str, ...], relieve: tuple[str, ...]
) -> None:
    """Out of memory, demoted, paused or emptied: nothing is promised, and nothing hangs."""
    welcome(door)
    with redis.Redis.from_url(redis_node.url) as client:
        client.execute_command(*choke)
        try:
            during = post(door.url, 20)
        finally:
            client.execute_command(*relieve)

    assert 503 in statuses(during)
    settled(during | welcome(door), redis_node.url)
