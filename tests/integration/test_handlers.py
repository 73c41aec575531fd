"""Handlers on a real PostgreSQL: what they write commits with the order or not at all, whatever they do."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from at_once import at_once
from shop import ACCOUNT, Shop
from sqlalchemy import event, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from domain.announcement import ANNOUNCED
from domain.errors import ConfigurationError, TransactionLost
from domain.event import EventKind, PaymentEvent
from domain.order import Order, OrderState
from domain.verdict import Verdict
from models import cases, ledger_entries, notifications, outbox
from ops.audit import violations
from tasks import handling
from tasks.handlers import Handler, on, run_handlers
from tasks.redrive import redrive_batch

TAKE = text("INSERT INTO moves (order_no, kind) VALUES (:order_no, :kind)")


def take(session: Session, order: Order, event: PaymentEvent) -> None:
    """What a shop would do: a row without any key, so that a second one would be seen."""
    session.execute(TAKE, {"order_no": order.order_no, "kind": event.kind.value})


class Handled:
    """A shop with handlers and a table of its own."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        with shop.engine.begin() as connection:
            connection.execute(text("CREATE TABLE moves (id bigserial, order_no text NOT NULL, kind text NOT NULL)"))
            connection.execute(text("CREATE TABLE shelves (name text PRIMARY KEY, pieces int NOT NULL)"))
            connection.execute(text("INSERT INTO shelves VALUES ('A', 100), ('B', 100)"))

    def on(self, *handlers: Handler, name: str = "order.paid") -> None:
        """From now on these handle `name`."""
        self.shop.own = replace(self.shop.own, handlers={**self.shop.own.handlers, name: handlers})

    def moves(self) -> list[str]:
        """Order numbers, as they were written."""
        with self.shop.engine.connect() as connection:
            return list(connection.execute(text("SELECT order_no FROM moves ORDER BY id")).scalars())

    def status(self, order_no: str) -> Any:
        """The row of the one notification of an order."""
        [row] = [row for row in self.shop.rows(notifications) if row.order_no == order_no]
        return row

    def later(self) -> None:
        """Every pause is over."""
        with self.shop.engine.begin() as connection:
            connection.execute(
                update(notifications).values(
                    processed_at=notifications.c.processed_at - timedelta(seconds=5),
                    next_attempt_at=notifications.c.next_attempt_at - timedelta(hours=2),
                )
            )

    def audit(self) -> list[str]:
        """The invariants that are broken."""
        with self.shop.engine.connect() as connection:
            return [name for name, count in violations(connection).items() if count]


@pytest.fixture
def handled(shop: Shop) -> Iterator[Handled]:
    """A shop with two orders, whose books are in order in the end."""
    own = Handled(shop)
    for order_no in ("TEAPOT", "KETTLE", "GRAIL"):
        shop.order(order_no)
    yield own
    assert own.audit() == []


# ---- once, with the order


def test_what_a_handler_writes_commits_with_its_order(handled: Handled) -> None:
    """It is given the order as it is afterwards and the event; a redelivery runs it no more."""
    given: list[tuple[Order, PaymentEvent]] = []
    handled.on(take, lambda _, order, event: given.append((order, event)))
    payment = handled.shop.payment("TEAPOT")

    for _ in range(3):
        handled.shop.apply(payment, payment)

    assert handled.moves() == ["TEAPOT"]
    [(order, told)] = given
    assert (order.order_no, order.state, order.paid, order.version) == ("TEAPOT", "paid", 1000, 1)
    assert (told.kind, told.amount, told.currency) == (EventKind.PAYMENT, 1000, "EUR")


def test_each_name_has_its_own_handlers(handled: Handled) -> None:
    """Refunds run theirs, and what has no effect runs none."""
    handled.on(take)
    handled.on(take, name="order.refunded")
    shop = handled.shop
    shop.apply(shop.payment("TEAPOT"))
    shop.apply(shop.payment("TEAPOT"))  # a second payment is a case
    shop.apply(shop.envelope(shop.notice("TEAPOT", EventKind.REFUND, amount=300, refunded=300)))
    shop.apply(shop.payment("KETTLE", amount=7))  # a mismatch

    assert handled.moves() == ["TEAPOT", "TEAPOT"]


