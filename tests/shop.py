"""A shop with one Stripe account: orders in a real database, and notifications signed as Stripe signs them."""

import itertools
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, select

from domain.event import EventKind
from domain.verdict import Verdict
from models import cases, ledger_entries, notifications, orders, transitions
from models.order import insert_orders
from models.pack import Pack
from providers.dialect import Notice
from providers.envelope import Envelope
from providers.keys import Key
from providers.standard_webhooks import StandardWebhooks
from providers.stripe import Stripe
from tasks.apply_notifications import apply
from tasks.context import Context
from worker.lock import OrderLock
from worker.settings import Settings

ACCOUNT = "shop-crunchy"
OTHER_ACCOUNT = "shop-ominous"
#: Its sender has a word for every kind.
HOOKS_ACCOUNT = "shop-verbose"


def stripe(account: str, secret: bytes = b"whsec_uncommon_walrus") -> Stripe:
    """A sandbox account."""
    return Stripe(account=account, live=False, secrets=(Key("env:WALRUS", secret),))


def hooks(account: str) -> StandardWebhooks:
    """A sandbox account."""
    return StandardWebhooks(account=account, live=False, secrets=(Key("env:OTTER", b"uncommon otter of the sea"),))


class Shop:
    """Everything a test of the worker needs, short."""

    def __init__(self, engine: Engine, lock: OrderLock | None = None, **settings: Any) -> None:
        """`settings` as in worker/settings.py; retries come at once unless told otherwise."""
        chosen = {"retry_base_seconds": 0.001, "database_patience_seconds": 30.0} | settings
        accounts = {
            ACCOUNT: stripe(ACCOUNT),
            OTHER_ACCOUNT: stripe(OTHER_ACCOUNT, b"whsec_other_walrus_00"),
            HOOKS_ACCOUNT: hooks(HOOKS_ACCOUNT),
        }
        self.own = Context(Settings(**chosen), engine, accounts, lock)
        self.engine = engine
        self._ids = itertools.count(1)

    def order(self, order_no: str, amount: int = 1000, currency: str = "EUR", account: str = ACCOUNT) -> str:
        """A pending order."""
        row = {"account": account, "order_no": order_no, "amount": amount, "currency": currency}
        with self.engine.begin() as connection:
            insert_orders(connection, [row])
        return order_no

    def notice(self, order_no: str, kind: EventKind = EventKind.PAYMENT, **facts: Any) -> Notice:
        """What Stripe wants to say."""
        number = next(self._ids)
        given: dict[str, Any] = {
            "notification_id": f"evt_{number}",
            "kind": kind,
            "order_no": order_no,
            "transaction_id": f"pi_{number}",
            "amount": 1000,
            "currency": "EUR",
            "order_amount": 1000,
            "occurred_at": datetime.now(UTC),
        } | facts
        return Notice(**given)

    def envelope(self, notice: Notice, account: str = ACCOUNT, received_at: float | None = None) -> dict[str, Any]:
        """The notice, signed, verified by the door and on the queue."""
        at = time.time() if received_at is None else received_at
        dialect = self.own.dialects[account]
        return Envelope(account, dialect.provider, dialect.sign(notice, at), at).to_json()

    def payment(self, order_no: str, **facts: Any) -> dict[str, Any]:
        """An envelope that pays `order_no`."""
        return self.envelope(self.notice(order_no, **facts))

    def apply(
        self, *envelopes: object, pack: tuple[str, int] | None = None, redelivered: bool | None = False
    ) -> Counter[Verdict]:
        """One pack through the worker's own code; `pack` are its epoch and number."""
        named = [Pack(*pack, members=len(envelopes))] if pack else []
        return apply(self.own, list(envelopes), named, redelivered=redelivered)

    def state(self, order_no: str) -> tuple[str, int, int]:
        """(status, paid, refunded)."""
        with self.engine.connect() as connection:
            row = connection.execute(select(orders).where(orders.c.order_no == order_no)).one()
        return row.status, row.paid, row.refunded

    def rows(self, table: Any) -> list[Any]:
        """Every row of a table, oldest first."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(table).order_by(*table.primary_key or [table.c[0]])))

    def counts(self) -> dict[str, int]:
        """Rows per table."""
        with self.engine.connect() as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (notifications, ledger_entries, transitions, cases)
            }

    def statuses(self) -> Counter[str]:
        """How many notifications stand where."""
        return Counter(row.status for row in self.rows(notifications))
