"""How to reach the broker: one connection recipe for the publisher and the worker, on all three brokers."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import amqp
import kombu

import celeryconfig
from domain.errors import ConfigurationError
from worker import polled, redis_streams
from worker.settings import Settings

REDIS = ("redis", "rediss")
AMQP = ("amqp", "amqps", "pyamqp")
#: Seconds after which a worker that does not renew counts as dead on Redis: three renewals missed.
SILENT_FOR = 12
#: Seconds that a message is held on pgmq, whoever lives: as long as packs may wait in a worker's hands.
HELD_FOR = 60


#: Celery puts these before the application's own setting: the worker would silently listen elsewhere.
OVERRIDES = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")


def refuse_overrides(environ: Mapping[str, str]) -> None:
    """Raises ConfigurationError where Celery would not use PAIDONCE_BROKER_URL."""
    if found := [name for name in OVERRIDES if environ.get(name)]:
        raise ConfigurationError(*found, "goes before PAIDONCE_BROKER_URL: unset it")


def family(broker_url: str) -> str:
    """The word rabbitmq, redis or pgmq. Raises ConfigurationError for anything else: other brokers lose messages."""
    scheme = urlsplit(broker_url).scheme
    if scheme in AMQP:
        return "rabbitmq"
    if scheme in REDIS:
        return "redis"
    if scheme == "pgmq":
        return "pgmq"
    raise ConfigurationError("PAIDONCE_BROKER_URL", f"scheme {scheme!r}", "use amqp://, redis:// or pgmq://")


def transport_url(broker_url: str) -> str:
    """The URL that kombu is given. Redis goes through our Streams transport: kombu's own loses messages on kill -9."""
    match family(broker_url):
        case "redis":
            redis_streams.register()
            return "redisstreams" + broker_url.removeprefix("rediss").removeprefix("redis")
        case "pgmq":
            # Everything is in conn_string: pgmq drops a `?host=` and would reach another PostgreSQL of this machine.
            polled.register()
            return "polledpgmq://localhost/"
        case _:
            return broker_url


def transport_options(settings: Settings) -> dict[str, Any]:
    """Options for `settings.broker_url`, the same for publisher and worker. Times in seconds."""
    match family(settings.broker_url):
        case "redis":
            return {
                "visibility_timeout": settings.visibility_timeout_seconds or SILENT_FOR,
                "global_keyprefix": settings.broker_prefix,
                "quarantine_queue": celeryconfig.QUARANTINE.name,
                "ssl": urlsplit(settings.broker_url).scheme == "rediss",
            }
        case "pgmq":
            return {
                "conn_string": pgmq_dsn(settings.broker_url),
                "init_extension": False,
                "visibility_timeout": settings.visibility_timeout_seconds or HELD_FOR,
                # A long poll would block on one queue while the other has messages, and the event loop with it.
                "wait_time_seconds": 0,
                "pool_size": 2,
            }
        case _:
            # confirm_publish is never on by default; write_timeout bounds a broker that stops reading. The retry
            # figures are here because ensure_connection reads these and not the publish policy (kombu#1024).
            return {
                "confirm_publish": True,
                "write_timeout": 3,
                "max_retries": 2,
                "interval_start": 0,
                "interval_step": 0.2,
                "interval_max": 0.5,
            }


def pgmq_dsn(broker_url: str) -> str:
    """The keyword DSN of `pgmq://user:password@host:port/database?host=/socket/directory`."""
    parts = urlsplit(broker_url)
    query = parse_qs(parts.query)
    facts = {
        "host": query.get("host", [parts.hostname or ""])[0],
        "port": query.get("port", [str(parts.port or "")])[0],
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "dbname": unquote(parts.path.lstrip("/")),
    }
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in facts.items() if value}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())


def connect(settings: Settings, **options: Any) -> kombu.Connection:
    """A connection to the broker, not opened yet. `options` are added to the transport's."""
    return kombu.Connection(
        transport_url(settings.broker_url),
        connect_timeout=celeryconfig.broker_connection_timeout,
        transport_options=transport_options(settings) | options,
    )


def tune(connection: kombu.Connection, seconds: float) -> None:
    """Once it is open: on RabbitMQ each wait for an answer is bounded, and messages are sent without a look."""
    ours = connection.connection
    if isinstance(ours, amqp.Connection):
        # py-amqp's read_timeout is SO_RCVTIMEO, whose EAGAIN its own read loop swallows: declare() would wait for ever.
        ours.transport.sock.settimeout(seconds)
        # Before each message py-amqp would look whether the broker is blocked, and send it all the same: the confirm
        # that does not come says it, too.
        ours.client_properties.get("capabilities", {})["connection.blocked"] = False


def declare(connection: kombu.Connection) -> None:
    """Declares every queue, the quarantine too, on copies: a Queue binds itself in place to the channel it meets."""
    with connection.channel() as channel:
        for queue in (*celeryconfig.task_queues, celeryconfig.QUARANTINE):
            queue(channel).declare()
