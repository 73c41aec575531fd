"""The outbox on real brokers: everything is told, in order, at least once, and nothing is marked that was not taken."""

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ears import Ears, PgmqEars, RedisEars, rabbitmq_ears
from relaying import Relay, relaying
from running import ACCOUNTS, SECRET
from shop import ACCOUNT, Shop
from sqlalchemy import Engine, insert, text, update
from test_end_to_end import with_queues

from domain.announcement import ANNOUNCED, CASE_OPENED
from domain.event import EventKind
from models import outbox
from models.outbox import delete_relayed
from tasks import relay_outbox
from tasks.chore import alone
from tasks.relay_outbox import BATCH, waves
from worker.database import build_engine
from worker.settings import Settings
from worker.topic import Topic
from worker.topic_line import Announcement

ROOT = Path(__file__).parents[2]
NAMES = sorted({*ANNOUNCED.values(), CASE_OPENED})


@pytest.fixture(params=["rabbitmq", "redis", "pgmq"])
def told(request: pytest.FixtureRequest, database: Engine, database_url: str) -> Iterator[Relay]:
    """A relay to each broker."""
    if request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_url")
        # The exchange is there before the relay: whoever listens first declares it.
        with rabbitmq_ears(url) as ears, relaying(database, ears, broker_url=url) as own:
            yield own
    elif request.param == "redis":
        url, prefix = request.getfixturevalue("redis_server"), request.getfixturevalue("redis_prefix")
        with relaying(database, RedisEars(url, prefix), broker_url=url, broker_prefix=prefix) as own:
            yield own
    else:
        url = with_queues(database_url)
        with relaying(database, PgmqEars(url), broker_url=url) as own:
            yield own


def test_every_name_is_told_once_and_marked(told: Relay) -> None:
    """Everything that may stand in the outbox arrives with its id, name, account, order and body."""
    told.announce(*NAMES)
    told.announce(CASE_OPENED, order_no=None)

    assert told.run() == len(NAMES) + 1
    assert told.run() == 0

    rows = {row.id: (row.id, row.name, row.account, row.order_no, row.body) for row in told.shop.rows(outbox)}
    assert {each.id: tuple(each) for each in told.heard()} == rows
    assert told.waiting() == 0


def test_what_happens_to_an_order_is_told_in_its_order(told: Relay) -> None:
    """From a real notification to a consumer: paid, refunded, and the case of a second payment."""
    shop = told.shop
    shop.order("TEAPOT")
    shop.apply(shop.payment("TEAPOT"))
    shop.apply(shop.envelope(shop.notice("TEAPOT", EventKind.REFUND, amount=300, refunded=300)))
    shop.apply(shop.payment("TEAPOT"))

    assert told.run() == 3

    paid, refunded, case = told.heard()
    assert [paid.name, refunded.name, case.name] == ["order.paid", "order.refunded", "case.opened"]
    assert {key: paid.body[key] for key in ("order_no", "status", "paid", "moved", "version")} == {
        "order_no": "TEAPOT",
        "status": "paid",
        "paid": 1000,
        "moved": 1000,
        "version": 1,
    }
    assert (refunded.body["status"], refunded.body["moved"]) == ("partially_refunded", -300)
    assert (case.order_no, case.body["kind"]) == ("TEAPOT", "duplicate_payment")


def test_more_than_a_batch_is_told_in_one_run(told: Relay) -> None:
    """A backlog is worked off batch by batch, each row once."""
    count = 2 * BATCH + 7
    told.announce("order.paid", order_no=None, count=count)

    ran, left, heard = told.run(), told.waiting(), told.heard()

    assert (ran, left, len(heard), len({each.id for each in heard})) == (count, 0, count, count)


def test_rows_that_commit_late_are_not_passed_over(told: Relay) -> None:
    """Ids commit in any order: a smaller one may be seen after a greater one was relayed."""
    with told.shop.engine.connect() as slow:
        slow.execute(insert(outbox).values(name="order.paid", account=ACCOUNT, order_no="SLOW", body={}))
        told.announce("order.paid", order_no="QUICK")
        assert told.run() == 1
        slow.commit()

    assert told.run() == 1
    assert [each.order_no for each in told.heard()] == ["QUICK", "SLOW"]
    assert [each.id for each in told.heard()] == sorted((each.id for each in told.heard()), reverse=True)