def test_what_is_not_committed_is_not_written(handled: Handled) -> None:
    """The order's own write fails after the handler has run: nothing of either stays."""
    handled.on(take)
    with handled.shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE orders ADD CONSTRAINT never CHECK (paid = 0 OR order_no <> 'TEAPOT')"))

    verdicts = handled.shop.apply(handled.shop.payment("TEAPOT"), handled.shop.payment("KETTLE"))

    assert (verdicts[Verdict.FAILED], verdicts[Verdict.APPLIED]) == (1, 1)
    assert handled.moves() == ["KETTLE"]


def test_a_lost_commit_answer_runs_it_twice_and_writes_once(handled: Handled) -> None:
    """COMMIT is done, its answer is lost: the work is repeated and finds itself done."""
    handled.on(take)
    lost = iter([True])

    @event.listens_for(handled.shop.engine, "commit")
    def commit_then_lose_the_answer(connection: Any) -> None:
        if next(lost, False):
            connection.connection.dbapi_connection.commit()
            raise DBAPIError("COMMIT", {}, ConnectionError("server closed the connection"), connection_invalidated=True)

    handled.shop.apply(handled.shop.payment("TEAPOT"))

    assert handled.moves() == ["TEAPOT"]


def test_twelve_copies_at_once_run_it_once(handled: Handled) -> None:
    """The row of the notification lets one through."""
    handled.on(take)
    copy = handled.shop.payment("TEAPOT")

    at_once(handled.shop, [lambda twin: twin.apply(copy)] * 12)

    assert handled.moves() == ["TEAPOT"]
    assert handled.status("TEAPOT").deliveries == 12


def test_twelve_notifications_of_one_payment_at_once_run_it_once(handled: Handled) -> None:
    """Different ids, one transaction at the provider: the order's lock and the ledger's key let one through."""
    handled.on(take)
    copies = [handled.shop.payment("TEAPOT", transaction_id="pi_same") for _ in range(12)]

    at_once(handled.shop, [lambda twin, one=one: twin.apply(one) for one in copies])  # type: ignore[misc]

    assert handled.moves() == ["TEAPOT"]
    assert len(handled.shop.rows(ledger_entries)) == 1


# ---- one that raises


def test_one_that_raises_fails_alone_and_is_tried_again(handled: Handled) -> None:
    """Its writes are gone, its order is untouched, neighbours apply; the database brings it again in time."""
    broken = ["KETTLE"]

    def picky(session: Session, order: Order, event: PaymentEvent) -> None:
        take(session, order, event)
        if order.order_no in broken:
            raise LookupError("no kettle in stock, see 6222020200112233\nand more")

    handled.on(picky)
    shop = handled.shop
    patient = shop.own.settings.model_copy(update={"retry_base_seconds": 5.0})
    shop.own = replace(shop.own, settings=patient)

    verdicts = shop.apply(*(shop.payment(order_no) for order_no in ("TEAPOT", "KETTLE", "GRAIL")))

    assert (verdicts[Verdict.APPLIED], verdicts[Verdict.FAILED]) == (2, 1)
    assert handled.moves() == ["TEAPOT", "GRAIL"]
    assert shop.state("KETTLE") == ("pending", 0, 0)
    failed = handled.status("KETTLE")
    assert (failed.status, failed.reason, failed.attempts) == ("failed", "attempt_raised", 1)
    assert failed.last_error == "LookupError: no kettle in stock, see …"
    assert failed.next_attempt_at > failed.processed_at
    assert "order.paid" not in [row.name for row in shop.rows(outbox) if row.order_no == "KETTLE"]

    handled.later()
    assert redrive_batch(shop.own) == {Verdict.FAILED: 1}
    assert handled.status("KETTLE").attempts == 2
    broken.clear()
    handled.later()
    assert redrive_batch(shop.own) == {Verdict.APPLIED: 1}

    assert handled.moves() == ["TEAPOT", "GRAIL", "KETTLE"]
    assert shop.state("KETTLE") == ("paid", 1000, 0)
    assert (handled.status("KETTLE").attempts, shop.rows(cases)) == (3, [])


