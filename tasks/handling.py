"""The handlers of one settling: one that raises fails its own notification, and nothing else does."""

from collections.abc import Collection
from enum import Enum, auto
from time import monotonic

import structlog
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from domain.announcement import ANNOUNCED
from domain.errors import HandlerRaised, TransactionEnded, TransactionLost
from domain.verdict import Decision, Verdict
from tasks.context import Context
from tasks.handlers import run_handlers
from tasks.pending import Pending
from tasks.rows import said_by
from worker.database import is_contention, is_deadlock

log = structlog.get_logger()

#: Seconds that the handlers of a pack have together while all its orders are locked: others give up on a lock after 2.
TOGETHER = 1.0


class Run(Enum):
    """How handlers are run."""

    #: What one raises fails its own notification; what ends the process or the transaction, the caller takes apart.
    TOGETHER = auto()
    #: The attempt is on record already, so what one raises is the caller's.
    ALONE = auto()
    #: Not now: the notification is made due, and redrive tries it alone. For a caller that could not take its work
    #: apart if a handler ended it, and where handlers take too long.
    LATER = auto()


class Handling:
    """Runs handlers in the caller's transaction."""

    def __init__(self, connection: Connection, own: Context, how: Run, pending: Collection[Pending]) -> None:
        """`pending`: everything that is settled in this transaction."""
        self._connection, self._own, self._how = connection, own, how
        self._waits = how is Run.TOGETHER and len(pending) > 1
        self._seconds = 0.0

    def of(self, item: Pending, decision: Decision) -> Decision:
        """`decision`, or what its handlers made of it. Raises what the caller has to roll back for."""
        handlers = self._own.handlers and self._own.handlers.get(ANNOUNCED[item.event.kind])
        if not handlers or decision.order is None:
            return decision
        self._wait_for_turn()
        if self._how is Run.LATER:
            return Decision(Verdict.FAILED, "handlers_follow")
        began = monotonic()
        try:
            run_handlers(self._connection, handlers, decision.order, item.event)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this notification's
            decision = self._raised(item, error)
        self._seconds += monotonic() - began
        if self._how is Run.TOGETHER and self._seconds > TOGETHER:
            self._how = Run.LATER
        return decision

    def _raised(self, item: Pending, error: Exception) -> Decision:
        broken = isinstance(error, TransactionLost | TransactionEnded)
        # A deadlock is not one handler's fault: the whole work is done again.
        if broken or (isinstance(error, DBAPIError) and is_deadlock(error)):
            raise error
        if self._how is Run.ALONE:
            raise HandlerRaised(error) from error
        said = said_by(error)
        log.warning("handler raised", notification_id=item.event.notification_id, error=said)
        if item.attempts + 1 >= self._own.settings.max_attempts:
            return Decision(Verdict.DEAD, "attempts_exhausted", error=said)
        return Decision(Verdict.FAILED, "attempt_raised", error=said)

    def _wait_for_turn(self) -> None:
        """One pack's handlers at a time.

        Each may take its rows in a good order; those of a whole pack come in the order of its events, and two packs
        would deadlock over the same two products again and again. To the end of the transaction.
        """
        if not self._waits:
            return
        self._waits = False
        try:
            with self._connection.begin_nested():
                self._connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("paidonce.handlers"))))
        except DBAPIError as error:
            if not is_contention(error) or is_deadlock(error):
                raise
            self._how = Run.LATER
