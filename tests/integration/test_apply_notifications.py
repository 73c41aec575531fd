"""A pack through the worker's code on a real PostgreSQL."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from shop import ACCOUNT, OTHER_ACCOUNT, Shop
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from domain.errors import DatabaseAway
from domain.event import EventKind
from domain.verdict import Verdict
from models import cases, ledger_entries, notifications, packs, payloads, transitions
from worker.database import build_engine

EPOCH = "11111111-2222-3333-4444-555555555555"


def test_a_payment_pays_its_order_once(shop: Shop) -> None:
    """One notification: a paid order, one ledger entry, one transition, one payload."""
    shop.order("TEAPOT")

    verdicts = shop.apply(shop.payment("TEAPOT"))

    assert verdicts[Verdict.APPLIED] == 1
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert shop.counts() == {"notifications": 1, "ledger_entries": 1, "transitions": 1, "cases": 0}
    assert len(shop.rows(payloads)) == 1
    [history] = shop.rows(transitions)
    assert (history.from_status, history.to_status, history.seq) == ("pending", "paid", 1)


def test_a_redelivery_is_a_duplicate(shop: Shop) -> None:
    """The same notification again, signed anew: counted, nothing else changes."""
    shop.order("TEAPOT")
    notice = shop.notice("TEAPOT")
    shop.apply(shop.envelope(notice, received_at=time.time() - 60))
    before = shop.counts()

    verdicts = shop.apply(shop.envelope(notice))

    assert verdicts[Verdict.DUPLICATE] == 1
    assert shop.counts() == before
    assert shop.rows(notifications)[0].deliveries == 2
    assert len(shop.rows(payloads)) == 1


def test_copies_inside_one_pack(shop: Shop) -> None:
    """Five copies in one broker message are one notification."""
    shop.order("TEAPOT")
    copy = shop.payment("TEAPOT")

    verdicts = shop.apply(*[copy] * 5)

    assert (verdicts[Verdict.APPLIED], verdicts[Verdict.DUPLICATE]) == (1, 4)
    assert shop.rows(notifications)[0].deliveries == 5


def test_the_same_id_with_other_content_is_a_conflict(shop: Shop) -> None:
    """The first copy stays, the second stands in front of a person with its payload; repeated, it opens no more."""
    shop.order("TEAPOT")
    first = shop.notice("TEAPOT", notification_id="evt_twin")
    second = shop.notice("TEAPOT", notification_id="evt_twin", amount=1)
    shop.apply(shop.envelope(first))

    verdicts = [shop.apply(shop.envelope(second))[Verdict.CONFLICT] for _ in range(3)]

    assert verdicts == [1, 1, 1]
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    [case] = shop.rows(cases)
    assert (case.kind, case.reason, case.order_no) == ("conflict", "same_id_other_content", "TEAPOT")
    assert len({row.digest for row in shop.rows(payloads)}) == 2
    assert shop.statuses() == {"applied": 1}


def test_two_notifications_of_one_effect(shop: Shop) -> None:
    """Another event id with the same transaction is stale: the ledger knows the effect."""
    shop.order("TEAPOT")
    shop.apply(shop.payment("TEAPOT", transaction_id="pi_same"))

    verdicts = shop.apply(shop.payment("TEAPOT", transaction_id="pi_same"))

    assert verdicts[Verdict.STALE] == 1
    assert shop.counts()["ledger_entries"] == 1


def test_one_transaction_for_two_orders_in_one_pack(shop: Shop) -> None:
    """The ledger's key is unique across orders: the pack is taken apart, one pays, the other is a case."""
    shop.order("TEAPOT")
    shop.order("KETTLE")

    verdicts = shop.apply(
        shop.payment("TEAPOT", transaction_id="pi_same"), shop.payment("KETTLE", transaction_id="pi_same")
    )

    assert (verdicts[Verdict.APPLIED], verdicts[Verdict.CONFLICT]) == (1, 1)
    assert sorted([shop.state("TEAPOT")[0], shop.state("KETTLE")[0]]) == ["paid", "pending"]


