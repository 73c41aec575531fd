"""A relay as a test runs it: a shop, its outbox, and somebody who listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ears import Ears, Heard
from shop import ACCOUNT, Shop
from sqlalchemy import Engine, func, insert, select

from models import outbox
from tasks.relay_outbox import relay
from worker.topic import Topic


class Relay:
    """A shop whose outbox is relayed to one of the three brokers, and somebody who listens."""

    def __init__(self, engine: Engine, ears: Ears, **settings: Any) -> None:
        self.shop = Shop(engine, **settings)
        self.settings = self.shop.own.settings
        self._ears = ears
        self._topic = Topic(self.settings)

    def run(self) -> int:
        """What beat does."""
        return relay(self.shop.own, self._topic)

    def heard(self) -> list[Heard]:
        return self._ears.heard()

    def waiting(self) -> int:
        with self.shop.engine.connect() as connection:
            counted = select(func.count()).where(outbox.c.relayed_at.is_(None))
            return int(connection.execute(counted).scalar_one())

    def announce(self, *names: str, order_no: str | None = "TEAPOT", count: int = 1) -> None:
        """Rows as they stand in the outbox."""
        rows = [
            {
                "name": name,
                "account": ACCOUNT,
                "order_no": order_no,
                "body": {"order_no": order_no, "version": number, "paid": 1000},
            }
            for number in range(count)
            for name in names
        ]
        with self.shop.engine.begin() as connection:
            connection.execute(insert(outbox), rows)

    def close(self) -> None:
        self._topic.drop()


@contextmanager
def relaying(engine: Engine, ears: Ears, **settings: Any) -> Iterator[Relay]:
    """A relay whose connection is closed in the end."""
    own = Relay(engine, ears, **settings)
    try:
        yield own
    finally:
        own.close()
