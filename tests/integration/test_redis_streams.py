"""The Redis Streams transport on a real Redis: what is published is delivered, whoever is killed or cut off."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection, Consumer, Exchange, Queue
from kombu.exceptions import ChannelError, OperationalError

from worker.redis_group import GROUP
from worker.redis_streams import register

ROOT = Path(__file__).parents[2]
HEATHER = Queue("heather", Exchange("moor", "direct"), "bloom")
#: Seconds: short, so that what the dead left is claimed within a test.
VISIBILITY = 1.0

Connect = Callable[..., Connection]


@pytest.fixture
def connect(redis_server: str, redis_prefix: str) -> Iterator[Connect]:
    """Connections under this test's prefix, closed after it."""
    register()
    opened: list[Connection] = []

    def open_one(**options: Any) -> Connection:
        url = redis_server.replace("redis", "redisstreams", 1)
        options = {"global_keyprefix": redis_prefix, "visibility_timeout": VISIBILITY, **options}
        opened.append(Connection(url, transport_options=options))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.release()


@pytest.fixture
def server(redis_server: str) -> Iterator[Any]:
    """The same Redis, seen from outside."""
    with redis.Redis.from_url(redis_server) as client:
        yield client


@pytest.fixture
def key(redis_prefix: str) -> str:
    """The stream of the queue `heather`."""
    return f"{redis_prefix}heather"


def publish(connection: Connection, *bodies: Any) -> None:
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, exchange="moor", routing_key="bloom", declare=[HEATHER], mandatory=True)


class Reader:
    """A consumer that keeps the messages it was given, unsettled."""

    def __init__(self, connection: Connection, prefetch: int = 20) -> None:
        self.connection = connection
        self.messages: list[Any] = []
        self.consumer: Any = Consumer(
            connection.default_channel, [HEATHER], on_message=self.messages.append, prefetch_count=prefetch
        )
        self.consumer.consume()

    def read(self, count: int, patience: float = 10.0) -> list[Any]:
        """Waits until `count` messages are here, or until patience ends, and gives them away."""
        end = time.monotonic() + patience
        while len(self.messages) < count and time.monotonic() < end:
            with suppress(TimeoutError):
                self.connection.drain_events(timeout=0.2)
        taken, self.messages[:] = list(self.messages), []
        return taken

    def stop_keeping(self) -> None:
        """As if this process had been killed."""
        self.consumer.channel.qos.stop_keeping()


def bodies(messages: list[Any]) -> list[Any]:
    return [message.decode() for message in messages]


def redelivered(messages: list[Any]) -> list[bool]:
    return [message.delivery_info["redelivered"] for message in messages]


# ---- delivery and settling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"thrush": "歌鸫 \u2028 \x00"}, ["a" * 300_000], "plain", b"\xff\x00raw"])
def test_a_message_arrives_as_it_was_sent(connect: Connect, body: Any) -> None:
    """JSON, text and bytes come out as they went in, marked as delivered for the first time."""
    publish(connect(), body)

    (message,) = Reader(connect()).read(1)

    assert body == (bytes(message.body) if isinstance(body, bytes) else message.decode())
    assert message.delivery_info == {"exchange": "moor", "routing_key": "bloom", "redelivered": False}


def test_a_compressed_message_arrives_as_it_was_sent(connect: Connect) -> None:
    """A compressed body is bytes, which JSON cannot carry as they are."""
    connect().Producer().publish(
        {"linnet": 1}, exchange="moor", routing_key="bloom", declare=[HEATHER], compression="zlib"
    )

    assert bodies(Reader(connect()).read(1)) == [{"linnet": 1}]


def test_what_was_published_before_any_worker_came_is_delivered(connect: Connect, server: Any, key: str) -> None:
    """The group starts at the stream's first entry, not at its own birth."""
    connect().Producer().publish({"early": True}, exchange="", routing_key="heather")
    assert server.xinfo_groups(key) == []

    assert bodies(Reader(connect()).read(1)) == [{"early": True}]


