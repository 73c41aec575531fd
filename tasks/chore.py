"""Periodic tasks: several beats and several workers may send them; an advisory lock lets one run at a time."""

from sqlalchemy import Connection, func, select


def alone(connection: Connection, chore: str) -> bool:
    """Whether this transaction may do `chore` now. Held to its end; a session lock would break under pgbouncer."""
    return bool(connection.execute(select(func.pg_try_advisory_xact_lock(func.hashtext(f"paidonce.{chore}")))).scalar())