def test_one_that_keeps_raising_ends_dead_with_a_case(handled: Handled) -> None:
    """After the last attempt a person sees it, and it is tried no more."""

    def always(session: Session, order: Order, event: PaymentEvent) -> None:
        take(session, order, event)
        raise LookupError("no")

    handled.on(always)
    handled.shop.apply(handled.shop.payment("TEAPOT"))
    for _ in range(8):
        handled.later()
        redrive_batch(handled.shop.own)

    row = handled.status("TEAPOT")
    assert (row.status, row.attempts, row.last_error) == ("dead", 5, "LookupError: no")
    assert [(case.kind, case.reason) for case in handled.shop.rows(cases)] == [("dead", "attempts_exhausted")]
    assert (handled.moves(), handled.shop.state("TEAPOT")) == ([], ("pending", 0, 0))


def test_the_second_handler_takes_the_first_one_with_it(handled: Handled) -> None:
    """All of an event's handlers, or none."""

    def refuse(*_: object) -> None:
        raise LookupError("no")

    handled.on(take, refuse)
    handled.shop.apply(handled.shop.payment("TEAPOT"))

    assert handled.moves() == []


def test_a_parked_notification_runs_it_when_its_order_comes(handled: Handled) -> None:
    """Not before, once, and in an attempt of its own, so that one that kills the process is counted."""
    seen = []

    def note(session: Session, order: Order, event: PaymentEvent) -> None:
        seen.append([row.attempts for row in handled.shop.rows(notifications) if row.order_no == "LATE"])
        take(session, order, event)

    handled.on(note)
    handled.shop.apply(handled.shop.payment("LATE"))
    assert (handled.moves(), handled.status("LATE").status) == ([], "parked")
    handled.shop.order("LATE")
    handled.later()

    assert redrive_batch(handled.shop.own)[Verdict.APPLIED] == 1
    assert redrive_batch(handled.shop.own).total() == 0
    assert (handled.moves(), seen) == (["LATE"], [[1]])


def test_one_that_kills_redrive_spends_nobody_elses_attempts(handled: Handled) -> None:
    """Both are due; whichever comes first, the innocent one is not counted for deaths that were not its own."""

    class Killed(BaseException):
        """Stands for SIGKILL: nothing of ours catches it."""

    broken = ["TEAPOT", "KETTLE", "GRAIL"]

    def handler(session: Session, order: Order, event: PaymentEvent) -> None:
        if len(broken) == 3:
            raise LookupError("not yet")
        if order.order_no in broken:
            raise Killed
        take(session, order, event)

    handled.on(handler)
    shop = handled.shop
    shop.apply(*(shop.payment(order_no) for order_no in broken))
    broken[:] = ["KETTLE"]
    for _ in range(8):
        handled.later()
        with suppress(Killed):
            redrive_batch(shop.own)

    assert sorted(handled.moves()) == ["GRAIL", "TEAPOT"]
    assert {row.order_no: row.status for row in shop.rows(notifications)} == {
        "TEAPOT": "applied",
        "KETTLE": "dead",
        "GRAIL": "applied",
    }


# ---- what a handler may do to its session


def commits(session: Session) -> None:
    session.commit()


def commits_twice(session: Session) -> None:
    session.commit()
    session.commit()


def closes(session: Session) -> None:
    session.flush()
    session.close()


def nests(session: Session) -> None:
    with session.begin_nested():
        session.execute(text("SELECT 1"))


@pytest.mark.parametrize("does", [commits, commits_twice, nests])
@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
def test_its_commits_are_savepoints(handled: Handled, does: Callable[[Session], None], raises: bool) -> None:
    """A handler that commits its session commits nothing of ours: what it wrote comes and goes with the order."""

    def handler(session: Session, order: Order, event: PaymentEvent) -> None:
        take(session, order, event)
        does(session)
        if raises and order.order_no == "TEAPOT":
            raise LookupError("after its commit")

    handled.on(handler)
    handled.shop.apply(handled.shop.payment("TEAPOT"), handled.shop.payment("KETTLE"))

    assert handled.moves() == (["KETTLE"] if raises else ["TEAPOT", "KETTLE"])
    assert handled.shop.state("TEAPOT")[0] == ("pending" if raises else "paid")


