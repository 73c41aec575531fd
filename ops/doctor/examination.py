"""Looks at everything, in the order in which one rests on the other."""

from collections.abc import Iterator

import psycopg
import redis

from domain.errors import ConfigurationError
from ops.doctor.configuration import check_accounts, check_transport, read_settings
from ops.doctor.database import check_database
from ops.doctor.finding import Finding, error, first_line, ok, warning
from ops.doctor.rabbitmq import check_rabbitmq
from ops.doctor.redis import check_redis
from worker.broker import family, pgmq_dsn
from worker.settings import Settings


def examine() -> Iterator[Finding]:
    """Every finding, as it is found. Raises nothing that a server or a setting may cause."""
    own, findings = read_settings()
    yield from findings
    if own is None:
        return
    yield from check_accounts(own)
    yield from check_transport(own)
    yield from check_database(own.database_url)
    yield from _broker(own)
    if own.lock_url:
        yield _lock(own.lock_url)


def _broker(own: Settings) -> Iterator[Finding]:
    try:
        kind = family(own.broker_url)
    except ConfigurationError:
        return  # told as the transport
    if kind == "rabbitmq":
        yield from check_rabbitmq(own)
    elif kind == "redis":
        yield from check_redis(own)
    else:
        yield _pgmq(own.broker_url)


def _pgmq(broker_url: str) -> Finding:
    try:
        with psycopg.connect(pgmq_dsn(broker_url), connect_timeout=3) as connection:
            [there] = connection.execute("SELECT to_regclass('pgmq.meta') IS NOT NULL").fetchone() or [False]
    except psycopg.Error as why:
        return error("broker", f"{first_line(why)} (PAIDONCE_BROKER_URL)")
    if not there:
        return error("broker", "the functions of pgmq are not installed there")
    return warning("broker", "pgmq answers; it is for the demo and for development: take RabbitMQ or Redis")


def _lock(url: str) -> Finding:
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except (redis.RedisError, ValueError) as why:
        return warning("lock", f"{first_line(why)} (PAIDONCE_LOCK_URL): nothing rests on it, hot orders get slower")
    return ok("lock", "answers")
