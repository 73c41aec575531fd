"""What every step of the machine is made of: packs go out, the database is held against the book, everything drains."""

from collections.abc import Sequence
from random import Random

from book import Book, hold
from fate import Fate
from hypothesis.stateful import RuleBasedStateMachine
from mortal import Mortal, Parcel
from saying import Said, Wish
from seen import Look, Seen
from sums import check_waiting, sums_of

#: Longer than anything waits to be looked at or tried again, in seconds.
A_ROUND = 100
#: Rounds of the beat after which nothing moves any more.
ROUNDS = 12
#: Copies in one pack of a replay.
REPLAYED = 16


class Steps(RuleBasedStateMachine):
    """A shop, its auditor, and the book of what was said to it."""

    def __init__(self, shop: Mortal, look: Look) -> None:
        super().__init__()
        shop.forget()
        self.shop, self.look, self.book = shop, look, Book()
        #: Packs acknowledged, packs that died and lie on the queue again, and what the provider holds back.
        self.parcels: list[Parcel] = []
        self.queue: list[Parcel] = []
        self.held: list[Said] = []
        self.numbers = self.packs = self.steps = self.seed = 0
        self.unattended = self.received = 0.0
        #: Everything held at the last look, and nothing was done since.
        self.sound = True

    def teardown(self) -> None:
        """Whatever happened: what was purged may come again, in any order, and changes nothing."""
        if self.sound:
            self.drain()
            self.shop.purge()
            self.replay(self.seed)

    def holds(self, *, drained: bool = False) -> Seen:
        """Looks, and raises for whatever does not hold."""
        self.sound = False
        seen = self.look(drained=drained)
        hold(not seen.broken, "the invariants", seen.broken and self.look.why(drained=drained))
        self.book.check(seen, self.shop.clock, self.received)
        self.sound = True
        return seen

    def says(self, wish: Wish) -> Said:
        """A new notification."""
        self.numbers += 1
        return wish.said(self.numbers)

    def known(self) -> list[Said]:
        """Everything that was ever delivered, in the order of its first delivery."""
        return list(self.book.contents.values())

    def pack(self, copies: Sequence[Said], queued: float = 0, forged: int = 0) -> Parcel:
        """A pack as the publisher numbers it."""
        self.packs += 1
        return Parcel(self.packs, tuple(copies), self.shop.clock - queued, forged)

    def deliver(self, parcel: Parcel, redelivered: bool | None = False, fate: Fate | None = None) -> None:
        """Until it is acknowledged, or on the queue again."""
        self.sound = False
        self.received = parcel.received
        done = self.shop.deliver(parcel, redelivered, fate)
        self.book.delivered(parcel, done)
        (self.parcels if done else self.queue).append(parcel)

    def beat(self) -> None:
        """Everything that runs by itself."""
        self.sound = False
        self.shop.beat()
        self.unattended = 0

    def drain(self) -> None:
        """The queue is empty, nothing fails any more, the beat had its time: nothing is excused for being young."""
        self.shop.bless()
        while self.queue:
            self.deliver(self.queue.pop(0), True)
            self.holds()
        before, seen = None, self.holds()
        for _ in range(ROUNDS):
            if seen.notifications == before:
                break
            before = seen.notifications
            self.shop.later(A_ROUND)
            self.beat()
            seen = self.holds()
        seen = self.holds(drained=True)
        contents = {row_id: self.book.contents[row.copy] for row_id, row in self.book.rows.items()}
        self.sound = False
        check_waiting(seen, contents, sums_of(seen, contents, self.book.overruled))
        self.sound = True

    def replay(self, seed: int) -> None:
        """Everything ever delivered comes again, in an order of its own: nothing that lasts is changed by it."""
        before = self.holds()
        again = [said for said in self.known() if said.copy not in self.book.unclaimed]
        Random(seed).shuffle(again)
        while again:
            self.deliver(self.pack([again.pop() for _ in range(min(len(again), REPLAYED))]))
            self.holds()
        after = self.look()
        hold(before.lasting == after.lasting, "a replay changes nothing", before.lasting, after.lasting)
