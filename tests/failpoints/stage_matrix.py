"""Which points are struck how on the whole stack, where Celery, the broker and HTTP have their part in it."""

import os
from collections.abc import Iterator
from typing import NamedTuple

#: Done by the point itself: kill, raise. Done from outside while the process stands still at it: stop (it goes on after
#: a second), reset (its connection to the broker breaks), close (the broker closes it), stall (nothing passes for three
#: seconds), deaf (what the broker answers is lost, then the connection), late (the same, but it comes after three
#: seconds), dumb (what it says is lost, then the connection), backend (its database session ends), parent (the whole
#: worker dies), term (SIGTERM).
DOOR = ("kill", "raise", "stop")
LINK = (*DOOR, "reset", "close", "stall", "deaf", "late", "dumb", "term")
CHILD = ("kill", "raise", "stop", "reset", "close", "stall", "dumb", "parent")

POINTS: dict[str, tuple[str, ...]] = {
    "receiver.verified": (*DOOR, "term"),
    "receiver.confirmed": (*DOOR, "term"),
    "receiver.half_answered": DOOR,
    "link.connected": (*DOOR, "reset", "deaf"),
    "link.numbered": LINK,
    "link.confirmed": (*DOOR, "reset", "term"),
    "worker.received": ("kill", "raise", "stop", "reset"),
    "apply.delivered": CHILD,
    "apply.notifications_locked": ("kill", "backend", "parent"),
    "settle.written": ("kill", "backend", "parent"),
    "apply.returning": CHILD,
    "beat.sent": ("kill", "raise", "stop", "reset"),
}
#: What every `make test` runs; a killed child is known to Celery after five seconds, the others in less.
_SHORT = (
    *(("receiver.verified", "kill"), ("receiver.confirmed", "kill"), ("receiver.half_answered", "kill")),
    ("link.connected", "kill"),
    *(("link.numbered", action) for action in ("kill", "deaf", "late", "term")),
    *(("link.confirmed", "kill"), ("worker.received", "kill")),
    *(("apply.delivered", action) for action in ("kill", "raise")),
    *(("apply.returning", action) for action in ("kill", "dumb", "parent")),
    ("beat.sent", "kill"),
)
_SHORT_ON_REDIS = (("link.numbered", "deaf"), ("apply.returning", "parent"))
#: RabbitMQ's own: our Redis transport has no exchange to reject to by hand, and nobody to close a connection politely.
_NOT_ON_REDIS = ("close", "raise")


class Case(NamedTuple):
    """One run."""

    broker: str
    point: str
    action: str
    copies: int

    @property
    def id(self) -> str:
        """Its name."""
        return f"{self.broker}-{self.point}-{self.action}-{self.copies}"


def cases(broker: str) -> list[Case]:
    """As failpoints/matrix.py's, for one broker."""
    every = list(_every(broker))
    if os.environ.get("PAIDONCE_TEST_FAILPOINTS") != "all":
        short = _SHORT if broker == "rabbitmq" else _SHORT_ON_REDIS
        return [case for case in every if (case.point, case.action) in short and case.copies == 3]
    shard, _, shards = os.environ.get("PAIDONCE_TEST_SHARD", "1/1").partition("/")
    return every[int(shard) - 1 :: int(shards)]


def _every(broker: str) -> Iterator[Case]:
    for point, actions in POINTS.items():
        for action in actions:
            if broker == "rabbitmq" or action not in _NOT_ON_REDIS:
                for copies in (1, 3):
                    yield Case(broker, point, action, copies)
