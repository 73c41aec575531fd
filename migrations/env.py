"""Runs migrations on PAIDONCE_DATABASE_URL, one process at a time."""

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from models import metadata
from worker.settings import settings

#: Two releases at once: the second waits here, then finds nothing to do.
LOCK = "hashtext('paidonce.migrations')"


def ours(name: str | None, kind: str, _: object) -> bool:
    """Leaves out the payload partitions, which beat makes, and the queues of an embedded broker."""
    return not (kind == "table" and name is not None and name.startswith("payloads_"))


def run(connection: Connection) -> None:
    """Migrates under a session lock, committed revision by revision."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=ours,
        compare_type=True,
        transaction_per_migration=True,
    )
    connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
    connection.commit()
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
        connection.commit()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(settings().database_url, poolclass=pool.NullPool).connect() as own:
        run(own)
