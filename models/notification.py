"""The processed-status table: one row per notification, and the row lock that makes copies wait for one another."""

from collections.abc import Collection, Sequence
from datetime import datetime
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
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from domain.event import EventKind, PaymentEvent
from domain.verdict import WAITING, Verdict
from models.base import Rows, as_given, given, metadata, one_of, tuples

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
    Column("payment_id", Text, nullable=False, server_default="", comment="transaction_id of the payment it speaks of"),
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
    Column("overruled", Boolean, nullable=False, server_default=false(), comment="a person said: apply anyway"),
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
#: What settling needs of a locked row, and the database's clock, which a worker's may be far from.
_HEAD = (c.id, *_KEY, c.digest, c.status, c.expires_at, c.attempts, c.overruled, func.now().label("now"))
NEW = (
    *_KEY,
    c.digest,
    c.kind,
    c.provider_kind,
    c.order_no,
    c.transaction_id,
    c.payment_id,
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
_RULED = (c.id, c.status, c.reason, c.order_no, c.attempts, c.last_error, c.next_attempt_at)
_ruled = given(*_RULED, name="verdicts")
#: Writes what was decided, and when.
UPDATE_VERDICTS = (
    update(notifications)
    .where(c.id == _ruled.c.id)
    .values({column.name: _ruled.c[column.name] for column in _RULED[1:]} | {"processed_at": func.now()})
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
    """SELECT .. FOR UPDATE of (provider, account, notification_id), sorted: id, key, digest, status, expires_at, now.

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


def lock_copy(connection: Connection, provider: str, account: str, notification_id: str, digest: str) -> Any:
    """SELECT .. FOR UPDATE of the whole row that holds this copy, or None."""
    same = (c.provider == provider, c.account == account, c.notification_id == notification_id, c.digest == digest)
    return connection.execute(select(notifications).where(*same).with_for_update()).one_or_none()


def overrule(connection: Connection, row_id: int) -> None:
    """A person says "apply anyway": the row waits again, with all its attempts, and its deadline no longer counts."""
    connection.execute(
        update(notifications)
        .where(c.id == row_id)
        .values(status=RECEIVED, reason="", attempts=0, last_error="", overruled=True, next_attempt_at=func.now())
    )


def event_of(row: Any) -> PaymentEvent:
    """The event that a row holds."""
    return PaymentEvent(
        notification_id=row.notification_id,
        kind=EventKind(row.kind),
        digest=row.digest,
        order_no=row.order_no,
        transaction_id=row.transaction_id,
        payment_id=row.payment_id,
        amount=row.amount,
        currency=row.currency,
        cumulative=row.cumulative,
        foreign=tuple(row.foreign_fields.split()),
        occurred_at=row.occurred_at,
        provider_kind=row.provider_kind,
    )


def lock_open(connection: Connection, row_id: int) -> Rows:
    """SELECT .. FOR UPDATE of the whole row if it still waits; at most one."""
    return connection.execute(select(notifications).where(c.id == row_id, c.status.in_(OPEN)).with_for_update()).all()
