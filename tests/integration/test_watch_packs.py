"""Packs that the broker confirmed and never delivered are found, counted, and told to a person; others are not."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from shop import Shop
from sqlalchemy import func, select, text, update

from domain.verdict import Verdict
from models import cases, outbox, packs
from models.case import close_case
from models.gap import fold
from models.pack import Pack
from ops.audit.run import violations
from tasks.apply_notifications import apply
from tasks.purge import purge_all
from tasks.watch_packs import watch
from worker.numbering import Numbering

Message = tuple[list[Any], dict[str, Any]]


class Road:
    """A receiver's packs, and the worker at the other end; what happens in between is the test's."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.packs = Numbering()
        self.packs.begin()

    def send(self, members: int = 1) -> Message:
        """A confirmed pack."""
        pack = self.packs.next()
        self.packs.confirmed(pack, members)
        return [self.shop.payment("TEAPOT") for _ in range(members)], pack

    def deliver(self, *messages: Message, redelivered: bool = False) -> None:
        for envelopes, facts in messages:
            apply(self.shop.own, envelopes, [Pack.said(len(envelopes), facts)], redelivered=redelivered)

    def later(self, seconds: float) -> None:
        """Everything so far was that much earlier."""
        c = packs.c
        ago = timedelta(seconds=seconds)
        shifted = (c.began_at, c.sent_at, c.last_sent_at, c.first_seen_at, c.applied_at)
        with self.shop.engine.begin() as connection:
            connection.execute(update(packs).values({column: column - ago for column in shifted}))

    def fresh(self) -> None:
        """Two minutes go by, and something is sent and seen."""
        self.later(120)
        self.deliver(self.send())

    def fold(self) -> int:
        with self.shop.engine.begin() as connection:
            return fold(connection, datetime.now(UTC))

    def lost(self) -> list[tuple[int, int, int | None]]:
        """The new losses: (first, last, members)."""
        return [(gap.first, gap.last, gap.members) for gap in watch(self.shop.own)]

    def cases(self) -> list[tuple[str, str | None]]:
        return [(row.status, row.detail) for row in self.shop.rows(cases)]


@pytest.fixture
def road(shop: Shop) -> Road:
    return Road(shop)


def test_a_pack_that_never_comes_is_a_case_with_its_members_and_its_time(road: Road) -> None:
    """Once; announced; and the audit says so until a person has closed it."""
    road.deliver(road.send(2))
    road.send(3)
    road.send(4)
    road.deliver(road.send())
    road.fresh()

    assert road.lost() == [(2, 3, 7)]
    assert road.lost() == []
    [case] = road.shop.rows(cases)
    assert (case.kind, case.status, case.reason) == ("lost_pack", "open", "never_delivered")
    assert case.detail.startswith("7 notifications in 2 packs, received after 20")
    assert [row.name for row in road.shop.rows(outbox)] == ["case.opened"]
    with road.shop.engine.begin() as connection:
        assert violations(connection, drained=True)["I1"] == 1
        close_case(connection, case.id, "asked again, all seven came")
        assert violations(connection, drained=True)["I1"] == 0
    assert road.lost() == []
    assert [status for status, _ in road.cases()] == ["resolved"]


def test_the_time_is_between_the_packs_around_it(road: Road) -> None:
    """By the receiver's clock: that is when the provider was answered 200."""
    before, lost, after = road.send(), road.send(), road.send()
    for number, (_, facts) in enumerate((before, lost, after)):
        facts["sent"] = datetime(2026, 3, 1, 12, 0, number, tzinfo=UTC).timestamp()
    road.deliver(before, after)
    road.deliver(road.send())
    with road.shop.engine.begin() as connection:
        connection.execute(update(packs).values(first_seen_at=func.now() - timedelta(minutes=5)))
    road.deliver(road.send())
    with road.shop.engine.begin() as connection:
        connection.execute(update(packs).where(packs.c.number == 5).values(sent_at=func.now()))

    road.lost()

    [(_, detail)] = road.cases()
    assert detail == (
        "1 notifications in 1 packs, received after 2026-03-01T12:00:00.000Z and before 2026-03-01T12:00:02.000Z"
    )


def test_a_pack_that_was_overtaken_is_not_lost(road: Road) -> None:
    """Within the patience it is on its way; when it comes there is nothing to tell."""
    late = road.send()
    road.deliver(road.send())
    road.later(30)
    road.deliver(road.send())
    assert road.lost() == []

    road.deliver(late)
    road.fresh()

    assert road.lost() == []
    assert road.cases() == []


