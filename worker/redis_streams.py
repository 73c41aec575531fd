"""A kombu transport over Redis Streams that loses nothing when a worker is killed at any instruction.

kombu's own Redis transport takes a message off its list before the worker has noted it down: kill -9 in between loses
it. Here a message stays on the server, pending with its worker, until it is acknowledged. One whose worker has been
silent for `visibility_timeout` is handed to another worker. So it is run again when its worker died, and also when a
worker stalled or lost its server for that long while it ran: a duplicate for the processed-status table to settle.

It keeps what Redis keeps: production wants `appendonly yes`, `appendfsync always`, `maxmemory-policy noeviction`.
There is no fanout: `worker_enable_remote_control = False`, `--without-gossip --without-mingle`.

Celery runs it in its event loop (worker/polled.py), which never waits in a fetch; a consumer without one does, briefly.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty
from typing import Any

import redis
from kombu.exceptions import ChannelError
from kombu.log import get_logger
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.utils.json import dumps, loads
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from worker.polled import Polled
from worker.redis_group import MESSAGE, REDELIVERED, Member, connect
from worker.redis_qos import QoS
from worker.redis_rounds import Rounds

logger = get_logger(__name__)

#: The most entries fetched at once, also where no prefetch count sets a bound.
BATCH = 64
#: Celery connects anew after these. A primary that has become a replica answers, but takes no writes.
CONNECTION_ERRORS = (
    *virtual.Transport.connection_errors,
    OSError,
    redis.ConnectionError,
    redis.TimeoutError,
    ReadOnlyError,
)
#: What opening an entry that none of us wrote may raise.
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


def register() -> None:
    """Makes `redisstreams://user:password@host:port/db` a URL that kombu and Celery know. May be called again."""
    TRANSPORT_ALIASES["redisstreams"] = f"{__name__}:Transport"


class Channel(virtual.Channel):
    """One member of the groups. What it delivered may be settled after the close too, as after a reconnect."""

    QoS = QoS
    supports_fanout = False
    #: The worker's quarantine asks this: what is rejected is kept whole, in the quarantine's stream.
    keeps_rejected = True
    global_keyprefix = "paidonce:"
    #: Seconds after which a silent worker's messages are handed to another.
    visibility_timeout = 60.0
    #: Seconds a fetch waits on the server. A message ends it at once; a shutdown waits for it.
    block_timeout = 0.25
    #: Seconds without an answer after which the server counts as lost. Well above `block_timeout`.
    socket_timeout = 10.0
    health_check_interval = 25
    #: True, or redis-py's `ssl_*` arguments.
    ssl: Any = False
    #: The queue whose stream takes what is rejected or unreadable, from every queue.
    quarantine_queue = "quarantine"
    from_transport_options = (
        *virtual.Channel.from_transport_options,
        *("global_keyprefix", "visibility_timeout", "block_timeout", "socket_timeout", "health_check_interval", "ssl"),
        "quarantine_queue",
    )

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.member = Member(self._connect(connection.client), self.global_keyprefix)
        self._handlers: dict[str, Callable[[Any], Any]] = {}
        self._limits: dict[str, int | None] = {}
        self._rounds = Rounds(self.member, self.visibility_timeout)
        self._lost = False
        try:
            self.member.client.ping()
        except BaseException:
            connection.close_channel(self)  # frees its number: a long outage would use them all up
            raise

    def _connect(self, info: Any) -> Any:
        return connect(
            tls=info.ssl or self.ssl,
            host=info.hostname or "127.0.0.1",
            port=info.port or Transport.default_port,
            username=info.userid or None,
            password=info.password or None,
            db=int((info.virtual_host or "").strip("/") or 0),
            socket_timeout=self.socket_timeout,
            socket_connect_timeout=info.connect_timeout,
            health_check_interval=self.health_check_interval,
        )

    # ---- queues and publishing

    def _new_queue(self, queue: str, arguments: dict[str, Any] | None = None, **_: Any) -> None:
        self._limits[queue] = (arguments or {}).get("x-max-length")
        self.member.create(queue)

    def _has_queue(self, queue: str, **_: Any) -> bool:
        return bool(self.member.client.exists(self.member.key(queue)))

    def _size(self, queue: str) -> int:
        return int(self.member.client.xlen(self.member.key(queue)))

    def _purge(self, queue: str) -> int:
        return self.member.purge(queue)

    def _delete(self, queue: str, *_: Any, **__: Any) -> None:
        self.member.client.delete(self.member.key(queue))

    def _put(self, queue: str, message: dict[str, Any], mandatory: bool = False, **_: Any) -> None:
        limit = self._limits.get(queue)
        if not self.member.add(queue, dumps(message), limit=limit, must_exist=mandatory):
            raise _no_route(queue)

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> Iterable[str]:
        queues: Iterable[str] = super()._lookup(exchange, routing_key, default)
        if not queues:
            raise _no_route(routing_key)  # kombu's own would let the message vanish
        return queues

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, str | None]:
        """Text goes as it is, a quarter smaller than in base64."""
        return super().encode_body(body, encoding) if isinstance(body, bytes) else (body, None)

    # ---- consuming

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any) -> None:
        """From now on drain_events hands the queue's messages to `callback`."""
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        self._handlers[queue] = lambda message: callback(self._taken(message, no_ack))

    def basic_get(self, queue: str, no_ack: bool = False, **_: Any) -> Any:
        """One message, or None."""
        for message in self._fetch([queue], 1, 0):
            return self._taken(message, no_ack)
        return None

    def _taken(self, message: Any, no_ack: bool) -> Any:
        self.qos.append(message, message.delivery_tag)
        if no_ack:
            self.qos.ack(message.delivery_tag)
        return message

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> None:  # noqa: ARG002
        """Waits a little and delivers what came. Raises queue.Empty when nothing did."""
        if not self._consumers:
            raise Empty
        wait = min(self.socket_timeout / 2, self.block_timeout, self.block_timeout if timeout is None else timeout)
        queues = list(dict.fromkeys(self._active_queues))
        try:
            messages = list(self._fetch(queues, self.qos.room(wait, BATCH), wait))
        except CONNECTION_ERRORS:
            self._lost = True
            self.qos.stop_keeping()
            raise
        if not messages:
            raise Empty
        self._deliver(messages)

    def _fetch(self, queues: list[str], room: int, wait: float) -> Iterator[Any]:
        for (tag, fields), again in self._rounds.fetch(queues, room, wait):
            if self.qos.holds(tag):
                continue  # claimed from ourselves after a stall: it is in a task's hands
            try:
                message = self._message(tag, fields, again=again)
            except _UNREADABLE as exc:
                logger.error("unreadable entry %s goes to the quarantine: %s", tag, type(exc).__name__)
                self.quarantine(tag, "unreadable")
            else:
                self.qos.hold(tag)
                yield message

    def _message(self, tag: str, fields: dict[bytes, bytes], *, again: bool) -> Any:
        payload = loads(fields[MESSAGE])
        payload["properties"]["delivery_tag"] = tag
        payload["properties"]["delivery_info"]["redelivered"] = again or REDELIVERED in fields
        message = self.Message(payload, channel=self)
        if message.errors:
            raise ValueError("body")
        return message

    def _deliver(self, messages: list[Any]) -> None:
        waiting = deque(messages)
        try:
            while waiting:
                self._hand_over(waiting.popleft())
        finally:
            for message in waiting:  # a handler raised: these come back by themselves
                self.qos.let_go(message.delivery_tag)

    def _hand_over(self, message: Any) -> None:
        queue = _queue(message.delivery_tag)
        if queue in self._active_queues:
            self._handlers[queue](message)
        else:
            self.qos.reject(message.delivery_tag, requeue=True)  # cancelled by the handler of a message before it

    # ---- settling

    def requeue(self, tag: str) -> None:
        """To the end of its queue, marked as redelivered, in one step."""
        self.member.move(tag, _queue(tag), REDELIVERED, "1")

    def quarantine(self, tag: str, reason: str = "rejected") -> None:
        """To the quarantine's stream, whole, in one step: for a person. What is there already stays there."""
        self.member.move(tag, self.quarantine_queue, b"reason", reason)

    def leave(self) -> None:
        """Hands back what is held, so that nobody waits for it, and takes this consumer's name off the groups.

        Not after a lost connection: the tasks still run here, and their acks will count.
        """
        if self._lost:
            return
        try:
            for tag in self.qos.held():
                self.requeue(tag)
            for queue in self._handlers:
                self.member.forget(queue, self.member.name)
        except (RedisError, OSError) as exc:
            logger.warning("what is held comes back after the visibility timeout: %r", exc)

    def close(self) -> None:
        """Hands back what is held. Settling stays possible: the client opens a connection when it needs one."""
        super().close()
        self.member.client.connection_pool.disconnect(inuse_connections=False)


def _queue(tag: str) -> str:
    return tag.rsplit("/", 1)[0]


def _no_route(name: str) -> ChannelError:
    return ChannelError(f"NO_ROUTE - {name!r}", (60, 40), "Channel.basic_publish", "312")


class Transport(Polled, virtual.Transport):
    """What `redisstreams://` stands for."""

    Channel = Channel
    default_port = 6379
    #: The wait is in the fetch. This only keeps a connection without consumers from spinning.
    polling_interval = 0.01
    driver_type = "redisstreams"
    driver_name = "redis"
    connection_errors = CONNECTION_ERRORS
    channel_errors = (*virtual.Transport.channel_errors, ResponseError)

    def driver_version(self) -> str:
        """redis-py's."""
        return str(redis.__version__)
