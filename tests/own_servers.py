"""Servers of a test's own, which it may stop, kill and choke. The machine's servers are nobody's to touch.

Each keeps its data in a folder of the test's, on a port of its own, and comes back on both.
"""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import kombu
import kombu.exceptions
import redis
from running import free_port, until

#: Debian's /usr/sbin/rabbitmq-server goes on as another user, with the machine's settings; these do not.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")


class Missing(Exception):
    """A server's program is not on this machine."""


class Program:
    """One process in a group of its own, so that its children end with it."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, which: signal.Signals) -> None:
        """Sends a signal to all of them."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, which)

    def end(self, which: signal.Signals = signal.SIGKILL) -> None:
        """Sends `which` and waits; SIGKILL when that takes more than half a minute."""
        self.send(which)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._process.wait(30)


class RabbitMQ:
    """A node with its own name, cookie and epmd. Its user is guest, its vhost is /."""

    def __init__(self, folder: Path) -> None:
        """Starts nothing yet. Raises Missing."""
        epmd = shutil.which("epmd")
        if epmd is None or not (SCRIPTS / "rabbitmq-server").exists():
            raise Missing("rabbitmq-server")
        self._folder = folder
        self._port, self._epmd_port = free_port(), free_port()
        self._environ = os.environ | {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"paidonce_{secrets.token_hex(4)}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        }
        (folder / "environment").touch()
        (folder / "plugins").write_text("[].\n")
        self._epmd = Program([epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1"], folder, self._environ)
        self._server: Program | None = None

    @property
    def url(self) -> str:
        """Its vhost."""
        return f"amqp://guest:guest@127.0.0.1:{self._port}//"

    def start(self) -> None:
        """Until it takes connections."""
        self._server = Program([str(SCRIPTS / "rabbitmq-server")], self._folder, self._environ)
        until(self._answers, f"RabbitMQ does not start; see {self._folder}/log")

    def _answers(self) -> bool:
        try:
            with kombu.Connection(self.url, connect_timeout=1) as connection:
                connection.ensure_connection(max_retries=0)
        except (OSError, kombu.exceptions.OperationalError):
            return False
        return True

    def ctl(self, *words: str) -> str:
        """`rabbitmqctl` for this node."""
        command = [str(SCRIPTS / "rabbitmqctl"), "--quiet", *words]
        return subprocess.run(
            command, env=self._environ, cwd=self._folder, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def stop(self) -> None:
        """As a deploy does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once, with -9."""
        self._end(signal.SIGKILL)

    def lose_everything(self) -> None:
        """It dies with its disk and comes back empty."""
        self.kill()
        shutil.rmtree(self._folder / "data")
        self.start()

    def pause(self) -> None:
        """It stands still with all its connections open, until `resume`."""
        if self._server:
            self._server.send(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        if self._server:
            self._server.send(signal.SIGCONT)

    def close(self) -> None:
        """Nothing of it is left."""
        self.kill()
        self._epmd.end()

    def _end(self, how: signal.Signals) -> None:
        if self._server:
            self._server.end(how)
        self._server = None


class Redis:
    """A server with an append-only file, synced at every write unless told otherwise."""

    def __init__(self, folder: Path, appendfsync: str = "always") -> None:
        """Starts nothing yet. Raises Missing."""
        program = shutil.which("redis-server")
        if program is None:
            raise Missing("redis-server")
        self._folder = folder
        self._port = free_port()
        self._command = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self._command += ["--appendonly", "yes", "--appendfsync", appendfsync, "--maxmemory-policy", "noeviction"]
        self._server: Program | None = None

    @property
    def url(self) -> str:
        """Its database 0."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Until it has read its file."""
        self._server = Program(self._command, self._folder, os.environ)
        until(self._answers, f"Redis does not start; see {self._folder}/log")

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def pause(self) -> None:
        """It stands still with all its connections open, until `resume`."""
        if self._server:
            self._server.send(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        if self._server:
            self._server.send(signal.SIGCONT)

    def lose_everything(self) -> None:
        """It dies with its disk and comes back empty."""
        self.kill()
        shutil.rmtree(self._folder / "appendonlydir")
        self.start()

    def kill(self) -> None:
        """Ends it at once, with -9."""
        if self._server:
            self._server.end()
        self._server = None


@contextmanager
def own_rabbitmq(folder: Path) -> Iterator[RabbitMQ]:
    """A running node while the block runs. Raises Missing."""
    node = RabbitMQ(folder)
    try:
        node.start()
        yield node
    finally:
        node.close()


@contextmanager
def own_redis(folder: Path, appendfsync: str = "always") -> Iterator[Redis]:
    """A running server while the block runs. Raises Missing."""
    server = Redis(folder, appendfsync)
    try:
        server.start()
        yield server
    finally:
        server.kill()
