"""The optional lock per order, on Redis: it keeps workers from queueing on one hot row, and nothing rests on it.

The row lock decides and `orders.version` is the fence. So every failure here means "go on without": Redis dead, a lock
lost to its TTL, a lock granted twice. Never wait long: the row lock would have let us through.
"""

import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import redis
import structlog

log = structlog.get_logger()

#: How long to stand aside for the holder, seconds. A transaction takes milliseconds.
PATIENCE = 0.25
_STEP = 0.01
#: Release only what is ours: a lock that its TTL took away belongs to somebody else by now.
_RELEASE = """
for index, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
"""


class OrderLock:
    """Locks of orders, by owner token and TTL (seconds)."""

    def __init__(self, url: str, ttl: float, prefix: str = "paidonce:") -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=0.2, socket_connect_timeout=0.2)
        self._ttl = int(ttl * 1000)
        self._prefix = f"{prefix}lock:"
        self._release = self._redis.register_script(_RELEASE)

    @contextmanager
    def hold(self, orders: Collection[tuple[str, str]]) -> Iterator[bool]:
        """Holds (account, order_no) while the block runs; yields whether all were granted. Never raises for Redis."""
        token = secrets.token_hex(16)
        keys = [f"{self._prefix}{account}:{order_no}" for account, order_no in sorted(orders)]
        granted = self._acquire(keys, token)
        try:
            yield granted
        finally:
            self._give_back(keys, token)

    def _acquire(self, keys: list[str], token: str) -> bool:
        deadline = time.monotonic() + PATIENCE
        wanted = keys
        try:
            while wanted:
                with self._redis.pipeline(transaction=False) as pipe:
                    for key in wanted:
                        pipe.set(key, token, nx=True, px=self._ttl)
                    wanted = [key for key, ours in zip(wanted, pipe.execute(), strict=True) if not ours]
                if not wanted or time.monotonic() > deadline:
                    break
                time.sleep(_STEP)
        except redis.RedisError as error:
            log.warning("order lock unavailable", error=type(error).__name__)
            return False
        return not wanted

    def _give_back(self, keys: list[str], token: str) -> None:
        try:
            if keys:
                self._release(keys=keys, args=[token])
        except redis.RedisError as error:
            log.warning("order lock not given back", error=type(error).__name__)
