"""PgBouncer in transaction mode before the database: each transaction may have another session. Debian 12 has 1.18."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from chaos.ground import Ground, find, wait_for_port
from chaos.processes import free_port
from chaos.servers import ServerMissing
from missing import missing
from running import stack, until
from shop import Shop
from sqlalchemy import make_url, text

from models import notifications
from worker.database import BY_KEY, SESSION, build_engine
from worker.link import Link
from worker.settings import Settings

PAYMENTS = 120
INI = """
[databases]
* = host={host} port={port} user={user}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_lifetime = 1
"""


@pytest.fixture
def pooled(database_url: str) -> Iterator[str]:
    """The URL of the test's database by way of a PgBouncer that has three sessions for everybody."""
    try:
        binary = find("pgbouncer", "PgBouncer")
    except ServerMissing:
        missing("PgBouncer", "its binary is not on this machine")
    at = make_url(database_url)
    if at.host is None:
        missing("PostgreSQL", "the embedded one has a socket that is its user's alone, and no port for PgBouncer")
    with TemporaryDirectory(prefix="paidonce-test-") as name:
        ground, port = Ground(Path(name)), free_port()
        place = ground.place("pgbouncer")
        facts = {"host": at.host, "port": at.port or 5432, "user": at.username or "postgres", "listen": port}
        ini = INI.format(**facts, password=f" password={at.password}" if at.password else "")
        (place / "pgbouncer.ini").write_text(ini)
        process = ground.process("pgbouncer", [binary, str(place / "pgbouncer.ini")], {}, place)
        process.start()
        try:
            wait_for_port(port, process)
            yield at.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        finally:
            process.kill()


def test_what_is_set_holds_in_every_transaction_and_stays_behind_in_none(pooled: str) -> None:
    """Time-outs, durability and planner settings as without a pooler; another client's session has none of them."""
    engine = build_engine(pooled, pooler=True)
    for _ in range(3):
        with engine.connect() as connection:
            found = {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in SESSION | BY_KEY}
        assert found == SESSION | BY_KEY
    engine.dispose()
    plain = make_url(pooled).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, prepare_threshold=None) as stranger:
        assert stranger.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_a_statement_repeated_often_is_never_prepared(pooled: str) -> None:
    """Psycopg prepares after five commits; the next session would not know the name."""
    engine = build_engine(pooled, pooler=True)
    for number in range(12):
        with engine.begin() as connection:
            assert connection.execute(text("SELECT CAST(:n AS int)"), {"n": number}).scalar_one() == number
            assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0
    engine.dispose()


def test_a_worker_through_a_pooler_applies_every_payment_once(
    pooled: str, rabbitmq_url: str, shop: Shop, tmp_path: Path
) -> None:
    """Receiver's packs, worker, beat and audit, all by way of three sessions that nobody owns."""
    orders = [shop.order(f"otter-{number}") for number in range(PAYMENTS)]
    link = Link(Settings(broker_url=rabbitmq_url))
    with stack(tmp_path, pooled, rabbitmq_url, PAIDONCE_DATABASE_POOLER="true", WALRUS="whsec_uncommon_walrus") as own:
        own.start("worker", "beat")
        payments = [json.dumps(shop.payment(order_no)).encode() for order_no in orders]
        for start in range(0, PAYMENTS, 4):
            link.send(payments[start : start + 4], 5)
            link.send(payments[start : start + 4], 5)
            time.sleep(0.02)
        until(lambda: shop.counts()["ledger_entries"] == PAYMENTS, lambda: own.tail("worker"))
        until(lambda: sum(row.deliveries for row in shop.rows(notifications)) == 2 * PAYMENTS, "the repetitions")
        assert shop.statuses() == {"applied": PAYMENTS}
        said = own.tail("worker")
    link.close()
    assert "database away" not in said
