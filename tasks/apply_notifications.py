"""Applies packs of notifications, each of them exactly once, in one transaction.

A member that fails is isolated and the rest commits. Guarded by tests/races and tests/chaos.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog
from celery import shared_task
from celery.exceptions import Reject

from domain.errors import DatabaseAway
from domain.verdict import Verdict
from models.pack import Pack, count_delivery
from tasks.apply_pack import apply_pack
from tasks.context import Context, context
from tasks.incoming import read
from tasks.rows import said_by
from tasks.take_apart import taken_apart
from worker import failpoint
from worker.transaction import is_in_the_way, run

log = structlog.get_logger()

#: A pack delivered this often is taken apart: one of its members may be killing the process.
SUSPECT_DELIVERIES = 3


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
        return taken_apart(own, incoming, unreadable, packs, one_by_one=True)
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
            verdicts = taken_apart(own, incoming, unreadable, packs, one_by_one=is_in_the_way(error))
    log.info("packs applied", packs=len(packs), members=len(envelopes), applied=verdicts[Verdict.APPLIED])
    return verdicts


def _is_suspect(own: Context, packs: Sequence[Pack], redelivered: bool | None) -> bool:
    uncounted = 1 if redelivered else 0
    seen = run(own.engine, lambda c: [count_delivery(c, pack, uncounted) for pack in packs], own.patience)
    return any(deliveries >= SUSPECT_DELIVERIES for deliveries in seen)
