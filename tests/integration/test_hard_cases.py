"""The hard cases of docs/hard-cases.md, each on a real PostgreSQL: what they end as, and what the order is then."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shop import HOOKS_ACCOUNT, OTHER_ACCOUNT, Shop

from domain.event import EventKind
from domain.verdict import CASES
from models import cases, ledger_entries, notifications
from ops.audit import violations
from tasks.redrive import redrive_batch

PAGE = Path(__file__).parents[2] / "docs" / "hard-cases.md"
K = EventKind
START = datetime(2026, 11, 1, tzinfo=UTC)


class Story:
    """One order of 1000, and what its provider says about it."""

    def __init__(self, shop: Shop) -> None:
        """The order is there."""
        self.shop = shop
        self.minute = 0
        shop.order("TEAPOT", account=HOOKS_ACCOUNT)

    def say(self, kind: K, transaction_id: str, amount: int = 1000, **facts: Any) -> dict[str, Any]:
        """An envelope, a minute after the last one."""
        self.minute += 1
        given = {
            "notification_id": f"msg_{self.minute}",
            "occurred_at": START + timedelta(minutes=self.minute),
            "transaction_id": transaction_id,
            "amount": amount,
        } | facts
        order_no = given.pop("order_no", "TEAPOT")
        return self.shop.envelope(self.shop.notice(order_no, kind, **given), HOOKS_ACCOUNT)

    def tell(self, kind: K, transaction_id: str, amount: int = 1000, **facts: Any) -> None:
        """Said and delivered."""
        self.shop.apply(self.say(kind, transaction_id, amount, **facts))

    def paid(self) -> "Story":
        """The order is paid by T1."""
        self.tell(K.PAYMENT, "T1")
        return self

    def closed(self) -> "Story":
        """The provider closed it."""
        self.tell(K.CLOSED, "T1")
        return self


def second_payment_refunded(story: Story) -> None:
    """What goes back of a second payment is not the order's."""
    story.paid().tell(K.PAYMENT, "T2")
    story.tell(K.REFUND, "R1", payment_id="T2")


def replayed_closing(story: Story) -> None:
    """Stale when it came; the order moved back since, and its row is gone."""
    story.paid()
    closing = story.say(K.CLOSED, "T1")
    story.shop.apply(closing)
    story.tell(K.PAYMENT_REVERSAL, "T1", payment_id="T1")
    with story.shop.engine.begin() as connection:
        connection.execute(notifications.delete().where(notifications.c.kind == "closed"))
    story.shop.apply(closing)


def overtaken_refund(story: Story) -> None:
    """The refund comes first; the payment follows in another pack."""
    refund = story.say(K.REFUND, "R1", 300, payment_id="T1")
    story.shop.apply(refund)
    story.tell(K.PAYMENT, "T1")
    with story.shop.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE notifications SET processed_at = processed_at - interval '5 s'")
    redrive_batch(story.shop.own)


def dispute_without_number(story: Story) -> None:
    """It names its payment only."""
    story.paid().tell(K.CHARGEBACK, "D1", payment_id="T1", order_no="")


def foreign_dispute(story: Story) -> None:
    """It names neither."""
    story.tell(K.CHARGEBACK, "D1", order_no="")


def of_another_account(story: Story) -> None:
    """The same order number at another account is another order."""
    story.shop.apply(story.shop.envelope(story.shop.notice("TEAPOT", transaction_id="T1"), OTHER_ACCOUNT))


def conflicting_copy(story: Story) -> None:
    """The same id with another amount."""
    story.paid().tell(K.PAYMENT, "T1", 999, notification_id="msg_1")


def late_in_the_queue(story: Story) -> None:
    """It waited longer than the account's deadline."""
    notice = story.shop.notice("TEAPOT", transaction_id="T1")
    long_ago = datetime.now(UTC) - timedelta(days=20)
    story.shop.apply(story.shop.envelope(notice, HOOKS_ACCOUNT, received_at=long_ago.timestamp()))


@dataclass(frozen=True)
class Case:
    """One row of the page."""

    name: str
    act: Callable[[Story], object]
    verdict: str
    reason: str
    order: tuple[str, int, int]
    standings: str = "counted"
    #: Which notification ends so, by the order of arrival.
    which: int = -1