def at_once(*jobs: Callable[[], None]) -> None:
    """Runs every job in a thread of its own; their errors are the test's."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_two_relays_at_once_tell_everything_once(told: Relay) -> None:
    """The advisory lock lets one of them work; without failures nothing is told twice."""
    told.announce("order.paid", order_no=None, count=3000)

    def run_another() -> None:
        engine = build_engine(told.shop.engine.url.render_as_string(hide_password=False))
        with relaying(engine, told, **told.settings.model_dump(include={"broker_url", "broker_prefix"})) as other:
            while told.waiting():
                other.run()
        engine.dispose()

    at_once(run_another, run_another, run_another)

    assert Counter(Counter(each.id for each in told.heard()).values()) == {1: 3000}


def test_events_of_an_order_stay_in_order_while_workers_write_them(told: Relay) -> None:
    """Workers apply to the same orders while two relays run: per order every version comes after the one before it."""
    shop = told.shop
    order_nos = [shop.order(f"TEAPOT-{number}") for number in range(6)]
    rounds = [[shop.payment(order_no) for order_no in order_nos]]
    rounds += [
        [shop.envelope(shop.notice(no, EventKind.REFUND, amount=50, refunded=50 * step)) for no in order_nos]
        for step in range(1, 9)
    ]
    done = threading.Event()

    def apply_all(turn: int) -> None:
        twin = Shop(build_engine(shop.engine.url.render_as_string(hide_password=False)))
        for envelopes in rounds:
            for number in range(len(envelopes)):
                twin.apply(envelopes[(number + turn) % len(envelopes)])
        twin.engine.dispose()

    def relay_all() -> None:
        engine = build_engine(shop.engine.url.render_as_string(hide_password=False))
        with relaying(engine, told, **told.settings.model_dump(include={"broker_url", "broker_prefix"})) as other:
            while not done.is_set() or told.waiting():
                other.run()
        engine.dispose()

    def work() -> None:
        try:
            at_once(*[lambda turn=turn: apply_all(turn) for turn in range(3)])  # type: ignore[misc]
        finally:
            done.set()

    at_once(work, relay_all, relay_all)

    heard = told.heard()
    assert len(heard) == len({each.id for each in heard}) == 6 * 9
    for order_no in order_nos:
        versions = [each.body["version"] for each in heard if each.order_no == order_no]
        assert versions == list(range(1, 10))


def _process(told: Relay, folder: Path, failpoint: str | None) -> int:
    """Another process runs the task once; its exit code."""
    (folder / "accounts.toml").write_text(ACCOUNTS)
    own = told.settings
    struck = {"PAIDONCE_FAILPOINTS": failpoint} if failpoint else {}
    environ = os.environ | {
        "PAIDONCE_DATABASE_URL": told.shop.engine.url.render_as_string(hide_password=False),
        "PAIDONCE_BROKER_URL": own.broker_url,
        "PAIDONCE_BROKER_PREFIX": own.broker_prefix,
        "PAIDONCE_ACCOUNTS": str(folder / "accounts.toml"),
        "WALRUS": SECRET,
        **struck,
    }
    words = "from tasks.relay_outbox import relay_outbox; relay_outbox()"
    done = subprocess.run(
        [sys.executable, "-c", words],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode


def test_a_relay_killed_between_publish_and_mark_repeats_and_never_loses(told: Relay, tmp_path: Path) -> None:
    """SIGKILL after the confirms: everything was heard, nothing is marked, and the next relay tells it again."""
    told.announce(*NAMES)

    assert _process(told, tmp_path, "relay.confirmed:1:kill") == -9
    assert told.waiting() == len(NAMES)
    first = told.heard()
    assert _process(told, tmp_path, None) == 0

    assert told.waiting() == 0
    # What came at all, or since.
    heard = told.heard()
    both = heard if len(heard) > len(first) else first + heard
    assert Counter(each.id for each in both) == {row.id: 2 for row in told.shop.rows(outbox)}


def test_a_database_that_goes_while_the_broker_confirms_marks_nothing(told: Relay) -> None:
    """The session ends between publish and mark: the task ends quietly, and the next beat repeats."""
    told.announce(*NAMES)
    publish = told._topic.publish

    def publish_and_lose_the_session(rows: Sequence[Announcement], seconds: float) -> set[int]:
        confirmed = publish(rows, seconds)
        with build_engine(told.shop.engine.url.render_as_string(hide_password=False)).begin() as other:
            other.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in trans%'"
                )
            )
        other.engine.dispose()
        return confirmed

    told._topic.publish = publish_and_lose_the_session  # type: ignore[method-assign]
    relay_outbox.relay_quietly(told.shop.own, told._topic)
    assert told.waiting() == len(NAMES)
    told._topic.publish = publish  # type: ignore[method-assign]

    assert told.run() == len(NAMES)


def test_waves_hold_an_order_once() -> None:
    """Rows without an order wait for nobody; an order's own come one after another."""
    at = datetime.now(UTC)
    told = [("A", 1), ("B", 2), (None, 3), ("A", 4), (None, 5), ("A", 6)]
    rows = [Announcement(number, "order.paid", ACCOUNT, order_no, "{}", at) for order_no, number in told]

    assert [[row.id for row in wave] for wave in waves(rows)] == [[1, 2, 3, 5], [4], [6]]


