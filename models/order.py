"""Orders: the rows we protect. `version` is the fence: it counts the transitions."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Identity,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from domain.order import OrderState
from models.base import Rows, as_given, given, metadata, one_of, tuples

orders = Table(
    "orders",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account", Text, nullable=False, comment="merchant account of accounts.toml"),
    Column("order_no", Text, nullable=False, comment="the merchant's number, as the provider hands it back"),
    Column("currency", Text, nullable=False, comment="ISO 4217"),
    Column("amount", BigInteger, nullable=False, comment="minor units that the buyer owes"),
    Column("status", Text, nullable=False, server_default=OrderState.PENDING.value),
    Column("paid", BigInteger, nullable=False, server_default="0", comment="minor units, sum of the ledger"),
    Column("refunded", BigInteger, nullable=False, server_default="0", comment="minor units, sum of the ledger"),
    Column("charged_back", BigInteger, nullable=False, server_default="0", comment="minor units, sum of the ledger"),
    Column("version", Integer, nullable=False, server_default="0", comment="number of transitions: the fence"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("account", "order_no"),
    CheckConstraint("amount >= 0", name="amount"),
    CheckConstraint("length(currency) = 3", name="currency"),
    CheckConstraint(one_of(OrderState, "status"), name="status"),
    # Room on the page for the new version of a row: the update of a paid order touches no index.
    postgresql_with={"fillfactor": "80"},
)
c = orders.c

_KEY = (c.account, c.order_no)
_wanted = given(*_KEY)
_lock = (
    select(orders)
    .join(_wanted, (c.account == _wanted.c.account) & (c.order_no == _wanted.c.order_no))
    # Sorted, so that two packs with the same orders cannot wait for one another in a circle.
    .order_by(c.account, c.order_no)
    .with_for_update(of=orders)
)

_CHANGED = (c.id, c.status, c.paid, c.refunded, c.charged_back, c.version)
_after = given(*_CHANGED, name="totals")
#: Writes what effects made of orders, and returns those that passed the fence: fewer than given, roll back.
UPDATE_TOTALS = (
    update(orders)
    .where(c.id == _after.c.id)
    # The fence: a row whose version is not older than ours was changed by somebody who ignored the row lock.
    .where(c.version < _after.c.version)
    .values({column.name: _after.c[column.name] for column in _CHANGED[1:]} | {"updated_at": func.now()})
    .returning(c.id)
)

_NEW = (c.account, c.order_no, c.amount, c.currency)
_fresh = given(*_NEW)
_import = (
    insert(orders)
    .from_select([column.name for column in _NEW], select(*(_fresh.c[column.name] for column in _NEW)))
    .on_conflict_do_nothing()
    .returning(c.account, c.order_no)
)
_find = select(orders).join(_wanted, (c.account == _wanted.c.account) & (c.order_no == _wanted.c.order_no))


def lock_orders(connection: Connection, keys: Collection[tuple[str, str]]) -> Rows:
    """SELECT .. FOR UPDATE of the orders with these (account, order_no), in sorted order."""
    return connection.execute(_lock, tuples(keys, *_KEY)).all()


def find_orders(connection: Connection, keys: Collection[tuple[str, str]]) -> Rows:
    """The same rows without a lock."""
    return connection.execute(_find, tuples(keys, *_KEY)).all()


def insert_orders(connection: Connection, rows: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    """Inserts account, order_no, amount, currency where no such order stands; the keys that were new."""
    return {(row.account, row.order_no) for row in connection.execute(_import, as_given(rows))}