def test_acknowledging_takes_the_message_off_the_server(connect: Connect, server: Any, key: str) -> None:
    """Neither an entry nor a pending mark stays."""
    publish(connect(), 1, 2)
    first, second = Reader(connect()).read(2)

    first.ack()

    assert server.xlen(key) == 1
    second.ack()
    assert (server.xlen(key), server.xpending(key, GROUP)["pending"]) == (0, 0)


def test_a_requeued_message_says_that_it_was_delivered_before(connect: Connect, server: Any, key: str) -> None:
    """It comes back as redelivered however often it is put back, and does not grow."""
    publish(connect(), {"wren": 1})
    reader = Reader(connect())
    for _ in range(3):
        (message,) = reader.read(1)
        message.requeue()

    (message,) = reader.read(1)

    assert (bodies([message]), redelivered([message])) == ([{"wren": 1}], [True])
    assert server.eval("return #redis.call('XRANGE', KEYS[1], '-', '+')[1][2]", 1, key) == 4
    assert server.xlen(key) == 1


def test_a_rejected_message_is_kept_whole_in_the_quarantine(connect: Connect, server: Any, key: str) -> None:
    """Nothing is dropped: the entry moves, field by field, with the reason."""
    publish(connect(), {"cuckoo": 1})
    ((_, sent),) = server.xrange(key)
    (message,) = Reader(connect()).read(1)

    message.reject(requeue=False)

    ((_, kept),) = server.xrange(f"{key.removesuffix('heather')}quarantine")
    assert sent | {b"reason": b"rejected"} == kept
    assert server.xlen(key) == 0


GARBAGE = {
    "no message": {"twig": "1"},
    "no JSON": {"message": b"\xff{"},
    "no object": {"message": "[]"},
    "no properties": {"message": "{}"},
    "wrong shapes": {"message": json.dumps({"properties": {"delivery_info": 3}})},
    "headers": {"message": json.dumps({"properties": {"delivery_info": {}}, "headers": "x"})},
    "base64": {"message": json.dumps({"body": "a", "properties": {"delivery_info": {}, "body_encoding": "base64"}})},
    "codec": {"message": json.dumps({"body": "x", "properties": {"delivery_info": {}, "body_encoding": "rot13"}})},
    "zlib": {
        "message": json.dumps(
            {"body": "x", "headers": {"compression": "application/x-gzip"}, "properties": {"delivery_info": {}}}
        )
    },
    "deep": {"message": "[" * 100_000},
}


@pytest.mark.parametrize("fields", GARBAGE.values(), ids=GARBAGE.keys())
def test_an_unreadable_entry_goes_to_the_quarantine(connect: Connect, server: Any, key: str, fields: Any) -> None:
    """What we did not write is kept for a person as it came, and the message behind it is delivered."""
    server.xadd(key, fields)
    publish(connect(), "behind")

    assert bodies(Reader(connect()).read(1)) == ["behind"]

    ((_, kept),) = server.xrange(f"{key.removesuffix('heather')}quarantine")
    as_sent = {name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in fields.items()}
    assert as_sent | {b"reason": b"unreadable"} == kept
    assert server.xlen(key) == 1


def test_one_message_can_be_fetched_without_consuming(connect: Connect) -> None:
    """basic.get gives one message, and None from an empty queue."""
    connection = connect()
    publish(connection, "solo")
    queue = HEATHER(connection.default_channel)

    message = queue.get(accept=["text/plain"])
    message.ack()

    assert message.payload == "solo"
    assert queue.get() is None


def test_a_consumer_that_acknowledges_nothing_leaves_nothing(connect: Connect, server: Any, key: str) -> None:
    """With no_ack a message is settled as it is delivered."""
    connection = connect()
    publish(connection, "gone")
    got: list[Any] = []
    with Consumer(connection.default_channel, [HEATHER], on_message=got.append, no_ack=True):
        connection.drain_events(timeout=5)

    assert bodies(got) == ["gone"]
    assert server.xlen(key) == 0


def test_messages_behind_a_cancelled_consumer_are_put_back(connect: Connect) -> None:
    """A handler may cancel its consumer in the middle of a batch."""
    connection, got = connect(), []
    publish(connection, 1, 2, 3)
    consumer = Consumer(connection.default_channel, [HEATHER])

    def once(message: Any) -> None:
        got.append(message)
        consumer.cancel()

    consumer.on_message = once
    consumer.consume()
    connection.drain_events(timeout=5)

    others = Reader(connect()).read(2)
    assert bodies(got) == [1]
    assert (bodies(others), redelivered(others)) == ([2, 3], [True, True])


