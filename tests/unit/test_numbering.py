"""The numbers of packs: none is confirmed unless every lower one of its epoch was."""

import pytest

from worker import numbering
from worker.numbering import NAMED_EVERY, NAMED_FOR, Numbering


class Clock:
    """Unix seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(numbering, "time", own)
    return own


def sent(packs: Numbering, members: int) -> dict[str, object]:
    pack = packs.next()
    packs.confirmed(pack, members)
    return pack


def test_numbers_rise_and_members_are_counted() -> None:
    """1, 2, 3, each with the members before it."""
    packs = Numbering()
    packs.begin()

    said = [sent(packs, members) for members in (5, 1, 0, 7)]

    assert [(pack["number"], pack["before"]) for pack in said] == [(1, 0), (2, 5), (3, 6), (4, 6)]
    assert len({pack["epoch"] for pack in said}) == 1


def test_what_was_not_confirmed_is_no_promise() -> None:
    """The ended epoch is named as the pack after the last confirmed one; a pack that was on its way has that number."""
    packs = Numbering()
    packs.begin()
    last = sent(packs, 5)
    doubtful = packs.next()
    packs.begin()

    (ended,) = packs.next()["after"]

    assert ended["epoch"] == last["epoch"] == doubtful["epoch"]
    assert (ended["number"], ended["before"]) == (doubtful["number"], doubtful["before"]) == (2, 5)


def test_an_epoch_without_a_confirmed_pack_is_not_named() -> None:
    """There is nothing of it that could be missing."""
    packs = Numbering()
    for _ in range(3):
        packs.begin()
        packs.next()

    assert "after" not in packs.next()
    assert not packs.has_tail


def test_an_ended_epoch_is_named_until_it_is_confirmed_then_now_and_then(clock: Clock) -> None:
    """A pack that names it may fail, or be lost after its confirm."""
    packs = Numbering()
    packs.begin()
    sent(packs, 1)
    packs.begin()

    assert "after" in packs.next()
    assert "after" in sent(packs, 1)
    assert "after" not in sent(packs, 1)
    clock.now += NAMED_EVERY
    assert "after" in sent(packs, 1)


def test_the_last_three_ended_epochs_are_named_and_for_an_hour(clock: Clock) -> None:
    """The one that names the others may be lost as a whole; what is old may have been purged from the tables."""
    packs = Numbering()
    epochs = []
    for _ in range(5):
        packs.begin()
        epochs.append(sent(packs, 1)["epoch"])
        clock.now += 1

    packs.begin()

    assert [ended["epoch"] for ended in packs.next()["after"]] == epochs[2:5]
    clock.now += NAMED_FOR + 1
    assert "after" not in packs.next()
