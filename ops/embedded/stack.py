"""The processes of the Procfile on an embedded PostgreSQL: started, watched, stopped."""

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread

from ops.database import connected
from ops.embedded.child import GRACE, Child, end_leftovers, remember
from ops.embedded.place import Place
from ops.embedded.postgres import Postgres, install_queues
from ops.embedded.sandbox import make_accounts
from ops.migrate import upgrade
from ops.output import err, fail

#: What PYTHONPATH needs so that the processes find our rooms.
ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
#: Seconds until the receiver must have its broker; a first start takes four.
PATIENCE = 60.0
QUEUES = "paidonce.apply,paidonce.chores"


@dataclass(frozen=True, slots=True)
class Addresses:
    """What may be given from outside, for tests on other servers; None: embedded."""

    port: int = 0
    database_url: str | None = None
    broker_url: str | None = None


@dataclass(slots=True)
class Stack:
    """A running house."""

    place: Place
    port: int
    database_url: str
    broker_url: str
    #: None: the database is somebody else's.
    postgres: Postgres | None = None
    #: Seconds that a process has to finish its work when the stack stops.
    grace: float = GRACE
    children: list[Child] = field(default_factory=list)
    _ending: Event = field(default_factory=Event)

    @property
    def url(self) -> str:
        """Where the receiver listens."""
        return f"http://{HOST}:{self.port}"

    def environ(self) -> dict[str, str]:
        """The settings of its processes."""
        return {
            "PAIDONCE_DATABASE_URL": self.database_url,
            "PAIDONCE_BROKER_URL": self.broker_url,
            "PAIDONCE_ACCOUNTS": str(self.place.accounts),
        }

    def start(self) -> None:
        """Starts the children and the thread that watches them."""
        self.children = [
            Child(name, argv, self.place, _environ(self.place, self.environ()))
            for name, argv in _commands(self.port).items()
        ]
        for child in self.children:
            child.start()
        remember(self.place.children, self.children)
        Thread(target=self._watch, name="watch", daemon=True).start()

    def wait_ready(self) -> None:
        """Until the receiver has its broker; ends the command if it never does."""
        deadline = time.monotonic() + PATIENCE
        while not _is_ready(self.port):
            dying = [child.name for child in self.children if child.deaths >= 2]
            if dying or time.monotonic() > deadline:
                self.show_logs()
                fail(f"{dying[0]} does not stay alive" if dying else "the receiver does not get ready")
            time.sleep(0.05)

    def show_logs(self) -> None:
        """The end of every log, on standard error."""
        for child in self.children:
            err.rule(child.name, align="left")
            err.print(self.place.tail(child.name), markup=False)

    def stop(self) -> None:
        """Everything, the receiver first: what it has accepted is with the broker."""
        self._ending.set()
        for child in self.children:
            child.ask_to_stop()
        for child in self.children:
            child.wait(self.grace)
        self.place.children.unlink(missing_ok=True)

    def _watch(self) -> None:
        while not self._ending.wait(0.3):
            parts: list[Postgres | Child] = [*([self.postgres] if self.postgres else []), *self.children]
            told = [line for part in parts if (line := part.watch())]
            for line in told:
                err.print(line, markup=False)
            if told and not self._ending.is_set():
                remember(self.place.children, self.children)


@contextmanager
def running_stack(place: Place, addresses: Addresses) -> Iterator[Stack]:
    """A ready stack in `place`, stopped in the end, also after an error and Ctrl-C."""
    for name in end_leftovers(place.children):
        err.print(f"ended a left-over {name}", markup=False)
    port = checked_port(addresses.port)
    with ExitStack() as closing:
        postgres, database_url = None, addresses.database_url
        if database_url is None:
            postgres = Postgres(place)
            closing.callback(postgres.stop)
            database_url = postgres.create_database()
        broker_url = addresses.broker_url or install_queues(database_url)
        with connected(database_url) as connection:
            upgrade(connection)
        make_accounts(place)
        stack = Stack(place, port, database_url, broker_url, postgres)
        closing.callback(stack.stop)
        stack.start()
        stack.wait_ready()
        yield stack


def checked_port(port: int) -> int:
    """`port` if nobody listens there, or a free one for 0; ends the command otherwise."""
    with socket.socket() as probe:
        # As uvicorn does: a port whose last connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            fail(f"port {port} cannot be used: {error.strerror}; choose another with --port")
        return int(probe.getsockname()[1])


def _commands(port: int) -> Mapping[str, list[str]]:
    """The Procfile's lines, without a shell and with this interpreter."""
    celery = [sys.executable, "-m", "celery", "-A", "worker.app"]
    wire = ["--http", "receiver.wire:Wire", "--no-access-log", "--no-server-header"]
    listen = ["--host", HOST, "--port", str(port), *wire]
    quiet = ["-l", "WARNING"]
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return {
        "receiver": [sys.executable, "-m", "uvicorn", "receiver.app:app", *listen],
        "worker": [*celery, "worker", "-Q", QUEUES, "-c", "2", *quiet, *alone],
        "beat": [*celery, "beat", *quiet],
    }


def _environ(place: Place, own: Mapping[str, str]) -> dict[str, str]:
    """Ours found by import from any directory; no lock server, which an embedded stack has not got."""
    # What a killed process leaves in its temporary directory is in the place, too.
    temporary = place.data / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if name != "PAIDONCE_LOCK_URL"}
    paths = [str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, **own, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(temporary)}


def _is_ready(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
