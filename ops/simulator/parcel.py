"""One notification with its deliveries: signed when it is sent, and again when the provider would."""

from dataclasses import dataclass, field

from ops.simulator.forgery import Forger
from providers.dialect import Delivery, Dialect, Notice

#: A signature is reused for this long (seconds): receivers take five minutes, and an RSA signature costs half a
#: millisecond, which at some thousand deliveries a second would be most of the simulator's time.
FRESH = 60.0


@dataclass(slots=True, eq=False)
class Parcel:
    """A notice that its provider sends until it hears success. `forged` names how, for one that no provider sends."""

    dialect: Dialect
    notice: Notice
    forged: str = ""
    #: Whether any delivery of it was answered with success.
    accepted: bool = False
    _signed: Delivery | None = field(default=None, repr=False)
    _signed_at: float = 0.0
    _signatures: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """(account, notification id)."""
        return self.dialect.account, self.notice.notification_id

    def delivery(self, now: float, forger: Forger) -> Delivery:
        """The HTTP request as it is sent at `now`: the first redelivery is signed anew, then only what got stale."""
        if self._signed is None or self._signatures < 2 or now - self._signed_at > FRESH:
            self._signed = self._sign(now, forger)
            self._signed_at = now
            self._signatures += 1
        return self._signed

    def _sign(self, now: float, forger: Forger) -> Delivery:
        if self.forged:
            return forger.forge(self.forged, self.dialect, self.notice, now)
        return self.dialect.sign(self.notice, now)

    def is_success(self, status: int, body: bytes) -> bool:
        """Whether the provider would stop: any 2xx, and the very words where it insists on words."""
        words = self.dialect.accepted().body
        return 200 <= status < 300 and (not words or body == words)
