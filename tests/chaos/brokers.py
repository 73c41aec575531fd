"""A place of the run's own on each of the three brokers, removed at the end."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import kombu
import psycopg
import redis
from pgmq.install import get_embedded_install_sql

from .servers import ServerMissing, plain, unique_name

RABBITMQ = os.environ.get("PAIDONCE_TEST_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS = os.environ.get("PAIDONCE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
QUEUE = "paidonce.apply"


class Broker(Protocol):
    """One broker as the run sees it."""

    #: The environment that leads our processes to it.
    environment: dict[str, str]

    def depth(self) -> int:
        """Packs that the broker still holds: waiting, or delivered and not acknowledged."""

    def cut(self, pids: set[int]) -> bool:
        """Closes the connections of our processes from the server's side; False where the broker has no such thing."""


class RabbitMQ:
    """A vhost."""

    def __init__(self, vhost: str) -> None:
        self.vhost = vhost
        self.url = urlunsplit(urlsplit(RABBITMQ)._replace(path=f"/{quote(vhost)}"))
        self.environment = {"PAIDONCE_BROKER_URL": self.url}

    def depth(self) -> int:
        """`messages` counts the unacknowledged too, which AMQP's own passive declare does not."""
        listed = _rabbitmqctl("list_queues", "--quiet", "--no-table-headers", "-p", self.vhost, "name", "messages")
        return sum(int(line.split("\t")[1]) for line in listed.splitlines() if line.startswith(QUEUE))

    def cut(self, pids: set[int]) -> bool:
        """Every connection of the vhost."""
        _rabbitmqctl("close_all_connections", "--vhost", self.vhost, "chaos")
        return True


class RedisStreams:
    """A key prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.environment = {
            "PAIDONCE_BROKER_URL": REDIS,
            "PAIDONCE_BROKER_PREFIX": prefix,
            "PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": "5",
        }
        self.client: Any = redis.Redis.from_url(REDIS)

    def depth(self) -> int:
        """An entry leaves its stream when it is acknowledged."""
        return int(self.client.xlen(self.prefix + QUEUE))

    def cut(self, pids: set[int]) -> bool:
        """The transport's connections carry their process id in their name."""
        for row in self.client.client_list():
            words = row["name"].split(".")
            if len(words) > 1 and words[-2].isdigit() and int(words[-2]) in pids:
                self.client.client_kill_filter(_id=row["id"])
        return True


class Pgmq:
    """The run's own database."""

    def __init__(self, database_url: str) -> None:
        self.url = plain(database_url)
        self.environment = {
            "PAIDONCE_BROKER_URL": self.url.replace("postgresql://", "pgmq://", 1),
            "PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": "5",
        }

    def depth(self) -> int:
        """A message leaves its table when it is acknowledged."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT count(*) FROM pgmq.q_paidonce_apply").fetchone()
        return int(row[0]) if row else 0

    def cut(self, pids: set[int]) -> bool:
        """Its connections are the database's: pg_terminate_backend meets them too."""
        return False


def own_broker(kind: str, database_url: str) -> AbstractContextManager[Broker]:
    """A place on broker `kind` ("rabbitmq", "redis", "pgmq") while the block runs. Raises ServerMissing."""
    if kind == "rabbitmq":
        return own_vhost()
    return _own_prefix() if kind == "redis" else _own_queues(database_url)


@contextmanager
def own_vhost() -> Iterator[RabbitMQ]:
    """A vhost while the block runs. Raises ServerMissing."""
    url = urlsplit(RABBITMQ)
    where = f"{url.hostname}:{url.port or 5672}, PAIDONCE_TEST_BROKER_URL"
    try:
        with kombu.Connection(RABBITMQ, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except OSError as why:
        raise ServerMissing("RabbitMQ", where, why) from None
    if shutil.which("rabbitmqctl") is None:
        raise ServerMissing("RabbitMQ", where, "rabbitmqctl, which makes the vhost, is not on this machine")
    broker = RabbitMQ(unique_name("run"))
    _rabbitmqctl("add_vhost", broker.vhost)
    try:
        _rabbitmqctl("set_permissions", "-p", broker.vhost, url.username or "guest", ".*", ".*", ".*")
        yield broker
    finally:
        _rabbitmqctl("delete_vhost", broker.vhost)


@contextmanager
def _own_prefix() -> Iterator[RedisStreams]:
    broker = RedisStreams(f"{unique_name('run')}:")
    try:
        broker.client.ping()
    except redis.RedisError as why:
        raise ServerMissing("Redis", "PAIDONCE_TEST_REDIS_URL", why) from None
    try:
        yield broker
    finally:
        for key in broker.client.scan_iter(f"{broker.prefix}*", count=1000):
            broker.client.delete(key)
        broker.client.close()


@contextmanager
def _own_queues(database_url: str) -> Iterator[Pgmq]:
    install_pgmq(database_url)
    yield Pgmq(database_url)


def install_pgmq(database_url: str) -> None:
    """The functions of pgmq in plain SQL: no extension, so that any PostgreSQL takes them."""
    with psycopg.connect(plain(database_url), autocommit=True) as connection:
        connection.execute(get_embedded_install_sql().encode())


def _rabbitmqctl(*words: str) -> str:
    try:
        return subprocess.run(["rabbitmqctl", *words], check=True, capture_output=True, text=True, timeout=60).stdout
    except subprocess.CalledProcessError as why:
        raise ServerMissing("RabbitMQ", f"rabbitmqctl {words[0]}", why.stderr) from None
