"""The database's clock. Workers have one each, which may jump; what they write for one another goes by this one."""

from datetime import datetime

from sqlalchemy import Connection, func, select


def database_time(connection: Connection) -> datetime:
    """When this transaction began, UTC; one round trip."""
    return connection.execute(select(func.now())).scalar_one()
