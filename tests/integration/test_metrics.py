"""`paidonce metrics` on a real database: what it says, and that it answers who asks."""

import os
import subprocess
import urllib.request
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from chaos.processes import free_port
from prometheus_client.parser import text_string_to_metric_families
from running import until
from shop import Shop
from sqlalchemy import Engine

from models.gap import Gap
from models.lost_pack import open_lost_packs


def figures(said: str) -> dict[str, float]:
    """By name, with its label's value behind it."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
    }


def gap(members: int | None) -> Gap:
    """What the broker lost."""
    return Gap(uuid4(), 3, 5, members, None, datetime.now(UTC), is_due=True)


def test_an_idle_shop_has_every_figure_at_nothing(database: Engine, paidonce: Any) -> None:
    """An alert on a series that is absent would never fire."""
    end = paidonce("metrics")

    assert end.exit_code == 0, end.output
    found = figures(end.stdout)
    assert set(found.values()) == {0.0}
    assert {"paidonce_lost_notifications", "paidonce_cases_open dead", "paidonce_cases_open lost_pack"} <= set(found)


def test_what_waits_and_what_was_lost_is_counted(shop: Shop, paidonce: Any) -> None:
    """By status and kind; of what the broker lost as much as is known."""
    shop.apply(shop.payment("TEAPOT"))
    shop.order("SAUCER")
    shop.apply(shop.payment("SAUCER"), shop.payment("SAUCER"))
    with shop.engine.begin() as connection:
        open_lost_packs(connection, [gap(40), gap(None)])

    found = figures(paidonce("metrics").stdout)

    assert found["paidonce_notifications_waiting parked"] == 1
    assert found["paidonce_notifications_waiting_seconds parked"] > 0
    assert found["paidonce_cases_open duplicate_payment"] == 1
    assert found["paidonce_cases_open lost_pack"] == 2
    assert found["paidonce_lost_packs"] == 6
    assert found["paidonce_lost_notifications"] == 40
    assert found["paidonce_outbox_waiting"] == 4


def test_it_answers_a_scraper(python: str, database_url: str, shop: Shop) -> None:
    """Anew at each look, in a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [python, "-m", "ops", "metrics", "--listen", f"127.0.0.1:{port}"],
        env=os.environ | {"PAIDONCE_DATABASE_URL": database_url},
        stderr=subprocess.PIPE,
        text=True,
    )

    def scraped() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return figures(answer.read().decode())

    def answers() -> bool:
        try:
            return bool(scraped())
        except OSError:
            return False

    try:
        until(answers, lambda: "it does not answer")
        shop.apply(shop.payment("TEAPOT"))
        assert scraped()["paidonce_notifications_waiting parked"] == 1
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.mark.parametrize("place", ["9464", "localhost:", "localhost:x", "localhost:70000"])
def test_a_place_that_is_none_is_refused(paidonce: Any, place: str) -> None:
    """In one line."""
    end = paidonce("metrics", "--listen", place)

    assert end.exit_code == 2
    assert "HOST:PORT" in end.output
