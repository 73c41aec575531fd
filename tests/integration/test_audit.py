"""Each invariant is broken once on a real PostgreSQL, and exactly it turns red."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from shop import OTHER_ACCOUNT, Shop
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from domain.event import EventKind
from models.notification import NEW, notifications
from ops.audit import INVARIANTS, violations
from ops.cli import app
from worker.settings import settings

EVERY = [f"I{number}" for number in range(1, 19)]


@pytest.fixture
def busy_shop(shop: Shop) -> Shop:
    """Applied, refunded, parked, ignored, stale and disputed notifications, and a conflict: nothing broken."""
    for order_no in ("walrus-1", "walrus-2", "walrus-3", "walrus-4"):
        shop.order(order_no)
    refund = {"kind": EventKind.REFUND, "amount": 300, "refunded": 300}
    first = shop.notice("walrus-1")
    shop.apply(shop.envelope(first), shop.payment("walrus-2"), shop.payment("unknown"), pack=(str(uuid.uuid4()), 1))
    shop.apply(shop.envelope(shop.notice("walrus-1", **refund)))
    shop.apply(shop.envelope(shop.notice("walrus-2", kind=EventKind.CLOSED)))
    shop.apply(shop.payment("walrus-2"), shop.payment("walrus-3", amount=7))
    shop.apply(shop.envelope(shop.notice("walrus-4", kind=EventKind.FAILED)))
    shop.apply(shop.envelope(shop.notice("walrus-1", notification_id=first.notification_id, amount=9)))
    return shop


def audit(engine: Engine) -> dict[str, int]:
    """The invariants of a drained shop."""
    with engine.connect() as connection:
        return violations(connection, drained=True)


def broken(engine: Engine) -> list[str]:
    """The names of the red ones."""
    return [name for name, count in audit(engine).items() if count]


def execute(engine: Engine, *statements: str) -> None:
    """Behind the house's back."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


EFFECT_KEY = "uq__ledger_entries__provider_account_transaction_id_kind"
DELIVERY_KEY = "uq__notifications__provider_account_notification_id"
APPLIED = "(SELECT min(id) FROM notifications WHERE status = 'applied')"
PAID = "(SELECT id FROM orders WHERE order_no = 'walrus-2')"
REFUND = "kind = 'refund'"
ENTRY = "provider, account, transaction_id, kind, order_id, notification_row, amount, currency"

