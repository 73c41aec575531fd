"""The transition table, exhaustively: every state against every kind."""

import itertools

import pytest

from domain.decide import ALLOWED, MOVES, TRANSITIONS, decide
from domain.event import SIGNS, EventKind, PaymentEvent
from domain.order import Effect, Order, OrderState
from domain.verdict import CASES, SETTLED, WAITING, Verdict

S, K, V = OrderState, EventKind, Verdict
KINDS = [kind for kind in K if kind is not K.OTHER]

#: An order of 1000 in each state, with the totals that spell it.
ORDERS = {
    S.PENDING: {"paid": 0},
    S.FAILED: {"paid": 0},
    S.CLOSED: {"paid": 0},
    S.PAID: {"paid": 1000},
    S.PARTIALLY_REFUNDED: {"paid": 1000, "refunded": 300},
    S.REFUNDED: {"paid": 1000, "refunded": 1000},
    S.CHARGED_BACK: {"paid": 1000, "refunded": 300, "charged_back": 700},
}

#: The whole table again, written by hand from the glossary: (verdict, state afterwards) for an event of the amount in
#: AMOUNTS. A new state or kind without a row here fails the first test below.
AMOUNTS = {
    K.PAYMENT: 1000,
    K.PAYMENT_REVERSAL: 1000,
    K.REFUND: 200,
    K.REFUND_REVERSAL: 300,
    K.CHARGEBACK: 200,
    K.CHARGEBACK_REVERSAL: 700,
    K.CLOSED: None,
    K.FAILED: None,
    K.PENDING: None,
}
EXPECTED = {
    S.PENDING: {
        K.PAYMENT: (V.APPLIED, S.PAID),
        K.PAYMENT_REVERSAL: (V.PARKED, None),
        K.REFUND: (V.PARKED, None),
        K.REFUND_REVERSAL: (V.PARKED, None),
        K.CHARGEBACK: (V.PARKED, None),
        K.CHARGEBACK_REVERSAL: (V.PARKED, None),
        K.CLOSED: (V.APPLIED, S.CLOSED),
        K.FAILED: (V.APPLIED, S.FAILED),
        K.PENDING: (V.IGNORED, None),
    },
    S.FAILED: {
        K.PAYMENT: (V.APPLIED, S.PAID),
        K.PAYMENT_REVERSAL: (V.PARKED, None),
        K.REFUND: (V.PARKED, None),
        K.REFUND_REVERSAL: (V.PARKED, None),
        K.CHARGEBACK: (V.PARKED, None),
        K.CHARGEBACK_REVERSAL: (V.PARKED, None),
        K.CLOSED: (V.APPLIED, S.CLOSED),
        K.FAILED: (V.STALE, None),
        K.PENDING: (V.STALE, None),
    },
    S.CLOSED: {
        K.PAYMENT: (V.LATE_PAYMENT, None),
        K.PAYMENT_REVERSAL: (V.PARKED, None),
        K.REFUND: (V.PARKED, None),
        K.REFUND_REVERSAL: (V.PARKED, None),
        K.CHARGEBACK: (V.PARKED, None),
        K.CHARGEBACK_REVERSAL: (V.PARKED, None),
        K.CLOSED: (V.STALE, None),
        K.FAILED: (V.STALE, None),
        K.PENDING: (V.STALE, None),
    },
    S.PAID: {
        K.PAYMENT: (V.DUPLICATE_PAYMENT, None),
        K.PAYMENT_REVERSAL: (V.APPLIED, S.FAILED),
        K.REFUND: (V.APPLIED, S.PARTIALLY_REFUNDED),
        K.REFUND_REVERSAL: (V.PARKED, None),
        K.CHARGEBACK: (V.APPLIED, S.CHARGED_BACK),
        K.CHARGEBACK_REVERSAL: (V.PARKED, None),
        K.CLOSED: (V.STALE, None),
        K.FAILED: (V.STALE, None),
        K.PENDING: (V.STALE, None),
    },
    S.PARTIALLY_REFUNDED: {
        K.PAYMENT: (V.DUPLICATE_PAYMENT, None),
        K.PAYMENT_REVERSAL: (V.MISMATCH, None),
        K.REFUND: (V.APPLIED, S.PARTIALLY_REFUNDED),
        K.REFUND_REVERSAL: (V.APPLIED, S.PAID),
        K.CHARGEBACK: (V.APPLIED, S.CHARGED_BACK),
        K.CHARGEBACK_REVERSAL: (V.PARKED, None),
        K.CLOSED: (V.STALE, None),
        K.FAILED: (V.STALE, None),
        K.PENDING: (V.STALE, None),
    },
    S.REFUNDED: {
        K.PAYMENT: (V.DUPLICATE_PAYMENT, None),
        K.PAYMENT_REVERSAL: (V.MISMATCH, None),
        K.REFUND: (V.MISMATCH, None),
        K.REFUND_REVERSAL: (V.APPLIED, S.PARTIALLY_REFUNDED),
        K.CHARGEBACK: (V.APPLIED, S.CHARGED_BACK),
        K.CHARGEBACK_REVERSAL: (V.PARKED, None),
        K.CLOSED: (V.STALE, None),
        K.FAILED: (V.STALE, None),
        K.PENDING: (V.STALE, None),
    },
    S.CHARGED_BACK: {
        K.PAYMENT: (V.DUPLICATE_PAYMENT, None),
        K.PAYMENT_REVERSAL: (V.MISMATCH, None),
        K.REFUND: (V.APPLIED, S.CHARGED_BACK),
        K.REFUND_REVERSAL: (V.APPLIED, S.CHARGED_BACK),
        K.CHARGEBACK: (V.APPLIED, S.CHARGED_BACK),
        K.CHARGEBACK_REVERSAL: (V.APPLIED, S.PARTIALLY_REFUNDED),
        K.CLOSED: (V.STALE, None),
        K.FAILED: (V.STALE, None),
        K.PENDING: (V.STALE, None),
    },
}


