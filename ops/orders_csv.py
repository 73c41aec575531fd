"""The order file: strict reading, line by line, and writing."""

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from domain.errors import BadAmount
from domain.money import checked_currency, checked_minor

HEADER = ("account", "order_no", "amount", "currency")
#: Rows in one statement: large enough that the round trip does not count, small enough for a laptop's memory.
BATCH = 2000
#: Longer ones are no order numbers.
LONGEST_NAME = 255


class Line(NamedTuple):
    """One order of the file; amount in minor units."""

    number: int
    account: str
    order_no: str
    amount: int
    currency: str

    @property
    def key(self) -> tuple[str, str]:
        """(account, order number)."""
        return self.account, self.order_no

    def row(self) -> dict[str, Any]:
        """The columns of a new order."""
        return {name: getattr(self, name) for name in HEADER}


class Fault(NamedTuple):
    """What is wrong with a line."""

    number: int
    what: str


def read_lines(stream: IO[str], report: Callable[[Fault], None]) -> Iterator[Line]:
    """The good lines; every bad one is reported and left out. Line numbers are those of an editor."""
    reader = csv.reader(stream, strict=True)
    columns = _columns(_next(reader, report))
    if columns is None:
        report(Fault(1, f"the header must name {', '.join(HEADER)}, each once"))
        return
    while (fields := _next(reader, report)) is not None:
        if not fields:
            continue
        try:
            yield _line(reader.line_num, fields, columns)
        except ValueError as error:
            report(Fault(reader.line_num, str(error)))


def batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """`lines`, BATCH at a time."""
    rest = iter(lines)
    while batch := list(islice(rest, BATCH)):
        yield batch


def write_orders(file: Path, rows: Iterable[tuple[str, str, int, str]]) -> None:
    """Writes (account, order_no, amount, currency) in the format that is read."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        writer.writerows(rows)


def _next(reader: Any, report: Callable[[Fault], None]) -> list[str] | None:
    """The next row; None at the end, and where nothing behind can be trusted any more."""
    try:
        return next(reader, None)
    except csv.Error as error:
        report(Fault(reader.line_num, f"is not CSV: {error}"))
    except UnicodeDecodeError:
        report(Fault(reader.line_num + 1, "is not UTF-8"))
    return None


def _columns(header: list[str] | None) -> dict[str, int] | None:
    """Where each column stands, or None."""
    names = [name.strip() for name in header or ()]
    return {name: names.index(name) for name in HEADER} if sorted(names) == sorted(HEADER) else None


def _line(number: int, fields: list[str], columns: dict[str, int]) -> Line:
    """Raises ValueError with what is wrong."""
    if len(fields) != len(HEADER):
        raise ValueError(f"has {len(fields)} fields instead of {len(HEADER)}")
    return Line(
        number,
        _name("account", fields[columns["account"]]),
        _name("order_no", fields[columns["order_no"]]),
        _amount(fields[columns["amount"]]),
        _currency(fields[columns["currency"]]),
    )


def _name(column: str, text: str) -> str:
    if not text or text != text.strip() or not text.isprintable() or len(text) > LONGEST_NAME:
        raise ValueError(f"{column} must be 1 to {LONGEST_NAME} printable characters, without spaces around")
    return text


def _amount(text: str) -> int:
    """Digits only: int() would also take "1_000", " 7" and Arabic digits."""
    try:
        if text.isascii() and text.isdigit() and len(text) <= 16:
            return checked_minor(int(text))
    except BadAmount:
        pass
    raise ValueError("amount must be a whole number of minor units")


def _currency(text: str) -> str:
    try:
        return checked_currency(text)
    except BadAmount:
        raise ValueError("currency must be three letters of ISO 4217") from None