def test_a_pack_behind_a_backlog_is_not_lost(road: Road) -> None:
    """A stopping worker on Redis hands back to the end of the queue: only what was sent later proves anything."""
    handed_back = road.send()
    road.deliver(road.send())
    backlog = [road.send() for _ in range(5)]
    road.later(3600)
    old = datetime.now(UTC).timestamp() - 3600
    for envelopes, facts in backlog:
        road.deliver((envelopes, facts | {"sent": old}))
    assert road.lost() == []

    road.deliver(road.send())

    assert road.lost() == [(1, 1, 1)]
    road.deliver(handed_back)
    road.lost()
    assert [status for status, _ in road.cases()] == ["resolved"]


def test_where_packs_come_back_after_a_time_out_it_is_waited_for(road: Road) -> None:
    """Redis and pgmq hand a dead worker's packs on after the visibility time-out: that much more."""
    slow = Shop(road.shop.engine, broker_url="redis://127.0.0.1:1/0", visibility_timeout_seconds=60)
    road.send()
    road.deliver(road.send())
    road.later(90)
    road.deliver(road.send())

    assert watch(slow.own) == []
    assert road.lost() == [(1, 1, 1)]


def test_an_epoch_that_ended_with_its_connection_loses_no_tail_unseen(road: Road) -> None:
    """The next one names its end; of the epoch in between not one pack was delivered, and the third names that."""
    road.deliver(road.send())
    road.send(5)
    road.packs.begin()
    road.send(6)
    road.send(7)
    road.packs.begin()
    road.deliver(road.send())
    road.fresh()

    assert sorted(road.lost()) == [(1, 2, 13), (2, 2, 5)]


def test_a_pack_in_doubt_is_neither_missed_nor_in_the_way(road: Road) -> None:
    """Sent, not confirmed, answered 503: it may come or not, before or after its epoch's end is named."""
    for comes_first in (True, False):
        road.deliver(road.send())
        doubtful = [road.shop.payment("TEAPOT")], road.packs.next()
        road.packs.begin()
        named = road.send()
        road.deliver(*((doubtful, named) if comes_first else (named, doubtful)))
    road.deliver(road.send())
    road.packs.next()
    road.packs.begin()
    road.deliver(road.send())
    road.fresh()

    assert road.lost() == []
    assert road.shop.rows(cases) == []


def test_late_packs_resolve_their_case(road: Road) -> None:
    """The first ones shrink it, the last one settles it, with a note."""
    late = [road.send(number) for number in (1, 2, 3)]
    road.deliver(road.send())
    road.fresh()
    assert road.lost() == [(1, 3, 6)]

    road.deliver(late[1])
    assert road.lost() == []
    [(status, detail)] = road.cases()
    assert status == "open"
    assert [part.split(", ")[0] for part in str(detail).split("; ")] == [
        "1 notifications in 1 packs",
        "3 notifications in 1 packs",
    ]

    road.deliver(late[0], late[2])
    assert road.lost() == []
    [case] = road.shop.rows(cases)
    assert (case.status, case.resolution, case.note) == ("resolved", "applied", "all of them came late")


def test_what_was_purged_resolves_nothing(road: Road) -> None:
    """The epoch is forgotten; the case stays in front of a person."""
    road.send()
    road.deliver(road.send())
    road.fresh()
    road.lost()

    purge_all(road.shop.own, datetime.now(UTC) + timedelta(days=46))

    assert road.shop.rows(packs) == []
    assert road.lost() == []
    assert [status for status, _ in road.cases()] == ["open"]


