"""The model: a plain account of what was said and delivered, and of what must hold whatever the house decided.

It knows neither the transition table nor the house's columns of facts: what a row means is looked up by its digest
among what was said.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mortal import Parcel
from saying import FOLLOWING, Copy, Said
from seen import Row, Seen
from sums import check_sums

from domain.event import EventKind

SETTLED = frozenset({"applied", "stale", "ignored"})
WAITING = frozenset({"received", "failed", "parked"})
CASES = frozenset({"mismatch", "conflict", "duplicate_payment", "late_payment", "expired", "dead"})
UNASKED = set(FOLLOWING) - {EventKind.REFUND}


class Broken(AssertionError):
    """The house did what it promised not to do."""


def hold(true: bool, promise: str, *facts: object) -> None:
    """Raises Broken unless `true`."""
    if not true:
        raise Broken(promise, *facts)


@dataclass(slots=True)
class Book:
    """What the test remembers; the house may forget what it purged, the book does not."""

    #: Every content that was delivered.
    contents: dict[Copy, Said] = field(default_factory=dict)
    #: Deliveries acknowledged, by content, since the notification's row was made.
    acknowledged: Counter[Copy] = field(default_factory=Counter)
    #: Every content whose delivery was ever acknowledged.
    promised: set[Copy] = field(default_factory=set)
    #: Members that prove nothing, by their number.
    forged: set[int] = field(default_factory=set)
    #: Every row of `notifications` ever seen: as it was last seen, and until when it may be applied on its own.
    rows: dict[int, Row] = field(default_factory=dict)
    deadlines: dict[int, float] = field(default_factory=dict)
    #: Rows that a person let in, or that were purged.
    overruled: set[int] = field(default_factory=set)
    purged: set[int] = field(default_factory=set)
    #: Contents that were settled without an effect, and stay so.
    without_effect: set[Copy] = field(default_factory=set)
    #: Refunds that named no order, and whose payment nobody knew when their time was over.
    unclaimed: set[Copy] = field(default_factory=set)
    #: Orders that were cursed, and notifications in packs that died: these may fail.
    cursed: set[str] = field(default_factory=set)
    struck: set[Copy] = field(default_factory=set)
    announced: set[int] = field(default_factory=set)
    cases: set[int] = field(default_factory=set)
    changes: set[tuple[int, int]] = field(default_factory=set)

    def delivered(self, parcel: Parcel, acknowledged: bool) -> None:
        """A pack was worked on."""
        for said in parcel.copies:
            hold(self.contents.setdefault(said.copy, said) == said, "what differs has another digest", said)
            if acknowledged:
                self.acknowledged[said.copy] += 1
                self.promised.add(said.copy)
            else:
                self.struck.add(said.copy)
        if acknowledged:
            self.forged.update(range(parcel.forged))

    def check(self, seen: Seen, clock: float, received: float) -> None:
        """Everything that must hold after every step; `received`: when the last pack was."""
        self._dropped(seen, self._rows(seen, clock, received))
        self._conservation(seen)
        self._announcements(seen)
        check_sums(seen, {row.id: self.contents[row.copy] for row in self.rows.values()}, self.overruled)

    def _rows(self, seen: Seen, clock: float, received: float) -> list[Row]:
        """Holds every row against what it was before; those that were settled without an effect since."""
        present = {row.id for row in seen.notifications}
        for row_id in self.rows.keys() - present - self.purged:
            hold(self.rows[row_id].status in SETTLED, "only what is settled is purged", self.rows[row_id])
            self.purged.add(row_id)
            del self.acknowledged[self.rows[row_id].copy]
        new = []
        for row in seen.notifications:
            before = self.rows.get(row.id)
            self._row(before, row, clock, received)
            self.rows[row.id] = row
            if row.status in ("stale", "ignored") and (before is None or before.status != row.status):
                new.append(row)
        return new

    def _row(self, before: Row | None, row: Row, clock: float, received: float) -> None:
        hold(row.copy in self.contents, "a row says what was said", row)
        said = self.contents[row.copy]
        if before is None:
            self.deadlines[row.id] = received + DEADLINE
        elif before.status not in WAITING and row.id not in self.overruled:
            hold(before.status == row.status, "what is settled stays so", before, row)
        if before is None or (before.status, before.reason) != (row.status, row.reason):
            self._ruled(row, said, clock)
        # What failed was rolled back with its count.
        counted = row.deliveries >= self.acknowledged[row.copy]
        hold(counted or self._may_fail(said), "every delivery is counted", row)

    def _may_fail(self, said: Said) -> bool:
        cursed = said.order_no in self.cursed if said.order_no else bool(self.cursed)
        return cursed or said.copy in self.struck

    def _ruled(self, row: Row, said: Said, clock: float) -> None:
        if row.status == "applied":
            late = clock >= self.deadlines[row.id] and row.id not in self.overruled
            hold(not late, "nothing is applied after its deadline", row)
            hold(row.copy not in self.without_effect, "what had no effect once never has one", row, said)
        elif row.status == "ignored" and said.kind is EventKind.REFUND and said.order_no is None:
            self.unclaimed.add(row.copy)
        elif row.status in SETTLED:
            self.without_effect.add(row.copy)
        elif row.status in ("failed", "dead") and row.reason != "handlers_follow":
            hold(self._may_fail(said), "nothing fails by itself", row, said)
        elif row.status == "expired":
            hold(clock >= self.deadlines[row.id], "nothing expires before its time", row, said)

    def _dropped(self, seen: Seen, new: Iterable[Row]) -> None:
        """Stale: the ledger has its effect. Ignored: nothing of ours, or the ledger has it too, beside the order."""
        ledger = {entry.effect for entry in seen.ledger_entries}
        for row in new:
            said = self.contents[row.copy]
            if said.kind in (EventKind.PENDING, EventKind.OTHER) or said.effect in ledger:
                continue
            hold(row.status == "ignored" and said.order_no is None, "what is called stale is in the ledger", row, said)
            hold((said.account, said.payment_id, "payment") not in ledger, "no money of ours is ignored", row, said)
            hold(said.kind not in UNASKED, "money that nobody asked for is shown to a person", row, said)

    def _conservation(self, seen: Seen) -> None:
        """Acknowledged = settled + waiting + cases, each once; and no content went unseen."""
        newest = {(row.account, row.notification_id): row for row in self.rows.values()}
        cases = {(case.copy, case.kind) for case in seen.cases}
        decided = {row.copy for row in self.rows.values()}
        for copy in self.promised:
            hold(copy[:2] in newest, "what was acknowledged is known", self.contents[copy])
            shown = copy in decided or (copy, "conflict") in cases
            hold(shown, "other content under a known id is shown to a person", self.contents[copy])
        for row in newest.values():
            in_front = row.status in CASES and (row.copy, row.status) in cases
            places = (row.status in SETTLED, row.status in WAITING, in_front)
            hold(sum(places) == 1, "each is settled, waits, or stands in front of a person", row)
        unread = sum(case.notification_id == "" for case in seen.cases)
        hold(unread >= len(self.forged), "what proves nothing is shown to a person", unread, self.forged)

    def _announcements(self, seen: Seen) -> None:
        """Each change of an order and each case is announced once; the shop's own code ran once for each change."""
        new = {one.id for one in seen.outbox} - self.announced
        cases = {case.id for case in seen.cases} - self.cases
        changes = {(change.order_id, change.seq) for change in seen.transitions} - self.changes
        hold(len(new) == len(cases) + len(changes), "each change and each case is announced once", new, cases, changes)
        self.announced |= new
        self.cases |= cases
        self.changes |= changes
        hold(len(seen.told) == len(self.changes), "the shop's own code ran once for each change", seen.told)


DEADLINE = 86_400
