"""Looks at the safety invariants every few seconds while everything is being struck."""

import time
from threading import Event, Thread
from typing import Any

from sqlalchemy.exc import DBAPIError

from ops.audit import examine
from ops.database import snapshot

#: What must hold at every moment; the others may be late while something is away.
SAFETY = ("I2", "I3", "I5", "I6", "I7", "I8", "I9", "I11")
#: Seconds between two looks; at least three times what a look took, so that it never becomes the load.
PAUSE = 5.0


class Watch:
    """A thread from start() to stop(). `database`: SQLAlchemy's URL."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._ended = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)
        #: Looks that were answered, and what the first breach of each invariant was: name -> rows.
        self.looks = 0
        self.breaches: dict[str, list[Any]] = {}

    def start(self) -> None:
        """Looks at once, and then again and again."""
        self._thread.start()

    def stop(self) -> None:
        """After the look that is under way."""
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            began = time.monotonic()
            self._look()
            pause = max(PAUSE, 3 * (time.monotonic() - began))

    def _look(self) -> None:
        try:
            with snapshot(self._database) as connection:
                found = examine(connection, max_attempts=5)
        except DBAPIError:
            return  # the database is being struck itself
        self.looks += 1
        for name in SAFETY:
            if found[name]:
                self.breaches.setdefault(name, [list(map(str, row)) for row in found[name][:10]])
