"""The ledger: one row per applied effect, unique for ever. It outlives every notification."""

from collections.abc import Collection

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
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from domain.event import EventKind
from models.base import Rows, given, metadata, one_of, tuples
from models.order import orders

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("order_id", BigInteger, ForeignKey(orders.c.id), nullable=False, index=True),
    # No foreign key: the notification's row is purged, its effect stays.
    Column("notification_row", BigInteger, nullable=False, comment="notifications.id, which may be purged"),
    Column("amount", BigInteger, nullable=False, comment="signed minor units; 0 where no money moves"),
    Column("currency", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("provider", "account", "transaction_id", "kind"),
    CheckConstraint(one_of([kind for kind in EventKind if kind is not EventKind.OTHER], "kind"), name="kind"),
)
c = ledger_entries.c

_NEW = (c.provider, c.account, c.transaction_id, c.kind, c.order_id, c.notification_row, c.amount, c.currency)
_fresh = given(*_NEW, name="effects")
#: Inserts effects that no other transaction wrote, and returns those that it did: fewer than given, roll back.
INSERT_EFFECTS = (
    insert(ledger_entries)
    .from_select(
        [column.name for column in _NEW],
        select(*(_fresh.c[column.name] for column in _NEW)).order_by(
            _fresh.c.provider, _fresh.c.account, _fresh.c.transaction_id, _fresh.c.kind
        ),
    )
    .on_conflict_do_nothing()
    .returning(c.id)
)
_KEY = (c.provider, c.account, c.transaction_id, c.kind)
_wanted = given(*_KEY)
_known = (
    select(*_KEY, c.amount, orders.c.order_no)
    .join(orders, orders.c.id == c.order_id)
    .join(
        _wanted,
        (c.provider == _wanted.c.provider)
        & (c.account == _wanted.c.account)
        & (c.transaction_id == _wanted.c.transaction_id)
        & (c.kind == _wanted.c.kind),
    )
)


def known_effects(connection: Connection, keys: Collection[tuple[str, str, str, str]]) -> Rows:
    """What the ledger holds of these effect keys: provider, account, transaction_id, kind, amount, order_no."""
    return connection.execute(_known, tuples(keys, *_KEY)).all()