TABLE = (
    Case(
        "the same notification again",
        lambda s: (
            s.paid(),
            s.tell(K.PAYMENT, "T1", notification_id="msg_1", occurred_at=START + timedelta(minutes=1)),
        ),
        "applied",
        "payment",
        ("paid", 1000, 0),
    ),
    Case(
        "another notification of the same payment",
        lambda s: s.paid().tell(K.PAYMENT, "T1"),
        "stale",
        "effect_already_in_ledger",
        ("paid", 1000, 0),
    ),
    Case("the same id, other content", conflicting_copy, "applied", "payment", ("paid", 1000, 0)),
    Case(
        "the same transaction, another amount",
        lambda s: s.paid().tell(K.PAYMENT, "T1", 999),
        "conflict",
        "transaction_with_another_amount",
        ("paid", 1000, 0),
    ),
    Case(
        "a second transaction pays a paid order",
        lambda s: s.paid().tell(K.PAYMENT, "T2"),
        "duplicate_payment",
        "order_already_paid",
        ("paid", 1000, 0),
        "counted suspense",
    ),
    Case(
        "the second payment is refunded",
        second_payment_refunded,
        "ignored",
        "payment_in_suspense",
        ("paid", 1000, 0),
        "counted suspense suspense",
    ),
    Case(
        "a partial payment", lambda s: s.tell(K.PAYMENT, "T1", 400), "mismatch", "amount_differs", ("pending", 0, 0), ""
    ),
    Case(
        "an over-payment", lambda s: s.tell(K.PAYMENT, "T1", 1001), "mismatch", "amount_differs", ("pending", 0, 0), ""
    ),
    Case(
        "another currency",
        lambda s: s.tell(K.PAYMENT, "T1", currency="USD"),
        "mismatch",
        "currency_differs",
        ("pending", 0, 0),
        "",
    ),
    Case("the order number of another account", of_another_account, "parked", "order_not_found", ("pending", 0, 0), ""),
    Case(
        "a partial refund",
        lambda s: s.paid().tell(K.REFUND, "R1", 300, payment_id="T1"),
        "applied",
        "refund",
        ("partially_refunded", 1000, 300),
        "counted counted",
    ),
    Case(
        "several refunds up to the whole",
        lambda s: (s.paid().tell(K.REFUND, "R1", 300), s.tell(K.REFUND, "R2", 700)),
        "applied",
        "refund",
        ("refunded", 1000, 1000),
        "counted counted counted",
    ),
    Case(
        "more refunded than paid",
        lambda s: (s.paid().tell(K.REFUND, "R1", 300), s.tell(K.REFUND, "R2", 701)),
        "mismatch",
        "refunds_exceed_payment",
        ("partially_refunded", 1000, 300),
        "counted counted",
    ),
    Case(
        "a refund before its payment",
        overtaken_refund,
        "applied",
        "refund",
        ("partially_refunded", 1000, 300),
        "counted counted",
        0,
    ),
    Case(
        "a refund that failed afterwards",
        lambda s: (s.paid().tell(K.REFUND, "R1", 300), s.tell(K.REFUND_REVERSAL, "R1", 300)),
        "applied",
        "refund_reversal",
        ("paid", 1000, 0),
        "counted counted counted",
    ),
    Case(
        "a failed refund before the refund",
        lambda s: s.paid().tell(K.REFUND_REVERSAL, "R1", 300),
        "parked",
        "refund_not_here_yet",
        ("paid", 1000, 0),
    ),
    Case(
        "a chargeback",
        lambda s: s.paid().tell(K.CHARGEBACK, "D1", payment_id="T1"),
        "applied",
        "chargeback",
        ("charged_back", 1000, 0),
        "counted counted",
    ),
    Case(
        "a chargeback won back",
        lambda s: (s.paid().tell(K.CHARGEBACK, "D1"), s.tell(K.CHARGEBACK_REVERSAL, "D1")),
        "applied",
        "chargeback_reversal",
        ("paid", 1000, 0),
        "counted counted counted",
    ),
    Case(
        "a dispute that names only its payment",
        dispute_without_number,
        "applied",
        "chargeback",
        ("charged_back", 1000, 0),
        "counted counted",
    ),
    Case("a dispute that names nothing of ours", foreign_dispute, "mismatch", "names_no_order", ("pending", 0, 0), ""),
    Case(
        "a payment taken back by the bank",
        lambda s: s.paid().tell(K.PAYMENT_REVERSAL, "T1"),
        "applied",
        "payment_reversal",
        ("failed", 0, 0),
        "counted counted",
    ),
    Case(
        "a payment taken back after a refund",
        lambda s: (s.paid().tell(K.REFUND, "R1", 300), s.tell(K.PAYMENT_REVERSAL, "T1")),
        "mismatch",
        "payment_reversed_after_refund",
        ("partially_refunded", 1000, 300),
        "counted counted",
    ),
    Case("closed", lambda s: s.closed(), "applied", "closed", ("closed", 0, 0)),
    Case(
        "paid after closed",
        lambda s: s.closed().tell(K.PAYMENT, "T1"),
        "late_payment",
        "order_closed",
        ("closed", 0, 0),
        "counted suspense",
    ),
    Case(
        "closed after paid", lambda s: s.paid().closed(), "stale", "order_is_further", ("paid", 1000, 0), "counted void"
    ),
    Case(
        "the late closing again, after a purge and a reversal",
        replayed_closing,
        "stale",
        "effect_already_in_ledger",
        ("failed", 0, 0),
        "counted void counted",
    ),
    Case(
        "pending after paid", lambda s: s.paid().tell(K.PENDING, "T1"), "stale", "order_is_further", ("paid", 1000, 0)
    ),
    Case(
        "failed after paid",
        lambda s: s.paid().tell(K.FAILED, "T1"),
        "stale",
        "order_is_further",
        ("paid", 1000, 0),
        "counted void",
    ),
    Case(
        "paid at the second try",
        lambda s: (s.tell(K.FAILED, "T1"), s.paid()),
        "applied",
        "payment",
        ("paid", 1000, 0),
        "counted counted",
    ),
    Case("too long in the queue", late_in_the_queue, "expired", "not_applied_in_time", ("pending", 0, 0), ""),
)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name.replace(" ", "-"))
def test_the_case_ends_as_the_page_says(shop: Shop, case: Case) -> None:
    """Verdict, reason, order, ledger, and a case exactly where a person has to see it; every invariant holds."""
    case.act(Story(shop))

    last = shop.rows(notifications)[case.which]
    assert (last.status, last.reason) == (case.verdict, case.reason)
    assert shop.state("TEAPOT") == case.order
    assert " ".join(row.standing for row in shop.rows(ledger_entries)) == case.standings
    seen = {row.kind for row in shop.rows(cases)}
    assert (last.status in seen) == (last.status in CASES)
    with shop.engine.connect() as connection:
        assert not any(violations(connection, drained=True).values())


