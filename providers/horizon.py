"""How long a provider goes on sending, and where it says so."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """Times of one provider, each counted from the first delivery; `lifecycle` from the payment."""

    #: How long the provider sends a notification again by itself while nobody answers it with success.
    automatic: timedelta
    #: How long somebody can have the same notification sent again by hand; None: the provider offers no such thing.
    manual: timedelta | None = None
    #: How long after the payment notifications with an id of their own may still come: a refund, a dispute, Alipay's
    #: TRADE_FINISHED. They are new, not repeated: the ledger's key meets them, no retention can. None: not said.
    lifecycle: timedelta | None = None
    #: The document that says so.
    source: str

    @property
    def longest(self) -> timedelta:
        """The longest time after which the same notification may come again: its row must be kept for longer."""
        return max(self.automatic, self.manual or self.automatic)

    @property
    def deadline(self) -> timedelta:
        """How long a notification may wait to be applied: a day more than the provider itself goes on trying."""
        return self.automatic + timedelta(days=1)