def order(state: OrderState = S.PENDING, **facts: object) -> Order:
    given = {"order_no": "TEAPOT-1", "amount": 1000, "currency": "CNY", "version": 4} | ORDERS[state] | facts
    return Order(state=state, **given)  # type: ignore[arg-type]


def event(kind: EventKind = K.PAYMENT, **facts: object) -> PaymentEvent:
    given = {
        "notification_id": "N-sher",
        "digest": "d" * 64,
        "order_no": "TEAPOT-1",
        "transaction_id": "T-marsupilami",
        "amount": AMOUNTS.get(kind),
        "currency": "CNY" if kind in SIGNS else None,
    } | facts
    return PaymentEvent(kind=kind, **given)  # type: ignore[arg-type]


def test_the_table_is_complete() -> None:
    """Every state meets every kind that has an effect, in the code's table and in the test's."""
    product = set(itertools.product(S, KINDS))

    assert product == set(TRANSITIONS)
    assert product == {(state, kind) for state, row in EXPECTED.items() for kind in row}
    assert set(MOVES) == set(KINDS)


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(S, KINDS)))
def test_every_state_against_every_kind(state: OrderState, kind: EventKind) -> None:
    """The decision is what the hand-written table says, and only `applied` changes the order."""
    before = order(state)

    decision = decide(before, event(kind))

    after = decision.order.state if decision.order else None
    assert (decision.verdict, after) == EXPECTED[state][kind], decision.reason
    assert (decision.verdict is V.APPLIED) == (decision.order is not None)
    if decision.order:
        assert decision.order.version == before.version + 1
        assert (state, decision.order.state) in ALLOWED
        assert decision.effect == SIGNS.get(kind, 0) * (AMOUNTS[kind] or 0)


@pytest.mark.parametrize("state", S)
def test_the_same_effect_twice_changes_nothing(state: OrderState) -> None:
    """Once the ledger holds an effect, another notification of it is stale in every state."""
    for kind in KINDS:
        first = decide(order(state), event(kind))
        if first.order is not None:
            again = decide(first.order, event(kind, notification_id="N-another"))

            assert (again.verdict, again.order) == (V.STALE, None)


def test_unknown_order_is_parked() -> None:
    """A notification may overtake its order."""
    assert decide(None, event()).verdict is V.PARKED


def test_other_is_ignored_even_without_an_order() -> None:
    """What has no effect on an order needs none."""
    assert decide(None, event(K.OTHER)).verdict is V.IGNORED


UNASKED = {K.PAYMENT_REVERSAL, K.REFUND_REVERSAL, K.CHARGEBACK, K.CHARGEBACK_REVERSAL}