def test_messages_behind_a_raising_handler_come_back(connect: Connect) -> None:
    """What a batch still held when its handler raised is not kept from the others."""
    publish(connect(), 1, 2)
    connection = connect()

    def raising(message: Any) -> None:
        raise LookupError

    with Consumer(connection.default_channel, [HEATHER], on_message=raising), pytest.raises(LookupError):
        connection.drain_events(timeout=5)

    assert bodies(Reader(connect()).read(1)) == [2]


# ---- routing and queues ---------------------------------------------------------------------------------------------


def test_a_message_that_no_queue_would_get_is_refused(connect: Connect) -> None:
    """Published by kombu alone it would go it in silence; success would then be answered for nothing."""
    producer = connect().Producer()
    with pytest.raises(ChannelError, match="NO_ROUTE"):
        producer.publish(1, exchange="moor", routing_key="nettle", declare=[HEATHER])
    with pytest.raises(ChannelError, match="NO_ROUTE"):
        producer.publish(1, exchange="", routing_key="nettle", mandatory=True)


def test_purging_leaves_what_is_in_hand(connect: Connect, server: Any, key: str) -> None:
    """Only what nobody has fetched is dropped, and the count says how much."""
    publish(connect(), 1)
    reader = Reader(connect())
    (held,) = reader.read(1)
    publish(connect(), 2, 3)
    queue = HEATHER(connect().default_channel)

    assert queue.purge() == 2

    assert queue.queue_declare(passive=True).message_count == 1
    held.requeue()
    assert bodies(reader.read(1)) == [1]


def test_a_passive_declaration_finds_only_what_is_there(connect: Connect) -> None:
    """Before its declaration and after its deletion a queue is NOT_FOUND."""
    queue = HEATHER(connect().default_channel)
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        queue.queue_declare(passive=True)
    queue.declare()
    assert queue.queue_declare(passive=True).message_count == 0
    queue.delete()
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        queue.queue_declare(passive=True)


def test_a_bounded_queue_drops_its_oldest(connect: Connect, server: Any, redis_prefix: str) -> None:
    """x-max-length holds, to within a node of the stream."""
    chores = Queue("chores", Exchange("moor", "direct"), "chores", queue_arguments={"x-max-length": 100})
    producer = connect().Producer()
    for number in range(400):
        producer.publish(number, exchange="moor", routing_key="chores", declare=[chores])

    assert 100 <= server.xlen(f"{redis_prefix}chores") <= 200


def test_a_consumer_outlives_the_deletion_of_its_stream(connect: Connect, server: Any, key: str) -> None:
    """A Redis that came back empty is not the end of its workers."""
    reader = Reader(connect())
    assert reader.read(1, patience=0.1) == []
    server.delete(key)
    assert reader.read(1, patience=0.1) == []
    publish(connect(), "after")

    assert bodies(reader.read(1)) == ["after"]


# ---- the dead, the living and the cut off ---------------------------------------------------------------------------


def test_what_a_silent_consumer_holds_is_claimed_by_another(connect: Connect) -> None:
    """After the visibility timeout, and marked as redelivered."""
    publish(connect(), "mute")
    silent, other = Reader(connect()), Reader(connect())
    (lost,) = silent.read(1)
    silent.stop_keeping()

    claimed = other.read(1)

    assert (bodies(claimed), redelivered(claimed)) == (["mute"], [True])
    assert lost.delivery_tag == claimed[0].delivery_tag


def test_a_consumer_does_not_put_back_what_another_has_claimed(connect: Connect, server: Any, key: str) -> None:
    """It would run once more, beside the one who has it now."""
    publish(connect(), "mine")
    silent, other = Reader(connect()), Reader(connect())
    (lost,) = silent.read(1)
    silent.stop_keeping()
    (claimed,) = other.read(1)

    lost.requeue()

    assert server.xrange(key)[0][0] == claimed.delivery_tag.rsplit("/")[1].encode()
    claimed.ack()
    assert server.xlen(key) == 0


