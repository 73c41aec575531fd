"""What makes two deliveries one notification, where the provider does not number them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from nameless import Nameless

from domain.errors import MalformedNotification
from domain.event import EventKind, PaymentEvent
from providers.dialect import Delivery, Dialect, Notice
from providers.keys import Key
from providers.registry import DIALECTS

K = EventKind
NOW = 1_767_225_600.0
DIALECT: Dialect = Nameless("shop", False, (Key("env:SECRET", b"a marsupilami keeps this one"),))
PAID = Notice(
    notification_id="nowhere",
    kind=K.PAYMENT,
    order_no="crunchy-armchair",
    transaction_id="4200",
    amount=1999,
    currency="EUR",
    order_amount=1999,
    occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def _read(delivery: Delivery) -> PaymentEvent:
    DIALECT.verify(delivery, NOW)
    [event] = DIALECT.parse(delivery)
    return event


def _said(notice: Notice, now: float = NOW) -> PaymentEvent:
    return _read(DIALECT.sign(notice, now))


def test_a_redelivery_is_the_same_notification_though_its_bytes_are_others() -> None:
    """Sent again it has another time, another count and another signature, and the same identity and content."""
    first, again = DIALECT.sign(PAID, NOW), DIALECT.sign(PAID, NOW + 3600)

    assert first.body != again.body
    assert first.headers != again.headers
    assert (_read(first).notification_id, _read(first).digest) == (_read(again).notification_id, _read(again).digest)
    assert _read(first).occurred_at != _read(again).occurred_at


def test_the_next_state_is_another_notification() -> None:
    """One transaction is told of more than once: each state is news."""
    assert _said(PAID).notification_id == "4200:PAID"
    assert _said(replace(PAID, kind=K.PENDING)).notification_id == "4200:WAITING"
    assert _said(replace(PAID, transaction_id="4201")).notification_id == "4201:PAID"


@pytest.mark.parametrize("changes", [{"amount": 2000}, {"currency": "USD"}, {"order_no": "ominous-mirror"}])
def test_other_content_under_the_same_identity_shows(changes: dict[str, object]) -> None:
    """A second story about the same transaction and state is a conflict, not a redelivery and not news."""
    first, other = _said(PAID), _said(replace(PAID, **changes))  # type: ignore[arg-type]

    assert first.notification_id == other.notification_id
    assert first.digest != other.digest


def test_an_identity_that_is_none_is_malformed() -> None:
    """Made of nothing, or too long for the key: not a notification that can be kept."""
    for number in ("", "t" * 255):
        with pytest.raises(MalformedNotification):
            DIALECT.parse(DIALECT.sign(replace(PAID, transaction_id=number), NOW))


def test_the_dialect_of_these_tests_is_none_of_the_house() -> None:
    """It stands here to hold the interface open for those that come."""
    assert Nameless.provider not in DIALECTS
