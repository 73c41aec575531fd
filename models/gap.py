"""Numbers of an epoch that were never seen though a later one was: packs that the broker lost, or still holds."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

#: Rows folded in one transaction.
MOST_FOLDED = 10_000

# A row stands for the numbers first .. number. One that was delivered again after it was folded stands inside another,
# hence max(): it begins no gap. `freshest`: how far the queue has been worked off, in the receivers' time.
_GAPS = text(
    """
    SELECT epoch,
           coalesce(last_seen, 0) + 1 AS first,
           first - 1 AS last,
           CASE WHEN last_seen IS NULL THEN before ELSE before - through END AS members,
           coalesce(sent_before, began_at) AS received_after,
           sent_at AS received_before,
           coalesce(first_seen_at + :patience < freshest, false) AS is_due
    FROM (
        SELECT epoch, before, began_at, sent_at, first_seen_at,
               number - numbers + 1 AS first,
               max(number) OVER earlier AS last_seen,
               max(before + members) OVER earlier AS through,
               max(coalesce(last_sent_at, sent_at)) OVER earlier AS sent_before
        FROM packs
        WINDOW earlier AS (
            PARTITION BY epoch ORDER BY number - numbers + 1, number
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
    ) AS seen
    CROSS JOIN (
        SELECT max(least(coalesce(last_sent_at, sent_at), coalesce(applied_at, first_seen_at))) AS freshest
        FROM packs
    ) AS worked_off
    WHERE first > coalesce(last_seen, 0) + 1
    ORDER BY received_after, epoch, first
    """
)

_FORGET_REPEATED = text(
    """
    DELETE FROM packs AS one
    USING packs AS many
    WHERE many.numbers > 1
      AND one.epoch = many.epoch
      AND one.number > many.number - many.numbers
      AND one.number < many.number
      AND one.applied_at < :older_than
    """
)

_FOLD = text(
    """
    WITH finished AS (
        SELECT *, number - sum(numbers) OVER (PARTITION BY epoch ORDER BY number) AS island
        FROM (
            SELECT * FROM packs WHERE applied_at < :older_than AND numbers > 1
            UNION ALL
            (SELECT * FROM packs WHERE applied_at < :older_than AND numbers = 1 ORDER BY epoch, number LIMIT :most)
        ) AS candidates
    ),
    folded AS (
        SELECT epoch,
               max(number) AS number,
               sum(numbers)::bigint AS numbers,
               (array_agg(before ORDER BY number))[1] AS before,
               sum(members)::bigint AS members,
               max(deliveries) AS deliveries,
               min(sent_at) AS sent_at,
               max(coalesce(last_sent_at, sent_at)) AS last_sent_at,
               (array_agg(first_seen_at ORDER BY number))[1] AS first_seen_at,
               max(applied_at) AS applied_at
        FROM finished
        GROUP BY epoch, island
        HAVING count(*) > 1
    ),
    gone AS (
        DELETE FROM packs AS one
        USING folded AS many
        WHERE one.epoch = many.epoch
          AND one.number > many.number - many.numbers
          AND one.number < many.number
          AND one.applied_at < :older_than
        RETURNING 1
    ),
    kept AS (
        UPDATE packs AS one
        SET numbers = many.numbers, before = many.before, members = many.members, deliveries = many.deliveries,
            sent_at = many.sent_at, last_sent_at = many.last_sent_at, first_seen_at = many.first_seen_at,
            applied_at = many.applied_at
        FROM folded AS many
        WHERE one.epoch = many.epoch AND one.number = many.number
    )
    SELECT count(*) FROM gone
    """
)


class Gap(NamedTuple):
    """The numbers `first` to `last` of an epoch. Times by the receiver's clock."""

    epoch: UUID
    first: int
    last: int
    #: Notifications in them; None where the packs around them do not say.
    members: int | None
    #: They were received between these two; None where it is not known.
    received_after: datetime | None
    received_before: datetime | None
    #: Whether they would have come by now if the broker still had them.
    is_due: bool

    @property
    def packs(self) -> int:
        """How many."""
        return self.last - self.first + 1


def look_far(connection: Connection) -> None:
    """For this transaction: statements over the whole table, which is long after an absence of beat."""
    for setting in ("statement_timeout = '60s'", "work_mem = '64MB'", "jit = off"):
        connection.execute(text(f"SET LOCAL {setting}"))


def gaps(connection: Connection, patience: timedelta) -> list[Gap]:
    """Every gap, oldest first. It is due once a pack was seen that was sent `patience` after the gap had shown."""
    return [Gap(*row) for row in connection.execute(_GAPS, {"patience": patience})]


def fold(connection: Connection, older_than: datetime) -> int:
    """Folds runs of packs finished before `older_than` into one row each; how many rows went."""
    forgotten = connection.execute(_FORGET_REPEATED, {"older_than": older_than}).rowcount
    folded = connection.execute(_FOLD, {"older_than": older_than, "most": MOST_FOLDED}).scalar_one()
    return int(forgotten + folded)