def test_a_living_consumer_keeps_what_it_holds(connect: Connect) -> None:
    """However long a task takes: its worker need not even come round to poll."""
    publish(connect(), "long")
    living, other = Reader(connect()), Reader(connect())
    (held,) = living.read(1)

    assert other.read(1, patience=4 * VISIBILITY) == []

    held.ack()
    assert other.read(1, patience=2 * VISIBILITY) == []


def test_a_stalled_consumer_does_not_run_its_own_message_again(connect: Connect) -> None:
    """What it claims from itself is in a task's hands already."""
    publish(connect(), "stall")
    reader = Reader(connect())
    (held,) = reader.read(1)
    reader.stop_keeping()
    time.sleep(VISIBILITY)

    assert reader.read(1, patience=2 * VISIBILITY) == []
    held.ack()


def test_a_clean_close_hands_back_at_once(connect: Connect, server: Any, key: str) -> None:
    """Nobody waits for the visibility timeout of a worker that was asked to stop, and its name goes too."""
    publish(connect(), 1, 2)
    leaving = connect()
    Reader(leaving).read(2)

    leaving.release()

    others = Reader(connect(visibility_timeout=3600)).read(2)
    assert (bodies(others), redelivered(others)) == ([1, 2], [True, True])
    assert len(server.xinfo_consumers(key, GROUP)) == 1


def test_the_names_of_the_dead_go_when_nothing_is_pending_with_them(connect: Connect, server: Any, key: str) -> None:
    """Removing a name would drop what is pending with it: such a name stays, and so does its message."""
    publish(connect(), "pending")
    server.xreadgroup(GROUP, "killed-holding", {key: ">"})
    server.xgroup_createconsumer(key, GROUP, "killed-idle")
    reader = Reader(connect(visibility_timeout=0.1))
    reader.consumer.channel.member.forget("heather", "killed-holding")
    assert b"killed-holding" in _names(server, key)

    (claimed,) = reader.read(1)
    end = time.monotonic() + 10
    while b"killed-idle" in _names(server, key) and time.monotonic() < end:
        reader.read(1, patience=0.1)

    assert claimed.decode() == "pending"
    assert [reader.consumer.channel.member.name.encode()] == _names(server, key)


def _names(server: Any, key: str) -> list[bytes]:
    return [row["name"] for row in server.xinfo_consumers(key, GROUP)]


def _cut(server: Any, reader: Reader) -> None:
    for row in server.client_list():
        if row["name"] == reader.consumer.channel.member.name:
            server.client_kill_filter(_id=row["id"])


def test_a_cut_connection_loses_nothing_and_runs_nothing_twice(connect: Connect, server: Any, key: str) -> None:
    """The consumer is told, connects anew, and what was in hand is acknowledged over the new connection."""
    connection = connect()
    publish(connect(), "held")
    reader = Reader(connection)
    (held,) = reader.read(1)

    cut = threading.Timer(0.1, _cut, (server, reader))
    cut.start()
    with pytest.raises(connection.connection_errors):
        reader.read(1)
    cut.join()
    connection.collect()
    held.ack()
    publish(connect(), "fresh")
    again = Reader(connect())

    assert bodies(again.read(2, patience=3 * VISIBILITY)) == ["fresh"]
    assert server.xlen(key) == 1


def test_what_was_held_on_a_cut_connection_comes_back(connect: Connect, server: Any) -> None:
    """A consumer that forgets what it held does not take it along."""
    connection = connect()
    publish(connect(), "held")
    reader = Reader(connection)
    reader.read(1)
    cut = threading.Timer(0.1, _cut, (server, reader))
    cut.start()
    with pytest.raises(connection.connection_errors):
        reader.read(1)
    cut.join()
    connection.collect()

    back = Reader(connection).read(1)

    assert (bodies(back), redelivered(back)) == (["held"], [True])