def test_a_pack_taken_apart_counts_as_seen(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its members may take long one by one, while others go on."""
    _, facts = road.send()
    with road.shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE notifications ADD CONSTRAINT never CHECK (order_no <> 'KETTLE')"))

    def look(*_: object, **__: object) -> Counter[Verdict]:
        road.deliver(road.send())
        road.fresh()
        assert road.lost() == []
        return Counter()

    monkeypatch.setattr("tasks.apply_notifications.taken_apart", look)
    road.deliver(([road.shop.payment("KETTLE")], facts))

    assert [row.number for row in road.shop.rows(packs) if row.applied_at is None] == [1]


def test_finished_packs_are_folded_and_gaps_stay(road: Road) -> None:
    """One row for each run of numbers; what is in hand, and what is missing, is between them."""
    messages = [road.send(number) for number in range(1, 21)]
    in_hand = Pack.said(10, messages[9][1])
    road.deliver(*(message for number, message in enumerate(messages, 1) if number not in (5, 10)))
    with road.shop.engine.begin() as connection:
        connection.execute(packs.insert().values(epoch=in_hand.epoch, number=10, members=10, before=45, deliveries=1))  # type: ignore[union-attr]

    assert road.fold() == 15

    rows = [(row.number, row.numbers, row.before, row.members) for row in road.shop.rows(packs)]
    assert rows == [(4, 4, 0, 10), (9, 4, 15, 30), (10, 1, 45, 10), (20, 10, 55, 155)]
    road.deliver(messages[9])
    road.fresh()
    assert road.lost() == [(5, 5, 5)]
    road.deliver(messages[4])
    assert road.fold() == 5
    assert [(row.number, row.numbers, row.members) for row in road.shop.rows(packs)] == [(21, 21, 211)]
    assert road.lost() == []


def test_beat_keeps_the_table_small(road: Road) -> None:
    """What was finished ten minutes ago is folded as it watches."""
    for _ in range(30):
        road.deliver(road.send())
    road.later(601)
    road.deliver(road.send())

    road.lost()

    assert [(row.number, row.numbers) for row in road.shop.rows(packs)] == [(30, 30), (31, 1)]


def test_after_an_absence_of_beat_one_run_folds_what_it_can(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch by batch, so that no transaction is long; the gap in it is found all the same."""
    monkeypatch.setattr("models.gap.MOST_FOLDED", 10)
    monkeypatch.setattr("tasks.watch_packs.MOST_FOLDED", 10)
    for number in range(60):
        message = road.send()
        if number != 33:
            road.deliver(message)
    road.later(3600)
    road.deliver(road.send())

    assert road.lost() == [(34, 34, 1)]
    assert [(row.number, row.numbers) for row in road.shop.rows(packs)] == [(33, 33), (60, 26), (61, 1)]


def test_a_folded_pack_that_is_delivered_again_begins_no_gap(road: Road) -> None:
    """Its acknowledgement was lost, and the broker remembered it after an hour."""
    messages = [road.send() for _ in range(9)]
    road.deliver(*messages)
    road.fold()
    road.deliver(messages[0], messages[4], messages[8], redelivered=True)
    road.fresh()

    assert road.lost() == []
    with road.shop.engine.begin() as connection:
        assert violations(connection, drained=True)["I1"] == 0
    road.fold()
    assert [(row.number, row.numbers) for row in road.shop.rows(packs)] == [(10, 10)]


def test_many_missing_epochs_or_none_at_once_do_not_confuse_it(road: Road) -> None:
    """Two beats at once: one waits for nobody, and no loss is told twice."""
    road.send()
    road.deliver(road.send())
    road.fresh()
    with road.shop.engine.begin() as other:
        other.execute(select(func.pg_advisory_xact_lock(func.hashtext("paidonce.watch_packs"))))
        assert road.lost() == []
    assert road.lost() == [(1, 1, 1)]


@pytest.mark.parametrize("seed", range(12))
def test_exactly_the_lost_ones_are_told(road: Road, seed: int) -> None:
    """Packs of many connections, shuffled, repeated, folded in between, some lost: each loss once, to the member."""
    dice = random.Random(f"packs {seed}")
    lost: dict[tuple[str, int], int] = {}
    found: list[Any] = []
    window: list[Message] = []
    for _ in range(120):
        members = dice.randrange(4)
        envelopes, facts = road.send(members)
        if dice.random() < 0.15 and not _names_the_rest(facts):
            lost[facts["epoch"], facts["number"]] = members
        else:
            window.append((envelopes, facts))
        if dice.random() < 0.1:
            road.packs.begin()
        if len(window) > 6:
            dice.shuffle(window)
            _deliver_some(road, window, dice)
        if dice.random() < 0.05:
            road.fold()
            found += watch(road.shop.own)
    road.deliver(*window)
    road.packs.begin()
    road.deliver(road.send())
    road.fresh()
    found += watch(road.shop.own)

    told = {(gap.epoch.hex, number) for gap in found for number in range(gap.first, gap.last + 1)}
    assert told == set(lost)
    assert sum(gap.packs for gap in found) == len(lost)
    assert sum(gap.members for gap in found) == sum(lost.values())


def _names_the_rest(facts: dict[str, Any]) -> bool:
    """A loss of these as well would leave the tail of the epoch before to the next one, half a minute later."""
    return "after" in facts


def _deliver_some(road: Road, window: list[Message], dice: random.Random) -> None:
    some: Sequence[Message] = [window.pop() for _ in range(4)]
    road.deliver(*some)
    road.deliver(*(message for message in some if dice.random() < 0.2), redelivered=True)