def test_a_conflicting_copy_stands_before_a_person(shop: Shop) -> None:
    """The first copy stays as it was; the other opens a case."""
    conflicting_copy(Story(shop))

    assert [(row.kind, row.reason) for row in shop.rows(cases)] == [("conflict", "same_id_other_content")]


def test_the_page_says_what_these_tests_say() -> None:
    """Every row of the page has its case here with the same verdict and reason, and the other way round."""
    rows = re.findall(r"^\| ([^|]+?) \| \*\*(\w+)\*\* `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)

    assert rows == [(case.name, case.verdict, case.reason) for case in TABLE]


def test_several_parked_ones_are_applied_in_their_order(shop: Shop) -> None:
    """Refund, closing and payment waited for the order; one sweep applies them as they happened."""
    notices = [
        shop.notice("KETTLE", K.REFUND, transaction_id="R1", payment_id="T1", amount=300, occurred_at=START),
        shop.notice("KETTLE", K.CHARGEBACK, transaction_id="D1", payment_id="T1", amount=700, occurred_at=START),
        shop.notice("KETTLE", K.PAYMENT, transaction_id="T1", occurred_at=START),
    ]
    shop.apply(*(shop.envelope(notice, HOOKS_ACCOUNT) for notice in notices))
    assert shop.statuses() == {"parked": 3}
    shop.order("KETTLE", account=HOOKS_ACCOUNT)
    with shop.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE notifications SET processed_at = processed_at - interval '5 s'")

    redrive_batch(shop.own)

    assert shop.statuses() == {"applied": 3}
    assert shop.state("KETTLE") == ("charged_back", 1000, 300)


def test_what_overtook_its_payment_in_a_pack_is_decided_again(shop: Shop) -> None:
    """The clocks differ, and the refund looks older than its payment: both are applied at once all the same."""
    shop.order("KETTLE", account=HOOKS_ACCOUNT)
    refund = shop.notice("KETTLE", K.REFUND, transaction_id="R1", payment_id="T1", amount=300, occurred_at=START)
    payment = shop.notice("KETTLE", transaction_id="T1", occurred_at=START + timedelta(seconds=1))

    shop.apply(shop.envelope(refund, HOOKS_ACCOUNT), shop.envelope(payment, HOOKS_ACCOUNT))

    assert shop.statuses() == {"applied": 2}
