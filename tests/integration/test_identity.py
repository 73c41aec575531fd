"""A provider without notification ids, and with fields that change, through the worker."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from nameless import Nameless
from shop import Shop

from domain.event import EventKind
from domain.verdict import Verdict
from models import cases, ledger_entries, notifications
from providers.dialect import Notice
from providers.envelope import Envelope
from providers.keys import Key

K, V = EventKind, Verdict
ACCOUNT = "shop-nameless"
NOW = datetime.now(UTC).timestamp()


@pytest.fixture
def nameless(shop: Shop) -> Nameless:
    """An account of the nameless provider in the shop."""
    dialect = Nameless(ACCOUNT, False, (Key("env:NAMELESS", b"a marsupilami keeps this one"),))
    shop.own = replace(shop.own, dialects={**shop.own.dialects, ACCOUNT: dialect})
    return dialect


def _notice(kind: EventKind = K.PAYMENT, transaction_id: str = "4200", amount: int = 1000) -> Notice:
    return Notice(
        notification_id="",
        kind=kind,
        order_no="TEAPOT",
        transaction_id=transaction_id,
        payment_id="4200" if kind is K.REFUND else "",
        amount=amount,
        currency="EUR",
        order_amount=1000,
        occurred_at=datetime.now(UTC),
    )


def test_each_state_counts_once_and_another_story_is_a_conflict(shop: Shop, nameless: Nameless) -> None:
    """Redeliveries with other times are duplicates, the refund is news, another amount of the payment is a case."""
    shop.order("TEAPOT", account=ACCOUNT)

    def deliver(notice: Notice, hours: int) -> list[Verdict]:
        delivery = nameless.sign(notice, NOW + 3600 * hours)
        return list(shop.apply(Envelope(ACCOUNT, nameless.provider, delivery, NOW).to_json()).elements())

    assert [deliver(_notice(), hours) for hours in range(3)] == [[V.APPLIED], [V.DUPLICATE], [V.DUPLICATE]]
    refund = _notice(K.REFUND, "5030", 400)
    assert [deliver(refund, hours) for hours in range(2)] == [[V.APPLIED], [V.DUPLICATE]]
    assert deliver(_notice(amount=999), 3) == [V.CONFLICT]
    assert shop.state("TEAPOT") == ("partially_refunded", 1000, 400)
    assert [(row.notification_id, row.deliveries) for row in shop.rows(notifications)] == [
        ("4200:PAID", 3),
        ("5030:RETURNED", 2),
    ]
    assert len(shop.rows(ledger_entries)) == 2
    assert [row.reason for row in shop.rows(cases)] == ["same_id_other_content"]
