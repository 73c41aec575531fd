"""What people did about cases: appended, never changed."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    ForeignKey,
    Identity,
    Table,
    Text,
    func,
)

from models.base import metadata
from models.case import cases

case_actions = Table(
    "case_actions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("case_id", BigInteger, ForeignKey(cases.c.id), nullable=False, index=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("actor", Text, nullable=False, comment="who, by their own word"),
    Column("action", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    CheckConstraint("action IN ('apply', 'close', 'ask')", name="action"),
)


def record_action(connection: Connection, case_id: int, actor: str, action: str, note: str) -> None:
    """Notes who did what about a case, in the transaction that does it."""
    connection.execute(case_actions.insert().values(case_id=case_id, actor=actor, action=action, note=note))
