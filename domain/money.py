"""Amounts as integer minor units with the ISO 4217 exponent of their currency."""

from decimal import Decimal

from domain.errors import BadAmount

#: ISO 4217 currencies whose minor unit is not 1/100. Babel is not used: it follows CLDR and differs from ISO 4217 on
#: eleven currencies (IQD, MGA, ...). A test holds this table against the `iso4217` package.
_NONE = (
    "BIF",
    "CLP",
    "DJF",
    "GNF",
    "ISK",
    "JPY",
    "KMF",
    "KRW",
    "PYG",
    "RWF",
    "UGX",
    "UYI",
    "VND",
    "VUV",
    "XAF",
    "XOF",
    "XPF",
)
_THREE = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_FOUR = ("CLF", "UYW")
EXPONENTS = {**dict.fromkeys(_NONE, 0), **dict.fromkeys(_THREE, 3), **dict.fromkeys(_FOUR, 4)}
DEFAULT_EXPONENT = 2

#: The largest amount taken from a notification: above it JSON numbers lose digits in half of the world's parsers.
LARGEST_AMOUNT = 2**53


def exponent(currency: str) -> int:
    """The number of decimal places of `currency` (ISO 4217, upper case)."""
    return EXPONENTS.get(currency, DEFAULT_EXPONENT)


def checked_currency(value: object) -> str:
    """An ISO 4217 code in upper case; `usd` is accepted because Stripe writes it so. Raises BadAmount."""
    if not isinstance(value, str) or len(value) != 3 or not (value.isascii() and value.isalpha()):
        raise BadAmount("currency")
    return value.upper()


def checked_minor(value: object) -> int:
    """An integer number of minor units in [0, 2**53]. Booleans, floats, strings are refused. Raises BadAmount."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_AMOUNT:
        raise BadAmount("amount")
    return value


def from_decimal(text: str, currency: str) -> int:
    """Minor units of a decimal string such as "0.01" (Alipay writes amounts so). Raises BadAmount.

    Never through a float; more decimals than the currency has are an error, not a rounding.
    """
    whole, _, part = text.partition(".")
    part, places, digits = part.rstrip("0"), exponent(currency), whole + part
    if len(text) > 24 or not (digits.isascii() and digits.isdigit()) or len(part) > places:
        raise BadAmount("amount")
    return checked_minor(int("0" + whole + part.ljust(places, "0")))


def to_decimal(minor: int, currency: str) -> str:
    """The decimal string of `minor` units: 1 CNY fen is "0.01"."""
    return f"{Decimal(minor).scaleb(-exponent(currency)):f}"
