"""What a consumer asks of Redis at each round: claim what the dead left, or else read what is new."""

from collections.abc import Sequence
from time import monotonic

from redis.exceptions import ResponseError

from worker.redis_group import Entry, Member

#: The most seconds between two looks for what the dead left.
CLAIM_EVERY = 5.0


class Rounds:
    """The rounds of one consumer. `visibility_timeout`: seconds after which a silent consumer counts as dead."""

    def __init__(self, member: Member, visibility_timeout: float) -> None:
        self._member = member
        self._timeout = visibility_timeout
        self._due: dict[str, float] = {}

    def fetch(self, queues: Sequence[str], room: int, wait: float) -> list[tuple[Entry, bool]]:
        """About `room` entries, and for each whether it was handed out before. Waits at most `wait` seconds.

        Where a stream was deleted under us (or Redis came back empty), it is made anew and nothing is returned.
        """
        try:
            return self._round(queues, room, wait)
        except ResponseError as exc:
            if not str(exc).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            for queue in queues:
                self._member.create(queue)
            return []

    def _round(self, queues: Sequence[str], room: int, wait: float) -> list[tuple[Entry, bool]]:
        if claimed := self._claim(queues, room):
            return [(entry, True) for entry in claimed]
        return [(entry, False) for entry in self._member.read(queues, room, wait)] if room else []

    def _claim(self, queues: Sequence[str], room: int) -> list[Entry]:
        claimed: list[Entry] = []
        if not room or not self._is_due("claim", min(CLAIM_EVERY, self._timeout / 10)):
            return claimed
        for queue in queues:
            claimed += self._member.claim(queue, room - len(claimed), self._timeout)
        if claimed:
            del self._due["claim"]  # there may be more
        elif self._is_due("forget", self._timeout):
            for queue in queues:
                self._member.forget_dead(queue, 5 * self._timeout)
        return claimed

    def _is_due(self, chore: str, period: float) -> bool:
        now = monotonic()
        due = now >= self._due.get(chore, 0.0)
        if due:
            self._due[chore] = now + period
        return due
