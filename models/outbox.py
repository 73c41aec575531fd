"""The outbox: what the rest of the shop must know, written in the transaction that makes it true."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    DateTime,
    Identity,
    Index,
    Table,
    Text,
    cast,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from models.base import Rows, given, metadata, tuples

outbox = Table(
    "outbox",
    metadata,
    # Given under the order's row lock: for one order the numbers rise as its transitions do.
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="what consumers dedupe on"),
    Column("name", Text, nullable=False, comment="order.paid, case.opened, ...: the routing key"),
    Column("account", Text, nullable=False),
    Column("order_no", Text),
    Column("body", JSON, nullable=False, comment="amounts in minor units, times RFC 3339"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("relayed_at", DateTime(timezone=True), comment="when the broker confirmed it"),
    Index("ix__outbox__waiting", "id", postgresql_where=text("relayed_at IS NULL")),
)
c = outbox.c
_NEW = (c.name, c.account, c.order_no, c.body)
_fresh = given(*_NEW, name="announcements")
#: Announces what happened to orders, in the order of the rows given.
INSERT_ANNOUNCEMENTS = insert(outbox).from_select(
    [column.name for column in _NEW], select(*(_fresh.c[column.name] for column in _NEW))
)
# The body's text goes to the broker as it stands: nobody here reads it.
_waiting = (
    select(c.id, c.name, c.account, c.order_no, cast(c.body, Text).label("body"), c.created_at)
    .where(c.relayed_at.is_(None))
    .order_by(c.id)
)
_told = given(c.id)
_mark = update(outbox).where(c.id == _told.c.id).values(relayed_at=func.clock_timestamp())


def waiting(connection: Connection, limit: int) -> Rows:
    """The first `limit` rows that no broker confirmed yet, by id: id, name, account, order_no, body, created_at.

    By `relayed_at` alone and never from a last id on: ids of different orders commit in any order. Those of one order
    rise, so where a row is seen, all rows before it of the same order are.
    """
    return connection.execute(_waiting.limit(limit)).all()


def mark_relayed(connection: Connection, ids: Collection[int]) -> None:
    """The broker confirmed these."""
    if ids:
        connection.execute(_mark, tuples([(each,) for each in sorted(ids)], c.id))


def delete_relayed(connection: Connection, older_than: datetime, limit: int) -> int:
    """Deletes rows that were relayed before `older_than`, `limit` at most, the oldest first; how many.

    What waits is never deleted. It looks at `limit` relayed rows from the smallest id on, so it needs no index and a
    run that finds nothing costs as little as one that does.
    """
    oldest = select(c.id, c.relayed_at).where(c.relayed_at.is_not(None)).order_by(c.id).limit(limit).cte("oldest")
    gone = select(oldest.c.id).where(oldest.c.relayed_at < older_than)
    return connection.execute(outbox.delete().where(c.id.in_(gone))).rowcount
