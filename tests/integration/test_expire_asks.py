"""Past its deadline a notification is verified at its provider before anybody decides, over real HTTP."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asked import StripeSide, listening
from shop import ACCOUNT, Shop
from sqlalchemy import text, update
from typer.testing import CliRunner

from domain.event import EventKind
from models import case_actions, cases, notifications
from ops.audit import violations
from ops.cli import app
from providers.keys import Key
from providers.stripe import Stripe
from providers.stripe_query import StripeCredentials
from tasks.expire_overdue import ASKED_FOR, expire
from worker.settings import settings

RESTRICTED = "rk_test_marsupilami7keeps7this"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def intent(**facts: Any) -> dict[str, Any]:
    """The payment of TEAPOT as Stripe tells it."""
    said = {"id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount_received": 1000, "currency": "eur"}
    named = {"metadata": {"order_no": "TEAPOT"}}
    charge = {"id": "ch_1", "payment_intent": "pi_1", "amount": 1000, "amount_refunded": 0, "currency": "eur"} | named
    return {"/v1/payment_intents/pi_1": said | named | {"livemode": False, "latest_charge": charge} | facts}


@pytest.fixture
def stripe_side() -> StripeSide:
    """It knows the payment."""
    return StripeSide(RESTRICTED, intent())


@pytest.fixture
def asking(shop: Shop, stripe_side: StripeSide) -> Iterator[Shop]:
    """The shop's Stripe account may ask."""
    with listening(stripe_side) as url:
        credentials(shop, url)
        yield shop


def credentials(shop: Shop, url: str) -> None:
    """From now on the account has some."""
    account = shop.own.dialects[ACCOUNT]
    assert isinstance(account, Stripe)
    able = replace(account, credentials=StripeCredentials(Key("env:KEY", RESTRICTED.encode()), url, "acct_1"))
    shop.own = replace(shop.own, dialects={**shop.own.dialects, ACCOUNT: able})


def overdue(shop: Shop, by: timedelta = timedelta(seconds=1)) -> None:
    """The deadline of everything that waits is over."""
    with shop.engine.begin() as connection:
        connection.execute(update(notifications).values(expires_at=datetime.now(UTC) - by))


def failed_payment(shop: Shop) -> None:
    """It came in time, and applying it failed until its deadline."""
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders ADD CONSTRAINT never CHECK (paid = 0)"))
    shop.order("TEAPOT")
    shop.apply(shop.payment("TEAPOT", transaction_id="pi_1"))
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders DROP CONSTRAINT never"))
    assert shop.statuses() == {"failed": 1}


def verdict(shop: Shop) -> tuple[str, str]:
    """Of the one notification; every invariant holds."""
    with shop.engine.connect() as connection:
        assert not any(violations(connection).values())
    [row] = shop.rows(notifications)
    return row.status, row.reason


def test_what_the_provider_confirms_is_applied_late(asking: Shop) -> None:
    """No case: the money is there, and the provider says so."""
    failed_payment(asking)
    overdue(asking)

    assert expire(asking.own) == {"applied": 1}

    assert verdict(asking) == ("applied", "payment")
    assert asking.state("TEAPOT") == ("paid", 1000, 0)
    assert asking.rows(cases) == []


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (intent(status="requires_payment_method", amount_received=0), "provider_says_not_paid"),
        (intent(amount_received=999), "provider_says_amount_differs"),
        ({}, "provider_says_not_found"),
    ],
    ids=["not paid", "another amount", "unknown"],
)
def test_what_the_provider_denies_expires_with_its_word(shop: Shop, told: dict[str, Any], reason: str) -> None:
    """A case with the reason; nothing is applied."""
    failed_payment(shop)
    overdue(shop)

    with listening(StripeSide(RESTRICTED, told)) as url:
        credentials(shop, url)
        assert expire(shop.own) == {"expired": 1}

    assert verdict(shop) == ("expired", reason)
    assert shop.state("TEAPOT") == ("pending", 0, 0)
    assert [case.reason for case in shop.rows(cases)] == [reason]


def test_a_confirmed_payment_without_its_order_is_a_case_that_says_so(asking: Shop) -> None:
    """A person must make the order; `cases apply` does the rest."""
    asking.apply(asking.payment("TEAPOT", transaction_id="pi_1"))
    overdue(asking)

    assert expire(asking.own) == {"expired": 1}

    assert verdict(asking) == ("expired", "confirmed_order_not_found")


def test_a_confirmed_payment_of_a_closed_order_stays_a_late_payment(asking: Shop) -> None:
    """The provider confirms the money, not that the shop still wants it."""
    asking.apply(asking.payment("TEAPOT", transaction_id="pi_1"))
    asking.order("TEAPOT")
    asking.apply(asking.envelope(asking.notice("TEAPOT", EventKind.CLOSED, notification_id="evt_close")))
    overdue(asking)

    assert expire(asking.own) == {"late_payment": 1}


def test_a_provider_that_cannot_be_reached_is_asked_again(shop: Shop) -> None:
    """The row waits; an hour later it expires unasked, and a person decides."""
    failed_payment(shop)
    overdue(shop)
    credentials(shop, "http://127.0.0.1:1")

    assert not expire(shop.own)
    assert verdict(shop)[0] == "failed"
    overdue(shop, ASKED_FOR)

    assert expire(shop.own) == {"expired": 1}
    assert verdict(shop) == ("expired", "not_applied_in_time")


def test_many_overdue_ones_are_all_settled(asking: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that can be asked about do not hide those that cannot, in any order and over many batches."""
    monkeypatch.setattr("tasks.expire_overdue.BATCH", 2)
    for number in range(5):
        asking.apply(asking.payment("TEAPOT", transaction_id=f"pi_{number}"))
        asking.apply(asking.envelope(asking.notice("KETTLE", EventKind.CHARGEBACK, transaction_id=f"du_{number}")))
    overdue(asking)

    assert expire(asking.own) == {"expired": 10}
    with asking.engine.connect() as connection:
        assert not any(violations(connection).values())


def test_a_person_asks_about_a_case(shop: Shop, stripe_side: StripeSide, database_url: str, tmp_path: Path) -> None:
    """The answer is printed and kept; nothing changes."""
    shop.apply(shop.payment("TEAPOT", transaction_id="pi_1"))
    overdue(shop)
    expire(shop.own)
    environ = {"PAIDONCE_DATABASE_URL": database_url, "PAIDONCE_ACCOUNTS": str(tmp_path / "accounts.toml")}
    secrets = {"WALRUS": "whsec_uncommon_walrus", "RESTRICTED": RESTRICTED}
    with listening(stripe_side) as url:
        (tmp_path / "accounts.toml").write_text(
            f'[accounts.{ACCOUNT}]\nprovider = "stripe"\nsecrets = ["env:WALRUS"]\nlive = false\n'
            'stripe_account = "acct_1"\n'
            f'query = {{ key = "env:RESTRICTED", url = "{url}" }}\n'
        )
        settings.cache_clear()
        done = CliRunner().invoke(app, ["cases", "ask", "1", "--by", "ada", "--json"], env=environ | secrets)
        settings.cache_clear()

    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"case_id": 1, "testimony": "confirmed", "detail": "agrees"}
    assert [(row.action, row.actor, row.note) for row in shop.rows(case_actions)] == [
        ("ask", "ada", "confirmed: agrees")
    ]
    assert verdict(shop) == ("expired", "not_applied_in_time")