@pytest.mark.parametrize(
    ("facts", "verdict", "reason"),
    [
        ({"amount": 1}, Verdict.MISMATCH, "amount_differs"),
        ({"currency": "USD"}, Verdict.MISMATCH, "currency_differs"),
    ],
)
def test_money_that_differs_is_a_case(shop: Shop, facts: dict[str, Any], verdict: Verdict, reason: str) -> None:
    """A genuine notification of the wrong money pays nothing and is seen by a person."""
    shop.order("TEAPOT")

    shop.apply(shop.payment("TEAPOT", **facts))

    assert shop.state("TEAPOT") == ("pending", 0, 0)
    assert [(case.kind, case.reason) for case in shop.rows(cases)] == [(verdict, reason)]
    assert shop.statuses() == {verdict.value: 1}


def test_a_second_payment_and_a_late_payment_are_cases(shop: Shop) -> None:
    """Real money that the order has no place for stands in front of a person."""
    shop.order("TEAPOT")
    shop.order("KETTLE")
    shop.apply(shop.payment("TEAPOT"), shop.envelope(shop.notice("KETTLE", EventKind.CLOSED)))

    shop.apply(shop.payment("TEAPOT"), shop.payment("KETTLE"))

    assert sorted(case.kind for case in shop.rows(cases)) == ["duplicate_payment", "late_payment"]
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert shop.state("KETTLE") == ("closed", 0, 0)


def test_payment_and_refund_in_one_pack(shop: Shop) -> None:
    """Decided in the provider's order of time, whatever their order in the pack; the history is dense."""
    shop.order("TEAPOT")
    payment = shop.notice("TEAPOT", occurred_at=datetime.now(UTC) - timedelta(seconds=60))
    refund = shop.notice("TEAPOT", EventKind.REFUND, amount=300, refunded=300)

    shop.apply(shop.envelope(refund), shop.envelope(payment))

    assert shop.state("TEAPOT") == ("partially_refunded", 1000, 300)
    assert [(row.seq, row.kind) for row in shop.rows(transitions)] == [(1, "payment"), (2, "refund")]


def test_the_order_of_another_account_is_not_found(shop: Shop) -> None:
    """Order numbers belong to an account: tenant A's notification never pays tenant B's order."""
    shop.order("TEAPOT", account=OTHER_ACCOUNT)

    shop.apply(shop.payment("TEAPOT"))

    assert shop.statuses() == {"parked": 1}
    assert shop.state("TEAPOT") == ("pending", 0, 0)


def test_forged_members_of_the_queue_move_no_money(shop: Shop) -> None:
    """Whoever can write to the broker still cannot pay: each bad member is kept whole and the genuine one applied."""
    shop.order("TEAPOT")
    genuine = shop.payment("TEAPOT")
    tampered = genuine | {"body": genuine["body"].replace("1000", "9999")}
    foreign = shop.payment("TEAPOT") | {"account": OTHER_ACCOUNT}

    verdicts = shop.apply(
        tampered,
        foreign,
        {"account": "nobody", "provider": "stripe", "headers": {}, "body": "", "received_at": 1.0},
        "1; DROP TABLE orders",
        None,
        {"account": ACCOUNT},
        genuine,
    )

    assert (verdicts[Verdict.APPLIED], verdicts[Verdict.DEAD]) == (1, 6)
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert {case.reason for case in shop.rows(cases)} == {"signature_invalid", "unknown_account", "malformed"}
    assert len(shop.rows(payloads)) == 7


def test_an_expired_notification_is_never_applied(shop: Shop) -> None:
    """Too long in the queue: a person decides."""
    shop.order("TEAPOT")

    verdicts = shop.apply(shop.envelope(shop.notice("TEAPOT"), received_at=time.time() - 5 * 86_400))

    assert verdicts[Verdict.EXPIRED] == 1
    assert shop.state("TEAPOT") == ("pending", 0, 0)
    assert [case.kind for case in shop.rows(cases)] == ["expired"]


def _poison(shop: Shop, order_no: str) -> None:
    """From now on the database refuses every change of this order."""
    with shop.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE OR REPLACE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"IF NEW.order_no = '{order_no}' THEN RAISE EXCEPTION 'poisoned marsupilami'; END IF; "
                "RETURN NEW; END $$"
            )
        )
        connection.execute(text("CREATE TRIGGER poison BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION poison()"))


