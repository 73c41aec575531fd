"""What nobody of ours wrote ends whole in the quarantine, and the genuine message beside it is applied."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import kombu
import psycopg
import pytest
import redis
from pgmq.install import get_embedded_install_sql
from running import Stack, stack, until
from shop import Shop
from sqlalchemy import Engine, make_url

import celeryconfig
from worker.broker import connect, declare
from worker.settings import Settings

TASK = "tasks.apply_notifications"
NO_SIGNATURES = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class Bad(NamedTuple):
    """A message that the worker must not run, and must not lose."""

    body: bytes
    headers: dict[str, Any]
    content_type: str = "application/json"
    content_encoding: str = "utf-8"


def header(name: str, task: object = TASK, **more: Any) -> dict[str, Any]:
    return {"task": task, "id": name, "lang": "py"} | more


def call(*args: Any, embed: object = NO_SIGNATURES, **kwargs: Any) -> bytes:
    return json.dumps([args, kwargs, embed]).encode()


A_CALLBACK = {"task": "tasks.purge", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}

BAD: dict[str, Bad] = {
    "half of a JSON": Bad(b'[[["half', header("half")),
    "a number": Bad(b"5", header("number")),
    "null": Bad(b"null", header("null")),
    "another protocol": Bad(b'{"task": "tasks.purge", "id": "1", "args": [], "kwargs": {}}', {}),
    "not text": Bad(b"\xff\xfe\x00", header("bytes")),
    "very deep": Bad(b"[" * 100_000, header("deep")),
    "pickle": Bad(b"\x80\x04N.", header("pickle"), "application/x-python-serialize", "binary"),
    "a type without a reader": Bad(b"x", header("type"), "application/x-martian", "binary"),
    "an unknown task": Bad(call([]), header("unknown", "tasks.give_money_away")),
    "a task's name that is none": Bad(call([]), header("name", 7)),
    "wrong arguments": Bad(call([], "mauve"), header("arguments")),
    "no arguments": Bad(call(), header("none")),
    "an ETA in 2099": Bad(call([]), header("eta", eta="2099-01-01T00:00:00+00:00")),
    "a time limit that is none": Bad(call([]), header("limit", timelimit=5)),
    "an expiry that is none": Bad(call([]), header("expiry", expires="soon")),
    "a callback": Bad(call([], embed=NO_SIGNATURES | {"callbacks": [A_CALLBACK]}), header("callback")),
    "compressed, it says": Bad(b"not zlib", header("zlib", compression="application/x-gzip")),
}


@pytest.fixture(params=["rabbitmq", "redis", "pgmq"])
def broker(request: pytest.FixtureRequest, database_url: str) -> Settings:
    """How to reach each of the three brokers, declared and empty."""
    prefix = "paidonce:"
    if request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_url")
    elif request.param == "redis":
        url, prefix = request.getfixturevalue("redis_server"), request.getfixturevalue("redis_prefix")
    else:
        at = make_url(database_url)
        plain = at.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as own:
            own.execute(get_embedded_install_sql())
        url = at.set(drivername="pgmq").render_as_string(hide_password=False)
    settings = Settings(broker_url=url, broker_prefix=prefix, visibility_timeout_seconds=30)
    with connect(settings) as connection:
        declare(connection)
    return settings


@pytest.fixture
def worker(broker: Settings, database_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A stack whose worker is not started yet."""
    more = {"PAIDONCE_BROKER_PREFIX": broker.broker_prefix, "WALRUS": "whsec_uncommon_walrus"}
    with stack(tmp_path, database_url, broker.broker_url, **more) as own:
        yield own


def publish(broker: Settings, *messages: Bad) -> None:
    """As a stranger would, who may write to the broker."""
    with connect(broker) as connection:
        declare(connection)
        producer = kombu.Producer(connection.default_channel, auto_declare=False)
        for body, headers, content_type, content_encoding in messages:
            producer.publish(
                body,
                exchange="paidonce",
                routing_key="apply",
                content_type=content_type,
                content_encoding=content_encoding,
                headers=headers,
                delivery_mode=2,
            )


def quarantined(broker: Settings) -> list[tuple[bytes, object, object]]:
    """(body, content type, the task's id) of what is in the quarantine; each call takes what is new there."""
    if broker.broker_url.startswith("redis"):
        return quarantined_on_redis(broker)
    found = []
    with connect(broker) as connection:
        while message := connection.default_channel.basic_get(celeryconfig.QUARANTINE.name, no_ack=True):
            body = message.body.encode() if isinstance(message.body, str) else message.body
            found.append((body, message.content_type, message.headers.get("id")))
    return found


def quarantined_on_redis(broker: Settings) -> list[tuple[bytes, object, object]]:
    """Read off the stream itself: the transport would refuse to read some of these."""
    key = f"{broker.broker_prefix}{celeryconfig.QUARANTINE.name}"
    found = []
    with redis.Redis.from_url(broker.broker_url) as client:
        for entry_id, fields in client.xrange(key):
            message = json.loads(fields[b"message"])
            found.append((base64.b64decode(message["body"]), message["content-type"], message["headers"].get("id")))
            client.xdel(key, entry_id)
    return found


def test_everything_foreign_is_kept_whole_and_the_genuine_message_is_applied(
    broker: Settings, worker: Stack, database: Engine
) -> None:
    """One of each kind, a genuine payment in the middle and one at the end: the worker lives through all of them."""
    shop = Shop(database)
    payments = [shop.payment(shop.order(order_no)) for order_no in ("teal-1", "teal-2")]
    genuine = [Bad(call([payment]), header(f"genuine-{at}")) for at, payment in enumerate(payments)]
    bad = list(BAD.values())
    publish(broker, *bad[:9], genuine[0], *bad[9:], genuine[1])
    worker.start("worker")
    found: list[tuple[bytes, object, object]] = []

    def paid() -> list[int]:
        return [shop.state(order_no)[1] for order_no in ("teal-1", "teal-2")]

    def all_there() -> bool:
        found.extend(quarantined(broker))
        return len(found) >= len(bad) and paid() == [1000, 1000]

    try:
        until(all_there, "all in the quarantine")
    except TimeoutError:
        kept = [identity for _, _, identity in found]
        missing = [name for name, each in BAD.items() if each.headers.get("id") not in kept]
        pytest.fail(f"not in the quarantine: {missing}; paid: {paid()}\n{worker.tail('worker')}")
    expected = [(each.body, each.content_type, each.headers.get("id")) for each in bad]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    assert worker.running["worker"].poll() is None


def test_a_header_that_is_not_text_is_kept_too(
    rabbitmq_url: str, worker_on_rabbitmq: Callable[[], Stack], database: Engine
) -> None:
    """On the wire a header is bytes; a worker that could not read them would not even start."""
    broker = Settings(broker_url=rabbitmq_url)
    body = call([])
    publish(broker, Bad(body, header("bytes", b"\xff\xfe")), Bad(body, {b"\xff": b"\xfe", **header("name", 1)}))
    worker_on_rabbitmq().start("worker")
    found: list[Any] = []
    until(lambda: bool(found.extend(quarantined(broker))) or len(found) == 2, "both in the quarantine")
    assert [each[0] for each in found] == [body, body]


@pytest.fixture
def worker_on_rabbitmq(rabbitmq_url: str, database_url: str, tmp_path: Path) -> Iterator[Callable[[], Stack]]:
    """Makes the stack once the queue holds what it shall find at its start."""
    with stack(tmp_path, database_url, rabbitmq_url) as own:
        yield lambda: own
