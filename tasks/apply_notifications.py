"""Applies a pack of notifications, each exactly once, in one transaction.

Copies wait for one another on the row of `notifications`; two notifications of one order on the row of `orders`. A
member that fails is isolated and the rest commits. Guarded by tests/races and tests/chaos.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import structlog
from celery import shared_task
from celery.exceptions import Reject
from sqlalchemy import Connection

from domain.errors import DatabaseAway
from domain.verdict import Verdict
from models.case import open_cases
from models.clock import database_time
from models.notification import OPEN, count_deliveries, insert_new, lock_notifications
from models.pack import Pack, count_delivery, mark_applied
from models.payload import insert_payloads
from tasks.attempt import begin_attempt, end_attempt
from tasks.context import Context, context
from tasks.handling import Run
from tasks.incoming import (
    Incoming,
    Key,
    Unreadable,
    notification_row,
    payload_row,
    read,
    received,
    unreadable_member,
    unreadable_payload_row,
)
from tasks.pending import Pending
from tasks.rows import case_row, said_by
from tasks.settle import settle
from worker import failpoint
from worker.transaction import is_in_the_way, run

log = structlog.get_logger()

#: A pack delivered this often is taken apart: one of its members may be killing the process.
SUSPECT_DELIVERIES = 3
#: The most often a key may vanish between our insert and our lock before it is an error.
PURGE_RACES = 3


@shared_task(name="tasks.apply_notifications", bind=True)
def apply_notifications(self: Any, envelopes: list[object], **facts: Any) -> None:
    """The Celery entry. `envelopes` as written by providers.envelope; `facts` by worker.numbering."""
    pack = Pack.said(len(envelopes), facts)
    _hand_to_apply(envelopes, [pack] if pack else [], self.request.delivery_info.get("redelivered"))


@shared_task(name="tasks.apply_packs")
def apply_packs(bodies: list[tuple[list[list[object]], dict[str, Any], object]]) -> None:
    """The entry of packs that worker.gathering put together, each as it came: one transaction for all of them."""
    packs = [Pack.said(len(envelopes), facts) for [envelopes], facts, _ in bodies]
    members = [member for [envelopes], _, _ in bodies for member in envelopes]
    _hand_to_apply(members, [pack for pack in packs if pack], redelivered=False)


def _hand_to_apply(envelopes: Sequence[object], packs: Sequence[Pack], redelivered: bool | None) -> None:
    failpoint.at("apply.delivered")
    try:
        apply(context(), envelopes, packs, redelivered=redelivered)
    except DatabaseAway as away:
        log.error("packs handed back", packs=len(packs), members=len(envelopes), error=str(away))
        raise Reject(away, requeue=True) from away
    failpoint.at("apply.returning")


def apply(
    own: Context, envelopes: Sequence[object], packs: Sequence[Pack], *, redelivered: bool | None
) -> Counter[Verdict]:
    """Applies packs, in one transaction; how often each verdict fell. Raises DatabaseAway: nothing may be acknowledged.

    `redelivered` is what the broker says; None where it does not say (pgmq), and then each delivery is counted.
    """
    incoming, unreadable = read(envelopes, own.dialects)
    if redelivered is not False and _is_suspect(own, packs, redelivered):
        return _taken_apart(own, incoming, unreadable, packs, one_by_one=True)
    with own.hold({(item.envelope.account, item.event.order_no) for item in incoming if item.event.order_no}):
        try:
            verdicts = run(own.engine, lambda c: apply_pack(c, own, incoming, unreadable, packs), own.patience)
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one member raises must not hold back the others
            log.warning("pack taken apart", members=len(incoming), error=said_by(error))
            if redelivered is False:
                # It may take long: seen, it is not taken for one that the broker lost.
                _is_suspect(own, packs, redelivered)
            # Where others were in the way, every half with the row that all wait for would wait again.
            verdicts = _taken_apart(own, incoming, unreadable, packs, one_by_one=is_in_the_way(error))
    log.info("packs applied", packs=len(packs), members=len(envelopes), applied=verdicts[Verdict.APPLIED])
    return verdicts


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


def _is_suspect(own: Context, packs: Sequence[Pack], redelivered: bool | None) -> bool:
    uncounted = 1 if redelivered else 0
    seen = run(own.engine, lambda c: [count_delivery(c, pack, uncounted) for pack in packs], own.patience)
    return any(deliveries >= SUSPECT_DELIVERIES for deliveries in seen)


def _taken_apart(
    own: Context,
    incoming: Sequence[Incoming],
    unreadable: Sequence[Unreadable],
    packs: Sequence[Pack],
    *,
    one_by_one: bool,
) -> Counter[Verdict]:
    """By halves, until whoever raises is alone: one among many costs transactions by the logarithm of their number.

    `one_by_one`: each alone at once, its attempt recorded before it is tried, so that one that kills the process ends
    `dead`.
    """
    failpoint.at("apply.taken_apart")
    verdicts = _each_alone(own, incoming) if one_by_one or len(incoming) < 2 else _by_halves(own, incoming)
    run(own.engine, lambda c: apply_pack(c, own, [], unreadable, packs), own.patience)
    return verdicts


def _each_alone(own: Context, incoming: Sequence[Incoming]) -> Counter[Verdict]:
    return sum((_alone(own, item) for item in incoming), Counter[Verdict]())


def _by_halves(own: Context, incoming: Sequence[Incoming]) -> Counter[Verdict]:
    """`incoming` are two at least, and some of them raise."""
    middle = len(incoming) // 2
    return _half(own, incoming[:middle]) + _half(own, incoming[middle:])


def _half(own: Context, incoming: Sequence[Incoming]) -> Counter[Verdict]:
    if len(incoming) == 1:
        return _alone(own, incoming[0])
    try:
        return run(own.engine, lambda c: apply_pack(c, own, incoming, [], []), own.patience)
    except DatabaseAway:
        raise
    except Exception as error:  # noqa: BLE001 - one of them will say so when it is alone
        if is_in_the_way(error):
            return _each_alone(own, incoming)
    return _by_halves(own, incoming)


def _alone(own: Context, item: Incoming) -> Counter[Verdict]:
    try:
        row_id = run(own.engine, lambda c: begin_attempt(c, own, item), own.patience)
    except DatabaseAway:
        raise
    except Exception as error:  # noqa: BLE001 - not even its row can be written: keep it whole without one
        return _unrecordable(own, item, error)
    failpoint.at("apply.attempt_recorded")
    if row_id is None:
        return Counter({Verdict.DEAD: 1})
    try:
        return run(own.engine, lambda c: apply_pack(c, own, [item], [], [], handlers=Run.ALONE), own.patience)
    except DatabaseAway:
        raise
    except Exception as error:  # noqa: BLE001 - the reason is recorded with the row
        raised = error
    failpoint.at("apply.attempt_raised")
    verdict = run(own.engine, lambda c: end_attempt(c, own, row_id, raised), own.patience)
    return Counter({verdict: 1})


def _unrecordable(own: Context, item: Incoming, error: Exception) -> Counter[Verdict]:
    log.error("notification cannot be recorded", account=item.envelope.account, error=said_by(error))
    kept = unreadable_member(item.envelope.to_json(), "cannot_be_recorded")
    return run(own.engine, lambda c: apply_pack(c, own, [], [kept], []), own.patience)
