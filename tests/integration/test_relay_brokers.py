"""The relay and its brokers: what a message is, what a refusal means, and brokers that go away and come back."""

from datetime import UTC, datetime

import redis
from ears import PgmqEars, RedisEars, rabbitmq_ears
from own_servers import RabbitMQ, Redis
from relaying import relaying
from shop import ACCOUNT
from sqlalchemy import Engine

from models import outbox

# ---- RabbitMQ's own words


def test_messages_are_persistent_and_say_what_they_are(database: Engine, rabbitmq_url: str) -> None:
    """Routed by name; persistent; id, type, account, order and time outside the body."""
    with rabbitmq_ears(rabbitmq_url, "order.*") as ears, relaying(database, ears, broker_url=rabbitmq_url) as own:
        own.announce("case.opened", "order.paid")
        own.run()
        [message] = ears.messages()

    assert message.delivery_info["exchange"] == "paidonce.events"
    assert message.delivery_info["routing_key"] == message.properties["type"] == "order.paid"
    assert message.properties["delivery_mode"] == 2
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert int(message.properties["message_id"]) == own.shop.rows(outbox)[1].id
    assert message.headers == {"account": ACCOUNT, "order_no": "TEAPOT"}
    assert abs(int(message.properties["timestamp"]) - datetime.now(UTC).timestamp()) < 60


def test_what_a_queue_refuses_is_not_marked_and_not_overtaken(database: Engine, rabbitmq_url: str) -> None:
    """A full queue's nack: the refused rows wait, those of other orders are told, and no refund passes its payment."""
    full = {"x_max_length": 1, "x_overflow": "reject-publish"}
    with (
        rabbitmq_ears(rabbitmq_url, "order.paid", **full) as narrow,
        rabbitmq_ears(rabbitmq_url, "order.refunded") as refunds,
        relaying(database, narrow, broker_url=rabbitmq_url) as own,
    ):
        for order_no in ("TEAPOT", "KETTLE", "GRAIL", "BADGER", "WALRUS"):
            own.announce("order.paid", "order.refunded", order_no=order_no)
        own.run()
        refused = {row.order_no for row in own.shop.rows(outbox) if not row.relayed_at and row.name == "order.paid"}
        early = {each.order_no for each in refunds.heard()}
        heard = list(narrow.heard())
        for _ in range(20):
            own.run()
            heard += narrow.heard()
        late = {each.order_no for each in refunds.heard()}

    assert refused
    assert not early & refused
    assert own.waiting() == 0
    assert {each.order_no for each in heard} == {"TEAPOT", "KETTLE", "GRAIL", "BADGER", "WALRUS"}
    assert refused <= late


# ---- brokers that go away


def test_rabbitmq_away_and_back(database: Engine, rabbitmq_node: RabbitMQ) -> None:
    """Standing still, and gone: nothing is marked, nothing raises, and when it is back everything is told."""
    with relaying(database, PgmqEars(""), broker_url=rabbitmq_node.url) as own:
        own.announce("order.paid", order_no=None)
        assert own.run() == 1
        own.announce("order.paid", order_no=None, count=50)
        rabbitmq_node.pause()
        assert own.run() == 0
        rabbitmq_node.resume()
        rabbitmq_node.kill()
        assert (own.run(), own.waiting()) == (0, 50)
        rabbitmq_node.start()
        with rabbitmq_ears(rabbitmq_node.url) as ears:
            assert (own.run(), own.waiting()) == (50, 0)
            assert len({each.id for each in ears.heard()}) == 50


def test_redis_away_and_back(database: Engine, redis_node: Redis) -> None:
    """The same on Redis, which keeps over its death what it confirmed."""
    ears = RedisEars(redis_node.url, "away:")
    with relaying(database, ears, broker_url=redis_node.url, broker_prefix="away:") as own:
        own.announce("order.paid", order_no=None)
        assert own.run() == 1
        own.announce("order.paid", order_no=None, count=50)
        redis_node.pause()
        assert own.run() == 0
        redis_node.resume()
        redis_node.kill()
        assert (own.run(), own.waiting()) == (0, 50)
        redis_node.start()
        assert (own.run(), own.waiting()) == (50, 0)
        assert {each.id for each in own.heard()} == {row.id for row in own.shop.rows(outbox)}


def test_a_redis_without_memory_refuses_and_nothing_is_marked(database: Engine, redis_node: Redis) -> None:
    """`noeviction`: XADD is an error for each, and not a silent loss."""
    with (
        redis.Redis.from_url(redis_node.url) as client,
        relaying(database, RedisEars(redis_node.url, "full:"), broker_url=redis_node.url, broker_prefix="full:") as own,
    ):
        own.announce("order.paid", count=3)
        client.config_set("maxmemory", 1)
        assert (own.run(), own.waiting()) == (0, 3)
        client.config_set("maxmemory", 0)
        assert (own.run(), own.waiting()) == (3, 0)