@pytest.mark.parametrize("does", [Session.rollback, closes])
def test_its_rollbacks_take_back_only_its_own(handled: Handled, does: Callable[[Session], None]) -> None:
    """It thought better of it: its writes are gone, the order is paid."""

    def handler(session: Session, order: Order, event: PaymentEvent) -> None:
        take(session, order, event)
        if order.order_no == "TEAPOT":
            does(session)

    handled.on(handler)
    handled.shop.apply(handled.shop.payment("TEAPOT"), handled.shop.payment("KETTLE"))

    assert handled.moves() == ["KETTLE"]
    assert handled.shop.state("TEAPOT")[0] == handled.shop.state("KETTLE")[0] == "paid"


def bad_sql(session: Session) -> None:
    session.execute(text("SELECT nothing FROM nowhere"))


def swallowed_bad_sql(session: Session) -> None:
    with suppress(DBAPIError):
        bad_sql(session)


def commits_the_connection(session: Session) -> None:
    session.connection().commit()


def rolls_back_the_connection(session: Session) -> None:
    session.connection().rollback()


def closes_the_connection(session: Session) -> None:
    session.connection().close()


def invalidates_the_connection(session: Session) -> None:
    session.connection().invalidate()


def commits_the_driver(session: Session) -> None:
    session.connection().connection.driver_connection.commit()  # type: ignore[union-attr]


def says_commit(session: Session) -> None:
    session.execute(text(" -- now\n /* or never */ commit work"))


def says_rollback(session: Session) -> None:
    session.execute(text("ROLLBACK"))


def hands_the_connection_back(session: Session) -> None:
    session.connection().connection.close()  # type: ignore[union-attr]


def ends_its_session_at_the_server(session: Session) -> None:
    session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def sleeps_too_long(session: Session) -> None:
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '100ms'"))
    time.sleep(0.4)


LEAVING = [
    commits_the_connection,
    rolls_back_the_connection,
    closes_the_connection,
    invalidates_the_connection,
    hands_the_connection_back,
    commits_the_driver,
    says_commit,
    says_rollback,
    ends_its_session_at_the_server,
    sleeps_too_long,
]


@pytest.mark.parametrize("does", [bad_sql, swallowed_bad_sql, *LEAVING], ids=lambda each: each.__name__)
@pytest.mark.parametrize("swallows", [False, True], ids=["lets it raise", "swallows"])
def test_nothing_that_it_does_to_its_transaction_helps(
    handled: Handled, does: Callable[[Session], None], swallows: bool
) -> None:
    """Its notification fails, is tried again, ends `dead` with a case; neighbours are applied; nothing of it stays."""

    def handler(session: Session, order: Order, event: PaymentEvent) -> None:
        take(session, order, event)
        if order.order_no == "KETTLE":
            try:
                does(session)
            except Exception:
                if not swallows:
                    raise

    handled.on(handler)
    shop = handled.shop
    shop.apply(*(shop.payment(order_no) for order_no in ("TEAPOT", "KETTLE", "GRAIL")))

    refused = does in (says_commit, says_rollback, commits_the_driver) and swallows
    if refused:  # it was refused and made the best of it
        assert sorted(handled.moves()) == ["GRAIL", "KETTLE", "TEAPOT"]
        return
    assert sorted(handled.moves()) == ["GRAIL", "TEAPOT"]
    assert handled.status("KETTLE").status == "failed"
    assert shop.state("KETTLE") == ("pending", 0, 0)
    for _ in range(6):
        handled.later()
        redrive_batch(shop.own)
    assert sorted(handled.moves()) == ["GRAIL", "TEAPOT"]
    assert (handled.status("KETTLE").status, handled.status("KETTLE").attempts) == ("dead", 5)
    assert [(case.kind, case.order_no) for case in shop.rows(cases)] == [("dead", "KETTLE")]


