"""What beat sends, in the middle of which a process is struck, and what must be true of it in the end."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from ears import rabbitmq_ears
from failpoints.scenarios import Apart, Apply, Scenario
from shop import Shop
from sqlalchemy import text

from domain.event import EventKind
from tasks import expire_overdue, purge, relay_outbox
from tasks.expire_overdue import expire
from tasks.purge import purge_all
from tasks.redrive import redrive_batch
from tasks.relay_outbox import relay
from worker.settings import Settings
from worker.topic import Topic


class Redrive(Scenario):
    """Two parked rows whose orders have come, and one whose first attempt failed."""

    def prepare(self) -> None:
        """Parked and failed rows that are due."""
        for word in ("TEAPOT", "KETTLE", "POISON"):
            if word == "POISON":
                self.shop.order(self.order_no(word))
            self.shop.apply(self.shop.payment(self.order_no(word)))
        for word in ("TEAPOT", "KETTLE"):
            self.shop.order(self.order_no(word))
        self.let_time_pass()

    def _do(self, shop: Shop, redelivered: bool) -> object:
        return redrive_batch(shop.own)

    def expected(self) -> dict[str, tuple[str, int, int]]:
        """The parked ones are paid, once; the failing one never."""
        paid = {self.order_no(word): ("paid", 1000, 0) for word in ("TEAPOT", "KETTLE")}
        return paid | {self.order_no("POISON"): ("pending", 0, 0)}

    def check(self) -> None:
        """The failing one has used its attempts up and is in front of a person."""
        super().check()
        assert self.cases() == ["dead"]


class Expire(Scenario):
    """Three parked rows whose time has run out, one in a batch."""

    _words = ("TEAPOT", "KETTLE", "LADLE")

    def prepare(self) -> None:
        """Parked, and past their time."""
        for word in self._words:
            self.shop.apply(self.shop.payment(self.order_no(word)))
        with self.shop.engine.begin() as connection:
            connection.execute(
                text("UPDATE notifications SET expires_at = now() - interval '1 hour' WHERE order_no LIKE :mine"),
                {"mine": self.mine},
            )

    def _do(self, shop: Shop, redelivered: bool) -> object:
        expire_overdue.BATCH = 1
        return expire(shop.own)

    def heal(self) -> None:
        """Beat sends it again."""
        expire(self.shop.own)
        super().heal()

    def check(self) -> None:
        """Each has exactly one case, and none was applied when its order came too late."""
        assert self.cases() == ["expired"] * len(self._words)
        for word in self._words:
            self.shop.order(self.order_no(word))
        super().heal()
        assert {self.shop.state(self.order_no(word)) for word in self._words} == {("pending", 0, 0)}


class Purge(Scenario):
    """Three applied rows and their payloads, two months old, one row in a window."""

    _words = ("TEAPOT", "KETTLE", "LADLE")

    def prepare(self) -> None:
        """Applied long ago."""
        self.envelopes = [self.shop.payment(self.shop.order(self.order_no(word))) for word in self._words]
        self.shop.apply(*self.envelopes)
        purge_all(self.shop.own, datetime.now(UTC))  # makes the partitions that a later one drops
        self.later = datetime.now(UTC) + timedelta(days=60 + int(self.name) % 20)

    def _do(self, shop: Shop, redelivered: bool) -> object:
        purge.WINDOW = 1
        return purge_all(shop.own, self.later)

    def heal(self) -> None:
        """Beat sends it again."""
        purge_all(self.shop.own, self.later)
        super().heal()

    def check(self) -> None:
        """All are gone; what is delivered again changes nothing."""
        super().check()
        with self.shop.engine.connect() as connection:
            left = connection.execute(
                text("SELECT id FROM notifications WHERE order_no LIKE :mine"), {"mine": self.mine}
            ).all()
        assert left == []
        verdicts = self.shop.apply(*self.envelopes)
        assert set(verdicts.elements()) == {"stale"}
        super().check()

    def expected(self) -> dict[str, tuple[str, int, int]]:
        """Paid, once, before and after."""
        return {self.order_no(word): ("paid", 1000, 0) for word in self._words}


class Relay(Scenario):
    """Three things to tell of one order, one in a batch, and somebody who listens on RabbitMQ."""

    def prepare(self) -> None:
        """Paid, and twice a part of it refunded."""
        self._open = ExitStack()
        self._ears = self._open.enter_context(rabbitmq_ears(self.broker_url))
        order_no = self.shop.order(self.order_no("TEAPOT"))
        self.shop.apply(self.shop.payment(order_no))
        for total in (100, 200):
            self.shop.apply(
                self.shop.envelope(self.shop.notice(order_no, EventKind.REFUND, amount=100, refunded=total))
            )

    def _do(self, shop: Shop, redelivered: bool) -> object:
        relay_outbox.BATCH = 1
        topic = Topic(Settings(broker_url=self.broker_url))
        while waiting := self._waiting(shop):
            relay(shop.own, topic)
            if self._waiting(shop) == waiting:  # another relays just now
                time.sleep(0.05)
        return topic.drop()

    def _waiting(self, shop: Shop) -> int:
        with shop.engine.connect() as connection:
            mine = text("SELECT count(*) FROM outbox WHERE relayed_at IS NULL AND order_no LIKE :mine")
            return int(connection.execute(mine, {"mine": self.mine}).scalar_one())

    def heal(self) -> None:
        """Beat sends it again."""
        self._do(self.shop, False)

    def check(self) -> None:
        """Each was told at least once, and for the first time in its turn."""
        with self.shop.engine.connect() as connection:
            mine = text("SELECT id FROM outbox WHERE order_no LIKE :mine ORDER BY id")
            ids = [row.id for row in connection.execute(mine, {"mine": self.mine})]
        heard = [each.id for each in self._ears.heard() if each.order_no == self.order_no("TEAPOT")]
        assert list(dict.fromkeys(heard)) == ids
        super().check()

    def expected(self) -> dict[str, tuple[str, int, int]]:
        """As it was."""
        return {self.order_no("TEAPOT"): ("partially_refunded", 1000, 200)}

    def close(self) -> None:
        """Listens no more."""
        self._open.close()


#: By the names of failpoints/matrix.py.
SCENARIOS: dict[str, type[Scenario]] = {
    "apply": Apply,
    "apart": Apart,
    "redrive": Redrive,
    "expire": Expire,
    "purge": Purge,
    "relay": Relay,
}
