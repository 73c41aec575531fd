"""History: one row per written change of an order's state. `seq` is dense and starts at 1."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Integer, Table, Text, func, select
from sqlalchemy.dialects.postgresql import insert

from models.base import given, metadata
from models.order import orders

transitions = Table(
    "transitions",
    metadata,
    Column("order_id", BigInteger, ForeignKey(orders.c.id), primary_key=True),
    Column("seq", Integer, primary_key=True, comment="the order's version after the change"),
    Column("from_status", Text, nullable=False),
    Column("to_status", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("notification_row", BigInteger, nullable=False, comment="notifications.id, which may be purged"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
c = transitions.c
_NEW = (c.order_id, c.seq, c.from_status, c.to_status, c.kind, c.notification_row)
_fresh = given(*_NEW, name="changes")
#: Writes history.
INSERT_CHANGES = insert(transitions).from_select(
    [column.name for column in _NEW], select(*(_fresh.c[column.name] for column in _NEW))
)
