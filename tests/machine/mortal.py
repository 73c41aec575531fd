"""The real tasks on a real database; the clock, death at a commit and the shop's own code are in the test's hands."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fate import Fate, Mortality
from saying import DIALECTS, Said
from shop import ACCOUNT, Shop
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from domain.announcement import ANNOUNCED
from domain.event import PaymentEvent
from domain.order import Order
from models.payload import create_partition
from ops.cases_apply import _REFUSED, _overrule
from tasks.context import Context
from tasks.expire_overdue import expire
from tasks.purge import purge_all
from tasks.redrive import redrive_batch

EPOCH = "6e0b1c5e-8f5a-4d7e-9d3c-0b6f5a7c1d2e"
#: Seconds after which a notification may not be applied on its own.
DEADLINE = 86_400
#: After it every retention is over.
LONG_AFTER = timedelta(days=60)

#: What only the tests need: whose orders cannot be written, and what the shop's own code wrote.
SCHEMA = """
CREATE TABLE cursed (order_no text PRIMARY KEY);
CREATE TABLE told (account text, transaction_id text, kind text, version int);
CREATE FUNCTION curse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM cursed WHERE order_no = NEW.order_no) THEN RAISE EXCEPTION 'cursed'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER curse BEFORE UPDATE OF version ON orders FOR EACH ROW EXECUTE FUNCTION curse();
"""
_EMPTY = (
    *("case_actions", "cases", "ledger_entries", "transitions", "orders", "notifications", "outbox", "packs"),
    *("payloads", "cursed", "told"),
)
_LATER = text("""
WITH n AS (
    UPDATE notifications SET received_at = received_at - :by, verified_at = verified_at - :by,
        expires_at = expires_at - :by, next_attempt_at = next_attempt_at - :by, processed_at = processed_at - :by
), o AS (
    UPDATE orders SET created_at = created_at - :by, updated_at = updated_at - :by
), c AS (
    UPDATE cases SET opened_at = opened_at - :by, resolved_at = resolved_at - :by
)
UPDATE outbox SET created_at = created_at - :by, relayed_at = relayed_at - :by
""")


@dataclass(slots=True)
class Parcel:
    """A pack as the broker keeps it until it is acknowledged."""

    number: int
    copies: tuple[Said, ...]
    #: By the machine's clock, seconds.
    received: float
    #: Members that prove nothing.
    forged: int = 0


class Mortal(Shop):
    """A worker and a beat that may die at any commit. `clock`: seconds since the machine began."""

    def __init__(self, engine: Engine) -> None:
        # Pauses as they are: what is tried when must not hang on how fast this machine is.
        super().__init__(engine, expires_after_seconds=DEADLINE, retry_base_seconds=5.0)
        handlers = {name: [self._tell] for name in ANNOUNCED.values()}
        self.own = Context(self.own.settings, engine, DIALECTS, None, handlers)
        self.clock = 0.0
        #: Orders for which the shop's own code raises.
        self.unwelcome: set[str] = set()
        self.mortality = Mortality(engine)
        self._emptied = 0

    def forget(self) -> None:
        """An empty shop."""
        self.clock = 0.0
        self.unwelcome.clear()
        # Deleting is ten times as fast, until too many dead rows are in the way.
        self._emptied += 1
        by_rows = "; ".join(f"DELETE FROM {table}" for table in _EMPTY)
        self.write(f"TRUNCATE {', '.join(_EMPTY)}" if self._emptied % 16 == 0 else by_rows)

    def write(self, statement: str, **facts: Any) -> None:
        """Behind the house's back."""
        with self.engine.begin() as connection:
            connection.execute(text(statement), facts)

    def deliver(self, parcel: Parcel, redelivered: bool | None = False, fate: Fate | None = None) -> bool:
        """Whether the pack was acknowledged."""
        at = time.time() - (self.clock - parcel.received)
        members: list[dict[str, Any]] = [said.envelope(at) for said in parcel.copies]
        members += [{"account": ACCOUNT, "provider": "stripe", "n": n} for n in range(parcel.forged)]
        with self.mortality.meets(fate) as survived:
            self.apply(*members, pack=(EPOCH, parcel.number), redelivered=redelivered)
        return survived()

    def sweep(self, fate: Fate | None = None) -> None:
        """One round of redrive."""
        with self.mortality.meets(fate):
            redrive_batch(self.own)

    def beat(self) -> None:
        """What runs every few seconds."""
        expire(self.own)
        self.sweep()
        self.write("UPDATE outbox SET relayed_at = now() WHERE relayed_at IS NULL")

    def later(self, seconds: float) -> None:
        """Time passes for every row."""
        self.clock += seconds
        with self.engine.begin() as connection:
            connection.execute(_LATER, {"by": timedelta(seconds=seconds)})

    def purge(self, fate: Fate | None = None) -> None:
        """Cleans up, long after."""
        with self.mortality.meets(fate):
            purge_all(self.own, datetime.now(UTC) + LONG_AFTER)

    def partition_today(self) -> None:
        """Payloads go where the next purge drops them."""
        with self.engine.begin() as connection:
            create_partition(connection, datetime.now(UTC).date())

    def curse(self, order_no: str, in_database: bool) -> None:
        """From now on applying anything to it raises: in the database, or in the shop's own code."""
        if in_database:
            self.write("INSERT INTO cursed VALUES (:order_no) ON CONFLICT DO NOTHING", order_no=order_no)
        else:
            self.unwelcome.add(order_no)

    def bless(self) -> None:
        """Every cause of failure is gone."""
        self.unwelcome.clear()
        self.write("DELETE FROM cursed")

    def overrule(self, case_id: int) -> None:
        """A person says "apply anyway", by the code behind `paidonce cases apply`."""
        with self.engine.connect() as connection:
            _overrule(connection, case_id, "ada", "the money is there")

    def _tell(self, session: Session, order: Order, event: PaymentEvent) -> None:
        if order.order_no in self.unwelcome:
            raise RuntimeError("unwelcome")
        row = {"a": order.account, "t": event.transaction_id, "k": event.kind.value, "v": order.version}
        session.execute(text("INSERT INTO told VALUES (:a, :t, :k, :v)"), row)


#: Cases that a person cannot have applied.
CLOSED_ONLY = frozenset(verdict.value for verdict in _REFUSED)
