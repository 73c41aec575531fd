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
    case,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert

from domain.event import WITHOUT_EFFECT, EventKind
from domain.order import Standing
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
    Column(
        "standing", Text, nullable=False, server_default=Standing.COUNTED.value, comment="whether the order counts it"
    ),
    Column("payment_id", Text, nullable=False, server_default="", comment="transaction_id of the payment it speaks of"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("provider", "account", "transaction_id", "kind"),
    CheckConstraint(one_of([kind for kind in EventKind if kind not in WITHOUT_EFFECT], "kind"), name="kind"),
    CheckConstraint(one_of(Standing, "standing"), name="standing"),
)
c = ledger_entries.c

_NEW = (
    *(c.provider, c.account, c.transaction_id, c.kind, c.order_id, c.notification_row, c.amount, c.currency),
    *(c.standing, c.payment_id),
)
_fresh = given(*_NEW, name="effects")
_insert = insert(ledger_entries).from_select(
    [column.name for column in _NEW],
    select(*(_fresh.c[column.name] for column in _NEW)).order_by(
        _fresh.c.provider, _fresh.c.account, _fresh.c.transaction_id, _fresh.c.kind
    ),
)
#: Inserts effects that no other transaction wrote, and returns those that it did: fewer than given, roll back. Money in
#: suspense that a person let in after all begins to count, on its own order only.
INSERT_EFFECTS = _insert.on_conflict_do_update(
    index_elements=[c.provider, c.account, c.transaction_id, c.kind],
    set_={name: _insert.excluded[name] for name in ("standing", "amount", "notification_row")},
    where=(c.standing == Standing.SUSPENSE.value)
    & (_insert.excluded.standing == Standing.COUNTED.value)
    & (c.order_id == _insert.excluded.order_id),
).returning(c.id)
_KEY = (c.provider, c.account, c.transaction_id, c.kind)
_wanted = given(*_KEY)
_back = ledger_entries.alias("back")
#: What went back of a payment in suspense; looked up for those alone, which are few.
_gone = (
    select(func.coalesce(-func.sum(_back.c.amount), 0))
    .where(_back.c.order_id == c.order_id, _back.c.payment_id == c.transaction_id)
    .where(_back.c.standing == Standing.SUSPENSE.value)
)
_refunds = _back.c.kind.in_([EventKind.REFUND.value, EventKind.REFUND_REVERSAL.value])
_suspense = c.standing == Standing.SUSPENSE.value
_known = (
    select(
        *(*_KEY, c.amount, c.standing, orders.c.order_no),
        case((_suspense, _gone.where(_refunds).scalar_subquery()), else_=0).label("refunded"),
        case((_suspense, _gone.scalar_subquery()), else_=0).label("gone"),
    )
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
    """What the ledger holds of these effect keys: the key, amount, standing, order_no, what was refunded, what left."""
    return connection.execute(_known, tuples(keys, *_KEY)).all()
