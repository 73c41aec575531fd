"""The processed-status table: one row per notification, and the row lock that makes copies wait for one another."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Identity,
    Index,
    Integer,
    Select,
    Table,
    Text,
    UniqueConstraint,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from domain.verdict import SETTLED, WAITING, Verdict
from models.base import Rows, as_given, given, metadata, one_of, tuples
from models.order import orders

#: A row that was written before its verdict was known: an attempt is under way, or died.
RECEIVED = "received"
#: What `status` may hold: `received`, then the verdict's own word. A duplicate leaves the first row alone.
STATUSES = (RECEIVED, *sorted(set(Verdict) - {Verdict.DUPLICATE}))
#: Rows that will be tried again.
OPEN = (RECEIVED, *sorted(WAITING))

notifications = Table(
    "notifications",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("notification_id", Text, nullable=False, comment="the provider's id: the delivery key"),
    Column("digest", Text, nullable=False, comment="sha256 of what it says, less what a redelivery changes"),
    Column("kind", Text, nullable=False),
    Column("provider_kind", Text, nullable=False, comment="the provider's own word"),
    Column("order_no", Text),
    Column("transaction_id", Text, nullable=False, comment="with kind: the effect key"),
    Column("amount", BigInteger, comment="minor units"),
    Column("currency", Text),
    Column("cumulative", Boolean, nullable=False, comment="amount is the order's total of this kind so far"),
    Column("foreign_fields", Text, nullable=False, comment="fields that name another account, space separated"),
    Column("occurred_at", DateTime(timezone=True)),
    Column("key_id", Text, nullable=False, comment="which key verified it; never the key"),
    Column("verified_at", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("status", Text, nullable=False, server_default=RECEIVED),
    Column("reason", Text, nullable=False, server_default=""),
    Column("deliveries", Integer, nullable=False, server_default="1"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("last_error", Text, nullable=False, server_default=""),
    Column("next_attempt_at", DateTime(timezone=True), comment="not null exactly while the row is open"),
    Column("processed_at", DateTime(timezone=True)),
    # Never partitioned by time: a unique key would have to hold the time, and the same id would fit in twice.
    UniqueConstraint("provider", "account", "notification_id"),
    CheckConstraint(one_of(STATUSES, "status"), name="status"),
    Index("ix__notifications__account_order_no", "account", "order_no"),
    # An open row has a next attempt. Not by status: the update from `received` to its verdict would then touch every
    # index of the row, and this way it touches none.
    Index("ix__notifications__open", "next_attempt_at", postgresql_where=text("next_attempt_at IS NOT NULL")),
    # Purge walks by age; a BRIN costs a thousandth of a b-tree.
    Index("ix__notifications__received_at", "received_at", postgresql_using="brin"),
    postgresql_with={"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"},
)
c = notifications.c

_KEY = (c.provider, c.account, c.notification_id)
#: What settling needs of a locked row.
_HEAD = (c.id, *_KEY, c.digest, c.status, c.expires_at)
NEW = (
    *_KEY,
    c.digest,
    c.kind,
    c.provider_kind,
    c.order_no,
    c.transaction_id,
    c.amount,
    c.currency,
    c.cumulative,
    c.foreign_fields,
    c.occurred_at,
    c.key_id,
    c.verified_at,
    c.received_at,
    c.expires_at,
)
_fresh = given(*NEW)
_insert = (
    insert(notifications)
    .from_select(
        [column.name for column in NEW],
        # Sorted: two packs with the same ids wait for one another's unique entries in one direction only.
        select(*(_fresh.c[column.name] for column in NEW)).order_by(
            _fresh.c.provider, _fresh.c.account, _fresh.c.notification_id
        ),
    )
    .on_conflict_do_nothing()
    .returning(*_HEAD)
)
_wanted = given(*_KEY)
_lock = (
    select(*_HEAD)
    .select_from(notifications)
    .join(
        _wanted,
        (c.provider == _wanted.c.provider)
        & (c.account == _wanted.c.account)
        & (c.notification_id == _wanted.c.notification_id),
    )
    .order_by(*_KEY)
    .with_for_update(of=notifications)
)
_RULED = (c.id, c.status, c.reason, c.next_attempt_at)
_ruled = given(*_RULED, name="verdicts")
#: Writes what was decided, and when.
UPDATE_VERDICTS = (
    update(notifications)
    .where(c.id == _ruled.c.id)
    .values(
        status=_ruled.c.status,
        reason=_ruled.c.reason,
        next_attempt_at=_ruled.c.next_attempt_at,
        processed_at=func.now(),
        last_error="",
    )
)
_COUNTED = (c.id, c.deliveries)
_counted = given(*_COUNTED)
_count = (
    update(notifications)
    .where(c.id == _counted.c.id)
    .values(deliveries=notifications.c.deliveries + _counted.c.deliveries)
)


def insert_new(connection: Connection, rows: Sequence[dict[str, Any]]) -> Rows:
    """INSERT .. ON CONFLICT DO NOTHING of the columns `NEW`; the rows that were new, as `lock_notifications` has them.

    Waits for other transactions that are inserting the same key. What it inserted is locked by that.
    """
    return connection.execute(_insert, as_given(rows)).all()


def lock_notifications(connection: Connection, keys: Collection[tuple[str, str, str]]) -> Rows:
    """SELECT .. FOR UPDATE of (provider, account, notification_id), sorted: id, key, digest, status, expires_at.

    A key may be missing: `purge` can delete between the insert and this. Missing is never "new": insert again.
    """
    return connection.execute(_lock, tuples(keys, *_KEY)).all()


def count_deliveries(connection: Connection, more: dict[int, int]) -> None:
    """Adds deliveries to rows that were seen before: id -> how many more."""
    if more:
        connection.execute(_count, tuples(more.items(), *_COUNTED))


def record_attempts(connection: Connection, due: dict[int, datetime]) -> None:
    """Attempts + 1 before the work is tried, so that a death counts; id -> when the next may start, UTC."""
    row = given(c.id, c.next_attempt_at)
    connection.execute(
        update(notifications)
        .where(c.id == row.c.id)
        .values(attempts=c.attempts + 1, next_attempt_at=row.c.next_attempt_at),
        tuples(due.items(), c.id, c.next_attempt_at),
    )


def record_failure(
    connection: Connection, row_id: int, status: str, error: str, next_attempt_at: datetime | None
) -> None:
    """Why the last attempt raised; `status` is `failed` or `dead`."""
    connection.execute(
        update(notifications)
        .where(c.id == row_id)
        .values(
            status=status,
            reason="attempts_exhausted" if status == Verdict.DEAD else "attempt_raised",
            last_error=error,
            next_attempt_at=next_attempt_at,
            processed_at=func.now(),
        )
    )


def due(now: datetime, limit: int) -> Select[Any]:
    """Rows to try again: a pause is over, or a parked row's order appeared or changed since it was decided.

    Rows that another worker holds are passed over: right for a sweep, and wrong for dedupe. A minute of overlap covers
    an order whose transaction began before our decision and committed after it.
    """
    changed = (
        select(orders.c.id)
        .where(orders.c.account == c.account, orders.c.order_no == c.order_no)
        .where(orders.c.updated_at >= c.processed_at - timedelta(minutes=1))
        .where(c.processed_at <= now - timedelta(seconds=1))
        .exists()
    )
    waiting = c.status.in_([RECEIVED, Verdict.FAILED.value]) & (c.next_attempt_at <= now)
    woken = (c.status == Verdict.PARKED.value) & ((c.next_attempt_at <= now) | changed)
    return (
        select(notifications)
        .where(c.next_attempt_at.is_not(None), c.status.in_(OPEN), c.expires_at > now, or_(waiting, woken))
        # Longest unseen first; SKIP LOCKED never waits, so this order cannot deadlock.
        .order_by(c.processed_at.nulls_first())
        .limit(limit)
        .with_for_update(skip_locked=True, of=notifications)
    )


def overdue(now: datetime, limit: int) -> Select[Any]:
    """Open rows whose time ran out, locked; rows that another worker holds are passed over."""
    return (
        select(notifications)
        .where(c.next_attempt_at.is_not(None), c.status.in_(OPEN), c.expires_at <= now)
        .order_by(*_KEY)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def delete_settled(connection: Connection, older_than: datetime, limit: int) -> int:
    """Deletes at most `limit` settled rows received before `older_than`; how many.

    Rows that wait, and rows that stand in front of a person, are never deleted. Locked rows are passed over: a
    redelivery of them is under way.
    """
    old = (
        select(c.id)
        .where(c.received_at < older_than, c.status.in_([verdict.value for verdict in sorted(SETTLED)]))
        .order_by(c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        # A fence for the planner: a LIMIT inside a join may be run more than once (Oban 2.15).
        .cte("old")
        .prefix_with("MATERIALIZED")
    )
    return connection.execute(notifications.delete().where(c.id.in_(select(old.c.id)))).rowcount
