"""The numbers of a publisher's packs: by them the worker knows of a pack that never came."""

import time
from collections import deque
from typing import Any
from uuid import uuid4

#: Ended epochs that are still named: the one that names another may be lost as a whole, too.
REMEMBERED = 3
#: They are named again after this (seconds), since a pack that names them may be lost itself ...
NAMED_EVERY = 30.0
#: ... and no more after this: whoever reads it later may have forgotten their packs.
NAMED_FOR = 3600.0


class Numbering:
    """One epoch after the other, one for each connection. For one thread. Times are unix seconds."""

    def __init__(self) -> None:
        self.epoch = ""
        self._number = self._members = 0
        self._began = 0.0
        self._ended: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._name_again_at = 0.0

    @property
    def has_tail(self) -> bool:
        """Whether anything was confirmed that only a later pack can show to be missing."""
        return self._number > 0 or bool(self._ended)

    def begin(self) -> None:
        """A new epoch."""
        self.end()
        self.epoch, self._members, self._began = uuid4().hex, 0, time.time()
        self._name_again_at = 0.0

    def next(self) -> dict[str, Any]:
        """What the next pack says of itself.

        `before`: members confirmed in its epoch before it. `after`: epochs that have ended, each as the empty pack that
        would have come next.
        """
        pack = self._next()
        while self._ended and self._ended[0]["sent"] < pack["sent"] - NAMED_FOR:
            self._ended.popleft()
        if self._ended and pack["sent"] >= self._name_again_at:
            pack["after"] = list(self._ended)
        return pack

    def confirmed(self, pack: dict[str, Any], members: int) -> None:
        """The broker has `pack`, and every one of its epoch before it."""
        self._number += 1
        self._members += members
        if "after" in pack:
            self._name_again_at = pack["sent"] + NAMED_EVERY

    def end(self) -> None:
        """The connection is gone. What was on its way over it may arrive or not: nobody was promised it."""
        if self._number:
            self._ended.append(self._next())
        self._number = 0

    def _next(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "number": self._number + 1,
            "before": self._members,
            "began": self._began,
            "sent": time.time(),
        }
