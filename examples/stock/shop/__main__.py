"""The shop's own commands: python -m shop tables | items ORDERS.csv | restock SKU PIECES | report."""

import csv
import os
import sys
from pathlib import Path
from typing import Any

import psycopg

#: What an order holds, by its place in the file: every tenth wants a grail.
SKUS = ("cup", "kettle", "teapot")


def tables(shop: psycopg.Connection[Any]) -> None:
    """Makes the shop's tables, with some goods in them."""
    shop.execute(Path(__file__).with_name("tables.sql").read_bytes())


def items(shop: psycopg.Connection[Any], file: str) -> None:
    """Gives each order of Paidonce's CSV its items; a real shop writes both when the order is placed."""
    with Path(file).open(encoding="utf-8") as lines:
        orders = [(each["account"], each["order_no"]) for each in csv.DictReader(lines)]
    for number, (account, order_no) in enumerate(orders):
        wanted = {SKUS[number % 3]: 2, SKUS[(number + 1) % 3]: 1} | ({"grail": 1} if number % 10 == 9 else {})
        for sku, pieces in wanted.items():
            shop.execute(
                "INSERT INTO order_items VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (account, order_no, sku, pieces),
            )
    print(f"{len(orders)} orders have items")


def restock(shop: psycopg.Connection[Any], sku: str, pieces: str) -> None:
    """More of a product comes in."""
    shop.execute("UPDATE products SET stock = stock + %s WHERE sku = %s", (int(pieces), sku))


#: Orders whose goods are not where their money says: out once when paid, and back when all of it was refunded.
WRONG = """
SELECT o.order_no, i.sku, o.status, coalesce(sum(m.pieces), 0) AS moved
FROM orders AS o
JOIN order_items AS i USING (account, order_no)
LEFT JOIN stock_moves AS m USING (account, order_no, sku)
GROUP BY o.id, i.sku, i.pieces
HAVING coalesce(sum(m.pieces), 0)
    <> CASE WHEN o.status IN ('paid', 'partially_refunded', 'charged_back') THEN -i.pieces ELSE 0 END
"""


def report(shop: psycopg.Connection[Any]) -> None:
    """The stock, and every order whose goods are not where its money says. Exit code 1 if there is one."""
    query = "SELECT sku, stock, coalesce(-sum(pieces), 0) FROM products LEFT JOIN stock_moves USING (sku) GROUP BY sku"
    for sku, stock, gone in shop.execute(f"{query} ORDER BY sku".encode()):
        print(f"{sku:8} {stock:5} in stock, {gone:5} gone")
    wrong = shop.execute(WRONG.encode()).fetchall()
    for order_no, sku, status, moved in wrong:
        print(f"{order_no} is {status}, and of {sku} {moved} moved")
    print(f"{len(wrong)} orders are wrong")
    sys.exit(1 if wrong else 0)


def main() -> None:
    """Runs one command in one transaction."""
    command, *words = sys.argv[1:]
    url = os.environ["PAIDONCE_DATABASE_URL"].replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url) as shop:
        {"tables": tables, "items": items, "restock": restock, "report": report}[command](shop, *words)


if __name__ == "__main__":
    main()
