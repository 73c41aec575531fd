"""Packs seen: inside an epoch every number was confirmed by the broker, so a gap is a pack that never came.

A row may stand for many: models/gap.py folds consecutive finished packs into the last of them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import BigInteger, Column, Connection, DateTime, Integer, Table, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert

from models.base import as_given, given, metadata

packs = Table(
    "packs",
    metadata,
    Column("epoch", Uuid, primary_key=True, comment="one publisher connection"),
    Column("number", BigInteger, primary_key=True, comment="1, 2, 3, ... inside the epoch"),
    Column("numbers", BigInteger, nullable=False, server_default="1", comment="how many it stands for"),
    Column("before", BigInteger, comment="members of the packs of its epoch before it; null: not said"),
    Column("members", BigInteger, nullable=False, server_default="0"),
    Column("deliveries", Integer, nullable=False, comment="counted before the work, where it may be a redelivery"),
    Column("began_at", DateTime(timezone=True), comment="its epoch, by the receiver's clock"),
    Column("sent_at", DateTime(timezone=True), comment="by the receiver's clock; of the first that it stands for"),
    Column("last_sent_at", DateTime(timezone=True), comment="of the last that it stands for; null: sent_at"),
    Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("applied_at", DateTime(timezone=True)),
)
c = packs.c
_KEY = (c.epoch, c.number)


class Pack(NamedTuple):
    """What a pack says of itself. Times are unix seconds of the receiver's clock."""

    epoch: str
    number: int
    #: In this pack, and in those of its epoch before it.
    members: int = 0
    before: int | None = None
    #: When its epoch began, and when it was sent.
    began: float | None = None
    sent: float | None = None
    #: Ended epochs, each as the empty pack that would have come next.
    after: Sequence["Pack"] = ()

    @classmethod
    def said(cls, members: int, facts: dict[str, Any]) -> Self | None:
        """From a message's own words, None without an epoch. What a newer receiver says beside is not read."""
        if not facts.get("epoch"):
            return None
        own = {name: facts[name] for name in ("epoch", "number", "before", "began", "sent") if name in facts}
        return cls(**own, members=members, after=[cls(**ended) for ended in facts.get("after", ())])


_NEW = (c.epoch, c.number, c.members, c.before, c.deliveries, c.began_at, c.sent_at)
_fresh = given(*_NEW)
_insert = insert(packs).from_select(
    [*(column.name for column in _NEW), "applied_at"], select(*(_fresh.c[column.name] for column in _NEW), func.now())
)
_mark = _insert.on_conflict_do_update(index_elements=_KEY, set_={"applied_at": func.now()})
_note = _insert.on_conflict_do_nothing()


def count_delivery(connection: Connection, pack: Pack, uncounted: int = 0) -> int:
    """How often this pack was delivered, this time included. Commit before the work: a death must count.

    `uncounted`: deliveries known from elsewhere when the pack has no row yet (the broker says "redelivered").
    """
    statement = (
        insert(packs)
        .values(_row(pack) | {"deliveries": 1 + uncounted})
        .on_conflict_do_update(index_elements=_KEY, set_={"deliveries": c.deliveries + 1})
        .returning(c.deliveries)
    )
    return int(connection.execute(statement).scalar_one())


def mark_applied(connection: Connection, seen: Sequence[Pack]) -> None:
    """Notes, in the packs' own transaction, that all their members are settled or recorded."""
    if not seen:
        return
    rows = [_row(pack) | {"deliveries": 1} for pack in sorted(seen, key=lambda pack: (pack.epoch, pack.number))]
    connection.execute(_mark, as_given(rows))
    # As if they had come: whatever is missing before one is missing. A pack of that number may come all the same.
    if ended := {(own.epoch, own.number): own for pack in seen for own in pack.after}:
        connection.execute(_note, as_given(_row(ended[key]) | {"deliveries": 0} for key in sorted(ended)))


def delete_epochs(connection: Connection, older_than: datetime) -> int:
    """Forgets epochs of which nothing was seen since `older_than`, whole: half an epoch would look like a gap."""
    last_seen = func.max(func.coalesce(c.applied_at, c.first_seen_at))
    old = select(c.epoch).group_by(c.epoch).having(last_seen < older_than)
    return connection.execute(packs.delete().where(c.epoch.in_(old))).rowcount


def _row(pack: Pack) -> dict[str, Any]:
    return {
        "epoch": pack.epoch,
        "number": pack.number,
        "members": pack.members,
        "before": pack.before,
        "began_at": _moment(pack.began),
        "sent_at": _moment(pack.sent),
    }


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
