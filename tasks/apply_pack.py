"""What happens to a pack, in the caller's transaction.

Copies wait for one another on the row of `notifications`; two notifications of one order on the row of `orders`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from domain.verdict import Verdict
from models.case import open_cases
from models.clock import database_time
from models.notification import OPEN, count_deliveries, insert_new, lock_notifications
from models.pack import Pack, mark_applied
from models.payload import insert_payloads
from tasks.context import Context
from tasks.handling import Run
from tasks.incoming import (
    Incoming,
    Key,
    Unreadable,
    notification_row,
    payload_row,
    received,
    unreadable_payload_row,
)
from tasks.pending import Pending
from tasks.rows import case_row
from tasks.settle import settle
from worker import failpoint

#: The most often a key may vanish between our insert and our lock before it is an error.
PURGE_RACES = 3


def apply_pack(
    connection: Connection,
    own: Context,
    incoming: Sequence[Incoming],
    unreadable: Sequence[Unreadable],
    packs: Sequence[Pack],
    *,
    handlers: Run = Run.TOGETHER,
) -> Counter[Verdict]:
    """All of it in the caller's transaction. `handlers` as for settle."""
    verdicts: Counter[Verdict] = Counter()
    if incoming:
        verdicts = _apply_events(connection, own, incoming, handlers)
    if unreadable:
        _keep_unreadable(connection, unreadable, database_time(connection))
    verdicts[Verdict.DEAD] += len(unreadable)
    mark_applied(connection, packs)
    return verdicts


def _apply_events(
    connection: Connection, own: Context, incoming: Sequence[Incoming], handlers: Run
) -> Counter[Verdict]:
    firsts: dict[Key, Incoming] = {}
    for item in incoming:
        firsts.setdefault(item.key, item)
    new, rows = _claim(connection, own, firsts)
    failpoint.at("apply.notifications_locked")
    deliveries: Counter[int] = Counter()
    conflicts: list[Incoming] = []
    for item in incoming:
        row = rows[item.key]
        if item.event.digest != row.digest:
            conflicts.append(item)
        elif row.id not in new or item is not firsts[item.key]:
            deliveries[row.id] += 1
    payloads = [payload_row(firsts[key]) for key, row in rows.items() if row.id in new]
    now = next(iter(rows.values())).now
    verdicts = settle(connection, own, _open(firsts, rows), now, payloads, handlers=handlers)
    count_deliveries(connection, deliveries)
    _keep_conflicts(connection, conflicts)
    verdicts[Verdict.DUPLICATE] += deliveries.total()
    verdicts[Verdict.CONFLICT] += len(conflicts)
    return verdicts


def _open(firsts: dict[Key, Incoming], rows: dict[Key, Any]) -> list[Pending]:
    """The rows without a verdict whose content is this delivery's; a conflicting copy speaks for no row."""
    return [
        Pending(
            row_id=row.id,
            provider=row.provider,
            account=row.account,
            event=firsts[key].event,
            received_at=received(firsts[key]),
            expires_at=row.expires_at,
            attempts=row.attempts,
            overruled=row.overruled,
        )
        for key, row in rows.items()
        if row.status in OPEN and row.digest == firsts[key].event.digest
    ]


def _claim(connection: Connection, own: Context, firsts: dict[Key, Incoming]) -> tuple[set[int], dict[Key, Any]]:
    """INSERT .. ON CONFLICT DO NOTHING, SELECT .. FOR UPDATE of the others: the new ids, and each key's locked row.

    A key that is neither inserted nor found was purged between the two statements: insert it again, never treat it as
    applied and never as new.
    """
    new: set[int] = set()
    rows: dict[Key, Any] = {}
    for _ in range(PURGE_RACES):
        missing = [key for key in firsts if key not in rows]
        inserted = insert_new(connection, [notification_row(firsts[key], own.expires_after(key[1])) for key in missing])
        new.update(row.id for row in inserted)
        rows |= {_key(row): row for row in inserted}
        if seen_before := [key for key in missing if key not in rows]:
            rows |= {_key(row): row for row in lock_notifications(connection, seen_before)}
        if len(rows) == len(firsts):
            return new, rows
    raise RuntimeError("rows of notifications keep vanishing between insert and lock")


def _key(row: Any) -> Key:
    return row.provider, row.account, row.notification_id


def _keep_conflicts(connection: Connection, conflicts: Iterable[Incoming]) -> None:
    """The first copy stays as it is; the other is kept whole in front of a person."""
    for item in conflicts:
        provider, account, _ = item.key
        row = case_row(provider, account, item.event, Verdict.CONFLICT, "same_id_other_content")
        if open_cases(connection, [row]):
            insert_payloads(connection, [payload_row(item)])


def _keep_unreadable(connection: Connection, unreadable: Iterable[Unreadable], now: datetime) -> None:
    """No row of `notifications`: those are verified. A case, and the member as it came."""
    for item in unreadable:
        case = {
            "kind": Verdict.DEAD.value,
            "provider": item.provider,
            "account": item.account,
            "order_no": None,
            "notification_id": "",
            "digest": item.digest,
            "reason": item.reason,
        }
        if open_cases(connection, [case]):
            insert_payloads(connection, [unreadable_payload_row(item, now)])
