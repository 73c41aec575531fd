"""Migrations on a real PostgreSQL: they match the tables, go back, and may be run twice at once."""

import os
import secrets
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, make_url

ROOT = Path(__file__).parents[2]


def _config(engine: Engine) -> tuple[Config, object]:
    connection = engine.connect()
    config = Config(str(ROOT / "alembic.ini"))
    config.attributes["connection"] = connection
    return config, connection


def test_the_migrations_make_exactly_the_tables(database: Engine) -> None:
    """`alembic check` finds nothing to do."""
    config, connection = _config(database)
    with connection:  # type: ignore[attr-defined]
        command.check(config)


def test_the_migrations_go_back(database: Engine) -> None:
    """Down to nothing and up again."""
    config, connection = _config(database)
    with connection:  # type: ignore[attr-defined]
        command.downgrade(config, "base")
        assert inspect(database).get_table_names() == ["alembic_version"]
        command.upgrade(config, "head")
        command.check(config)


def test_two_releases_at_once(postgres: str, python: str) -> None:
    """The second waits for the first's advisory lock; both succeed."""
    name = f"paidonce_test_release_{secrets.token_hex(4)}"
    plain = make_url(postgres).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            url = make_url(postgres).set(database=name).render_as_string(hide_password=False)
            results: list[subprocess.CompletedProcess[str]] = []
            threads = [threading.Thread(target=lambda: results.append(_release(python, url))) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert [result.returncode for result in results] == [0, 0], [result.stderr[-500:] for result in results]


def _release(python: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=os.environ | {"PAIDONCE_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("table", ["notifications", "orders", "ledger_entries", "cases", "transitions", "packs"])
def test_every_constraint_is_named_by_the_rule(database: Engine, table: str) -> None:
    """Code that reads a violation reads its name."""
    names = [key["name"] for key in inspect(database).get_unique_constraints(table)]
    names += [inspect(database).get_pk_constraint(table)["name"]]
    names += [check["name"] for check in inspect(database).get_check_constraints(table)]

    assert all(name and name.startswith((f"uq__{table}", f"pk__{table}", f"ck__{table}")) for name in names), names
