"""The one table of transitions, and the one function that reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from domain.event import SIGNS, EventKind, PaymentEvent
from domain.order import Effect, Order, OrderState, Standing
from domain.verdict import Decision, Verdict

S, K, V = OrderState, EventKind, Verdict


#: How a unit of each kind's amount moves the order's totals: (paid, refunded, charged_back).
MOVES: Mapping[EventKind, tuple[int, int, int]] = {
    K.PAYMENT: (1, 0, 0),
    K.PAYMENT_REVERSAL: (-1, 0, 0),
    K.REFUND: (0, 1, 0),
    K.REFUND_REVERSAL: (0, -1, 0),
    K.CHARGEBACK: (0, 0, 1),
    K.CHARGEBACK_REVERSAL: (0, 0, -1),
    K.CLOSED: (0, 0, 0),
    K.FAILED: (0, 0, 0),
    K.PENDING: (0, 0, 0),
}


@dataclass(frozen=True, slots=True)
class Apply:
    """The event takes effect; the order may only end in one of `to`."""

    to: frozenset[OrderState]


@dataclass(frozen=True, slots=True)
class Refuse:
    """The event takes no effect."""

    verdict: Verdict
    reason: str


def _to(*states: OrderState) -> Apply:
    return Apply(frozenset(states))


_STALE = Refuse(V.STALE, "order_is_further")
_SECOND = Refuse(V.DUPLICATE_PAYMENT, "order_already_paid")
_EARLY_REFUND = Refuse(V.PARKED, "payment_not_here_yet")
_EARLY_UNREFUND = Refuse(V.PARKED, "refund_not_here_yet")
_EARLY_CHARGEBACK = Refuse(V.PARKED, "payment_not_here_yet")
_EARLY_WIN = Refuse(V.PARKED, "chargeback_not_here_yet")
_EARLY_REVERSAL = Refuse(V.PARKED, "payment_not_here_yet")
_TANGLED = Refuse(V.MISMATCH, "payment_reversed_after_refund")

_UNPAID = (S.PENDING, S.FAILED, S.CLOSED)
_HOLDING = (S.PAID, S.PARTIALLY_REFUNDED, S.REFUNDED)

#: Money that moves though nobody in the shop asked for it. Without an order's number a person must see it; a payment
#: without one belongs to something else that is sold through the same account.
_UNASKED = frozenset({K.PAYMENT_REVERSAL, K.REFUND_REVERSAL, K.CHARGEBACK, K.CHARGEBACK_REVERSAL})
#: Kinds that speak of an earlier payment.
FOLLOWING = _UNASKED | {K.REFUND}

#: Every state against every kind that has an effect; a test walks the product, so that a new state cannot be forgotten.
TRANSITIONS: Mapping[tuple[OrderState, EventKind], Apply | Refuse] = {
    (S.PENDING, K.PAYMENT): _to(S.PAID),
    (S.FAILED, K.PAYMENT): _to(S.PAID),
    (S.PAID, K.PAYMENT): _SECOND,
    (S.PARTIALLY_REFUNDED, K.PAYMENT): _SECOND,
    (S.REFUNDED, K.PAYMENT): _SECOND,
    (S.CHARGED_BACK, K.PAYMENT): _SECOND,
    (S.CLOSED, K.PAYMENT): Refuse(V.LATE_PAYMENT, "order_closed"),
    **dict.fromkeys(((state, K.PAYMENT_REVERSAL) for state in _UNPAID), _EARLY_REVERSAL),
    (S.PAID, K.PAYMENT_REVERSAL): _to(S.FAILED),
    (S.PARTIALLY_REFUNDED, K.PAYMENT_REVERSAL): _TANGLED,
    (S.REFUNDED, K.PAYMENT_REVERSAL): _TANGLED,
    (S.CHARGED_BACK, K.PAYMENT_REVERSAL): _TANGLED,
    **dict.fromkeys(((state, K.REFUND) for state in _UNPAID), _EARLY_REFUND),
    (S.PAID, K.REFUND): _to(S.PARTIALLY_REFUNDED, S.REFUNDED),
    (S.PARTIALLY_REFUNDED, K.REFUND): _to(S.PARTIALLY_REFUNDED, S.REFUNDED),
    (S.REFUNDED, K.REFUND): Refuse(V.MISMATCH, "refunds_exceed_payment"),
    (S.CHARGED_BACK, K.REFUND): _to(S.CHARGED_BACK),
    **dict.fromkeys(((state, K.REFUND_REVERSAL) for state in _UNPAID), _EARLY_UNREFUND),
    (S.PAID, K.REFUND_REVERSAL): _EARLY_UNREFUND,
    (S.PARTIALLY_REFUNDED, K.REFUND_REVERSAL): _to(S.PAID, S.PARTIALLY_REFUNDED),
    (S.REFUNDED, K.REFUND_REVERSAL): _to(S.PAID, S.PARTIALLY_REFUNDED),
    (S.CHARGED_BACK, K.REFUND_REVERSAL): _to(S.CHARGED_BACK),
    **dict.fromkeys(((state, K.CHARGEBACK) for state in _UNPAID), _EARLY_CHARGEBACK),
    **dict.fromkeys(((state, K.CHARGEBACK) for state in (*_HOLDING, S.CHARGED_BACK)), _to(S.CHARGED_BACK)),
    **dict.fromkeys(((state, K.CHARGEBACK_REVERSAL) for state in (*_UNPAID, *_HOLDING)), _EARLY_WIN),
    (S.CHARGED_BACK, K.CHARGEBACK_REVERSAL): _to(S.PAID, S.PARTIALLY_REFUNDED, S.REFUNDED, S.CHARGED_BACK),
    (S.PENDING, K.CLOSED): _to(S.CLOSED),
    (S.FAILED, K.CLOSED): _to(S.CLOSED),
    **dict.fromkeys(((state, K.CLOSED) for state in (*_HOLDING, S.CHARGED_BACK, S.CLOSED)), _STALE),
    (S.PENDING, K.FAILED): _to(S.FAILED),
    **dict.fromkeys(((state, K.FAILED) for state in S if state is not S.PENDING), _STALE),
    (S.PENDING, K.PENDING): Refuse(V.IGNORED, "order_is_pending"),
    **dict.fromkeys(((state, K.PENDING) for state in S if state is not S.PENDING), _STALE),
}

#: What a person may make of a refusal ("apply anyway"): nothing but time and state is overruled, never money.
OVERRULED: Mapping[tuple[OrderState, EventKind], Apply] = {(S.CLOSED, K.PAYMENT): _to(S.PAID)}

#: What the audit allows in the history: every (from, to) that an effect may write.
ALLOWED = frozenset(
    (state, target)
    for rules in (TRANSITIONS, OVERRULED)
    for (state, _), rule in rules.items()
    if isinstance(rule, Apply)
    for target in rule.to
)


def decide(order: Order | None, event: PaymentEvent, *, overruled: bool = False) -> Decision:
    """What `event` does to `order`. Pure: no clock, no input, no output.

    `order` is None where no such order is known (yet). Duplicates and conflicts of the notification itself are
    settled before this, by the processed-status table; `order.effects` holds what the ledger already knows.
    `overruled`: a person said "apply anyway".
    """
    if event.kind is K.OTHER:
        return Decision(V.IGNORED, "no_effect_on_an_order")
    if event.foreign:
        return Decision(V.MISMATCH, f"{event.foreign[0]}_differs")
    if order is None:
        return _without_order(event)
    known = order.effects.get(event.effect_key)
    if known is not None and not (overruled and known.standing is Standing.SUSPENSE):
        return _known_effect(order, event, known)
    if event.kind in SIGNS and event.currency != order.currency:
        return Decision(V.MISMATCH, "currency_differs")
    if event.payment_id and event.kind in FOLLOWING and (ruled := _by_its_payment(order, event)):
        return ruled
    ruled = _ruled(order, event, overruled)
    if known is None:
        return ruled
    if known.gone:
        # Let in after all, it would count whole.
        return Decision(V.MISMATCH, "amount_differs")
    # Overruled and refused again: what is in suspense stays there, once.
    return ruled if ruled.standing is Standing.COUNTED else replace(ruled, standing=None)


def decide_overdue(event: PaymentEvent, decision: Decision, reason: str) -> Decision:
    """What becomes of `decision` when the event's time is over: it is not applied, and it waits no longer."""
    if decision.verdict not in (V.APPLIED, V.PARKED):
        return decision
    if event.kind is K.REFUND and event.order_no is None and decision.order is None:
        return Decision(V.IGNORED, "names_no_order")
    return Decision(V.EXPIRED, reason)