#: What is done behind the house's back, and what must turn red: it alone.
SABOTAGE = [
    (
        "I1",
        "the first pack of a connection never came",
        ["UPDATE packs SET number = 2, first_seen_at = now() - interval '1 min'"],
    ),
    (
        "I1",
        "a pack between two others never came",
        [
            "UPDATE packs SET first_seen_at = now() - interval '1 min'",
            "INSERT INTO packs (epoch, number, deliveries, first_seen_at, applied_at) "
            "SELECT epoch, 3, 1, now() - interval '1 min', now() FROM packs",
        ],
    ),
    (
        "I1",
        "a pack was begun and never finished",
        ["UPDATE packs SET applied_at = NULL, first_seen_at = now() - interval '1 min'"],
    ),
    (
        "I2",
        "an applied notification has no effect",
        [f"UPDATE notifications SET status = 'stale' WHERE id = {APPLIED}"],
    ),
    ("I2", "another one has an effect", ["UPDATE notifications SET status = 'applied' WHERE status = 'stale'"]),
    ("I3", "the ledger's unique key is gone", [f"ALTER TABLE ledger_entries DROP CONSTRAINT {EFFECT_KEY}"]),
    (
        "I4",
        "an entry is not what its notification said",
        [f"UPDATE notifications SET amount = 999 WHERE id = {APPLIED}"],
    ),
    ("I4", "a refund is more than the total that was named", [f"UPDATE notifications SET amount = 299 WHERE {REFUND}"]),
    ("I4", "an entry has another currency", [f"UPDATE notifications SET currency = 'JPY' WHERE id = {APPLIED}"]),
    (
        "I5",
        "an order has a refund that the ledger does not",
        ["UPDATE orders SET refunded = 500 WHERE order_no = 'walrus-1'"],
    ),
    (
        "I6",
        "a paid order goes back",
        [
            "UPDATE transitions SET to_status = 'pending' WHERE to_status = 'failed'",
            "UPDATE orders SET status = 'pending' WHERE status = 'failed'",
        ],
    ),
    (
        "I6",
        "a transition begins elsewhere",
        ["UPDATE transitions SET from_status = 'failed' WHERE kind = 'payment' AND seq = 1"],
    ),
    ("I6", "an order stands elsewhere", ["UPDATE orders SET status = 'closed' WHERE order_no = 'walrus-3'"]),
    ("I6", "an order's version is not its history's", ["UPDATE orders SET version = 2 WHERE order_no = 'walrus-3'"]),
    ("I7", "a notification was let in by no key", [f"UPDATE notifications SET key_id = '' WHERE id = {APPLIED}"]),
    ("I8", "an order is paid in part", [f"UPDATE orders SET amount = 1001 WHERE id = {PAID}"]),
    ("I8", "an order is paid in another currency", [f"UPDATE orders SET currency = 'JPY' WHERE id = {PAID}"]),
    ("I9", "an order pays another account's", [f"UPDATE orders SET account = '{OTHER_ACCOUNT}' WHERE id = {PAID}"]),
    (
        "I9",
        "an entry has another account than its order and notification",
        [f"UPDATE ledger_entries SET account = '{OTHER_ACCOUNT}' WHERE order_id = {PAID}"],
    ),
    (
        "I10",
        "an attempt died and nobody comes back to it",
        ["UPDATE notifications SET status = 'received' WHERE status = 'parked'"],
    ),
    (
        "I10",
        "a pause ended long ago",
        [
            "UPDATE notifications SET status = 'failed', next_attempt_at = now() - interval '1 h' "
            "WHERE status = 'parked'"
        ],
    ),
    (
        "I10",
        "its time ran out and nobody said so",
        [
            "UPDATE notifications SET (expires_at, next_attempt_at) = (now() - interval '3 h', now() - interval '3 h')"
            " WHERE status = 'parked'"
        ],
    ),
    (
        "I10",
        "it waits and no sweep would find it",
        ["UPDATE notifications SET next_attempt_at = NULL WHERE status = 'parked'"],
    ),
    ("I10", "no person sees it", ["DELETE FROM cases WHERE kind = 'duplicate_payment'"]),
    (
        "I11",
        "the tampered copy took the first one's place",
        [
            "UPDATE notifications AS n SET digest = c.digest FROM cases AS c "
            "WHERE c.kind = 'conflict' AND c.notification_id = n.notification_id"
        ],
    ),
    ("I11", "the delivery key's unique index is gone", [f"ALTER TABLE notifications DROP CONSTRAINT {DELIVERY_KEY}"]),
    ("I13", "cleanup took the row of an open case", ["DELETE FROM notifications WHERE status = 'mismatch'"]),
    (
        "I14",
        "an error text quotes what was paid",
        [f"UPDATE notifications SET last_error = 'bad 6222020200112233' WHERE id = {APPLIED}"],
    ),
    ("I14", "a reason is a text", ["UPDATE cases SET reason = 'Mr. Walrus paid 7' WHERE kind = 'mismatch'"]),
    ("I14", "a credential was kept", ["""UPDATE payloads SET headers = '{"authorization": "Bearer walrus"}'"""]),
    ("I15", "a poison one is tried for ever", [f"UPDATE notifications SET attempts = 6 WHERE id = {APPLIED}"]),
    (
        "I16",
        "a parked one's order came and nobody looked",
        [
            "UPDATE notifications SET processed_at = now() - interval '1 h', order_no = 'walrus-3' "
            "WHERE status = 'parked'",
            "UPDATE orders SET updated_at = now() - interval '3 min' WHERE order_no = 'walrus-3'",
        ],
    ),
    ("I16", "the rest of the shop was not told", ["UPDATE outbox SET created_at = now() - interval '1 h'"]),
    (
        "I18",
        "a number is missing in a history",
        [
            "UPDATE transitions SET seq = 3 WHERE kind = 'refund'",
            "UPDATE orders SET version = 3 WHERE order_no = 'walrus-1'",
        ],
    ),
]


def test_every_invariant_is_asked_and_named() -> None:
    """The audit knows I1 to I18, each with a sentence."""
    assert [invariant.name for invariant in INVARIANTS] == EVERY
    assert all(invariant.sentence.endswith(".") and invariant.queries for invariant in INVARIANTS)


def test_a_busy_shop_breaks_nothing(busy_shop: Shop) -> None:
    """Parked, stale, disputed and conflicting notifications are weather: every count is zero."""
    assert {"applied", "parked", "stale", "duplicate_payment", "mismatch"} == set(busy_shop.statuses())
    assert dict.fromkeys(EVERY, 0) == audit(busy_shop.engine)


@pytest.mark.parametrize(("name", "statements"), [case[::2] for case in SABOTAGE], ids=[case[1] for case in SABOTAGE])
def test_what_is_broken_turns_red_alone(busy_shop: Shop, name: str, statements: list[str]) -> None:
    """A wrong row behind the house's back is seen by its invariant and by no other."""
    execute(busy_shop.engine, *statements)

    assert [name] == broken(busy_shop.engine)


