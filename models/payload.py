"""Raw payloads, partitioned by day and apart from the dedupe rows: dropping a day frees the disk at once."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, DateTime, Index, LargeBinary, Table, Text, select, text
from sqlalchemy.dialects.postgresql import insert

from models.base import as_given, given, metadata
from models.case import cases

payloads = Table(
    "payloads",
    metadata,
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("notification_id", Text, nullable=False, comment="empty where the body could not be read"),
    Column("digest", Text, nullable=False),
    Column("headers", Text, nullable=False, comment="JSON object of the headers that matter"),
    Column("body", LargeBinary, nullable=False, comment="the exact bytes"),
    Index("ix__payloads__account_notification_id", "account", "notification_id"),
    postgresql_partition_by="RANGE (received_at)",
)
c = payloads.c
_given = given(*c, name="payloads")
#: Keeps raw payloads. Days without a partition go to `payloads_default`, so that a dead beat stops nothing.
INSERT_PAYLOADS = insert(payloads).from_select([column.name for column in c], select(*(_given.c[x.name] for x in c)))


def insert_payloads(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Keeps raw payloads."""
    if rows:
        connection.execute(INSERT_PAYLOADS, as_given(rows, "payloads"))


def find_payload(connection: Connection, account: str, notification_id: str, digest: str) -> Any:
    """The newest raw delivery of this copy, or None once its day was dropped."""
    same = (c.account == account, c.notification_id == notification_id, c.digest == digest)
    return connection.execute(select(payloads).where(*same).order_by(c.received_at.desc()).limit(1)).one_or_none()


def partition_name(day: date) -> str:
    """The partition of a UTC day: payloads_p20261123."""
    return f"payloads_p{day:%Y%m%d}"


def create_partition(connection: Connection, day: date) -> bool:
    """Makes the partition of `day` (UTC) if it is missing; False if rows of that day sit in the default partition."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if day in existing_days(connection):
        return True
    stray = select(c.received_at).where(c.received_at >= start, c.received_at < start + timedelta(days=1)).limit(1)
    if connection.execute(stray).first() is not None:
        return False
    connection.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS {partition_name(day)} PARTITION OF payloads "
            f"FOR VALUES FROM ('{start:%Y-%m-%d}T00:00Z') TO ('{start + timedelta(days=1):%Y-%m-%d}T00:00Z')"
        )
    )
    return True


def existing_days(connection: Connection) -> list[date]:
    """The days that have a partition, oldest first."""
    names = connection.execute(
        text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'payloads'::regclass")
    ).scalars()
    return sorted(
        datetime.strptime(name, "payloads_p%Y%m%d").replace(tzinfo=UTC).date()
        for name in names
        if name.startswith("payloads_p")
    )


def evidence_in(connection: Connection, day: date) -> bool:
    """Whether a payload of `day` belongs to an open case: a person still needs it."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    query = (
        select(cases.c.id)
        .join(payloads, (c.account == cases.c.account) & (c.notification_id == cases.c.notification_id))
        .where(c.digest == cases.c.digest)
        .where(cases.c.status == "open", c.received_at >= start, c.received_at < start + timedelta(days=1))
        .limit(1)
    )
    return connection.execute(query).first() is not None


def drop_partition(connection: Connection, day: date) -> None:
    """Drops the payloads of `day`. Takes a short exclusive lock on `payloads`; lock_timeout bounds the wait."""
    connection.execute(text(f"DROP TABLE {partition_name(day)}"))
