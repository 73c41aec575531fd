"""The tables change while payments come, and payments come before the tables."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import psycopg
import pytest
from chaos.processes import ROOT
from chaos.servers import plain
from chaos.traffic import Traffic

REVISION = '''
"""Of tomorrow: more columns, a default, an index, a table."""
from alembic import op
import sqlalchemy as sa

revision = "tomorrow"
down_revision = {newest!r}
branch_labels = depends_on = None

def upgrade():
    for table in ("notifications", "orders", "ledger_entries", "transitions"):
        op.add_column(table, sa.Column("of_tomorrow", sa.Text, server_default="new"))
    op.create_index("ix__of_tomorrow", "notifications", ["of_tomorrow"])
    op.create_table("of_tomorrow", sa.Column("order_id", sa.BigInteger, sa.ForeignKey("orders.id")))

def downgrade():
    op.drop_table("of_tomorrow")
    op.drop_index("ix__of_tomorrow")
    for table in ("notifications", "orders", "ledger_entries", "transitions"):
        op.drop_column(table, "of_tomorrow")
'''


@pytest.fixture
def traffic(tmp_path: Path, database_url: str, rabbitmq_url: str) -> Traffic:
    """Some seconds of payments, their orders written."""
    own = Traffic(tmp_path, database_url, {"PAIDONCE_BROKER_URL": rabbitmq_url}, 300, 6.0)
    own.write_orders()
    return own


@pytest.fixture
def alembic(tmp_path: Path, traffic: Traffic) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs alembic on our migrations and one more, which adds and takes away again."""
    copytree(ROOT / "migrations", tmp_path / "migrations")
    (tmp_path / "alembic.ini").write_text((ROOT / "alembic.ini").read_text())
    newest = max(path.name[:4] for path in (ROOT / "migrations" / "versions").glob("0*.py"))
    (tmp_path / "migrations" / "versions" / "9999_tomorrow.py").write_text(REVISION.format(newest=newest))
    environment = os.environ | traffic.environment | {"PYTHONPATH": str(ROOT)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "alembic", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_a_migration_while_payments_come(
    traffic: Traffic, alembic: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """An additive revision up and down, three times under load; the code of today does not notice."""
    with traffic.stack.running():
        with traffic.flowing():
            traffic.wait_until_under_way()
            ends = [alembic(*words) for words in (("upgrade", "head"), ("downgrade", "-1")) * 3]
        traffic.wait_until_applied()
    assert [end.returncode for end in ends] == [0] * 6, [end.stderr[-500:] for end in ends]
    traffic.assert_all_is_well()


def test_payments_come_before_the_tables(tmp_path: Path, postgres: str, rabbitmq_url: str) -> None:
    """The code was deployed first: the worker holds what it has until the tables are there, then applies it all."""
    name = f"paidonce_test_bare_{os.getpid()}"
    url = f"{postgres.rpartition('/')[0]}/{name}"
    with psycopg.connect(plain(postgres), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            traffic = Traffic(tmp_path, url, {"PAIDONCE_BROKER_URL": rabbitmq_url}, 100, 2.0)
            with traffic.stack.running():
                with traffic.flowing():
                    """Everything is acknowledged to the provider while no table exists."""
                assert traffic.paid() == {}
                command = [sys.executable, "-m", "alembic", "upgrade", "head"]
                subprocess.run(
                    command, cwd=ROOT, env=os.environ | traffic.environment, check=True, timeout=60, capture_output=True
                )
                traffic.write_orders()
                traffic.wait_until_applied()
            traffic.assert_all_is_well()
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
