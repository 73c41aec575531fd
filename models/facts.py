"""What a decision needs to know: the orders that events speak of, and what the ledger holds of their effects."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from domain.decide import FOLLOWING
from domain.event import EventKind, PaymentEvent
from domain.order import Effect, Order, OrderState, Standing
from models.ledger_entry import known_effects
from models.order import find_orders, lock_orders

#: (account, order number).
OrderKey = tuple[str, str]
#: (provider, account, transaction id, kind).
EffectKey = tuple[str, str, str, str]


class Subject(NamedTuple):
    """An event of one provider's account."""

    provider: str
    account: str
    event: PaymentEvent

    @property
    def effect_key(self) -> EffectKey:
        """At most one effect for ever."""
        return self.provider, self.account, self.event.transaction_id, self.event.kind.value

    @property
    def payment_key(self) -> EffectKey | None:
        """The effect key of the payment that the event speaks of, where it names one."""
        if not self.event.payment_id or self.event.kind not in FOLLOWING:
            return None
        return self.provider, self.account, self.event.payment_id, EventKind.PAYMENT.value


@dataclass(frozen=True, slots=True)
class Facts:
    """Orders by key, their row ids, and the ledger's entries by effect key."""

    ids: dict[OrderKey, int] = field(default_factory=dict)
    orders: dict[OrderKey, Order] = field(default_factory=dict)
    effects: dict[EffectKey, Effect] = field(default_factory=dict)

    def order_key(self, subject: Subject) -> OrderKey | None:
        """The order that the event names, or else the one that its payment was for."""
        if subject.event.order_no is not None:
            return subject.account, subject.event.order_no
        payment = self.effects.get(subject.payment_key) if subject.payment_key else None
        return (subject.account, payment.order_no) if payment else None

    def effects_for(self, subject: Subject) -> Mapping[tuple[str, EventKind], Effect]:
        """What the ledger holds of the event's own effect and of its payment."""
        found = {}
        if own := self.effects.get(subject.effect_key):
            found[subject.event.effect_key] = own
        if subject.payment_key and (payment := self.effects.get(subject.payment_key)):
            found[subject.event.payment_id, EventKind.PAYMENT] = payment
        return found


def gather(connection: Connection, subjects: Collection[Subject], *, lock: bool = True) -> Facts:
    """The facts about `subjects`; with `lock` the orders' rows are locked, in sorted order."""
    facts = Facts()
    named = {subject.effect_key for subject in subjects if subject.event.order_no is None and subject.payment_key}
    if named:
        # Before the locks: an entry of the ledger never moves to another order.
        _read_effects(connection, facts, {key for subject in subjects if (key := subject.payment_key)})
    keys = sorted({order for subject in subjects if (order := facts.order_key(subject))})
    rows = (lock_orders if lock else find_orders)(connection, keys) if keys else ()
    for row in rows:
        facts.ids[row.account, row.order_no] = row.id
        facts.orders[row.account, row.order_no] = _order(row)
    if rows:
        wanted = {subject.effect_key for subject in subjects if facts.order_key(subject)}
        wanted |= {key for subject in subjects if (key := subject.payment_key)}
        _read_effects(connection, facts, wanted)
    return facts


def _read_effects(connection: Connection, facts: Facts, keys: set[EffectKey]) -> None:
    for row in known_effects(connection, sorted(keys)):
        effect = Effect(row.order_no, abs(row.amount), Standing(row.standing), int(row.refunded), int(row.gone))
        facts.effects[row.provider, row.account, row.transaction_id, row.kind] = effect


def _order(row: Any) -> Order:
    return Order(
        order_no=row.order_no,
        account=row.account,
        state=OrderState(row.status),
        amount=row.amount,
        currency=row.currency,
        paid=row.paid,
        refunded=row.refunded,
        charged_back=row.charged_back,
        version=row.version,
    )