def _without_order(event: PaymentEvent) -> Decision:
    """No order of that number, or no number. What names its payment waits for that: the ledger knows its order."""
    if event.order_no is None and event.payment_id and event.kind in FOLLOWING:
        return Decision(V.PARKED, "payment_not_here_yet")
    if event.order_no is None:
        return Decision(V.MISMATCH if event.kind in _UNASKED else V.IGNORED, "names_no_order")
    if event.kind is K.PENDING:
        return Decision(V.IGNORED, "order_is_pending")
    return Decision(V.PARKED, "order_not_found")


def _known_effect(order: Order, event: PaymentEvent, known: Effect) -> Decision:
    """The ledger holds this effect already, from another notification (Stripe makes two events of one payment)."""
    if known.order_no != order.order_no:
        return Decision(V.CONFLICT, "transaction_of_another_order")
    void = known.standing is Standing.VOID
    if event.kind in SIGNS and not event.cumulative and not void and event.amount != known.amount:
        return Decision(V.CONFLICT, "transaction_with_another_amount")
    return Decision(V.STALE, "effect_already_in_ledger")


def _by_its_payment(order: Order, event: PaymentEvent) -> Decision | None:
    """What the payment that `event` names settles by itself; None: the order decides."""
    payment = order.effects.get((event.payment_id, K.PAYMENT))
    if payment is None or payment.order_no != order.order_no:
        return Decision(V.PARKED, "payment_not_here_yet")
    if payment.standing is Standing.SUSPENSE:
        return _beside_the_order(event, payment)
    # It counted and nothing is left of it: its reversal stands for ever, so there is nothing to wait for.
    return None if order.paid else Decision(V.MISMATCH, "payment_was_reversed")