def test_an_ack_that_did_not_reach_the_server_is_not_taken_for_one(connect: Connect, server: Any) -> None:
    """The message is let go of, and runs again, here or elsewhere."""
    publish(connect(), "unacked")
    reader = Reader(connect())
    (message,) = reader.read(1)
    channel = reader.consumer.channel
    reachable, channel.member.client.connection_pool = channel.member.client.connection_pool, _unreachable()
    with pytest.raises(redis.ConnectionError):
        message.ack()
    channel.member.client.connection_pool = reachable

    again = reader.read(1)

    assert (bodies(again), redelivered(again)) == (["unacked"], [True])


def _unreachable() -> Any:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return redis.Redis(port=port, retry=None).connection_pool


def test_a_server_that_is_away_uses_nothing_up() -> None:
    """An outage of days must not exhaust the connection's channel numbers."""
    register()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        connection = Connection(f"redisstreams://127.0.0.1:{free.getsockname()[1]}/0", connect_timeout=1)
    for _ in range(3):
        with pytest.raises((OperationalError, *connection.connection_errors)):
            connection.ensure_connection(max_retries=1, interval_start=0)

    assert list(connection.transport._used_channel_ids) == []
    connection.release()


def test_two_consumers_share_the_work(connect: Connect, server: Any, key: str) -> None:
    """Each message goes to one of them, and both get some; acks come from other threads."""
    publish(connect(), *range(200))
    taken: list[list[Any]] = [[], []]

    def work(mine: list[Any]) -> None:
        reader = Reader(connect(), prefetch=4)
        while messages := reader.read(4, patience=1):
            for message in messages:
                acker = threading.Thread(target=message.ack)
                acker.start()
                acker.join()
            mine += bodies(messages)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(range(200)) == sorted(taken[0] + taken[1])
    assert all(taken)
    assert server.xlen(key) == 0


KILLED = """
import sys
from kombu import Connection, Consumer, Exchange, Queue
from worker.redis_streams import register

register()
options = {"global_keyprefix": sys.argv[2], "visibility_timeout": 1, "block_timeout": 5}
connection = Connection(sys.argv[1], transport_options=options)
queue = Queue("heather", Exchange("moor", "direct"), "bloom")

def work(message):
    print(message.decode(), flush=True)
    if sys.argv[3] == "acks":
        message.ack()

with Consumer(connection.default_channel, [queue], on_message=work, prefetch_count=50):
    print("ready", flush=True)
    while True:
        try:
            connection.drain_events(timeout=30)
        except TimeoutError:
            pass
"""


@pytest.fixture
def consumer_process(redis_server: str, redis_prefix: str, python: str) -> Iterator[Callable[..., Any]]:
    """Starts a consumer in a process of its own, which says what it gets, line by line."""
    started: list[Any] = []

    def start(manner: str) -> Any:
        url = redis_server.replace("redis", "redisstreams", 1)
        process = subprocess.Popen(
            [python, "-c", KILLED, url, redis_prefix, manner], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_consumer_killed_with_messages_in_hand_loses_none(connect: Connect, consumer_process: Any) -> None:
    """After kill -9 between delivery and acknowledgement: every message goes to somebody else."""
    publish(connect(), *range(10))
    process = consumer_process("holds")
    for number in range(10):
        assert f"{number}\n" == process.stdout.readline()

    process.kill()

    others = Reader(connect()).read(10)
    assert list(range(10)) == sorted(bodies(others))
    assert {True} == set(redelivered(others))


def test_a_consumer_paused_and_killed_loses_nothing(
    connect: Connect, consumer_process: Any, server: Any, key: str
) -> None:
    """The server hands messages to a process that cannot read them: the fault that kombu's own transport loses by."""
    process = consumer_process("acks")
    _wait_until_blocked(server, process.pid)
    os.kill(process.pid, signal.SIGSTOP)
    publish(connect(), *range(10))
    assert server.xpending(key, GROUP)["pending"] > 0

    process.kill()

    assert list(range(10)) == sorted(bodies(Reader(connect()).read(10)))


def _wait_until_blocked(server: Any, pid: int) -> None:
    end = time.monotonic() + 10
    while not any(f".{pid}." in row["name"] and "b" in row["flags"] for row in server.client_list()):
        assert time.monotonic() < end, "the consumer never waited on the server"
        time.sleep(0.01)