def test_the_next_transaction_does_not_write_what_was_lost(handled: Handled) -> None:
    """SQLAlchemy takes the refused commit for the end and would hand the open transaction to the next one."""
    shop = handled.shop
    order = Order(order_no="TEAPOT", state=OrderState.PAID, amount=1000, currency="EUR")
    [told] = shop.own.dialects[ACCOUNT].parse(shop.own.dialects[ACCOUNT].sign(shop.notice("TEAPOT"), time.time()))

    with shop.engine.connect() as connection:
        connection.execute(TAKE, {"order_no": "TEAPOT", "kind": "payment"})
        with pytest.raises(TransactionLost):
            run_handlers(connection, [lambda session, *_: commits_the_connection(session)], order, told)
    with shop.engine.begin() as next_one:
        next_one.execute(TAKE, {"order_no": "KETTLE", "kind": "payment"})

    assert handled.moves() == ["KETTLE"]


def test_one_that_gets_a_commit_past_the_driver_is_dead_at_once(handled: Handled) -> None:
    """It cannot be prevented, so it is noticed: what it wrote stays, its order does not, and a person sees it now."""

    def handler(session: Session, order: Order, event: PaymentEvent) -> None:
        take(session, order, event)
        if order.order_no == "KETTLE":
            session.connection().connection.driver_connection.execute("COMMIT")  # type: ignore[union-attr]

    handled.on(handler)
    shop = handled.shop
    shop.apply(*(shop.payment(order_no) for order_no in ("TEAPOT", "KETTLE", "GRAIL")))

    assert handled.status("KETTLE").status == "dead"
    assert shop.state("KETTLE") == ("pending", 0, 0)
    assert shop.state("TEAPOT")[0] == shop.state("GRAIL")[0] == "paid"
    assert [(case.kind, case.order_no) for case in shop.rows(cases)] == [("dead", "KETTLE")]


# ---- waiting for others


def test_two_that_deadlock_both_end_well(handled: Handled) -> None:
    """Two packs take two shelves in opposite order: PostgreSQL ends one of them, and its work is done again."""
    met = threading.Barrier(2)

    def both(session: Session, order: Order, event: PaymentEvent) -> None:
        names = ("A", "B") if order.order_no == "TEAPOT" else ("B", "A")
        for name in names:
            session.execute(text("UPDATE shelves SET pieces = pieces - 1 WHERE name = :name"), {"name": name})
            if name == names[0] and not met.broken:
                try:
                    met.wait(5)
                    met.abort()
                except threading.BrokenBarrierError:
                    pass
        take(session, order, event)

    handled.on(both)
    first, second = handled.shop.payment("TEAPOT"), handled.shop.payment("KETTLE")

    at_once(handled.shop, [lambda twin: twin.apply(first), lambda twin: twin.apply(second)])

    assert sorted(handled.moves()) == ["KETTLE", "TEAPOT"]
    with handled.shop.engine.connect() as connection:
        assert connection.execute(text("SELECT pieces FROM shelves")).scalars().all() == [98, 98]
    assert handled.shop.statuses() == {"applied": 2}


def test_one_that_waits_for_a_lock_too_long_fails_alone(handled: Handled) -> None:
    """lock_timeout ends its wait; it is its own failure, and is not tried three times over while others wait."""
    runs: Counter[str] = Counter()

    def wait(session: Session, order: Order, event: PaymentEvent) -> None:
        runs[order.order_no] += 1
        session.execute(text("SET LOCAL lock_timeout = '50ms'"))
        if order.order_no == "KETTLE":
            session.execute(text("UPDATE shelves SET pieces = 0 WHERE name = 'A'"))
        take(session, order, event)

    handled.on(wait)
    with handled.shop.engine.connect() as other:
        other.execute(text("SELECT * FROM shelves FOR UPDATE"))
        handled.shop.apply(*(handled.shop.payment(order_no) for order_no in ("TEAPOT", "KETTLE", "GRAIL")))

    assert handled.moves() == ["TEAPOT", "GRAIL"]
    assert runs == {"TEAPOT": 1, "KETTLE": 1, "GRAIL": 1}
    assert handled.status("KETTLE").last_error == "LockNotAvailable: canceling statement due to lock timeout"


