"""What was decided. The same word stands in code, log, metric, history and console."""

from dataclasses import dataclass
from enum import StrEnum

from domain.order import Order, Standing


class Verdict(StrEnum):
    """One word for each ending of a notification."""

    #: It changed its order, once.
    APPLIED = "applied"
    #: Seen before with the same content; nothing changed but the count of deliveries.
    DUPLICATE = "duplicate"
    #: Older than what the order knows.
    STALE = "stale"
    #: No effect on an order, or an effect that the ledger already holds.
    IGNORED = "ignored"
    #: What it speaks of is not here yet; tried again by `redrive`.
    PARKED = "parked"
    #: Amount, currency, app, seller or live mode differ from the order.
    MISMATCH = "mismatch"
    #: The same id as an earlier one, with other content.
    CONFLICT = "conflict"
    #: A second real payment for a paid order.
    DUPLICATE_PAYMENT = "duplicate_payment"
    #: Paid after the order was closed.
    LATE_PAYMENT = "late_payment"
    #: Not applied before its time ran out; never applied on its own any more.
    EXPIRED = "expired"
    #: Applying it raised; tried again by `redrive`.
    FAILED = "failed"
    #: Given up after the last attempt.
    DEAD = "dead"


#: Endings that a person has to see: each opens a case.
CASES = frozenset(
    {
        Verdict.MISMATCH,
        Verdict.CONFLICT,
        Verdict.DUPLICATE_PAYMENT,
        Verdict.LATE_PAYMENT,
        Verdict.EXPIRED,
        Verdict.DEAD,
    }
)

#: Not an ending: tried again later.
WAITING = frozenset({Verdict.PARKED, Verdict.FAILED})

#: Endings after which a row may be purged: nothing is open and nothing will be tried again.
SETTLED = frozenset({Verdict.APPLIED, Verdict.STALE, Verdict.IGNORED})


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, its reason, for `applied` the order as it is afterwards, and what the ledger keeps of it."""

    verdict: Verdict
    #: One word a person can look up in docs/glossary.md: "order_not_found", "amount_differs".
    reason: str
    #: The order after the effect; None where nothing changes.
    order: Order | None = None
    #: Signed minor units for the ledger.
    effect: int = 0
    #: How the ledger entry counts; None where none is written.
    standing: Standing | None = None
    #: What an attempt raised, for `failed` and `dead`: a class and one line, no payments.
    error: str = ""
