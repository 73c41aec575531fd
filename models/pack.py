"""Packs seen: inside an epoch every number was confirmed by the broker, so a gap is a pack that the broker lost."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, Connection, DateTime, Integer, Table, Uuid, func
from sqlalchemy.dialects.postgresql import insert

from models.base import metadata

packs = Table(
    "packs",
    metadata,
    Column("epoch", Uuid, primary_key=True, comment="one publisher connection"),
    Column("number", BigInteger, primary_key=True, comment="1, 2, 3, ... inside the epoch"),
    Column("deliveries", Integer, nullable=False, comment="counted before the work, where it may be a redelivery"),
    Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("applied_at", DateTime(timezone=True)),
)
c = packs.c


def count_delivery(connection: Connection, epoch: str, number: int, uncounted: int = 0) -> int:
    """How often this pack was delivered, this time included. Commit before the work: a death must count.

    `uncounted`: deliveries known from elsewhere when the pack has no row yet (the broker says "redelivered").
    """
    statement = (
        insert(packs)
        .values(epoch=epoch, number=number, deliveries=1 + uncounted)
        .on_conflict_do_update(index_elements=["epoch", "number"], set_={"deliveries": c.deliveries + 1})
        .returning(c.deliveries)
    )
    return int(connection.execute(statement).scalar_one())


def mark_applied(connection: Connection, epoch: str, number: int) -> None:
    """Notes, in the pack's own transaction, that all its members are settled or recorded."""
    connection.execute(
        insert(packs)
        .values(epoch=epoch, number=number, deliveries=1, applied_at=func.now())
        .on_conflict_do_update(index_elements=["epoch", "number"], set_={"applied_at": func.now()})
    )


def delete_packs(connection: Connection, older_than: datetime) -> int:
    """Forgets packs first seen before `older_than`; how many."""
    return connection.execute(packs.delete().where(c.first_seen_at < older_than)).rowcount