# ---- nothing grows for ever


@pytest.mark.parametrize("broker", ["redis", "pgmq"])
def test_the_newest_events_are_kept(
    request: pytest.FixtureRequest, database: Engine, database_url: str, broker: str
) -> None:
    """Without a reader a stream, or a queue, keeps about what it is told to; Redis trims by whole nodes of 100."""
    if broker == "redis":
        url, prefix = request.getfixturevalue("redis_server"), request.getfixturevalue("redis_prefix")
        ears: Ears = RedisEars(url, prefix)
    else:
        url, prefix = with_queues(database_url), "none:"
        ears = PgmqEars(url)
    with relaying(database, ears, broker_url=url, broker_prefix=prefix, events_kept=200) as own:
        own.announce("order.paid", order_no=None, count=1500)
        own.run()
        own.announce("order.closed", order_no=None)
        own.run()
        heard = own.heard()

    assert 200 <= len(heard) < 400
    assert heard[-1].name == "order.closed"


def test_relayed_rows_go_and_waiting_rows_never(told: Relay) -> None:
    """The oldest first, as many as asked for."""
    told.announce("order.paid", order_no=None, count=5)
    told.run()
    told.announce("order.paid", order_no=None, count=2)
    old = datetime.now(UTC) - timedelta(days=60)
    with told.shop.engine.begin() as connection:
        connection.execute(update(outbox).values(created_at=old))
        connection.execute(
            update(outbox).where(outbox.c.id <= 4, outbox.c.relayed_at.is_not(None)).values(relayed_at=old)
        )
        assert delete_relayed(connection, datetime.now(UTC) - timedelta(days=45), 3) == 3
        assert delete_relayed(connection, datetime.now(UTC) - timedelta(days=45), 3) == 1
        assert delete_relayed(connection, datetime.now(UTC) - timedelta(days=45), 3) == 0

    assert told.waiting() == 2
    assert len(told.shop.rows(outbox)) == 3


def test_while_another_relays_nothing_is_done(told: Relay) -> None:
    """The lock is the transaction's, so it goes with whoever held it."""
    told.announce("order.paid")
    with told.shop.engine.connect() as other:
        assert alone(other, "relay_outbox")
        assert told.run() == 0
        other.rollback()
    assert told.run() == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented(name: str) -> None:
    """docs/outbox.md says what each means."""
    assert f"| `{name}` |" in (ROOT / "docs" / "outbox.md").read_text()


def test_the_topic_connects_to_nothing_before_there_is_something_to_say() -> None:
    """So it may be made before a fork."""
    assert Topic(Settings(broker_url="amqp://127.0.0.1:1//"))._line is None
