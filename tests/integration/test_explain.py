"""What a person is told about one order, and the cases."""

import json
from typing import Any

import pytest
from shop import ACCOUNT, OTHER_ACCOUNT, Shop
from typer.testing import CliRunner

from domain.event import EventKind
from ops.cli import app
from worker.settings import settings


@pytest.fixture
def told(paidonce: Any) -> Any:
    """The last line of a command that succeeds, as JSON."""

    def run(*words: str) -> Any:
        result = paidonce(*words, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    return run


def test_an_order_is_told_whole(shop: Shop, told: Any) -> None:
    """Deliveries, verdicts, reasons, transitions and cases of the order, and of no other."""
    shop.order("teapot")
    shop.order("kettle")
    first = shop.notice("teapot")
    shop.apply(shop.envelope(first), shop.envelope(first), shop.payment("kettle"))
    shop.apply(shop.envelope(shop.notice("teapot", kind=EventKind.REFUND, amount=300, refunded=300)))
    shop.apply(shop.payment("teapot"))

    facts = told("explain", "teapot")

    assert facts["order"] == {
        "order_no": "teapot",
        "account": ACCOUNT,
        "status": "partially_refunded",
        "amount": 1000,
        "paid": 1000,
        "refunded": 300,
        "charged_back": 0,
        "currency": "EUR",
        "version": 2,
    }
    assert [(row["verdict"], row["reason"], row["deliveries"]) for row in facts["notifications"]] == [
        ("applied", "payment", 2),
        ("applied", "refund", 1),
        ("duplicate_payment", "order_already_paid", 1),
    ]
    assert {"id", "provider", "notification_id", "status", "attempts", "received_at", "processed_at"} < set(
        facts["notifications"][0]
    )
    assert [(row["seq"], row["from"], row["to"], row["kind"]) for row in facts["transitions"]] == [
        (1, "pending", "paid", "payment"),
        (2, "paid", "partially_refunded", "refund"),
    ]
    assert [(row["kind"], row["status"], row["order_no"]) for row in facts["cases"]] == [
        ("duplicate_payment", "open", "teapot")
    ]
    assert facts["transitions"][0]["at"].endswith("Z")


def test_a_parked_notification_is_shown_before_its_order_comes(shop: Shop, told: Any, paidonce: Any) -> None:
    """The order is null, and what waits for it is there."""
    shop.apply(shop.payment("teapot"))

    facts = told("explain", "teapot")

    assert facts["order"] is None
    assert [(row["verdict"], row["reason"]) for row in facts["notifications"]] == [("parked", "order_not_found")]
    assert "not imported; 1 notifications name it" in paidonce("explain", "teapot").stdout


def test_an_unknown_order_is_said(paidonce: Any) -> None:
    """Exit code 1 and one line."""
    result = paidonce("explain", "nobody")

    assert result.exit_code == 1
    assert result.stderr == "paidonce: no order nobody is known, and no notification names it\n"


def test_a_number_of_two_accounts_needs_the_account(shop: Shop, paidonce: Any, told: Any) -> None:
    """Order numbers are unique within an account only."""
    shop.order("teapot", amount=1)
    shop.order("teapot", amount=2, account=OTHER_ACCOUNT)

    result = paidonce("explain", "teapot")

    assert result.exit_code == 1
    assert f"{ACCOUNT} | {OTHER_ACCOUNT}" in result.stderr
    assert told("explain", "teapot", "--account", OTHER_ACCOUNT)["order"]["amount"] == 2


def test_the_story_is_in_time_order(shop: Shop, paidonce: Any) -> None:
    """For people: causes stand above effects, amounts have their decimal point."""
    shop.apply(shop.payment("teapot"))
    shop.order("teapot", currency="EUR")
    shop.apply(shop.payment("teapot"))
    shop.apply(shop.payment("teapot", amount=7))

    text = paidonce("explain", "teapot").stdout

    places = [text.index(word) for word in ("parked", "order imported", "pending -> paid", "case 1 opened")]
    assert places == sorted(places)
    assert "owed 10.00" in text
    assert "0.07 EUR" in text


def test_cases_are_listed_and_closed(shop: Shop, told: Any, paidonce: Any) -> None:
    """A resolved case leaves the list, keeps its note, and cannot be resolved twice."""
    shop.order("teapot")
    shop.apply(shop.payment("teapot", amount=7))
    shop.apply(shop.payment("teapot", currency="USD"))

    found = told("cases", "list")
    assert [(row["kind"], row["status"], row["order_no"], row["reason"]) for row in found] == [
        ("mismatch", "open", "teapot", "amount_differs"),
        ("mismatch", "open", "teapot", "currency_differs"),
    ]
    done = told("cases", "close", str(found[0]["id"]), "--note", "sent back by hand")
    assert (done["status"], done["note"]) == ("resolved", "sent back by hand")
    assert [row["id"] for row in told("cases", "list")] == [found[1]["id"]]
    assert [row["id"] for row in told("cases", "list", "--all")] == [row["id"] for row in found]
    again = paidonce("cases", "close", str(found[0]["id"]), "--note", "again")
    assert (again.exit_code, "resolved already: sent back by hand" in again.stderr) == (1, True)
    assert "resolved" in paidonce("explain", "teapot").stdout


def test_a_case_needs_to_exist_and_a_note(shop: Shop, paidonce: Any) -> None:
    """Both mistakes are said."""
    assert "there is no case 7" in paidonce("cases", "close", "7", "--note", "x").stderr
    assert paidonce("cases", "close", "7", "--note", "  ").exit_code == 2
    assert "No case is open." in paidonce("cases", "list").stdout


def test_no_database_is_said_in_one_line() -> None:
    """No traceback where PostgreSQL is not there, and none where its tables are not."""
    settings.cache_clear()
    result = CliRunner().invoke(
        app, ["audit"], env={"PAIDONCE_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/nothing"}
    )
    settings.cache_clear()

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "PostgreSQL cannot be reached" in result.stderr


def test_missing_tables_are_made_by_migrate(postgres: str, database_url: str, paidonce: Any, shop: Shop) -> None:
    """The one line says which command helps, and it does, twice."""
    with shop.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")

    assert "paidonce migrate" in paidonce("explain", "teapot").stderr
    first, second = (paidonce("migrate", "--json") for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr
    assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1]
    assert paidonce("audit").exit_code == 0
