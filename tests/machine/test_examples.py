"""What the machine found, as the shortest story of each."""

import pytest
from fate import Fate, How
from mortal import DEADLINE, Mortal, Parcel
from saying import AMOUNT, HOOKS, Said
from seen import Look
from shop import ACCOUNT

from domain.event import EventKind

K = EventKind


@pytest.fixture
def told(mortal: Mortal, look: Look) -> "Story":
    """A shop with one order."""
    return Story(mortal, look)


class Story:
    """Notifications about one order, one after the other; after each the invariants hold."""

    def __init__(self, shop: Mortal, look: Look) -> None:
        self.shop, self.look, self.packs = shop, look, 0
        for account in (HOOKS, ACCOUNT):
            shop.order("TEAPOT", AMOUNT, "EUR", account)

    def says(self, kind: EventKind, transaction_id: str, amount: int = AMOUNT, **facts: str | None) -> tuple[str, str]:
        """What became of it: (status, reason)."""
        self.packs += 1
        given = {"account": HOOKS, "notification_id": f"evt_{self.packs}", "order_no": "TEAPOT"} | facts
        said = Said(kind=kind, transaction_id=transaction_id, amount=amount, **given)  # type: ignore[arg-type]
        self.shop.deliver(Parcel(self.packs, (said,), self.shop.clock))
        return self.of(f"evt_{self.packs}")

    def of(self, notification_id: str) -> tuple[str, str]:
        """What became of it by now."""
        seen = self.look()
        assert seen.broken == {}
        [row] = [row for row in seen.notifications if row.notification_id == notification_id]
        return row.status, row.reason

    def let_in(self, case_id: int, notification_id: str) -> tuple[str, str]:
        """A person says "apply anyway"; what becomes of it."""
        self.shop.overrule(case_id)
        assert self.of(notification_id)[0] == "received"
        self.shop.later(5)
        self.shop.sweep()
        return self.of(notification_id)


def test_a_late_payment_of_the_wrong_amount_is_let_in_by_nobody(told: Story) -> None:
    """Refused again; its money stays in suspense and the audit finds nothing wrong with that."""
    told.says(K.CLOSED, "pi_0")
    assert told.says(K.PAYMENT, "pi_1", 999) == ("late_payment", "order_closed")

    assert told.let_in(1, "evt_2") == ("mismatch", "amount_differs")
    assert [(entry.transaction_id, entry.standing) for entry in told.look().ledger_entries][1:] == [
        ("pi_1", "suspense")
    ]


def test_a_pack_that_lay_in_the_queue_beyond_its_time_may_die_in_its_first_attempt(told: Story) -> None:
    """Its row is new and its time has long been over: nothing is stuck until the sweep has had its turn."""
    facts = {"account": HOOKS, "notification_id": "evt_1", "order_no": "TEAPOT"}
    said = Said(kind=K.PAYMENT, transaction_id="pi_1", amount=AMOUNT, **facts)
    told.shop.clock = DEADLINE + 3 * 3600.0
    parcel = Parcel(1, (said,), received=0.0)
    for _ in range(2):
        told.shop.deliver(parcel, redelivered=True, fate=Fate(How.KILLED, 5))

    assert told.of("evt_1")[0] == "received"
    told.shop.beat()
    assert told.of("evt_1") == ("expired", "not_applied_in_time")


@pytest.mark.parametrize("kind", [K.REFUND, K.CHARGEBACK, K.PAYMENT_REVERSAL])
def test_a_late_payment_whose_money_left_again_is_let_in_by_nobody(told: Story, kind: EventKind) -> None:
    """The order would be called paid with money that is not there."""
    told.says(K.CLOSED, "pi_0")
    told.says(K.PAYMENT, "pi_1")
    assert told.says(kind, "re_1", payment_id="pi_1") == ("ignored", "payment_in_suspense")

    assert told.let_in(1, "evt_2") == ("mismatch", "amount_differs")


def test_what_came_back_after_all_may_be_let_in(told: Story) -> None:
    """The refund failed: the late payment is whole again."""
    told.says(K.CLOSED, "pi_0")
    told.says(K.PAYMENT, "pi_1")
    told.says(K.REFUND, "re_1", 300, payment_id="pi_1")
    told.says(K.REFUND_REVERSAL, "re_1", 300, payment_id="pi_1")

    assert told.let_in(1, "evt_2") == ("applied", "payment")


@pytest.mark.parametrize(
    ("kind", "amount", "ending"),
    [
        (K.REFUND, 701, ("mismatch", "refunds_exceed_payment")),
        (K.REFUND, 700, ("ignored", "payment_in_suspense")),
        (K.CHARGEBACK, 1001, ("mismatch", "chargebacks_exceed_payment")),
        (K.PAYMENT_REVERSAL, 1000, ("mismatch", "amount_differs")),
        (K.REFUND_REVERSAL, 301, ("parked", "refund_not_here_yet")),
        (K.CHARGEBACK_REVERSAL, 1, ("parked", "chargeback_not_here_yet")),
    ],
)
def test_no_more_leaves_a_second_payment_than_came(
    told: Story, kind: EventKind, amount: int, ending: tuple[str, str]
) -> None:
    """Money in suspense is counted as strictly as an order's: 300 of 1000 went back already."""
    told.says(K.PAYMENT, "pi_1")
    told.says(K.PAYMENT, "pi_2")
    told.says(K.REFUND, "re_1", 300, payment_id="pi_2")

    assert told.says(kind, "re_2", amount, payment_id="pi_2") == ending


def test_a_total_in_suspense_counts_what_was_reversed(told: Story) -> None:
    """Stripe's total is 300 again after a refund that failed: that is a refund, not an old word."""
    stripe = {"account": ACCOUNT}
    told.says(K.PAYMENT, "pi_1", **stripe)
    told.says(K.PAYMENT, "pi_2", **stripe)
    told.says(K.REFUND, "", 300, payment_id="pi_2", **stripe)
    told.says(K.REFUND_REVERSAL, "re_1", 300, payment_id="pi_2", **stripe)

    assert told.says(K.REFUND, "", 300, payment_id="pi_2", **stripe) == ("ignored", "payment_in_suspense")


def test_a_refund_of_a_reversed_payment_is_shown_at_once(told: Story) -> None:
    """The bank took the money and the merchant gave it back: nothing that comes will mend that."""
    told.says(K.PAYMENT, "pi_1")
    told.says(K.PAYMENT_REVERSAL, "pi_1")

    assert told.says(K.REFUND, "re_1", 300, payment_id="pi_1", order_no=None) == ("mismatch", "payment_was_reversed")
