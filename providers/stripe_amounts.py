"""Stripe's minor units are not always those of ISO 4217 (docs.stripe.com/currencies)."""

from domain.money import exponent

_NO_PLACES = [
    *("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"),
    *("PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"),
]
_THREE_PLACES = ["BHD", "JOD", "KWD", "OMR", "TND"]

#: Decimal places as Stripe counts them; 2 elsewhere. It differs from ISO 4217 in three that it really pays in: MGA has
#: no places there, and ISK and UGX are sent times 100 for the sake of old integrations.
PLACES = {**dict.fromkeys(_NO_PLACES, 0), **dict.fromkeys(_THREE_PLACES, 3)}


def to_iso(amount: int, currency: str) -> int | None:
    """ISO minor units of Stripe's `amount`; None where there would be a remainder (half an ISK)."""
    return _shifted(amount, exponent(currency) - PLACES.get(currency, 2))


def from_iso(minor: int, currency: str) -> int | None:
    """Stripe's amount of ISO minor units; None where there would be a remainder."""
    return _shifted(minor, PLACES.get(currency, 2) - exponent(currency))


def _shifted(amount: int, places: int) -> int | None:
    if places >= 0:
        return amount * int(10**places)
    whole, rest = divmod(amount, int(10**-places))
    return None if rest else whole
