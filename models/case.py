"""Cases: what a person has to see, with its reason."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert

from domain.verdict import CASES
from models.base import as_given, given, metadata, one_of

cases = Table(
    "cases",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False, comment="the verdict that opened it"),
    Column("status", Text, nullable=False, server_default="open"),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("order_no", Text),
    Column("notification_id", Text, nullable=False, comment="the provider's id; empty where it could not be read"),
    Column("digest", Text, nullable=False, comment="of the copy that opened it: finds the payload"),
    Column("reason", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("resolved_at", DateTime(timezone=True)),
    Column("note", Text, nullable=False, server_default=""),
    # The same copy delivered again, or its row purged and replayed, does not open a second case.
    UniqueConstraint("provider", "account", "notification_id", "digest", "kind"),
    CheckConstraint(one_of(sorted(CASES), "kind"), name="kind"),
    CheckConstraint("status IN ('open', 'resolved')", name="status"),
    Index("ix__cases__open", "opened_at", postgresql_where=text("status = 'open'")),
    Index("ix__cases__account_order_no", "account", "order_no"),
)
c = cases.c
_NEW = (c.kind, c.provider, c.account, c.order_no, c.notification_id, c.digest, c.reason)
_fresh = given(*_NEW)
_open = (
    insert(cases)
    .from_select([column.name for column in _NEW], select(*(_fresh.c[column.name] for column in _NEW)))
    .on_conflict_do_nothing()
    .returning(c.id)
)


def open_cases(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Opens cases (kind, provider, account, order_no, notification_id, digest, reason); how many were new."""
    return len(connection.execute(_open, as_given(rows)).all()) if rows else 0
