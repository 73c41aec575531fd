"""The whole stack, one process of it struck at a point: every 200 is applied once, or stands in front of a person."""

from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
import redis
from chaos.servers import unique_name
from failpoints.stage import Stage, stage
from failpoints.stage_matrix import Case, cases
from failpoints.strike import survive

import celeryconfig


@pytest.fixture(scope="module")
def on_rabbitmq(rabbitmq_vhost: str, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One stack for all; what dies is started again."""
    with stage(tmp_path_factory.mktemp("rabbitmq"), rabbitmq_vhost) as own:
        yield own
    with kombu.Connection(rabbitmq_vhost) as connection:
        for queue in (*celeryconfig.task_queues, celeryconfig.QUARANTINE):
            connection.default_channel.queue_delete(queue.name)


@pytest.fixture(scope="module")
def on_redis(redis_server: str, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The same on Redis."""
    prefix = f"{unique_name('failpoints')}:"
    with stage(tmp_path_factory.mktemp("redis"), redis_server, prefix) as own:
        yield own
    with redis.Redis.from_url(redis_server) as client:
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.delete(key)


@pytest.mark.parametrize("case", cases("rabbitmq"), ids=lambda case: case.id)
def test_a_stack_on_rabbitmq_struck_at_a_point(case: Case, on_rabbitmq: Stage, tmp_path: Path) -> None:
    """Whoever is struck, however many copies come: paid once, by one effect."""
    survive(case, on_rabbitmq, tmp_path)


@pytest.mark.parametrize("case", cases("redis"), ids=lambda case: case.id)
def test_a_stack_on_redis_struck_at_a_point(case: Case, on_redis: Stage, tmp_path: Path) -> None:
    """The same through our own transport."""
    survive(case, on_redis, tmp_path)
