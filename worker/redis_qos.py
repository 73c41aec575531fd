"""What a consumer on Redis Streams holds: fetched and not settled. A thread keeps it from the other consumers."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from kombu.log import get_logger
from kombu.transport import virtual
from redis.exceptions import RedisError

logger = get_logger(__name__)

#: Seconds after which nothing is kept any more, so that a worker that hangs cannot hold a message for ever. RabbitMQ's
#: consumer_timeout, so that both brokers ask the same of a task.
HOLD_LIMIT = 1800.0


class QoS(virtual.QoS):
    """Fetched and delivered by one thread, settled by any."""

    def __init__(self, channel: Any, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        self._since: dict[str, float] = {}
        self._keeper: threading.Thread | None = None
        self._settled = threading.Event()
        self._ended = threading.Event()

    def hold(self, tag: str) -> None:
        """From the fetch on: the last of a batch may wait long for its delivery."""
        self._since[tag] = monotonic()
        if self._keeper is None:
            # A thread: whatever holds up the consumer's own loop must not cost it what it holds.
            self._keeper = threading.Thread(target=self._keep, name="keep held messages", daemon=True)
            self._keeper.start()

    def let_go(self, tag: str) -> None:
        """The entry comes back after the visibility timeout."""
        self._since.pop(tag, None)

    def holds(self, tag: str) -> bool:
        """Whether the message of `tag` is in this process's hands."""
        return tag in self._since

    def held(self) -> list[str]:
        """The tags in hand, oldest first."""
        return list(self._since)

    def room(self, wait: float, most: int) -> int:
        """How many more may be fetched; waits at most `wait` seconds for the first place."""
        self._settled.clear()
        if not self.can_consume():
            self._settled.wait(wait)
        room = self.can_consume_max_estimate()
        return most if room is None else min(room, most)

    def ack(self, delivery_tag: str) -> None:
        """Takes the entry off the server."""
        self._settle(self.channel.member.remove, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Puts the entry back, or into the quarantine."""
        self._settle(self.channel.requeue if requeue else self.channel.quarantine, delivery_tag)

    def _settle(self, act: Callable[[str], None], tag: str) -> None:
        # Let go of it even when the server is away: an entry still held would be kept from everybody.
        try:
            act(tag)
        finally:
            self.let_go(tag)
            super().ack(tag)
            self._settled.set()

    def stop_keeping(self) -> None:
        """From now on what is held comes back after the visibility timeout."""
        self._ended.set()

    def _keep(self) -> None:
        while not self._ended.wait(self.channel.visibility_timeout / 3):  # long before anybody may claim it
            oldest = monotonic() - HOLD_LIMIT
            try:
                self.channel.member.keep([tag for tag, since in self._since.copy().items() if since > oldest])
            except (RedisError, OSError) as exc:
                logger.warning("what is held could not be kept: %r", exc)

    def restore_unacked(self) -> None:
        """Puts back everything held (AMQP's recover)."""
        for tag in self.held():
            self.reject(tag, requeue=True)

    def restore_unacked_once(self, stderr: Any = None) -> None:  # noqa: ARG002
        """At close and at exit. kombu's own would write the payloads to a file when the server is away."""
        self._on_collect.cancel()
        self.stop_keeping()
        self.channel.leave()
