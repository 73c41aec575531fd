"""A Redis of the run's own that writes every change to disk before it answers, and may be killed and started again."""

import json
import time
from contextlib import suppress
from typing import Any

import redis

from .broker import Broker
from .ground import Ground, find, wait_for_port
from .processes import free_port

QUEUE, QUARANTINE = "paidonce.apply", "paidonce.quarantine"
_PREFIX = "paidonce:"
#: What the transport's own documentation asks for.
DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
#: Seconds after which what a dead worker held is run again; the product's default is 60.
VISIBILITY = 5
#: Every announcement of a run is kept until it is over.
KEPT = {"PAIDONCE_EVENTS_KEPT": "10000000"}


class OwnRedis(Broker):
    """As a broker, or as the server of the order lock."""

    kind = "redis"
    keeps_with_a_full_disk = True

    def __init__(self, ground: Ground) -> None:
        """Starts nothing yet. Raises ServerMissing."""
        place, self.port = ground.place("redis"), free_port()
        settings = DURABLE | {"bind": "127.0.0.1", "port": str(self.port), "dir": str(place), "daemonize": "no"}
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self.process = ground.process("redis", [find("redis-server", "Redis"), *arguments], {}, place)
        self.client: Any = redis.Redis(port=self.port, socket_timeout=5)

    def start(self) -> None:
        """Starts it, again after a crash, and returns when it has read its log."""
        self.process.start()
        wait_for_port(self.port, self.process)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(redis.RedisError):
                self.client.ping()
                return
            time.sleep(0.05)
        raise RuntimeError(f"Redis does not recover; see {self.process.log}")

    def url(self, port: int | None = None) -> str:
        """Its own address, or that of a proxy before it."""
        return f"redis://127.0.0.1:{port or self.port}/0"

    def environment(self, port: int | None = None) -> dict[str, str]:
        return {"PAIDONCE_BROKER_URL": self.url(port), "PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": str(VISIBILITY)} | KEPT

    def depth(self) -> int:
        """An entry leaves its stream when it is acknowledged; the peer's list, when it is fetched."""
        return int(self.client.xlen(_PREFIX + QUEUE)) + int(self.client.llen("naive"))

    def quarantined(self) -> set[str]:
        rows = self.client.xrange(_PREFIX + QUARANTINE)
        return {str(json.loads(fields[b"message"])["headers"].get("id")) for _, fields in rows}

    def listen(self) -> None:
        """The stream keeps them."""

    def told(self) -> list[tuple[int, str, str]]:
        rows = self.client.xrange(_PREFIX + "events")
        return [(int(row[b"id"]), row[b"account"].decode(), row[b"order_no"].decode()) for _, row in rows]

    def cut(self) -> bool:
        """Every client's connection but the caller's."""
        self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return True

    def memory_alarm(self, *, on: bool) -> bool:
        """No room for another entry: what would add one is refused."""
        self.client.config_set("maxmemory", "1" if on else "0")
        return True

    def delete_empty_queue(self) -> bool:
        """Looked at for three seconds; in one script, so that nobody comes between."""
        script = "return redis.call('XLEN', KEYS[1]) == 0 and redis.call('DEL', KEYS[1]) or 0"
        for _ in range(150):
            if self.client.eval(script, 1, _PREFIX + QUEUE):
                return True
            time.sleep(0.02)
        return False

    def pause(self, seconds: float) -> None:
        """Nobody is answered for a while."""
        self.client.client_pause(int(seconds * 1000))

    def flush(self) -> None:
        """Forgets everything; only where it is no broker."""
        self.client.flushall()

    def holdings(self) -> set[str]:
        found = {key.decode() for key in self.client.scan_iter(count=1000)}
        groups = [(key, row["name"]) for key in (QUEUE, "paidonce.chores") for row in self._groups(key)]
        rows = [row for key, group in groups for row in self.client.xinfo_consumers(_PREFIX + key, group)]
        return found | {f"consumer {row['name'].decode()}" for row in rows}

    def _groups(self, queue: str) -> list[Any]:
        return list(self.client.xinfo_groups(_PREFIX + queue)) if self.client.exists(_PREFIX + queue) else []

    def connections(self) -> int:
        return len(self.client.client_list()) - 1
