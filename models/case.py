"""Cases: what a person has to see, with its reason."""

from collections.abc import Collection, Sequence
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
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from domain.announcement import CASE_OPENED
from domain.verdict import CASES
from models.base import as_given, given, metadata, one_of, tuples
from models.outbox import outbox

#: Packs that the broker confirmed and never delivered. No verdict on a notification: nobody knows which ones they held.
LOST_PACK = "lost_pack"

cases = Table(
    "cases",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False, comment="the verdict that opened it, or lost_pack"),
    Column("status", Text, nullable=False, server_default="open"),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("order_no", Text),
    Column("notification_id", Text, nullable=False, comment="the provider's id; empty where it could not be read"),
    Column("digest", Text, nullable=False, comment="of the copy that opened it: finds the payload"),
    Column("reason", Text, nullable=False),
    Column("detail", Text, comment="of a lost_pack: how many notifications, and when they were received"),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("resolved_at", DateTime(timezone=True)),
    Column("resolution", Text, comment="applied: the notification took effect after all; closed: a person's word"),
    Column("note", Text, nullable=False, server_default=""),
    # The same copy delivered again, or its row purged and replayed, does not open a second case.
    UniqueConstraint("provider", "account", "notification_id", "digest", "kind"),
    CheckConstraint(one_of(sorted([*CASES, LOST_PACK]), "kind"), name="kind"),
    CheckConstraint("status IN ('open', 'resolved')", name="status"),
    CheckConstraint("resolution IN ('applied', 'closed')", name="resolution"),
    Index("ix__cases__open", "opened_at", postgresql_where=text("status = 'open'")),
    Index("ix__cases__account_order_no", "account", "order_no"),
)
c = cases.c
_NEW = (c.kind, c.provider, c.account, c.order_no, c.notification_id, c.digest, c.reason, c.detail)
_fresh = given(*_NEW)
_opened = (
    insert(cases)
    .from_select([column.name for column in _NEW], select(*(_fresh.c[column.name] for column in _NEW)))
    .on_conflict_do_nothing()
    .returning(c.id, c.opened_at, *_NEW)
    .cte("opened")
)
_told = {name: _opened.c[name] for name in ("id", "kind", "provider", "notification_id", "reason", "opened_at")}
_body = func.json_build_object(*(part for name, value in _told.items() for part in (name, value)))
_announced = (
    insert(outbox)
    .from_select(
        ["name", "account", "order_no", "body"],
        select(literal(CASE_OPENED), _opened.c.account, _opened.c.order_no, _body),
    )
    .returning(outbox.c.id)
)
_KEY = (c.provider, c.account, c.notification_id, c.digest)
_wanted = given(*_KEY)
_settle = (
    update(cases)
    .where(*(column == _wanted.c[column.name] for column in _KEY), c.status == "open")
    .values(status="resolved", resolution="applied", resolved_at=func.now())
)


def open_cases(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Opens cases (kind, provider, account, order_no, notification_id, digest, reason[, detail]); how many were new.

    Each new one is announced in the outbox.
    """
    return len(connection.execute(_announced, as_given(rows)).all()) if rows else 0


def resolve_applied(connection: Connection, keys: Collection[tuple[str, str, str, str]]) -> None:
    """Resolves the open cases of copies (provider, account, notification_id, digest) that took effect after all."""
    if keys:
        connection.execute(_settle, tuples(keys, *_KEY))


def lock_case(connection: Connection, number: int) -> Any:
    """SELECT .. FOR UPDATE of one case, or None."""
    return connection.execute(select(cases).where(c.id == number).with_for_update()).one_or_none()


def close_case(connection: Connection, number: int, note: str) -> Any:
    """Resolves a case by a person's word; the row as it is then."""
    values = {"status": "resolved", "resolution": "closed", "resolved_at": func.now(), "note": note}
    return connection.execute(update(cases).where(c.id == number).values(values).returning(cases)).one()