@pytest.mark.parametrize("kind", KINDS)
def test_without_an_order_number_money_that_leaves_unasked_is_a_case(kind: EventKind) -> None:
    """A payment that names no order is not ours to apply; a chargeback that names none must be seen by a person."""
    decision = decide(None, event(kind, order_no=None))

    assert decision.reason == "names_no_order"
    assert decision.verdict == (V.MISMATCH if kind in UNASKED else V.IGNORED)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"amount": 999}, "amount_differs"),
        ({"amount": 1001}, "amount_differs"),
        ({"amount": 0}, "amount_unreadable"),
        ({"amount": None}, "amount_unreadable"),
        ({"currency": "JPY"}, "currency_differs"),
        ({"currency": None}, "currency_differs"),
        ({"foreign": ("seller_id",)}, "seller_id_differs"),
        ({"foreign": ("live",)}, "live_differs"),
    ],
)
def test_what_differs_from_the_order_is_a_mismatch(facts: dict[str, object], reason: str) -> None:
    """A genuine signature does not make the wrong amount right."""
    decision = decide(order(), event(**facts))

    assert (decision.verdict, decision.reason) == (V.MISMATCH, reason)


@pytest.mark.parametrize(
    ("kind", "facts", "reason"),
    [
        (K.REFUND, {"amount": 701}, "refunds_exceed_payment"),
        (K.REFUND_REVERSAL, {"amount": 301}, "reversal_exceeds_what_it_reverses"),
        (K.CHARGEBACK, {"amount": 1001}, "chargebacks_exceed_payment"),
    ],
)
def test_more_than_there_is_is_a_mismatch(kind: EventKind, facts: dict[str, object], reason: str) -> None:
    """Nobody can give back more than was paid, or take back more than was given."""
    decision = decide(order(S.PARTIALLY_REFUNDED), event(kind, **facts))

    assert (decision.verdict, decision.reason) == (V.MISMATCH, reason)


def test_a_full_refund_ends_refunded() -> None:
    """300 + 700 of 1000 is everything."""
    decision = decide(order(S.PARTIALLY_REFUNDED), event(K.REFUND, amount=700))

    assert decision.order is not None
    assert (decision.order.state, decision.order.refunded) == (S.REFUNDED, 1000)


@pytest.mark.parametrize(
    ("total", "verdict", "effect"),
    [(500, V.APPLIED, -200), (1000, V.APPLIED, -700), (300, V.STALE, 0), (100, V.STALE, 0), (1001, V.MISMATCH, 0)],
)
def test_a_cumulative_refund_adds_what_is_new(total: int, verdict: Verdict, effect: int) -> None:
    """Alipay's refund_fee is a total: 300 is known, so a total of 500 means 200 more and a total of 100 is old."""
    decision = decide(order(S.PARTIALLY_REFUNDED), event(K.REFUND, amount=total, cumulative=True))

    assert (decision.verdict, decision.effect) == (verdict, effect)


@pytest.mark.parametrize("state", [S.PENDING, S.FAILED, S.CLOSED])
def test_a_cumulative_refund_waits_for_its_payment(state: OrderState) -> None:
    """Out of order is weather: nothing refunded yet is not `stale`."""
    assert decide(order(state), event(K.REFUND, amount=100, cumulative=True)).verdict is V.PARKED


def test_a_transaction_of_another_order_is_a_conflict() -> None:
    """One transaction pays one order."""
    known = {("T-marsupilami", K.PAYMENT): Effect("KETTLE-2", 1000)}

    decision = decide(order(effects=known), event())

    assert (decision.verdict, decision.reason) == (V.CONFLICT, "transaction_of_another_order")


def test_a_transaction_with_another_amount_is_a_conflict() -> None:
    """The same effect key must say the same amount."""
    known = {("T-marsupilami", K.PAYMENT): Effect("TEAPOT-1", 1000)}

    decision = decide(order(S.PAID, effects=known), event(amount=900))

    assert (decision.verdict, decision.reason) == (V.CONFLICT, "transaction_with_another_amount")


def test_every_verdict_has_one_ending() -> None:
    """A verdict is settled, waits, stands in front of a person, or is the count of a duplicate: never two of them."""
    assert SETTLED.isdisjoint(CASES)
    assert SETTLED.isdisjoint(WAITING)
    assert CASES.isdisjoint(WAITING)
    assert set(V) == SETTLED | CASES | WAITING | {V.DUPLICATE}
