"""A consumer group on Redis Streams, one stream per queue: an entry stays until it is removed, whoever is killed.

Needs Redis 6.2 or newer, not a cluster. A tag is `queue/entry id`; times are in seconds. Everything raises redis-py's
errors. Safe for several threads.
"""

import os
import socket
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

#: One group per queue: every worker is a consumer of it.
GROUP = "workers"
#: The two fields of an entry: the message as JSON, and a mark that it was handed out before.
MESSAGE, REDELIVERED = b"message", b"redelivered"

Entry = tuple[str, dict[bytes, bytes]]

# Scripts, not MULTI: whether the entry is still ours and what is done about it must be one step. XADD stands first,
# because it fails when memory is short and a script is not rolled back.

#: KEYS stream, target; ARGV group, consumer, id, field, value: the entry goes whole to `target`, with the field set.
_MOVE = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return 0 end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
if entry then
  local fields = {ARGV[4], ARGV[5]}
  for i = 1, #entry[2], 2 do
    if entry[2][i] ~= ARGV[4] then
      table.insert(fields, entry[2][i])
      table.insert(fields, entry[2][i + 1])
    end
  end
  redis.call('XADD', KEYS[2], '*', unpack(fields))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return redis.call('XDEL', KEYS[1], ARGV[3])
"""

#: KEYS stream; ARGV group, consumer. XGROUP DELCONSUMER alone would drop what is pending with that consumer.
_FORGET = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
"""


def connect(*, tls: Any, **options: Any) -> redis.Redis:
    """A client under a name of its own, for several threads. `tls`: False, True, or redis-py's `ssl_*` arguments."""
    return redis.Redis(
        client_name=f"{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:12]}",
        socket_keepalive=True,
        # A command that may or may not have been done is reported, not repeated.
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        ssl=bool(tls),
        **(tls if isinstance(tls, dict) else {}),
        **options,
    )


class Member:
    """One consumer of the groups, under a name of its own, and what any client may do to their streams."""

    def __init__(self, client: Any, prefix: str) -> None:
        self.client = client
        #: Also the connections' name in CLIENT LIST.
        self.name: str = client.get_connection_kwargs()["client_name"]
        self._prefix = prefix
        self._move = client.register_script(_MOVE)
        self._forget = client.register_script(_FORGET)

    def key(self, queue: str) -> str:
        """The stream's key."""
        return self._prefix + queue

    def create(self, queue: str) -> None:
        """The stream and its group, from the first entry on: what was published before any worker came is read too."""
        try:
            self.client.xgroup_create(self.key(queue), GROUP, id="0", mkstream=True)
        except ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):
                raise

    def add(self, queue: str, message: str, *, limit: int | None, must_exist: bool) -> bool:
        """Appends; past `limit` the oldest go. False, and nothing is done, where the stream must exist and does not."""
        fields = {MESSAGE: message}
        return self.client.xadd(self.key(queue), fields, maxlen=limit, nomkstream=must_exist) is not None

    def read(self, queues: Sequence[str], count: int, wait: float) -> list[Entry]:
        """New entries, about `count` in all, waiting at most `wait` for the first."""
        streams = {self.key(queue): ">" for queue in queues}
        share = max(1, count // len(streams))
        block = max(1, int(wait * 1000)) if wait else None  # BLOCK 0 would wait for ever
        reply = dict(self.client.xreadgroup(GROUP, self.name, streams, count=share, block=block) or ())
        return [entry for key, found in reply.items() for entry in self._tagged(key.decode(), found)]

    def claim(self, queue: str, count: int, idle: float) -> list[Entry]:
        """Entries that their consumer has not touched for `idle`: they are ours now."""
        claimed: list[Entry] = []
        cursor: Any = "0-0"
        while len(claimed) < count:
            cursor, found, *_ = self.client.xautoclaim(
                self.key(queue), GROUP, self.name, int(idle * 1000), start_id=cursor, count=count - len(claimed)
            )
            claimed += self._tagged(self.key(queue), found)
            if cursor == b"0-0":
                break
        return claimed

    def _tagged(self, key: str, entries: Iterable[tuple[bytes | None, dict[bytes, bytes]]]) -> list[Entry]:
        queue = key.removeprefix(self._prefix)
        return [(f"{queue}/{entry_id.decode()}", fields) for entry_id, fields in entries if entry_id is not None]

    def keep(self, tags: Iterable[str]) -> None:
        """Those of `tags` that are still ours count as touched now. What another has claimed is not taken back."""
        for queue, ids in _by_queue(tags).items():
            pending = self.client.xpending_range(self.key(queue), GROUP, "-", "+", len(ids) + 1000, self.name)
            ours = [row["message_id"] for row in pending if row["message_id"].decode() in ids]
            if ours:
                self.client.xclaim(self.key(queue), GROUP, self.name, 0, ours, justid=True)

    def remove(self, *tags: str) -> None:
        """Off the servers' books, whoever holds them now: their work is done."""
        with self.client.pipeline(transaction=True) as pipe:
            for queue, ids in _by_queue(tags).items():
                pipe.xack(self.key(queue), GROUP, *ids)
                pipe.xdel(self.key(queue), *ids)
            pipe.execute()

    def move(self, tag: str, target: str, field: bytes, value: str) -> None:
        """The entry goes to the end of queue `target`, if it is still ours, with `field` set and the rest untouched."""
        queue, entry_id = tag.rsplit("/", 1)
        self._move(keys=[self.key(queue), self.key(target)], args=[GROUP, self.name, entry_id, field, value])

    def purge(self, queue: str) -> int:
        """Removes what nobody has fetched, as in AMQP. Fetched first: no entry is ever neither new nor pending."""
        purged = 0
        while entries := self.read([queue], 1000, 0):
            self.remove(*(tag for tag, _ in entries))
            purged += len(entries)
        return purged

    def forget_dead(self, queue: str, idle: float) -> None:
        """Takes the names of consumers that were killed off the group, once nothing is pending with them."""
        for row in self.client.xinfo_consumers(self.key(queue), GROUP):
            if row["pending"] == 0 and row["idle"] > idle * 1000:
                self.forget(queue, row["name"])

    def forget(self, queue: str, name: str | bytes) -> None:
        """Takes one name off the group, unless something is pending with it."""
        self._forget(keys=[self.key(queue)], args=[GROUP, name])


def _by_queue(tags: Iterable[str]) -> dict[str, set[str]]:
    grouped = defaultdict(set)
    for tag in tags:
        queue, entry_id = tag.rsplit("/", 1)
        grouped[queue].add(entry_id)
    return grouped
