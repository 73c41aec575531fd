"""A pack that raised, or that came too often: who it was is found, and the rest commits."""

from collections import Counter
from collections.abc import Sequence

import structlog

from domain.errors import DatabaseAway
from domain.verdict import Verdict
from models.pack import Pack
from tasks.apply_pack import apply_pack
from tasks.attempt import begin_attempt, end_attempt
from tasks.context import Context
from tasks.handling import Run
from tasks.incoming import Incoming, Unreadable, unreadable_member
from tasks.rows import said_by
from worker import failpoint
from worker.transaction import is_in_the_way, run

log = structlog.get_logger()


def taken_apart(
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
