"""Every protection that can be turned off by a few words in the code, and the tests that must see it.

A patch must match exactly once, so that this list cannot rot: tests/sabotage/test_switches.py looks.
"""

from pathlib import Path
from typing import NamedTuple

_STACK = "tests/failpoints/test_stack_points.py::test_a_stack_on_rabbitmq_struck_at_a_point[rabbitmq-{}-1]"
_WORKER = "tests/failpoints/test_worker_points.py::test_a_process_struck_at_a_point[{}]"
_RACES = "tests/races/test_races.py::{}"
_APPLY = "tests/integration/test_apply_notifications.py::{}"
_PUBLISHER = "tests/integration/test_publisher_rabbitmq.py::{}"
_CLOCKS = "tests/chaos/test_wrong_clocks.py::{}"


class Patch(NamedTuple):
    """`old` becomes `new` in the file at `path`."""

    path: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Writes it. Raises ValueError where `old` does not stand there exactly once."""
        file = root / self.path
        text = file.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path} holds {text.count(self.old)} times: {self.old}")
        file.write_text(text.replace(self.old, self.new))


class Switch(NamedTuple):
    """One protection turned off."""

    name: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...]


_FIRST_TABLES = "migrations/versions/0001_first_tables.py"
_UNIQUE = (
    "        sa.UniqueConstraint(\n"
    '            "provider", "account", "notification_id",'
    ' name=op.f("uq__notifications__provider_account_notification_id")\n'
    "        ),\n"
)
_INDEX = '    op.create_index("ix__notifications__account_order_no"'

SWITCHES = (
    Switch(
        "acknowledged early",
        (Patch("celeryconfig.py", "task_acks_late = True", "task_acks_late = False"),),
        (_STACK.format("apply.delivered-kill"),),
    ),
    Switch(
        "a lost child's pack is not requeued",
        (Patch("celeryconfig.py", "task_reject_on_worker_lost = True", "task_reject_on_worker_lost = False"),),
        (_STACK.format("apply.delivered-kill"),),
    ),
    Switch(
        "the hard time limit acknowledges, as by default",
        (Patch("celeryconfig.py", "task_acks_on_timeout = False", "task_acks_on_timeout = True"),),
        ("tests/failpoints/test_time_limit.py",),
    ),
    Switch(
        "published without confirms",
        (Patch("worker/broker.py", '"confirm_publish": True', '"confirm_publish": False'),),
        (_STACK.format("link.numbered-dumb"),),
    ),
    Switch(
        "published without mandatory",
        (Patch("worker/link.py", "mandatory=True", "mandatory=False"),),
        (_PUBLISHER.format("test_without_its_queue_nothing_is_confirmed_until_it_is_there_again"),),
    ),
    Switch(
        "a channel used again after an error",
        (
            Patch(
                "worker/publisher.py",
                "            self._discard()\n            left =",
                "            left =",
            ),
        ),
        (_PUBLISHER.format("test_a_late_confirm_is_not_taken_for_another_envelope"),),
    ),
    Switch(
        "no unique delivery key",
        (Patch(_FIRST_TABLES, _UNIQUE, ""),),
        (_RACES.format("test_fifty_copies_at_once_are_applied_once"),),
    ),
    Switch(
        "no FOR UPDATE on notifications",
        (Patch("models/notification.py", "    .with_for_update(of=notifications)\n", ""),),
        (_RACES.format("test_copies_of_a_parked_notification_at_once"),),
    ),
    Switch(
        "no FOR UPDATE on orders",
        (Patch("models/order.py", "    .with_for_update(of=orders)\n", ""),),
        (
            _RACES.format("test_two_payments_of_one_order_at_once"),
            _RACES.format("test_payment_and_refunds_of_one_order_at_once"),
        ),
    ),
    Switch(
        "the ledger in a transaction of its own",
        (
            Patch(
                "models/outcome.py",
                '    written = connection.execute(\n        _write,\n        as_given(outcome.effects, "effects")\n',
                '    connection.execute(INSERT_EFFECTS, as_given(outcome.effects, "effects"))\n'
                "    connection.commit()\n"
                '    written = connection.execute(\n        _write,\n        as_given([], "effects")\n',
            ),
            Patch("models/outcome.py", "if written.effects != len(outcome.effects):", "if written.effects:"),
        ),
        (_WORKER.format("apply-settle.written:1-kill-1"),),
    ),
    Switch(
        "acknowledged before COMMIT",
        (
            Patch(
                "tasks/apply_notifications.py",
                "        apply(context(), envelopes, packs, redelivered=redelivered)\n",
                "        work = lambda: apply(context(), envelopes, packs, redelivered=redelivered)\n"
                '        __import__("threading").Thread(target=work).start()\n',
            ),
        ),
        (_STACK.format("settle.written-kill"),),
    ),
    Switch(
        "synchronous_commit off",
        (Patch("worker/database.py", '"synchronous_commit": "on"', '"synchronous_commit": "off"'),),
        ("tests/chaos/test_durability.py",),
    ),
    Switch(
        "the delivery key partitioned by day",
        (
            Patch(_FIRST_TABLES, _UNIQUE, ""),
            Patch(
                _FIRST_TABLES,
                _INDEX,
                '    op.execute("CREATE UNIQUE INDEX by_day ON notifications (provider, account, notification_id,'
                " ((received_at AT TIME ZONE 'UTC')::date))\")\n" + _INDEX,
            ),
        ),
        (_APPLY.format("test_a_redelivery_on_another_day_is_a_duplicate"),),
    ),
    Switch(
        "purge deletes what waits",
        (
            Patch(
                "models/sweep.py",
                "c.status.in_([verdict.value for verdict in sorted(SETTLED)]), ~_has_case()",
                "~_has_case()",
            ),
        ),
        ("tests/integration/test_purge.py::test_what_waits_and_what_a_person_must_see_is_never_purged",),
    ),
    Switch(
        "any amount pays an order",
        (Patch("domain/decide.py", "if kind is K.PAYMENT and after.paid != after.amount:", "if after.paid < 0:"),),
        (_APPLY.format("test_money_that_differs_is_a_case"),),
    ),
    Switch(
        "the account is not in the delivery key",
        (Patch(_FIRST_TABLES, _UNIQUE, _UNIQUE.replace('"account", ', "")),),
        (_APPLY.format("test_the_same_ids_in_two_accounts_are_two_notifications"),),
    ),
    Switch(
        "an empty secret accepted",
        (
            Patch(
                "providers/references.py",
                '    if not value.strip():\n        raise ConfigurationError("is empty")\n',
                "    if not value.strip():\n        return value\n",
            ),
            Patch("providers/keys.py", ' and self.value != b""', ""),
        ),
        ("tests/unit/test_accounts.py::test_what_stops_the_start",),
    ),
    Switch(
        "answered 200 before the confirm",
        (
            Patch(
                "worker/publisher.py",
                "        self._in_hand = pack\n",
                "        self._in_hand = pack\n        _settle(pack, None)\n",
            ),
        ),
        (_PUBLISHER.format("test_a_full_queue_refuses_and_the_envelope_fails"),),
    ),
    Switch(
        "nobody redrives",
        (
            Patch(
                "celeryconfig.py",
                '    "redrive": {"task": "tasks.redrive", "schedule": 2.0},\n',
                "",
            ),
        ),
        (_STACK.format("beat.sent-kill"),),
    ),
    Switch(
        "beat goes by the wall clock",
        (Patch("worker/app.py", ", nowfun=steady_time", ""),),
        (_CLOCKS.format("test_a_beat_whose_clock_is_set_back_goes_on"),),
    ),
    Switch(
        "workers go by their own clocks",
        (
            Patch(
                "models/clock.py",
                "connection.execute(select(func.now())).scalar_one()",
                "datetime.now().astimezone()",
            ),
        ),
        (_CLOCKS.format("test_a_worker_a_week_ahead_gives_up_nothing_and_does_its_chores"),),
    ),
    Switch(
        "database sessions shared across fork",
        (Patch("worker/database.py", "        engine().dispose(close=False)\n", "        engine()\n"),),
        ("tests/integration/test_fork.py",),
    ),
    Switch(
        "no dead-letter exchange",
        (
            Patch(
                "celeryconfig.py",
                '            "x-dead-letter-exchange": "paidonce.dlx",\n'
                '            "x-dead-letter-routing-key": "quarantine",\n',
                "",
            ),
            Patch("celeryconfig.py", '            "x-dead-letter-strategy": "at-least-once",\n', ""),
        ),
        ("tests/integration/test_quarantine.py", _STACK.format("apply.delivered-raise")),
    ),
    Switch(
        "Redis through kombu's own transport",
        (
            Patch(
                "worker/broker.py",
                'return "redisstreams" + broker_url.removeprefix("rediss").removeprefix("redis")',
                "return broker_url",
            ),
        ),
        (
            "tests/chaos/test_worker_kill.py::"
            "test_a_worker_killed_in_the_middle_of_a_run_loses_and_doubles_nothing[redis]",
        ),
    ),
)