def _beside_the_order(event: PaymentEvent, payment: Effect) -> Decision:
    """Money of a payment in suspense moves in suspense: giving a second payment back must not refund the order."""
    if not event.amount:
        return Decision(V.MISMATCH, "amount_unreadable")
    amount = event.amount - payment.refunded if event.cumulative else event.amount
    if amount <= 0:
        return _too_late()
    in_suspense = Decision(V.IGNORED, "payment_in_suspense", None, SIGNS[event.kind] * amount, Standing.SUSPENSE)
    return _more_than_there_is(event.kind, amount, payment) or in_suspense


def _more_than_there_is(kind: EventKind, amount: int, payment: Effect) -> Decision | None:
    """Why `amount` cannot leave a payment in suspense, or come back to it; None: it can."""
    elsewhere = payment.gone - payment.refunded
    match kind:
        case K.REFUND if payment.refunded + amount > payment.amount:
            return Decision(V.MISMATCH, "refunds_exceed_payment")
        case K.CHARGEBACK if elsewhere + amount > payment.amount:
            return Decision(V.MISMATCH, "chargebacks_exceed_payment")
        case K.PAYMENT_REVERSAL if payment.gone or amount != payment.amount:
            return Decision(V.MISMATCH, "amount_differs")
        case K.REFUND_REVERSAL if amount > payment.refunded:
            return Decision(V.PARKED, "refund_not_here_yet")
        case K.CHARGEBACK_REVERSAL if amount > elsewhere:
            return Decision(V.PARKED, "chargeback_not_here_yet")
    return None


def _too_late() -> Decision:
    """Its effect key is spent all the same: replayed after a purge, and after the order moved back, it stays late."""
    return Decision(V.STALE, "order_is_further", standing=Standing.VOID)


def _ruled(order: Order, event: PaymentEvent, overruled: bool) -> Decision:
    place = order.state, event.kind
    rule = TRANSITIONS[place]
    if overruled:
        rule = OVERRULED.get(place, rule)
    if event.cumulative and event.amount is not None and order.state not in _UNPAID and event.amount <= order.refunded:
        return _too_late()
    if isinstance(rule, Apply):
        return _apply(order, event, rule)
    if rule is _STALE and event.kind is not K.PENDING:
        return _too_late()
    if rule.verdict in (V.DUPLICATE_PAYMENT, V.LATE_PAYMENT):
        return _in_suspense(event, rule)
    return Decision(rule.verdict, rule.reason)


def _in_suspense(event: PaymentEvent, rule: Refuse) -> Decision:
    if not event.amount:
        return Decision(V.MISMATCH, "amount_unreadable")
    return Decision(rule.verdict, rule.reason, None, event.amount, Standing.SUSPENSE)


def _apply(order: Order, event: PaymentEvent, rule: Apply) -> Decision:
    amount = 0
    if event.kind in SIGNS:
        if event.amount is None or event.amount <= 0:
            return Decision(V.MISMATCH, "amount_unreadable")
        amount = event.amount - order.refunded if event.cumulative else event.amount
    pays, refunds, charges_back = MOVES[event.kind]
    after = replace(
        order,
        paid=order.paid + pays * amount,
        refunded=order.refunded + refunds * amount,
        charged_back=order.charged_back + charges_back * amount,
        version=order.version + 1,
        effects={**order.effects, event.effect_key: Effect(order.order_no, amount)},
    )
    wrong = _imbalance(after, event.kind)
    if wrong:
        return Decision(V.MISMATCH, wrong)
    state = _state(after, event.kind)
    if state not in rule.to:
        return Decision(V.MISMATCH, "amount_differs")
    effect = SIGNS.get(event.kind, 0) * amount
    return Decision(V.APPLIED, event.kind.value, replace(after, state=state), effect, Standing.COUNTED)


def _imbalance(after: Order, kind: EventKind) -> str | None:
    """Why these totals cannot be true, or None. A payment must be the whole amount: less, or more, is a mismatch."""
    if kind is K.PAYMENT and after.paid != after.amount:
        return "amount_differs"
    if kind is K.PAYMENT_REVERSAL and after.paid != 0:
        return "amount_differs"
    if after.refunded > after.paid:
        return "refunds_exceed_payment"
    if after.charged_back > after.paid:
        return "chargebacks_exceed_payment"
    if after.refunded < 0 or after.charged_back < 0:
        return "reversal_exceeds_what_it_reverses"
    return None


def _state(after: Order, kind: EventKind) -> OrderState:
    """The state that the totals spell."""
    if kind is K.CLOSED:
        return S.CLOSED
    if kind in (K.FAILED, K.PAYMENT_REVERSAL):
        return S.FAILED
    if after.charged_back > 0:
        return S.CHARGED_BACK
    if after.refunded == 0:
        return S.PAID
    return S.REFUNDED if after.refunded >= after.paid else S.PARTIALLY_REFUNDED