def test_one_bad_member_does_not_hold_its_pack_back(shop: Shop) -> None:
    """The failing one is recorded with its reason and its next attempt; its neighbours commit."""
    for order_no in ("TEAPOT", "KETTLE", "GRAIL"):
        shop.order(order_no)
    _poison(shop, "KETTLE")

    verdicts = shop.apply(*(shop.payment(order_no) for order_no in ("TEAPOT", "KETTLE", "GRAIL")))

    assert (verdicts[Verdict.APPLIED], verdicts[Verdict.FAILED]) == (2, 1)
    assert [shop.state(order_no)[0] for order_no in ("TEAPOT", "KETTLE", "GRAIL")] == ["paid", "pending", "paid"]
    [failed] = [row for row in shop.rows(notifications) if row.status == "failed"]
    assert (failed.attempts, failed.last_error) == (1, "RaiseException: poisoned marsupilami")
    assert failed.next_attempt_at is not None


def test_one_bad_member_of_many_is_found_by_halves(shop: Shop) -> None:
    """Not by a transaction for each: one in every pack would end what packs are for (chaos, nightly seed 1)."""
    numbers = [shop.order(f"TEAPOT-{number}") for number in range(64)]
    _poison(shop, numbers[37])
    commits = 0

    def count(_: Any) -> None:
        nonlocal commits
        commits += 1

    event.listen(shop.engine, "commit", count)
    verdicts = shop.apply(*map(shop.payment, numbers))

    assert (verdicts[Verdict.APPLIED], verdicts[Verdict.FAILED]) == (63, 1)
    assert [number for number in numbers if shop.state(number)[0] == "pending"] == [numbers[37]]
    # Halves of 32, 16, 8, 4 and 2, its neighbour, its attempt and its failure, and the pack; its delivery was counted.
    assert commits <= 16, commits


def test_a_pack_that_keeps_coming_back_is_taken_apart(shop: Shop) -> None:
    """The third delivery tries each member alone, with its attempt recorded before."""
    shop.order("TEAPOT")
    envelope = shop.payment("TEAPOT")
    with shop.engine.begin() as connection:
        connection.execute(packs.insert().values(epoch=EPOCH, number=7, deliveries=2))

    shop.apply(envelope, pack=(EPOCH, 7), redelivered=True)

    [row] = shop.rows(notifications)
    assert (row.status, row.attempts) == ("applied", 1)
    assert shop.rows(packs)[0].deliveries == 3


def test_one_that_only_waits_for_its_order_is_not_given_up(shop: Shop) -> None:
    """However often its pack comes back (chaos, nightly seed 1): an attempt that ended parked has not failed."""
    envelope = shop.payment("TEAPOT")
    with shop.engine.begin() as connection:
        connection.execute(packs.insert().values(epoch=EPOCH, number=7, deliveries=2))
    for _ in range(2 * shop.own.settings.max_attempts):
        shop.apply(envelope, pack=(EPOCH, 7), redelivered=True)
    assert [(row.status, row.attempts) for row in shop.rows(notifications)] == [("parked", 0)]

    shop.order("TEAPOT")
    shop.apply(envelope, pack=(EPOCH, 7), redelivered=True)

    assert shop.state("TEAPOT")[0] == "paid"
    assert shop.rows(cases) == []


