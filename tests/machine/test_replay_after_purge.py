"""Cleanup forgets nothing that matters: whatever was purged comes again, in any order, and changes nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from machine import HOURS, ORDERS, PICK, Machine
from mortal import Mortal
from saying import AMOUNT, WISHES, Said, Wish
from seen import Look
from sqlalchemy import false
from test_machine import SEED

from models import sweep

#: Few enough ids that some come with two contents.
IDS = st.integers(1, 15)
PACKS = st.lists(st.lists(st.tuples(IDS, WISHES), min_size=1, max_size=4), min_size=1, max_size=8)
TURNS = 2


def _said(number: int, wish: Wish) -> Said:
    """As notification `number` of its account: an earlier one's id, if it was used before."""
    return replace(wish.said(0), notification_id=f"evt_{number}")


def replays(mortal: Mortal, look: Look, *phases: Phase) -> Callable[[], None]:
    """Packs are delivered and settled; rows are purged and everything comes again; and once more after that."""

    @seed(SEED)
    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=phases)
    @given(packs=PACKS, orders=st.lists(ORDERS, max_size=3), expires=st.booleans(), chance=PICK)
    def hold(packs: list[list[tuple[int, Wish]]], orders: list[tuple[str, str]], expires: bool, chance: int) -> None:
        shop = Machine(mortal, look)
        shop.opens([], chance)
        for pack in packs:
            shop.deliver(shop.pack([_said(number, wish) for number, wish in pack]))
            shop.holds()
        for account, order_no in orders:
            mortal.order(order_no, AMOUNT, account=account)
        if expires:
            mortal.later(30 * HOURS)
            shop.beat()
        shop.drain()
        for turn in range(TURNS):
            # Some are too young to go.
            mortal.write(
                "UPDATE notifications SET received_at = received_at + interval '61 days' WHERE id % :of = 1",
                of=2 + (chance + turn) % 5,
            )
            mortal.purge()
            shop.replay(chance + turn)

    return hold


def test_what_was_purged_and_comes_again_changes_nothing(mortal: Mortal, look: Look) -> None:
    """No order, no ledger entry, no case, no announcement, whether all rows went or some."""
    replays(mortal, look, Phase.generate, Phase.shrink)()


def test_a_cleanup_that_takes_what_had_a_case_is_found(
    mortal: Mortal, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other copy would be new, and be decided."""
    monkeypatch.setattr(sweep, "_has_case", false)

    with pytest.raises(AssertionError):
        replays(mortal, look, Phase.generate)()


def test_a_cleanup_that_takes_ledger_entries_is_found(
    mortal: Mortal, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even those without money: a payment that failed long ago would be news again."""
    purge = mortal.purge

    def purges_too_much() -> None:
        purge()
        mortal.write("DELETE FROM ledger_entries WHERE standing = 'void'")

    monkeypatch.setattr(mortal, "purge", purges_too_much)

    with pytest.raises(AssertionError):
        replays(mortal, look, Phase.generate)()
