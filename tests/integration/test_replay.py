"""Stored notifications go through the same door again, and a dry run says what that would change."""

import json
from pathlib import Path
from typing import Any

import kombu
import pytest
from shop import ACCOUNT, HOOKS_ACCOUNT, OTHER_ACCOUNT, Shop
from sqlalchemy import text
from typer.testing import CliRunner

from domain.event import EventKind
from models import notifications
from ops.cli import app
from worker.settings import settings

ACCOUNTS = f"""
[accounts.{ACCOUNT}]
provider = "stripe"
secrets = ["env:WALRUS"]
live = false
"""


@pytest.fixture
def paidonce(database_url: str, rabbitmq_url: str, tmp_path: Path) -> Any:
    """The command on the test's database and broker."""
    (tmp_path / "accounts.toml").write_text(ACCOUNTS)
    environ = {
        "PAIDONCE_DATABASE_URL": database_url,
        "PAIDONCE_BROKER_URL": rabbitmq_url,
        "PAIDONCE_ACCOUNTS": str(tmp_path / "accounts.toml"),
        "WALRUS": "whsec_uncommon_walrus",
        "COLUMNS": "250",
    }

    def run(*words: str, **more: str) -> Any:
        settings.cache_clear()
        try:
            return CliRunner().invoke(app, list(words), env=environ | more)
        finally:
            settings.cache_clear()

    return run


def told(result: Any) -> list[dict[str, Any]]:
    """The JSON line."""
    assert result.exit_code == 0, result.stderr
    shape: list[dict[str, Any]] = json.loads(result.stdout.splitlines()[-1])
    return shape


def queued(broker_url: str) -> list[list[Any]]:
    """The packs in the queue, taken out."""
    packs = []
    with kombu.Connection(broker_url) as connection:
        queue = kombu.Queue("paidonce.apply", channel=connection.default_channel)
        while message := queue.get(no_ack=True):
            packs.append(json.loads(message.body)[0][0])
    return packs


def test_a_dry_run_shows_the_difference_and_changes_nothing(shop: Shop, paidonce: Any, rabbitmq_url: str) -> None:
    """A parked payment whose order came: what the sweep would do, said before it is done."""
    notice = shop.notice("TEAPOT")
    shop.apply(shop.envelope(notice))
    shop.order("TEAPOT")
    before = shop.counts()

    [line] = told(paidonce("replay", notice.notification_id, "--dry-run", "--json"))

    assert (line["verdict"], line["reason"]) == ("applied", "payment")
    assert (line["before"]["status"], line["after"]["status"], line["after"]["paid"]) == ("pending", "paid", 1000)
    assert shop.counts() == before
    assert shop.state("TEAPOT") == ("pending", 0, 0)
    assert "status pending" in paidonce("replay", notice.notification_id, "--dry-run").stdout


def test_a_replay_is_the_same_delivery_again(shop: Shop, paidonce: Any, rabbitmq_url: str) -> None:
    """The stored bytes and headers come out of the queue, verify, and are a duplicate."""
    shop.order("TEAPOT")
    notice = shop.notice("TEAPOT")
    envelope = shop.envelope(notice)
    shop.apply(envelope)

    [line] = told(paidonce("replay", notice.notification_id, "--wait", "0", "--json"))
    [pack] = queued(rabbitmq_url)

    assert (line["verdict"], line["reason"]) == (None, "no worker took it up yet")
    assert pack[0]["body"] == envelope["body"]
    assert abs(pack[0]["received_at"] - envelope["received_at"]) < 0.001
    assert +shop.apply(*pack) == {"duplicate": 1}
    assert shop.state("TEAPOT") == ("paid", 1000, 0)


def test_a_case_says_what_applying_would_do(shop: Shop, paidonce: Any) -> None:
    """A late payment: replaying it is a duplicate, letting it in pays the order."""
    shop.order("TEAPOT")
    shop.apply(shop.envelope(shop.notice("TEAPOT", EventKind.CLOSED)))
    notice = shop.notice("TEAPOT")
    shop.apply(shop.envelope(notice))

    [line] = told(paidonce("replay", notice.notification_id, "--dry-run", "--json"))

    assert line["verdict"] == "duplicate"
    assert "is late_payment already; cases apply would make it applied" in line["reason"]
    assert (line["before"]["status"], line["after"]["status"]) == ("closed", "paid")


def test_a_settled_one_by_its_number(shop: Shop, paidonce: Any) -> None:
    """By the number that explain shows."""
    shop.order("TEAPOT")
    shop.apply(shop.payment("TEAPOT"))

    [line] = told(paidonce("replay", "1", "--dry-run", "--json"))

    assert (line["verdict"], line["reason"], line["after"]) == ("duplicate", "is applied already", None)


def test_what_cannot_be_replayed_is_said(shop: Shop, paidonce: Any) -> None:
    """Unknown, ambiguous, without its payload, of an account that is gone, and no broker: one line, nothing changed."""
    first = shop.notice("TEAPOT")
    shop.apply(shop.envelope(first))
    shop.apply(shop.envelope(first, OTHER_ACCOUNT))
    other = shop.notice("KETTLE")
    shop.apply(shop.envelope(other, HOOKS_ACCOUNT))

    said = {
        "unknown": paidonce("replay", "evt_nobody", "--dry-run").stderr,
        "ambiguous": paidonce("replay", first.notification_id, "--dry-run").stderr,
        "gone account": paidonce("replay", other.notification_id, "--dry-run").stderr,
        "no broker": paidonce(
            "replay", first.notification_id, "--account", ACCOUNT, PAIDONCE_BROKER_URL="amqp://127.0.0.1:1//"
        ).stderr,
    }
    with shop.engine.begin() as connection:
        connection.execute(text("DELETE FROM payloads"))
    said["no payload"] = paidonce("replay", first.notification_id, "--account", ACCOUNT).stderr

    assert "no notification evt_nobody is known" in said["unknown"]
    assert f"--account {ACCOUNT} | {OTHER_ACCOUNT}" in said["ambiguous"]
    assert f"account {HOOKS_ACCOUNT} is not in accounts.toml" in said["gone account"]
    assert "the broker did not confirm" in said["no broker"]
    assert "was dropped after PAIDONCE_PAYLOAD_RETENTION_DAYS" in said["no payload"]
    assert {row.deliveries for row in shop.rows(notifications)} == {1}
