"""pgmq in the run's own PostgreSQL: a broker that falls and rises with the database."""

from typing import Any
from urllib.parse import urlsplit

import psycopg

from .broker import Broker
from .brokers import install_pgmq
from .own_postgres import OwnPostgres
from .own_redis import KEPT, VISIBILITY


class OwnPgmq(Broker):
    """Its process is the database's."""

    kind = "pgmq"

    def __init__(self, postgres: OwnPostgres) -> None:
        self._postgres = postgres
        self.process, self.port = postgres.process, postgres.port

    def start(self) -> None:
        """After the database, which is up already."""
        install_pgmq(self._postgres.url)

    def url(self, port: int | None = None) -> str:
        netloc = f"postgres@127.0.0.1:{port or self.port}"
        return urlsplit(self._postgres.url)._replace(scheme="pgmq", netloc=netloc).geturl()

    def environment(self, port: int | None = None) -> dict[str, str]:
        return {"PAIDONCE_BROKER_URL": self.url(port), "PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": str(VISIBILITY)} | KEPT

    def depth(self) -> int:
        """A message leaves its table when it is acknowledged."""
        return int(self._rows("SELECT count(*) FROM pgmq.q_paidonce_apply")[0][0])

    def quarantined(self) -> set[str]:
        return {str(row[0]) for row in self._rows("SELECT message->'headers'->>'id' FROM pgmq.q_paidonce_quarantine")}

    def listen(self) -> None:
        """The queue keeps them."""

    def told(self) -> list[tuple[int, str, str]]:
        wanted = "message->>'id', message->>'account', coalesce(message->>'order_no', '')"
        rows = self._rows(f"SELECT {wanted} FROM pgmq.q_paidonce_events ORDER BY msg_id")
        return [(int(row[0]), row[1], row[2]) for row in rows]

    def holdings(self) -> set[str]:
        return {str(row[0]) for row in self._rows("SELECT queue_name FROM pgmq.meta")}

    def connections(self) -> int:
        """Sessions that are not the worker's own work."""
        wanted = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name = ''"
        return int(self._rows(wanted)[0][0]) - 1

    def crash(self) -> bool:
        """The database's own crash is a fault of its own."""
        return False

    def stop(self) -> None:
        """With the database."""

    def _rows(self, statement: str) -> list[Any]:
        with psycopg.connect(self._postgres.url, connect_timeout=3) as connection:
            return connection.execute(statement.encode()).fetchall()
