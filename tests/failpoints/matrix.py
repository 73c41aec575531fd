"""Which points are struck how, in which scenario, with how many copies at once; and the part that `make test` runs."""

import os
from collections.abc import Iterator
from typing import NamedTuple

#: `kill`, `stop` and `raise` are the point's own. The others are done to it from outside while it stands still there:
#: `backend` ends its database session, `cut` its connection, `lost` lets COMMIT through and loses the answer.
EVERY = ("kill", "stop", "raise", "backend", "cut")
COMMIT = (*EVERY, "lost")


#: Raised while an attempt is put on record: the member is kept whole as a case, as tests/integration/test_hard_cases.py
#: has it, though its row may be applied later.
_UNRECORDABLE = [
    ("apart", point, nth, "raise") for point in ("transaction.done", "transaction.committed") for nth in (2, 4)
]


class Case(NamedTuple):
    """One run."""

    scenario: str
    point: str
    nth: int
    action: str
    copies: int

    @property
    def id(self) -> str:
        """Its name."""
        return f"{self.scenario}-{self.point}:{self.nth}-{self.action}-{self.copies}"


#: scenario -> point -> passings at which to strike. Those that leave cases come last: purge walks over their rows.
POINTS: dict[str, dict[str, tuple[int, ...]]] = {
    "apply": {
        "apply.notifications_locked": (1,),
        "settle.orders_locked": (1,),
        "settle.written": (1,),
        "transaction.done": (1,),
        "transaction.committed": (1,),
    },
    "relay": {
        "relay.confirmed": (1, 2),
        "transaction.done": (1, 2),
        "transaction.committed": (1, 2),
    },
    "purge": {
        "purge.window_done": (1, 2),
        "purge.day_dropped": (1,),
        "transaction.done": (1, 4),
        "transaction.committed": (1, 4),
    },
    "apart": {
        "apply.taken_apart": (1,),
        "apply.attempt_recorded": (1, 2),
        "apply.attempt_raised": (1,),
        "settle.orders_locked": (2,),
        "settle.written": (1, 2),
        # The count of deliveries, then for each member its attempt and its work or its end.
        "transaction.done": (1, 2, 3, 4, 5),
        "transaction.committed": (1, 2, 3, 4, 5),
    },
    "redrive": {
        "redrive.picked": (1,),
        "settle.orders_locked": (1, 2),
        "settle.written": (1,),
        "transaction.done": (1, 2, 3),
        "transaction.committed": (1, 2, 3),
    },
    "expire": {
        "expire.batch_done": (1, 2),
        "settle.written": (2,),
        "transaction.done": (1, 2),
        "transaction.committed": (1, 2),
    },
}


def cases() -> list[Case]:
    """All, or where PAIDONCE_TEST_FAILPOINTS is not "all" the part for every day; a shard "2/3" takes its third."""
    all_of_them = list(_every())
    if os.environ.get("PAIDONCE_TEST_FAILPOINTS") != "all":
        return [case for case in all_of_them if _is_short(case)]
    shard, _, shards = os.environ.get("PAIDONCE_TEST_SHARD", "1/1").partition("/")
    return all_of_them[int(shard) - 1 :: int(shards)]


def _every() -> Iterator[Case]:
    for scenario, points in POINTS.items():
        for point, passings in points.items():
            for nth in passings:
                for action in COMMIT if point == "transaction.done" else EVERY:
                    if (scenario, point, nth, action) not in _UNRECORDABLE:
                        yield from (Case(scenario, point, nth, action, copies) for copies in (1, 3))


def _is_short(case: Case) -> bool:
    """Deaths among copies, lost COMMIT answers, and for a plain pack everything; of chores the first passing alone."""
    if case.scenario == "apply":
        return case.copies == 3 or case.action == "lost"
    if case.scenario != "apart" and case.nth != POINTS[case.scenario][case.point][0]:
        return False
    return (case.action, case.copies) in (("kill", 3), ("lost", 1))
