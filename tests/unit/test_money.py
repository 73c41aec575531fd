"""Amounts: integers of minor units, by ISO 4217."""

from decimal import Decimal, InvalidOperation

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadAmount
from domain.money import LARGEST_AMOUNT, checked_currency, checked_minor, exponent, from_decimal, to_decimal

CURRENCIES = sorted(currency.code for currency in iso4217.Currency if currency.exponent is not None)


@pytest.mark.parametrize("code", CURRENCIES)
def test_exponents_are_iso_4217(code: str) -> None:
    """The table agrees with the standard on every currency."""
    assert iso4217.Currency(code).exponent == exponent(code)


@given(minor=st.integers(0, LARGEST_AMOUNT), code=st.sampled_from(["CNY", "JPY", "KWD", "CLF"]))
def test_decimal_strings_round_trip(minor: int, code: str) -> None:
    """No amount changes on its way through a provider's decimal string."""
    assert minor == from_decimal(to_decimal(minor, code), code)


@pytest.mark.parametrize(
    "text", ["", "1e3", "-1", "1.005", "NaN", "Infinity", "1,00", " 1", "١", "9" * 25, ".", "1..0"]
)
def test_bad_decimal_strings_are_refused(text: str) -> None:
    """Nothing is rounded, guessed or read as a float."""
    with pytest.raises(BadAmount):
        from_decimal(text, "CNY")


@pytest.mark.parametrize(("text", "code", "minor"), [(".0", "JPY", 0), ("1.", "CNY", 100), (".5", "CNY", 50)])
def test_a_number_may_begin_or_end_with_its_point(text: str, code: str, minor: int) -> None:
    """As for every reader of decimal numbers: no other error than BadAmount may come of any text."""
    assert from_decimal(text, code) == minor


@given(text=st.text("0159.", max_size=26), code=st.sampled_from(["CNY", "JPY", "KWD", "CLF"]))
def test_every_text_is_read_as_the_library_reads_it(text: str, code: str) -> None:
    """Decimal is the judge: the same amount; none for what it refuses, or is finer than the currency, or too large."""
    try:
        minor: Decimal | None = Decimal(text).scaleb(exponent(code))
    except InvalidOperation:
        minor = None
    if minor is None or len(text) > 24 or minor % 1 or minor > LARGEST_AMOUNT:
        with pytest.raises(BadAmount):
            from_decimal(text, code)
    else:
        assert from_decimal(text, code) == minor


@pytest.mark.parametrize("value", [-1, LARGEST_AMOUNT + 1, 1.5, "100", True, None, Decimal(1)])
def test_bad_minor_units_are_refused(value: object) -> None:
    """Only integers in [0, 2**53] are amounts."""
    with pytest.raises(BadAmount):
        checked_minor(value)


@pytest.mark.parametrize("value", ["US", "USDT", "U5D", "ÜSD", 840, None])
def test_bad_currencies_are_refused(value: object) -> None:
    """Three ASCII letters."""
    with pytest.raises(BadAmount):
        checked_currency(value)


def test_currency_case_is_normalised() -> None:
    """Stripe writes `usd`."""
    assert checked_currency("usd") == "USD"
