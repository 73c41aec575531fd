"""One receiver, one worker of three children and one beat on a broker, with proxies before broker and database."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import kombu
import psycopg
import redis
from chaos.proxy import Proxy
from chaos.servers import own_database, plain, unique_name
from failpoints.children import soon
from failpoints.scenarios import through
from running import Stack
from sqlalchemy import make_url

from worker.broker import connect
from worker.settings import Settings

APPLY, QUARANTINE = "paidonce.apply", "paidonce.quarantine"
#: Short enough for a test, and longer than everything in it that is not struck.
SETTINGS = {
    "PAIDONCE_WORKERS": "3",
    "PAIDONCE_RETRY_BASE_SECONDS": "0.1",
    "PAIDONCE_PUBLISH_TIMEOUT_SECONDS": "2",
    "PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": "3",
}


class Stage:
    """The stack and everything that can be done to it from outside."""

    def __init__(self, folder: Path, database_url: str, broker_url: str, prefix: str) -> None:
        self.folder, self.plan = folder, folder / "plan"
        self.database_url, self.broker_url, self.prefix = database_url, broker_url, prefix
        self.door_to_broker, self.worker_to_broker = (Proxy(_port(broker_url)) for _ in range(2))
        self.worker_to_database = Proxy(make_url(database_url).port or 5432)
        extra = {"PAIDONCE_FAILPOINTS": str(self.plan), "PAIDONCE_BROKER_PREFIX": prefix}
        self.stack = Stack(folder, database_url, broker_url, **SETTINGS, **extra)
        self.database: Any = psycopg.connect(plain(database_url), autocommit=True)

    @property
    def proxies(self) -> tuple[Proxy, Proxy, Proxy]:
        """All."""
        return self.door_to_broker, self.worker_to_broker, self.worker_to_database

    def start(self, name: str) -> None:
        """Starts a process of the Procfile, through its own proxies."""
        to_broker = self.door_to_broker if name == "web" else self.worker_to_broker
        self.stack.environ |= {
            "PAIDONCE_BROKER_URL": _at_port(self.broker_url, to_broker.port),
            "PAIDONCE_DATABASE_URL": through(self.database_url, self.worker_to_database.port),
        }
        self.stack.start(name)

    def revive(self) -> None:
        """Everything flows and runs again; a process that stands still goes on."""
        for proxy in self.proxies:
            proxy.flow()
        for process in self.stack.running.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
        self.restart_the_dead()
        self.stack.wait_ready()

    def restart_the_dead(self) -> None:
        """As every platform does."""
        for name, process in list(self.stack.running.items()):
            if process.poll() is not None:
                self.start(name)

    def kill(self, name: str) -> None:
        """Kill -9, children too."""
        os.killpg(self.stack.running[name].pid, signal.SIGKILL)
        self.stack.running[name].wait()

    def arm(self, plan: str) -> None:
        """One process of those that run will be struck."""
        for taken in self.folder.glob("plan.*"):
            taken.unlink()
        fresh = self.folder / "next"
        fresh.write_text(plan)
        fresh.rename(self.plan)

    def struck(self) -> int:
        """Waits for the process that was struck: its id."""
        soon(lambda: bool(self.taken()), "the point was not passed", 30)
        return self.taken()[0]

    def taken(self) -> list[int]:
        """Who was struck."""
        return [int(path.suffix[1:]) for path in self.folder.glob("plan.*")]

    # ---- the broker, from outside

    def drained(self) -> bool:
        """Whether nothing waits and nothing is unacknowledged."""
        return self.depths().get(APPLY, 0) == 0

    def depths(self) -> Mapping[str, int]:
        """Messages by queue, the unacknowledged too."""
        if self.prefix:
            with redis.Redis.from_url(self.broker_url) as client:
                return {queue: int(client.xlen(self.prefix + queue)) for queue in (APPLY, QUARANTINE)}  # type: ignore[arg-type]
        listed = self.rabbitmqctl("list_queues", "--no-table-headers", "name", "messages")
        return {name: int(count) for name, count in (line.split("\t") for line in listed.splitlines())}

    @property
    def vhost(self) -> str:
        """RabbitMQ's."""
        return unquote(urlsplit(self.broker_url).path[1:])

    def rabbitmqctl(self, command: str, *words: str) -> str:
        """For this vhost."""
        where = () if "--vhost" in words else ("-p", self.vhost)
        call = ["rabbitmqctl", "--quiet", command, *where, *words]
        return subprocess.run(call, check=True, capture_output=True, text=True, timeout=60).stdout

    def put_back(self) -> int:
        """A person sends everything in RabbitMQ's quarantine to its queue again; how many."""
        count = 0
        with connect(Settings(broker_url=self.broker_url)) as connection:
            channel = connection.default_channel
            while message := kombu.Queue(QUARANTINE, channel=channel, no_declare=True).get(no_ack=False):
                channel.basic_publish_confirm(
                    channel.prepare_message(
                        message.body,
                        content_type=message.content_type,
                        content_encoding=message.content_encoding,
                        headers=message.headers,
                        properties={"delivery_mode": 2},
                    ),
                    exchange="paidonce",
                    routing_key="apply",
                )
                message.ack()
                count += 1
        return count

    # ---- the database, from outside

    def rows(self, statement: str, **facts: Any) -> list[Any]:
        """What a query finds."""
        return list(self.database.execute(statement, facts).fetchall())

    def end_sessions(self) -> None:
        """Every session of the worker's, in the middle of whatever it does."""
        self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'paidonce'"
        )


@contextmanager
def stage(folder: Path, broker_url: str, prefix: str = "") -> Iterator[Stage]:
    """A stage on a database of its own; nothing of it is left."""
    with own_database(unique_name("failpoints")) as database_url:
        own = Stage(folder, database_url, broker_url, prefix)
        try:
            for proxy in own.proxies:
                proxy.start()
            for name in ("web", "worker", "beat"):
                own.start(name)
            own.stack.wait_ready()
            soon(lambda: "ready" in own.stack.tail("worker"), own.stack.tail("worker"), 60)
            yield own
        finally:
            for name in list(own.stack.running):
                with suppress(ProcessLookupError):
                    own.stack.kill(name)
            for proxy in own.proxies:
                proxy.close()
            own.database.close()


def eventually(true: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    """Waits for something that takes seconds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (6379 if parts.scheme.startswith("redis") else 5672)


def _at_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    return parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}").geturl()