def test_slow_ones_are_left_for_attempts_of_their_own(handled: Handled, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack's orders stay locked while its handlers run, so together they have a second; redrive does the rest."""
    monkeypatch.setattr(handling, "TOGETHER", 0.05)
    committed: list[int] = []

    def slow(session: Session, order: Order, event: PaymentEvent) -> None:
        time.sleep(0.06)
        take(session, order, event)
        committed.append(len(handled.moves()))

    handled.on(slow)
    shop = handled.shop
    verdicts = shop.apply(*(shop.payment(order_no) for order_no in ("TEAPOT", "KETTLE", "GRAIL")))

    assert (verdicts[Verdict.APPLIED], verdicts[Verdict.FAILED]) == (1, 2)
    assert (handled.status("GRAIL").reason, handled.status("GRAIL").attempts) == ("handlers_follow", 0)
    assert redrive_batch(shop.own) == {Verdict.APPLIED: 2}
    assert sorted(handled.moves()) == ["GRAIL", "KETTLE", "TEAPOT"]
    assert committed == [0, 1, 2]


def test_a_pack_does_not_wait_long_for_the_handlers_of_another(handled: Handled) -> None:
    """Two packs would deadlock over the same rows, so one waits; after lock_timeout it leaves its own for redrive."""
    handled.on(take)
    shop = handled.shop
    with shop.engine.connect() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(hashtext('paidonce.handlers'))"))
        shop.apply(shop.payment("TEAPOT"))
        assert handled.moves() == ["TEAPOT"]
        shop.apply(shop.payment("KETTLE"), shop.payment("GRAIL"))
        assert handled.moves() == ["TEAPOT"]
        assert redrive_batch(shop.own) == {Verdict.APPLIED: 2}

    assert sorted(handled.moves()) == ["GRAIL", "KETTLE", "TEAPOT"]


def test_packs_over_the_same_rows_do_not_deadlock(handled: Handled) -> None:
    """Each takes its two shelves in the order of its events, opposite to the other's: none is ended for it."""
    shelf = {}

    def one(session: Session, order: Order, event: PaymentEvent) -> None:
        name = shelf[order.order_no]
        session.execute(text("UPDATE shelves SET pieces = pieces - 1 WHERE name = :name"), {"name": name})
        time.sleep(0.002)

    handled.on(one)
    shop = handled.shop
    packs = []
    for number in range(16):
        pair = [shop.order(f"{name}{number}") for name in ("AB" if number % 2 else "BA")]
        shelf.update({order_no: order_no[0] for order_no in pair})
        packs.append([shop.payment(order_no) for order_no in pair])

    def apply(twin: Shop, at: int) -> None:
        for pack in packs[at::4]:
            twin.apply(*pack)

    at_once(shop, [lambda twin, at=at: apply(twin, at) for at in range(4)])  # type: ignore[misc]

    with shop.engine.connect() as connection:
        assert connection.execute(text("SELECT pieces FROM shelves")).scalars().all() == [84, 84]
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        ended = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert connection.execute(text(ended)).scalar_one() == 0
    assert {row.attempts for row in shop.rows(notifications)} == {0}


# ---- registering


@pytest.mark.parametrize(
    ("name", "handler", "said"),
    [
        ("order.payed", take, "'order.payed' is none of"),
        ("case.opened", take, "'case.opened' is none of"),
        ("order.paid", lambda session: None, "takes (session, order, event)"),
    ],
)
def test_what_cannot_be_a_handler_is_refused(name: str, handler: Any, said: str) -> None:
    """At the import, so that the process does not start."""
    with pytest.raises(ConfigurationError, match=said.replace("(", r"\(").replace(")", r"\)")):
        on(name)(handler)


def test_an_async_function_is_refused() -> None:
    """It would return at once, and nothing of it would ever run."""

    async def handler(session: Session, order: Order, event: PaymentEvent) -> None:
        take(session, order, event)

    with pytest.raises(ConfigurationError, match="is async"):
        on("order.paid")(handler)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(ANNOUNCED.values()))
def test_every_name_is_documented(name: str) -> None:
    """docs/handlers.md says after what each comes."""
    assert f"`{name}`" in (Path(__file__).parents[2] / "docs" / "handlers.md").read_text()
