"""Everything that may happen to a shop, in any order; after every step the whole database is held against the book."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from random import Random
from typing import Any, TypeVar

from fate import Fate, How
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from mortal import CLOSED_ONLY, DEADLINE, Mortal
from saying import ACCOUNTS, AMOUNT, CURRENCY, FOLLOWERS, HOOKS, ORDER_NOS, PAYMENTS, WISHES, Wish
from seen import Look
from steps import Steps

from domain.event import EventKind

T = TypeVar("T")
#: Seconds that may go by without a beat: less than what the invariants excuse.
UNATTENDED = 60
HOURS = 3600

PICK = st.integers(0, 2**16)
ORDERS = st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(ORDER_NOS))
FATES = st.one_of(
    st.builds(Fate, st.just(How.KILLED), st.integers(0, 9)),
    st.builds(Fate, st.sampled_from([How.CUT_BEFORE, How.CUT_AFTER]), st.integers(0, 3)),
)
#: How long a pack lay on the queue.
QUEUED = st.sampled_from([0] * 9 + [DEADLINE + HOURS])
#: pgmq does not say.
REDELIVERED = st.sampled_from([True, True, None])
PACKS = st.lists(WISHES, min_size=1, max_size=4)


def happens(**given: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule. Until the next look the shop does not count as sound: what raises on the way ends the example there.

    What is drawn, and which rules may run, must not hang on what the house did: only so an example can be run again.
    """

    def decorate(does: Callable[..., None]) -> Any:
        @rule(**given)
        @wraps(does)
        def step(self: "Machine", *args: Any, **chosen: Any) -> None:
            self.sound = False
            self.steps += 1
            does(self, *args, **chosen)

        return step

    return decorate


def picked(things: Sequence[T], pick: int) -> T | None:
    """One of them, if there are any."""
    return things[pick % len(things)] if things else None


class Machine(Steps):
    """One shop with two accounts and three order numbers."""

    @initialize(orders=st.lists(ORDERS, max_size=2), seed=PICK)
    def opens(self, orders: list[tuple[str, str]], seed: int) -> None:
        for account, order_no in [(account, order_no) for account in ACCOUNTS for order_no in ORDER_NOS[:2]] + orders:
            self.shop.order(order_no, AMOUNT, CURRENCY, account)
        self.seed = seed
        if seed % 4 == 0:
            self.shop.partition_today()

    @invariant()
    def everything_holds(self) -> None:
        if not self.sound:
            self.holds()

    @happens(wishes=PACKS, queued=QUEUED, forged=st.booleans(), seed=PICK)
    def send(self, wishes: list[Wish], queued: float, forged: bool, seed: int) -> None:
        """New ones, sometimes with a copy of one of them and an old one among them."""
        copies = [self.says(wish) for wish in wishes]
        old = self.known()
        if old and seed % 4 == 0:
            copies += [copies[0], old[seed % len(old)]]
        Random(seed).shuffle(copies)
        self.deliver(self.pack(copies, queued, int(forged)))

    @happens(wish=PAYMENTS)
    def pay(self, wish: Wish) -> None:
        self.deliver(self.pack([self.says(wish)]))

    @happens(wish=FOLLOWERS)
    def follow(self, wish: Wish) -> None:
        self.deliver(self.pack([self.says(wish)]))

    @rule(wish=WISHES)
    def hold_back(self, wish: Wish) -> None:
        self.held.append(self.says(wish))

    @precondition(lambda self: self.held)
    @happens(pick=PICK)
    def comes_at_last(self, pick: int) -> None:
        self.deliver(self.pack([self.held.pop(pick % len(self.held))]))

    @happens(picks=st.lists(PICK, min_size=1, max_size=4))
    def resend(self, picks: list[int]) -> None:
        if known := self.known():
            self.deliver(self.pack([known[pick % len(known)] for pick in picks]))

    @happens(pick=PICK, wish=WISHES, together=st.booleans())
    def tamper(self, pick: int, wish: Wish, together: bool) -> None:
        """Other content under the id of a row that is still there: what was purged is forgotten, as it is meant."""
        present = [row for row_id, row in self.book.rows.items() if row_id not in self.book.purged]
        if row := picked(present, pick):
            said = self.book.contents[row.copy]
            other = replace(replace(wish, account=row.account).said(0), notification_id=row.notification_id)
            if row.account == HOOKS or wish.kind is not EventKind.PAYMENT_REVERSAL:
                self.deliver(self.pack([other, said] if together else [other]))

    @happens(wishes=PACKS, fate=FATES)
    def struck(self, wishes: list[Wish], fate: Fate) -> None:
        self.deliver(self.pack([self.says(wish) for wish in wishes]), fate=fate)

    @happens(pick=PICK, redelivered=REDELIVERED, fate=st.none() | FATES)
    def redeliver(self, pick: int, redelivered: bool | None, fate: Fate | None) -> None:
        """A pack that died, or one that was acknowledged long ago; it may die again."""
        if packs := self.queue or self.parcels:
            self.deliver(packs.pop(pick % len(packs)), redelivered, fate)

    # ---- the shop, the clock and the beat -------------------------------------------------------------------------

    @happens(which=ORDERS)
    def order_comes(self, which: tuple[str, str]) -> None:
        account, order_no = which
        self.shop.order(order_no, AMOUNT, CURRENCY, account)

    @happens(which=st.sampled_from(ORDER_NOS), how=st.sampled_from(["in the database", "by the shop", "no more"]))
    def curse(self, which: str, how: str) -> None:
        """Whatever is applied to it raises."""
        if how == "no more":
            self.shop.bless()
        else:
            self.book.cursed.add(which)
            self.shop.curse(which, in_database=how == "in the database")

    @happens(seconds=st.sampled_from([0, 5, 5, 50, 2 * HOURS, 30 * HOURS]))
    def time_passes(self, seconds: int) -> None:
        """Long times with a beat at their end: it runs every few seconds."""
        self.shop.later(seconds)
        self.unattended += seconds
        if not seconds or self.unattended > UNATTENDED:
            self.beat()

    @happens(fate=st.none() | FATES)
    def redrive(self, fate: Fate | None) -> None:
        self.shop.sweep(fate)

    @precondition(lambda self: self.steps % 4 == 3)
    @happens(fate=st.none() | FATES)
    def purge(self, fate: Fate | None) -> None:
        self.shop.purge(fate)

    @happens(pick=PICK, apply=st.booleans())
    def person(self, pick: int, apply: bool) -> None:
        """Closes a case, or says "apply anyway" where that can be said."""
        opened = [case for case in self.look().cases if case.status == "open"]
        if not (case := picked(opened, pick)):
            return
        rows = {row.copy: row for row in self.book.rows.values() if row.id not in self.book.purged}
        row = rows.get(case.copy)
        if apply and row and row.status == case.kind and case.kind not in CLOSED_ONLY:
            self.book.overruled.add(row.id)
            self.shop.overrule(case.id)
        elif not apply:
            self.shop.write(
                "UPDATE cases SET status = 'resolved', resolution = 'closed', resolved_at = now() WHERE id = :id",
                id=case.id,
            )

    @precondition(lambda self: self.steps % 8 == 7)
    @happens()
    def drains(self) -> None:
        self.drain()


def machine_on(shop: Mortal, look: Look) -> Callable[[], Any]:
    """What Hypothesis runs."""
    return lambda: Machine(shop, look)
