"""Rows that wait for a verdict get one: lock the orders, decide, write everything in the caller's transaction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from domain.decide import decide, decide_overdue
from domain.event import EventKind
from domain.order import Effect, Order, Standing
from domain.verdict import CASES, SETTLED, Decision, Verdict
from models.case import open_cases, resolve_applied
from models.facts import Facts, OrderKey, gather
from models.outcome import Outcome, write_outcome
from tasks.context import Context
from tasks.handling import Handling, Run
from tasks.pending import Pending
from tasks.rows import (
    announcement_row,
    case_row,
    change_row,
    effect_row,
    order_row,
    pause_after,
    verdict_row,
)
from worker import failpoint

#: A parked row is looked at when its order changes, and at the latest after this.
PARKED_PAUSE = timedelta(seconds=60)


def settle(
    connection: Connection,
    own: Context,
    pending: Sequence[Pending],
    now: datetime,
    payloads: Sequence[dict[str, Any]] = (),
    *,
    handlers: Run = Run.TOGETHER,
) -> Counter[Verdict]:
    """Decides and writes; how often each verdict fell. Raises EffectRaced, FenceBroken: roll back.

    `pending` are locked by the caller: notification, then order, then ledger, always in this order. `payloads` are
    rows that the caller wants written along. Raises what handlers do to the transaction, as `handlers` says.
    """
    facts = gather(connection, [item.subject for item in pending])
    round_ = _Round(connection, own, now, facts, Handling(connection, own, handlers, pending))
    failpoint.at("settle.orders_locked")
    round_.outcome.payloads.extend(payloads)
    round_.decide_all(sorted(pending, key=lambda item: item.when))
    if pending or payloads:
        round_.write()
    return round_.verdicts


@dataclass(slots=True)
class _Round:
    """One settling: what is known, what was decided so far, and what is to be written."""

    connection: Connection
    own: Context
    now: datetime
    facts: Facts
    handling: Handling
    outcome: Outcome = field(default_factory=Outcome)
    moved: dict[OrderKey, Order] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)
    effective: list[tuple[str, str, str, str]] = field(default_factory=list)
    verdicts: Counter[Verdict] = field(default_factory=Counter)

    def decide_all(self, pending: Sequence[Pending]) -> None:
        """In the order given; what parks is decided again as long as something else takes effect."""
        waiting: list[tuple[Pending, Decision]] = []
        before = len(self.outcome.effects)
        for item in pending:
            decision = self._decide(item)
            if decision.verdict is Verdict.PARKED:
                waiting.append((item, decision))
            else:
                self._take(item, decision)
        if waiting and len(self.outcome.effects) > before:
            return self.decide_all([item for item, _ in waiting])
        for item, decision in waiting:
            self._take(item, decision)
        return None

    def write(self) -> None:
        """Everything, in as few statements as can be."""
        self.outcome.totals.extend(order_row(self.facts.ids[key], order) for key, order in self.moved.items())
        write_outcome(self.connection, self.outcome)
        failpoint.at("settle.written")
        open_cases(self.connection, self.cases)
        resolve_applied(self.connection, self.effective)

    def _decide(self, item: Pending) -> Decision:
        order = self._order(item)
        decision = decide(order, item.event, overruled=item.overruled)
        if item.expires_at <= self.now:
            decision = self._late(item, decision)
        return self.handling.of(item, decision) if decision.verdict is Verdict.APPLIED else decision

    def _order(self, item: Pending) -> Order | None:
        key = self.facts.order_key(item.subject)
        order = self.facts.orders.get(key) if key else None
        effects = self.facts.effects_for(item.subject) if order else {}
        # A copy costs more than the decision, and most orders meet their first event.
        return replace(order, effects=effects) if order and (effects or order.effects) else order

    @staticmethod
    def _late(item: Pending, decision: Decision) -> Decision:
        """Past its time nothing is applied unless somebody asked for it, and nothing waits any longer."""
        if decision.verdict is Verdict.PARKED and (item.confirmed or item.overruled):
            reason = f"confirmed_{decision.reason}" if item.confirmed else decision.reason
            return decide_overdue(item.event, decision, reason)
        if item.confirmed or item.overruled:
            return decision
        return decide_overdue(item.event, decision, item.overdue_reason)

    def _take(self, item: Pending, decision: Decision) -> None:
        self.verdicts[decision.verdict] += 1
        key = self.facts.order_key(item.subject)
        if decision.standing is not None and key is not None:
            self._note_effect(item, key, decision, decision.standing)
        self.outcome.verdicts.append(verdict_row(item, decision, key, self._again(item, decision)))
        if decision.verdict in CASES:
            row = case_row(item.provider, item.account, item.event, decision.verdict, decision.reason)
            self.cases.append(row | {"order_no": key[1] if key else None})
        elif item.overruled and decision.verdict in SETTLED:
            self.effective.append((item.provider, item.account, item.event.notification_id, item.event.digest))

    def _again(self, item: Pending, decision: Decision) -> datetime | None:
        if decision.verdict is Verdict.PARKED:
            return self.now + PARKED_PAUSE
        if decision.verdict is Verdict.FAILED and not decision.error:
            return self.now
        if decision.verdict is Verdict.FAILED:
            return self.now + pause_after(item.attempts + 1, self.own.settings.retry_base_seconds)
        return None

    def _note_effect(self, item: Pending, key: OrderKey, decision: Decision, standing: Standing) -> None:
        before, after, order_id = self.facts.orders[key], decision.order, self.facts.ids[key]
        self.outcome.effects.append(effect_row(item, order_id, before.currency, decision.effect, standing))
        self.facts.effects[item.subject.effect_key] = Effect(before.order_no, abs(decision.effect), standing)
        if after is not None:
            self.facts.orders[key] = self.moved[key] = after
            self.outcome.changes.append(change_row(item, order_id, before, after))
            self.outcome.announcements.append(announcement_row(item, after, decision.effect))
        elif standing is Standing.SUSPENSE and item.subject.payment_key:
            paid = self.facts.effects[item.subject.payment_key]
            refunded = -decision.effect if item.event.kind in (EventKind.REFUND, EventKind.REFUND_REVERSAL) else 0
            back = replace(paid, refunded=paid.refunded + refunded, gone=paid.gone - decision.effect)
            self.facts.effects[item.subject.payment_key] = back