def test_an_effect_twice_in_the_ledger(busy_shop: Shop) -> None:
    """I3 sees the double effect itself, beside the missing key."""
    execute(
        busy_shop.engine,
        f"ALTER TABLE ledger_entries DROP CONSTRAINT {EFFECT_KEY}",
        f"INSERT INTO ledger_entries ({ENTRY}) "
        "SELECT provider, account, transaction_id, kind, order_id, 0, 0, currency "
        "FROM ledger_entries WHERE kind = 'failed'",
    )

    assert {name: count for name, count in audit(busy_shop.engine).items() if count} == {"I3": 2}


def test_an_id_twice_in_the_table(busy_shop: Shop) -> None:
    """I11 sees the second row of an id, beside the missing key."""
    columns = ", ".join(column.name for column in (*NEW, notifications.c.status, notifications.c.processed_at))
    execute(
        busy_shop.engine,
        f"ALTER TABLE notifications DROP CONSTRAINT {DELIVERY_KEY}",
        f"INSERT INTO notifications ({columns}) SELECT {columns} FROM notifications WHERE status = 'stale'",
    )

    assert {name: count for name, count in audit(busy_shop.engine).items() if count} == {"I11": 2}


def test_commits_that_do_not_wait_for_the_disk(busy_shop: Shop, command: Callable[..., Any]) -> None:
    """I12 reads what the server really does."""
    name = busy_shop.engine.url.database
    execute(busy_shop.engine, f"ALTER DATABASE {name} SET synchronous_commit = off")

    found = json.loads(command("audit", "--json").stdout.splitlines()[-1])["violations"]
    assert {name: count for name, count in found.items() if count} == {"I12": 1}


def test_a_session_that_hangs_in_its_transaction(busy_shop: Shop, until: Callable[[Callable[[], Any]], Any]) -> None:
    """I17 sees a transaction that nobody ends, and whoever waits behind it."""
    with busy_shop.engine.connect() as hanging:
        hanging.execute(text("SELECT 1"))
        assert until(lambda: broken(busy_shop.engine)) == ["I17"]


def test_a_young_gap_is_excused_while_packs_are_on_their_way(busy_shop: Shop) -> None:
    """Packs overtake one another: without --drained a gap counts only after the worker's patience."""
    execute(busy_shop.engine, "UPDATE packs SET number = 2")
    with busy_shop.engine.connect() as connection:
        assert violations(connection)["I1"] == 0
    execute(busy_shop.engine, "UPDATE packs SET first_seen_at = now() - interval '11 min'")
    with busy_shop.engine.connect() as connection:
        assert violations(connection)["I1"] == 1


def test_a_row_that_stands_for_many_packs_is_no_gap(busy_shop: Shop) -> None:
    """The first packs of a connection of months are folded into one row."""
    execute(busy_shop.engine, "UPDATE packs SET number = 5000, numbers = 5000")

    assert broken(busy_shop.engine) == []


def test_a_loss_that_a_person_has_closed_is_settled(busy_shop: Shop) -> None:
    """The providers were asked again; until then it stands in front of them, and breaks the promise."""
    execute(
        busy_shop.engine,
        "UPDATE packs SET number = 5, first_seen_at = now() - interval '1 min'",
        "INSERT INTO cases (kind, provider, account, notification_id, digest, reason) "
        "SELECT 'lost_pack', '', '', '', concat(epoch, chr(58), '1-4'), 'never_delivered' FROM packs",
    )
    assert broken(busy_shop.engine) == ["I1"]

    execute(busy_shop.engine, "UPDATE cases SET status = 'resolved' WHERE kind = 'lost_pack'")

    assert broken(busy_shop.engine) == []


def test_the_command_says_ok_in_its_last_line(busy_shop: Shop, command: Callable[..., Any]) -> None:
    """Exit code 0 and every count, for programs."""
    result = command("audit", "--json", "--drained")

    assert result.exit_code == 0
    assert {"ok": True, "violations": dict.fromkeys(EVERY, 0)} == json.loads(result.stdout.splitlines()[-1])


def test_the_command_fails_and_names_what_is_broken(busy_shop: Shop, command: Callable[..., Any]) -> None:
    """Exit code 1, and a table with the broken row."""
    execute(busy_shop.engine, f"UPDATE orders SET paid = 0, refunded = 0 WHERE id = {PAID}")

    result = command("audit")

    assert result.exit_code == 1
    assert "walrus-2" in result.stdout
    assert json.loads(command("audit", "--json").stdout.splitlines()[-1])["violations"]["I5"] == 1


@pytest.fixture
def command(database_url: str) -> Any:
    """`paidonce` on the test's database."""

    def run(*words: str) -> Any:
        settings.cache_clear()
        try:
            return CliRunner().invoke(app, list(words), env={"PAIDONCE_DATABASE_URL": database_url, "COLUMNS": "200"})
        finally:
            settings.cache_clear()

    return run


@pytest.fixture
def until() -> Any:
    """Asks until the answer is yes, for half a minute."""

    def ask(question: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 30
        while not (answer := question()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return answer

    return ask
