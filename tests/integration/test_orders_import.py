"""Orders from a CSV file: all of them or none, and every bad line is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from shop import Shop
from typer.testing import CliRunner

from models import orders
from ops import orders_csv
from ops.cli import app
from worker.settings import settings

HEADER = "account,order_no,amount,currency\n"


@pytest.fixture
def orders_import(database_url: str, tmp_path: Path) -> Any:
    """`paidonce orders import` of a text."""

    def run(content: str | bytes, *words: str, file: str | None = None) -> Any:
        path = tmp_path / "orders.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        settings.cache_clear()
        try:
            return CliRunner().invoke(
                app,
                ["orders", "import", file or str(path), *words],
                input=path.read_bytes(),
                env={"PAIDONCE_DATABASE_URL": database_url, "COLUMNS": "200"},
            )
        finally:
            settings.cache_clear()

    return run


def stored(shop: Shop) -> set[tuple[str, str, int, str]]:
    """Every order of the database."""
    return {(row.account, row.order_no, row.amount, row.currency) for row in shop.rows(orders)}


def last(result: Any) -> Any:
    """The last line of standard output."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_orders_are_imported_once(shop: Shop, orders_import: Any) -> None:
    """The second run of the same file finds every order unchanged."""
    content = HEADER + "teapots,T-1,1250,EUR\nteapots,T-2,500,JPY\nkettles,T-1,0,usd\n"

    assert last(orders_import(content, "--json")) == {"imported": 3, "unchanged": 0}
    assert last(orders_import(content, "--json")) == {"imported": 0, "unchanged": 3}
    assert stored(shop) == {
        ("teapots", "T-1", 1250, "EUR"),
        ("teapots", "T-2", 500, "JPY"),
        ("kettles", "T-1", 0, "USD"),
    }


def test_standard_input_is_read(shop: Shop, orders_import: Any) -> None:
    """A dash reads standard input, with a byte order mark, Windows line ends and columns in any order."""
    content = "\ufefforder_no,currency,account,amount\r\n订单-1,CNY,teapots,1\r\n\r\n"

    assert last(orders_import(content, "--json", file="-")) == {"imported": 1, "unchanged": 0}
    assert stored(shop) == {("teapots", "订单-1", 1, "CNY")}


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("teapots,T-9,12.50,EUR", "amount"),
        ("teapots,T-9,-1,EUR", "amount"),
        ("teapots,T-9,1_000,EUR", "amount"),
        ("teapots,T-9,٣,EUR", "amount"),
        ("teapots,T-9,9007199254740993,EUR", "amount"),
        ("teapots,T-9,,EUR", "amount"),
        ("teapots,T-9,1,EURO", "currency"),
        ("teapots,T-9,1,€€€", "currency"),
        ("teapots,,1,EUR", "order_no"),
        ("teapots, T-9,1,EUR", "order_no"),
        ("teapots,T\x009,1,EUR", "order_no"),
        (",T-9,1,EUR", "account"),
        ("teapots,T-9,1", "3 fields"),
        ("teapots,T-9,1,EUR,", "5 fields"),
        ('teapots,"T-9"x,1,EUR', "CSV"),
        ("teapots,T-1,1251,EUR", "T-1 stands in line 2"),
        ("teapots,T-0,7,JPY", "T-0 is there with 7 EUR"),
    ],
)
def test_one_bad_line_stops_everything(shop: Shop, orders_import: Any, line: str, word: str) -> None:
    """Its number and what is wrong are said, and the good lines around it are not imported."""
    assert last(orders_import(HEADER + "teapots,T-0,7,EUR\n", "--json"))["imported"] == 1

    result = orders_import(f"{HEADER}teapots,T-1,1250,EUR\n{line}\nteapots,T-2,1,EUR\n", "--json")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "line 3: " in result.stderr
    assert word in result.stderr
    assert stored(shop) == {("teapots", "T-0", 7, "EUR")}


def test_every_bad_line_is_named(shop: Shop, orders_import: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that only the database knows, in later batches, and in the order of the file."""
    monkeypatch.setattr(orders_csv, "BATCH", 2)
    shop.order("T-1", amount=1, account="teapots")
    lines = ["teapots,T-0,x,EUR", *(f"teapots,N-{n},1,EUR" for n in range(4)), "teapots,T-1,2,EUR", "teapots,N-1,2,EUR"]

    result = orders_import(HEADER + "\n".join(lines))

    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stderr.splitlines()[:-1]] == ["line 2", "line 7", "line 8"]
    assert "3 bad lines; nothing was imported" in result.stderr
    assert len(stored(shop)) == 1


def test_a_line_said_twice_is_one_order(shop: Shop, orders_import: Any) -> None:
    """Twice the same order in a file is one order; the second line counts as unchanged."""
    assert last(orders_import(HEADER + "teapots,T-1,5,EUR\n" * 3, "--json")) == {"imported": 1, "unchanged": 2}
    assert len(stored(shop)) == 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "header"),
        ("teapots,T-1,5,EUR\n", "header"),
        ("account,order_no,amount,currency,note\n", "header"),
        ("account,order_no,amount,amount\n", "header"),
        ((HEADER + "teapots,T-é,5,EUR\n").encode("latin-1"), "UTF-8"),
    ],
)
def test_another_file_is_refused(orders_import: Any, content: str | bytes, word: str) -> None:
    """A wrong header or charset is said in one line."""
    result = orders_import(content)

    assert result.exit_code == 1
    assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_file_is_said(orders_import: Any) -> None:
    """No traceback for a typing error."""
    result = orders_import("", file="/nowhere/orders.csv")

    assert result.exit_code == 1
    assert "/nowhere/orders.csv cannot be read" in result.stderr


def test_written_orders_can_be_read(tmp_path: Path) -> None:
    """What the simulator writes is what the import reads."""
    rows = [("teapots", "T-1", 5, "EUR"), ("kettles", 'K,"1', 7, "JPY")]
    orders_csv.write_orders(tmp_path / "orders.csv", rows)
    faults: list[orders_csv.Fault] = []

    with (tmp_path / "orders.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(orders_csv.read_lines(stream, faults.append))

    assert [(line.account, line.order_no, line.amount, line.currency) for line in lines] == rows
    assert faults == []
