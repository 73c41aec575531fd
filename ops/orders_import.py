"""`paidonce orders import`: orders from a CSV file, all of them or none."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import typer
from sqlalchemy import Connection

from models.order import find_orders, insert_orders
from ops.database import connected
from ops.orders_csv import Fault, Line, batches, read_lines
from ops.output import err, fail, json_line, out

#: Faults that are printed; a file with the wrong separator has one on every line.
MOST_SHOWN = 50

File = typer.Argument(help="CSV with the header account,order_no,amount,currency; - reads standard input.")
AsJson = typer.Option(False, "--json", help="Last line: one JSON object.")


class Imported(NamedTuple):
    """How many orders were new, and how many stood there already with the same amount and currency."""

    imported: int
    unchanged: int


def import_orders(file: str = File, as_json: bool = AsJson) -> None:
    """Imports orders. Every bad line is reported with its number, and then nothing is imported."""
    faults: list[Fault] = []
    with _opened(file) as stream, connected() as connection:
        result = import_lines(connection, read_lines(stream, faults.append), faults.append)
        if not faults:
            connection.commit()
    if faults:
        _complain(faults)
    if as_json:
        json_line(result._asdict())
    else:
        out.print(f"{result.imported} orders imported, {result.unchanged} were there already.")


def import_lines(connection: Connection, lines: Iterable[Line], report: Callable[[Fault], None]) -> Imported:
    """Inserts `lines` in the caller's transaction, a batch at a time; reports what contradicts an order that stands.

    Whoever gets a fault reported rolls back.
    """
    imported = unchanged = 0
    for batch in batches(lines):
        first = _firsts(batch, report)
        new = insert_orders(connection, [first[key].row() for key in sorted(first)])
        for row in find_orders(connection, first.keys() - new):
            line = first[row.account, row.order_no]
            if (row.amount, row.currency) != (line.amount, line.currency):
                report(Fault(line.number, f"{line.order_no} is there with {row.amount} {row.currency}"))
        imported += len(new)
        unchanged += len(batch) - len(new)
    return Imported(imported, unchanged)


def _firsts(batch: list[Line], report: Callable[[Fault], None]) -> dict[tuple[str, str], Line]:
    """The first line of each order; a second one must say the same."""
    first: dict[tuple[str, str], Line] = {}
    for line in batch:
        known = first.setdefault(line.key, line)
        if (known.amount, known.currency) != (line.amount, line.currency):
            report(Fault(line.number, f"{line.order_no} stands in line {known.number} with another amount or currency"))
    return first


def _complain(faults: list[Fault]) -> None:
    for fault in sorted(faults)[:MOST_SHOWN]:
        err.print(f"line {fault.number}: {fault.what}", markup=False)
    more = len(faults) - MOST_SHOWN
    fail(f"{len(faults)} bad lines{f', {more} of them not shown' if more > 0 else ''}; nothing was imported")


@contextmanager
def _opened(file: str) -> Iterator[IO[str]]:
    """The text of `file` (UTF-8, with or without a byte order mark), or of standard input."""
    if file == "-":
        yield io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig", newline="")
        return
    with ExitStack() as closing:
        try:
            stream = closing.enter_context(Path(file).open(encoding="utf-8-sig", newline=""))
        except OSError as error:
            fail(f"{file} cannot be read: {error.strerror}")
        yield stream