def test_one_that_kills_the_process_ends_dead(shop: Shop) -> None:
    """Its attempts are used up by deaths, not by exceptions: the next delivery gives it up and applies the others."""
    shop.order("TEAPOT")
    shop.order("KETTLE")
    killer, neighbour = shop.payment("TEAPOT"), shop.payment("KETTLE")

    class Killed(BaseException):
        """Stands for SIGKILL: nothing of ours catches it."""

    def die(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "UPDATE orders" in statement:
            raise Killed

    with shop.engine.begin() as connection:
        connection.execute(packs.insert().values(epoch=EPOCH, number=7, deliveries=2))
    event.listen(shop.engine, "before_cursor_execute", die)
    for _ in range(shop.own.settings.max_attempts):
        with pytest.raises(Killed):
            shop.apply(killer, neighbour, pack=(EPOCH, 7), redelivered=True)
    event.remove(shop.engine, "before_cursor_execute", die)

    verdicts = shop.apply(killer, neighbour, pack=(EPOCH, 7), redelivered=True)

    assert (verdicts[Verdict.DEAD], verdicts[Verdict.APPLIED]) == (1, 1)
    assert shop.state("KETTLE")[0] == "paid"
    assert [(case.kind, case.reason) for case in shop.rows(cases)] == [("dead", "attempts_exhausted")]


def test_a_lost_commit_answer_is_not_applied_twice(shop: Shop) -> None:
    """COMMIT is sent, its answer never comes: the work is repeated and finds itself done."""
    shop.order("TEAPOT")
    lost = iter([True])

    @event.listens_for(shop.engine, "commit")
    def commit_then_lose_the_answer(connection: Any) -> None:
        if next(lost, False):
            connection.connection.dbapi_connection.commit()
            raise OperationalError("COMMIT", {}, ConnectionError("server closed the connection"))

    verdicts = shop.apply(shop.payment("TEAPOT"))

    assert verdicts[Verdict.DUPLICATE] == 1
    assert shop.state("TEAPOT") == ("paid", 1000, 0)
    assert shop.counts()["ledger_entries"] == 1


def test_an_absent_database_acknowledges_nothing(shop: Shop) -> None:
    """The task waits as long as its patience lasts, then hands the pack back."""
    nowhere = Shop(build_engine("postgresql+psycopg://postgres@127.0.0.1:1/nowhere"), database_patience_seconds=0.5)

    with pytest.raises(DatabaseAway):
        nowhere.apply(nowhere.payment("TEAPOT"))


def test_a_terminated_backend_is_tried_again(shop: Shop) -> None:
    """The server kills our session in the middle: rolled back, tried again, applied once."""
    shop.order("TEAPOT")
    once = iter([True])

    @event.listens_for(shop.engine, "before_cursor_execute")
    def terminate(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "INSERT INTO ledger_entries" in statement and next(once, False):
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    verdicts = shop.apply(shop.payment("TEAPOT"))

    assert verdicts[Verdict.APPLIED] == 1
    assert shop.counts()["ledger_entries"] == len(shop.rows(ledger_entries)) == 1


def test_a_body_that_postgres_cannot_hold_is_kept_whole(shop: Shop) -> None:
    """Not even its row can be written: a case, the member as JSON, and its neighbour is applied."""
    shop.order("TEAPOT")
    with shop.engine.begin() as connection:
        connection.execute(text("ALTER TABLE notifications ADD CONSTRAINT no_kettle CHECK (order_no <> 'KETTLE')"))

    verdicts = shop.apply(shop.payment("KETTLE"), shop.payment("TEAPOT"))

    assert (verdicts[Verdict.APPLIED], verdicts[Verdict.DEAD]) == (1, 1)
    assert [(case.kind, case.reason) for case in shop.rows(cases)] == [("dead", "cannot_be_recorded")]


def test_a_row_that_purge_takes_between_insert_and_lock_comes_back(shop: Shop) -> None:
    """Neither inserted nor found is never taken for applied: it is inserted again, and the ledger decides."""
    shop.order("TEAPOT")
    envelope = shop.payment("TEAPOT")
    shop.apply(envelope)
    once = iter([True])

    @event.listens_for(shop.engine, "after_cursor_execute")
    def purge(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("INSERT INTO notifications") and next(once, False):
            other = build_engine(shop.engine.url.render_as_string(hide_password=False))
            with other.begin() as connection:
                connection.execute(notifications.delete())
            other.dispose()

    verdicts = shop.apply(envelope)

    assert verdicts[Verdict.STALE] == 1
    assert shop.counts() == {"notifications": 1, "ledger_entries": 1, "transitions": 1, "cases": 0}


def test_a_redelivery_on_another_day_is_a_duplicate(shop: Shop) -> None:
    """The delivery key knows no day."""
    shop.order("TEAPOT")
    notice = shop.notice("TEAPOT")
    now = time.time()

    first = shop.apply(shop.envelope(notice, received_at=now - 86_400))
    second = shop.apply(shop.envelope(notice, received_at=now))

    assert (first[Verdict.APPLIED], second[Verdict.DUPLICATE]) == (1, 1)
    assert shop.counts()["notifications"] == 1


def test_the_same_ids_in_two_accounts_are_two_notifications(shop: Shop) -> None:
    """Notification id and transaction id are the provider's within one account."""
    same = {"notification_id": "evt_same", "transaction_id": "pi_same"}
    for account in (ACCOUNT, OTHER_ACCOUNT):
        shop.order("TEAPOT", account=account)
        verdicts = shop.apply(shop.envelope(shop.notice("TEAPOT", **same), account))
        assert verdicts[Verdict.APPLIED] == 1

    assert shop.counts()["ledger_entries"] == 2
