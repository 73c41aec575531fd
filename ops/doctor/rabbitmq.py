"""RabbitMQ: there, new enough, with our queues as celeryconfig declares them, and confirming."""

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import amqp
import kombu

import celeryconfig
from ops.doctor.finding import Finding, error, first_line, ok, warning
from worker.broker import connect
from worker.settings import Settings

OLDEST = (3, 10)
#: Seconds for one answer: no library bounds all of them.
PATIENCE = 3.0
NOT_THERE = "not there yet: receiver and worker declare it when they start"
MEND = "let it run empty and delete it; the next start declares it as it should be"


def check_rabbitmq(own: Settings) -> Iterator[Finding]:
    """Everything about the vhost of `own`. Declares nothing that is not there."""
    connection = connect(own)
    try:
        connection.ensure_connection(max_retries=0)
        connection.connection.transport.sock.settimeout(PATIENCE)
        yield _server(connection.connection.server_properties)
        yield from _wire(own.broker_url)
        queues = [_queue(connection, queue) for queue in celeryconfig.task_queues]
        yield from queues
        if any(finding.detail != NOT_THERE for finding in queues):
            yield _quarantine(connection)
        yield _confirms(connection)
    except Exception as why:  # noqa: BLE001 - kombu's, amqp's and the socket's: each says that it is not to be used
        yield error("broker", f"{first_line(why)} (PAIDONCE_BROKER_URL)")
    finally:
        # A good-bye would wait for an answer.
        with suppress(Exception):
            connection.collect(socket_timeout=0.3)


def _server(properties: dict[str, Any]) -> Finding:
    version = str(properties.get("version", "unknown"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        return error("broker", f"RabbitMQ {version}: 3.10 or newer is needed, for dead letters that are not lost")
    return ok("broker", f"RabbitMQ {version}")


def _wire(broker_url: str) -> Iterator[Finding]:
    parts = urlsplit(broker_url)
    if parts.scheme != "amqps" and not _is_here(parts.hostname or "localhost"):
        yield warning("wire", "password and payments travel in the clear to another machine: use amqps://")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _queue(connection: kombu.Connection, queue: kombu.Queue) -> Finding:
    name = f"queue {queue.name}"
    try:
        with connection.channel() as channel:
            found = channel.queue_declare(queue.name, passive=True)
        # The same again, with what it should be: refused if it is something else.
        with connection.channel() as channel:
            queue(channel).queue_declare()
    except amqp.NotFound:
        return warning(name, NOT_THERE)
    except amqp.PreconditionFailed as why:
        return error(name, f"{why.reply_text}: {MEND}")
    told = f"{found.message_count} waiting, {found.consumer_count} consumers"
    return ok(name, told) if found.consumer_count else warning(name, f"{told}: start `worker`")


def _quarantine(connection: kombu.Connection) -> Finding:
    """Without its exchange and its queue a rejected pack would be dropped."""
    queue = celeryconfig.QUARANTINE
    try:
        with connection.channel() as channel:
            kept = channel.queue_declare(queue.name, passive=True).message_count
        with connection.channel() as channel:
            channel.exchange_declare(queue.exchange.name, queue.exchange.type, passive=True)
        with connection.channel() as channel:
            queue(channel).queue_declare()
    except amqp.NotFound as why:
        return error("quarantine", f"{why.reply_text}: a rejected pack would be dropped; start `worker` to declare it")
    except amqp.PreconditionFailed as why:
        return error("quarantine", f"{why.reply_text}: {MEND}")
    if kept:
        return warning("quarantine", f"{kept} messages: somebody has to look at them")
    return ok("quarantine", "there, and empty")


def _confirms(connection: kombu.Connection) -> Finding:
    """A message to a queue of our own that goes with the connection: under an alarm no confirm would come."""
    try:
        channel = connection.channel()
        own = channel.queue_declare(exclusive=True).queue
        channel.basic_publish(amqp.Message("doctor"), routing_key=own, mandatory=True, confirm_timeout=PATIENCE)
    except (OSError, amqp.AMQPError) as why:
        return error("confirms", f"{first_line(why)}: look for a memory or disk alarm (`rabbitmqctl status`)")
    return ok("confirms", "a message is confirmed")
