"""What two providers say in the machine: every kind, right or wrong, in Stripe's dialect and in Standard Webhooks'."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from hypothesis import strategies as st
from shop import ACCOUNT, stripe

from domain.event import SIGNS, EventKind
from providers.dialect import Dialect, Notice
from providers.envelope import Envelope
from providers.keys import Key
from providers.standard_webhooks import StandardWebhooks

K = EventKind

#: The account that says every kind, and every amount as it is: not as a total.
HOOKS = "shop-hooks"
ACCOUNTS = (ACCOUNT, HOOKS)
DIALECTS: dict[str, Dialect] = {
    ACCOUNT: stripe(ACCOUNT),
    HOOKS: StandardWebhooks(account=HOOKS, live=False, secrets=(Key("env:OTTER", b"otter_of_the_sea_otter_of"),)),
}
#: What every order is about; both accounts use the same order numbers.
AMOUNT, CURRENCY = 1000, "EUR"
ORDER_NOS = ("TEAPOT", "KETTLE", "SAMOVAR")
#: Kinds that speak of an earlier payment.
FOLLOWING = (K.PAYMENT_REVERSAL, K.REFUND, K.REFUND_REVERSAL, K.CHARGEBACK, K.CHARGEBACK_REVERSAL)
#: (account, notification id, digest): two notifications may say the same.
Copy = tuple[str, str, str]
_BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Said:
    """One content of one notification. Amounts in minor units; a Stripe refund's is the total so far."""

    account: str
    notification_id: str
    kind: EventKind
    order_no: str | None
    transaction_id: str
    payment_id: str = ""
    amount: int = AMOUNT
    currency: str = CURRENCY
    #: Says that it belongs to the live mode; the account is a sandbox.
    foreign: bool = False
    #: By the provider's clock, since an arbitrary beginning.
    minute: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """The delivery key; an account has one provider."""
        return self.account, self.notification_id

    @property
    def cumulative(self) -> bool:
        """Whether the amount is a total so far."""
        return self.kind is K.REFUND and self.account == ACCOUNT

    @property
    def effect(self) -> tuple[str, str, str]:
        """The effect key: (account, transaction, kind). Stripe's refunds have no other id than their event's."""
        return self.account, self.notification_id if self.cumulative else self.transaction_id, self.kind.value

    @property
    def moves_money(self) -> bool:
        """Whether an amount stands in it."""
        return self.kind in SIGNS

    def envelope(self, at: float) -> dict[str, Any]:
        """As it lies on the queue, signed and received at `at` (unix seconds)."""
        signer = self.signer()
        return Envelope(self.account, signer.provider, signer.sign(self.notice(), at), at).to_json()

    @property
    def copy(self) -> Copy:
        """By which the house knows this content again."""
        return _copy(self)

    def signer(self) -> Dialect:
        """Who signs it."""
        own: Any = DIALECTS[self.account]
        return dataclasses.replace(own, live=True) if self.foreign else own

    def notice(self) -> Notice:
        """For the dialect."""
        return Notice(
            notification_id=self.notification_id,
            kind=self.kind,
            order_no=self.order_no or "",
            transaction_id=self.transaction_id,
            amount=self.amount,
            currency=self.currency,
            order_amount=AMOUNT,
            refunded=self.amount if self.cumulative else 0,
            payment_id=self.payment_id if self.kind in FOLLOWING else "",
            occurred_at=_BEGUN + timedelta(minutes=self.minute),
        )


@cache
def _copy(said: Said) -> Copy:
    [event] = DIALECTS[said.account].parse(said.signer().sign(said.notice(), 1_000_000.0))
    return said.account, said.notification_id, event.digest


#: How much, by kind: what is right comes oftener than what is wrong.
_AMOUNTS = {
    K.PAYMENT: (*(AMOUNT,) * 8, 999, 1001),
    K.PAYMENT_REVERSAL: (AMOUNT, AMOUNT, AMOUNT, 300),
    K.REFUND: (300, 300, 400, 700, AMOUNT, 1100),
    K.REFUND_REVERSAL: (300, 300, 400, 700),
    K.CHARGEBACK: (AMOUNT, 300, 400),
    K.CHARGEBACK_REVERSAL: (AMOUNT, 300, 400),
}
_KINDS = (*K, *FOLLOWING, *(K.PAYMENT,) * 5, *(K.REFUND,) * 3, *(K.CLOSED,) * 3, K.FAILED)
#: What the transactions of a kind are called, so that a reversal has a chance to meet what it reverses.
_CALLED = {K.REFUND: "re", K.REFUND_REVERSAL: "re", K.CHARGEBACK: "dp", K.CHARGEBACK_REVERSAL: "dp"}
_WRONG = (*("",) * 20, "currency", "foreign", "no order", "no order")


@dataclass(frozen=True, slots=True)
class Wish:
    """What to say next, before it has a number. Numbers: which order, transaction, payment (0: none) and amount."""

    account: str
    kind: EventKind
    numbers: tuple[int, int, int, int]
    wrong: str

    def said(self, number: int) -> Said:
        """As notification `number`."""
        order, transaction, payment, more = self.numbers
        amounts = _AMOUNTS.get(self.kind, (0,))
        return Said(
            account=self.account,
            notification_id=f"evt_{number}",
            kind=self.kind,
            order_no=None if self.wrong == "no order" else ORDER_NOS[order],
            transaction_id=f"{_CALLED.get(self.kind, 'pi')}_{transaction}",
            payment_id=f"pi_{payment}" if payment and self.kind in FOLLOWING else "",
            amount=amounts[more % len(amounts)],
            currency="USD" if self.wrong == "currency" else CURRENCY,
            foreign=self.wrong == "foreign" and self.account == ACCOUNT,
            minute=more % 5,
        )


_NUMBERS = st.tuples(
    st.sampled_from((0, 0, 0, 1, 1, 2)),
    st.sampled_from((1, 1, 2, 2, 3, 4, 5, 6)),
    st.sampled_from((0, 0, 1, 1, 2, 3)),
    st.integers(0, 59),
)


def _wishes(kinds: Sequence[EventKind], wrong: Sequence[str] = _WRONG) -> st.SearchStrategy[Wish]:
    sayable = {account: [kind for kind in kinds if kind in DIALECTS[account].sayable] for account in ACCOUNTS}
    return st.one_of(
        *(
            st.builds(Wish, st.just(account), st.sampled_from(kinds), _NUMBERS, st.sampled_from(wrong))
            for account, kinds in sayable.items()
        )
    )


WISHES = _wishes(_KINDS)
PAYMENTS = _wishes([K.PAYMENT], [""])
FOLLOWERS = _wishes([*FOLLOWING, K.REFUND], ["", "", "", "", "no order"])
