"""A place of one's own on the machine's brokers, removed at the end."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit, urlunsplit

import kombu
import psycopg
from kombu.exceptions import OperationalError
from pgmq.install import get_embedded_install_sql

from .servers import ServerMissing, plain, unique_name

RABBITMQ = os.environ.get("PAIDONCE_TEST_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")


class RabbitMQ:
    """A vhost."""

    def __init__(self, vhost: str) -> None:
        self.vhost = vhost
        self.url = urlunsplit(urlsplit(RABBITMQ)._replace(path=f"/{quote(vhost)}"))
        self.environment = {"PAIDONCE_BROKER_URL": self.url}


@contextmanager
def own_vhost() -> Iterator[RabbitMQ]:
    """A vhost while the block runs. Raises ServerMissing."""
    url = urlsplit(RABBITMQ)
    where = f"{url.hostname}:{url.port or 5672}, PAIDONCE_TEST_BROKER_URL"
    try:
        with kombu.Connection(RABBITMQ, connect_timeout=3) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OSError, OperationalError) as why:
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


def install_pgmq(database_url: str) -> None:
    """The functions of pgmq in plain SQL: no extension, so that any PostgreSQL takes them."""
    with psycopg.connect(plain(database_url), autocommit=True) as connection:
        connection.execute(get_embedded_install_sql().encode())


def _rabbitmqctl(*words: str) -> str:
    try:
        return subprocess.run(["rabbitmqctl", *words], check=True, capture_output=True, text=True, timeout=60).stdout
    except subprocess.CalledProcessError as why:
        raise ServerMissing("RabbitMQ", f"rabbitmqctl {words[0]}", why.stderr) from None
