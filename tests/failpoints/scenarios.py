"""What the struck process is in the middle of, and what must be true of it when everything has healed: packs."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from shop import Shop
from sqlalchemy import Engine, make_url, text

from models.pack import Pack
from tasks.apply_notifications import apply
from tasks.context import Context
from tasks.redrive import redrive_batch
from worker.database import build_engine

_numbers = itertools.count(1)


class Poison(Exception):
    """What the shop's own handler raises for some orders."""


def _refuse_poison(_: object, order: Any, __: object) -> None:
    if order.order_no.startswith("POISON"):
        raise Poison


class Scenario:
    """One piece of work in a shop of its own orders; several processes may do it at once."""

    def __init__(self, engine: Engine, broker_url: str) -> None:
        self.broker_url = broker_url
        self.shop = self._shop(engine)
        self.name = f"{next(_numbers)}"

    def prepare(self) -> None:
        """Makes what the work finds."""

    def work(self, database_url: str, *, redelivered: bool) -> Callable[[], object]:
        """What a process does, with an engine of its own; `redelivered`, when it was handed back by a death."""

        def job() -> object:
            engine = build_engine(database_url)
            return self._do(self._shop(engine), redelivered)

        return job

    def _do(self, shop: Shop, redelivered: bool) -> object:
        raise AssertionError

    def close(self) -> None:
        """Nothing of it stays open."""

    def heal(self) -> None:
        """Everything that beat would bring about, until nothing is due."""
        for _ in range(30):
            self.let_time_pass()
            if redrive_batch(self.shop.own).total() == 0:
                return self._relay()
        raise AssertionError("redrive never ends")

    def _relay(self) -> None:
        """Nobody relays the outbox here: the rest of the shop is told by hand."""
        with self.shop.engine.begin() as connection:
            connection.execute(text("UPDATE outbox SET relayed_at = now() WHERE relayed_at IS NULL"))

    def check(self) -> None:
        """Each notification took effect once, or stands in front of a person."""
        assert self.states() == self.expected()

    def expected(self) -> dict[str, tuple[str, int, int]]:
        """By order: (status, paid, refunded)."""
        return {}

    def states(self) -> dict[str, tuple[str, int, int]]:
        """What is."""
        return {order_no: self.shop.state(order_no) for order_no in self.expected()}

    def order_no(self, word: str) -> str:
        """An order of this scenario."""
        return f"{word}-{self.name}"

    def cases(self) -> list[str]:
        """The kinds of this scenario's cases."""
        with self.shop.engine.connect() as connection:
            rows = connection.execute(text("SELECT kind FROM cases WHERE order_no LIKE :mine"), {"mine": self.mine})
            return sorted(row.kind for row in rows)

    @property
    def mine(self) -> str:
        """LIKE, for this scenario's orders."""
        return f"%-{self.name}"

    def let_time_pass(self, seconds: int = 5) -> None:
        """Every pause of this scenario's rows is so much shorter."""
        with self.shop.engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE notifications SET processed_at = processed_at - make_interval(secs => :seconds),"
                    " next_attempt_at = next_attempt_at - make_interval(secs => :seconds) WHERE order_no LIKE :mine"
                ),
                {"seconds": seconds, "mine": self.mine},
            )

    @staticmethod
    def _shop(engine: Engine) -> Shop:
        shop = Shop(engine)
        own = shop.own
        handlers = {"order.paid": (_refuse_poison,)}
        shop.own = Context(own.settings, own.engine, own.dialects, own.lock, handlers)
        # Ids must not meet those of other scenarios in the same database.
        shop._ids = itertools.count(uuid4().int % 10**15)
        return shop


class Apply(Scenario):
    """A pack of two payments, one of them twice; every copy is a pack of its own, as three deliveries would be."""

    def prepare(self) -> None:
        """The orders, and the envelopes that every copy carries."""
        for word in ("TEAPOT", "KETTLE"):
            self.shop.order(self.order_no(word))
        first, second = (self.shop.payment(self.order_no(word)) for word in ("TEAPOT", "KETTLE"))
        self.envelopes: Sequence[object] = [first, second, first]
        self.pack = Pack(uuid4().hex, 1, members=3)

    def _do(self, shop: Shop, redelivered: bool) -> object:
        return apply(shop.own, self.envelopes, [self.pack], redelivered=redelivered)

    def expected(self) -> dict[str, tuple[str, int, int]]:
        """Paid, once."""
        return {self.order_no(word): ("paid", 1000, 0) for word in ("TEAPOT", "KETTLE")}

    def check(self) -> None:
        """No case, and the pack is on record as finished."""
        super().check()
        assert self.cases() == []
        with self.shop.engine.connect() as connection:
            mine = {"epoch": self.pack.epoch}
            rows = connection.execute(text("SELECT applied_at FROM packs WHERE epoch = :epoch"), mine).all()
        assert [row.applied_at is None for row in rows] == [False]


class Apart(Apply):
    """The same pack delivered too often, with a member that the shop's own handler refuses: each member alone."""

    def prepare(self) -> None:
        """The pack is suspect from the beginning."""
        super().prepare()
        self.shop.order(self.order_no("POISON"))
        self.envelopes = [self.shop.payment(self.order_no("POISON")), *self.envelopes]
        with self.shop.engine.begin() as connection:
            connection.execute(
                text("INSERT INTO packs (epoch, number, deliveries) VALUES (:epoch, 1, 5)"), {"epoch": self.pack.epoch}
            )

    def _do(self, shop: Shop, redelivered: bool) -> object:
        return super()._do(shop, True)

    def check(self) -> None:
        """Its neighbours are paid; it is dead, in front of a person, and its order is not paid."""
        assert self.states() == self.expected()
        assert self.cases() == ["dead"]
        assert self.shop.state(self.order_no("POISON")) == ("pending", 0, 0)


def through(database_url: str, port: int) -> str:
    """The same database through a proxy on this machine."""
    return make_url(database_url).set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
