"""A PostgreSQL of the run's own, durable as in production, that may be killed and started again."""

import subprocess
import time
from contextlib import suppress
from signal import SIGQUIT

import psycopg

from ops.database import connected
from ops.migrate import upgrade

from .ground import Ground, find, wait_for_port
from .processes import as_user, free_port

#: What a crash may not take; said aloud, since the run rests on it.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
#: Seconds: recovery replays what was written since the last checkpoint.
RECOVERY = 60


class OwnPostgres:
    """`url` is psycopg's, `sqlalchemy_url` our processes'."""

    def __init__(self, ground: Ground) -> None:
        """Makes the cluster. Raises ServerMissing."""
        initdb, postgres = find("initdb", "PostgreSQL"), find("postgres", "PostgreSQL")
        place, self.port = ground.place("postgres"), free_port()
        subprocess.run(
            [initdb, "-D", str(place / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-instructions"],
            check=True,
            capture_output=True,
            timeout=120,
            cwd=place,
            **as_user(ground.user),
        )
        listening = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        settings = [f"{name}={value}" for name, value in (DURABLE | listening | {"max_connections": "200"}).items()]
        arguments = [word for setting in settings for word in ("-c", setting)]
        self.process = ground.process("postgres", [postgres, "-D", str(place / "data"), *arguments], {}, place)
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.sqlalchemy_url = self.url.replace("postgresql://", "postgresql+psycopg://", 1)

    def start(self) -> None:
        """Starts it, again after a crash, and returns when it answers."""
        self.process.start()
        self.wait()

    def wait(self) -> None:
        """Until it answers. Raises RuntimeError."""
        wait_for_port(self.port, self.process, RECOVERY)
        deadline = time.monotonic() + RECOVERY
        while time.monotonic() < deadline and self.process.is_running():
            with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=3):
                return
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL does not recover; see {self.process.log}")

    def migrate(self) -> None:
        """Our tables."""
        with connected(self.sqlalchemy_url) as connection:
            upgrade(connection)

    def crash(self) -> None:
        """Every session ends at once and nothing is written any more: `pg_ctl stop -m immediate`."""
        self.process.ask(SIGQUIT, 20)

    def recover(self) -> None:
        """Started again where it ended by itself; returns when it answers."""
        if self.process.is_running():
            self.wait()
        else:
            self.start()

    def stop(self) -> None:
        """For good."""
        self.crash()
        self.process.kill()
