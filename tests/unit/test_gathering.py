"""Small packs share a task, and with it one fate; whatever is large, foreign or redelivered travels alone."""

import json
import os
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from kombu.asynchronous import Hub
from kombu.message import Message

from worker.gathering import BREATH, GATHERED_TASK, LONGEST_WAIT, MOST_PACKS, SMALL_BYTES, Gathering, Together
from worker.link import TASK


class Loop:
    """An event loop that turns when told, and a clock that it moves by a breath each time."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.now = 0.0

    def call_later(self, seconds: float, callback: Callable[[], object]) -> None:
        self.later.append((seconds, callback))

    def turn(self) -> None:
        """Until nothing is due in a breath."""
        while self.breathe():
            pass

    def breathe(self) -> bool:
        """What is due in a breath, once; whether anything was."""
        due = [callback for seconds, callback in self.later if seconds <= BREATH]
        self.later = [(seconds, callback) for seconds, callback in self.later if seconds > BREATH]
        self.now += BREATH
        for callback in due:
            callback()
        return bool(due)


class Pack(Message):
    """A message that remembers its answer."""

    answer: Any = None

    def ack_log_error(self, *_: Any, **__: Any) -> None:
        self.answer = "ack"

    def reject_log_error(self, *_: Any, requeue: bool = False, **__: Any) -> None:
        self.answer = "requeue" if requeue else "reject"

    def reject(self, requeue: bool = False) -> None:
        self.answer = "requeued" if requeue else "rejected"


def pack(members: int = 1, *, redelivered: Any = False, task: str = TASK, padding: int = 0, **facts: Any) -> Pack:
    """As worker.link sends it."""
    envelopes = [{"account": "teapot", "body": "x" * padding} for _ in range(members)]
    own = {"epoch": uuid4().hex, "number": 1, "before": 0, "began": 1.5, "sent": 2.5} | facts
    return Pack(
        body=json.dumps([[envelopes], own, {"callbacks": None}]),
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"redelivered": redelivered},
        headers={"task": task, "id": uuid4().hex},
    )


@pytest.fixture
def handed() -> list[Together]:
    """What Celery was given."""
    return []


@pytest.fixture
def loop() -> Loop:
    """Stands still."""
    return Loop()


@pytest.fixture
def gathering(handed: list[Together], loop: Loop) -> Gathering:
    """For a worker with two children."""
    return Gathering(handed.append, loop, children=2, clock=lambda: loop.now)


def test_what_arrives_in_one_breath_is_one_task(gathering: Gathering, handed: list[Together], loop: Loop) -> None:
    """Every body as it came, in one list, under the worker's own task name."""
    packs = [pack(), pack(2), pack(3)]
    for each in packs:
        gathering.take(each)
    assert handed == []
    loop.turn()

    [together] = handed
    [bodies], facts, embed = json.loads(together.body)
    assert together.headers["task"] == GATHERED_TASK
    assert bodies == [json.loads(each.body) for each in packs]
    assert (facts, embed) == ({}, None)


def test_a_pack_does_not_wait_for_the_next_event(handed: list[Together]) -> None:
    """On Celery's own loop, which asks what call_soon added during a turn only after it has polled, for seconds."""
    hub, (reader, writer) = Hub(), os.pipe()
    gathering = Gathering(handed.append, hub, children=2)
    polled: list[float] = []
    poll = hub.poller.poll

    def at_once(timeout: float) -> Any:
        if not handed:
            polled.append(timeout)
        return poll(min(timeout, 0.01))

    def arrive() -> None:
        os.read(reader, 1)
        gathering.take(pack())
        polled.clear()

    hub.poller.poll = at_once
    # As kombu reads: on the event, and then again among what is ready, where what is added waits.
    hub.add_reader(reader, lambda: hub.call_soon(arrive))
    os.write(writer, b"x")
    turns = hub.create_loop()
    while not handed and len(polled) < 20:
        next(turns)
    hub.close()

    assert len(handed) == 1
    assert max(polled, default=0) <= LONGEST_WAIT


def test_a_lone_pack_is_itself(gathering: Gathering, handed: list[Together], loop: Loop) -> None:
    """No second form of one message."""
    lone = pack()
    gathering.take(lone)
    loop.turn()

    assert (handed[0].body, handed[0].headers) == (lone.body, lone.headers)


@pytest.mark.parametrize(
    "strange",
    [
        pack(redelivered=True),
        pack(redelivered=None),
        pack(padding=SMALL_BYTES),
        pack(task="tasks.redrive"),
        pack(epoch="not-one"),
        pack(number="7"),
        pack(number=-1),
        pack(number=2**60),
        pack(after=[{"epoch": "x"}]),
        Pack(body="[[7], {}, null]", content_type="application/json", content_encoding="utf-8", headers={"task": TASK}),
    ],
    ids=["redelivered", "unsaid", "large", "chore", "epoch", "text", "negative", "huge", "after", "no-list"],
)
def test_what_could_spoil_its_company_travels_alone(
    gathering: Gathering, handed: list[Together], loop: Loop, strange: Pack
) -> None:
    """At once, and as it is; the others wait for each other."""
    gathering.take(pack())
    gathering.take(strange)
    gathering.take(pack())

    assert [each.body for each in handed] == [strange.body]
    loop.turn()
    assert len(handed) == 2


@pytest.mark.parametrize(
    ("end", "answer"),
    [
        (lambda task: task.ack_log_error(None, ()), "ack"),
        (lambda task: task.reject_log_error(None, (), requeue=True), "requeue"),
        (lambda task: task.reject_log_error(None, (), requeue=False), "reject"),
    ],
    ids=["ack", "requeue", "reject"],
)
def test_all_share_one_fate(
    gathering: Gathering, handed: list[Together], loop: Loop, end: Callable[[Together], None], answer: str
) -> None:
    """The task's end is each message's."""
    packs = [pack() for _ in range(3)]
    for each in packs:
        gathering.take(each)
    loop.turn()
    end(handed[0])

    assert [each.answer for each in packs] == [answer] * 3


def test_a_full_task_goes_at_once(gathering: Gathering, handed: list[Together]) -> None:
    """Without a turn of the loop."""
    for _ in range(MOST_PACKS):
        gathering.take(pack())

    assert len(handed) == 1


def sizes(handed: list[Together]) -> list[int]:
    """Packs in each task."""
    bodies = [json.loads(each.body) for each in handed if each.headers["task"] == GATHERED_TASK]
    return [1] * (len(handed) - len(bodies)) + [len(body[0][0]) for body in bodies]


def test_what_keeps_arriving_is_waited_for_as_long_as_the_last_task_took(
    gathering: Gathering, handed: list[Together], loop: Loop
) -> None:
    """A transaction of one costs as much as one of five, and nobody waits much longer than for its own."""
    gathering.take(pack())
    loop.breathe()
    loop.now += 4.5 * BREATH
    handed[0].ack_log_error(None, ())

    for _ in range(6):
        gathering.take(pack())
        loop.breathe()

    assert sizes(handed) == [1, 5]


def test_a_long_chore_makes_no_pack_wait(gathering: Gathering, handed: list[Together], loop: Loop) -> None:
    """The outbox's relay may take seconds; packs that keep arriving are handed on as if it had not been."""
    gathering.take(pack(task="tasks.relay_outbox"))
    loop.now += 1000 * BREATH
    handed[0].ack_log_error(None, ())
    gathering.take(pack())
    loop.breathe()

    assert sizes(handed) == [1, 1]


def test_one_quiet_breath_is_not_the_end_of_a_backlog(gathering: Gathering, handed: list[Together], loop: Loop) -> None:
    """After a pause of the process its timers come first, and the packs that arrived meanwhile stand in the socket."""
    gathering.take(pack())
    loop.turn()
    loop.now += 50 * BREATH
    handed[0].ack_log_error(None, ())

    gathering.take(pack())
    loop.breathe()
    gathering.take(pack())
    loop.breathe()
    assert len(handed) == 1
    loop.breathe()
    loop.breathe()

    assert sizes(handed) == [1, 2]


def test_while_every_child_is_busy_packs_wait_for_company(
    gathering: Gathering, handed: list[Together], loop: Loop
) -> None:
    """The end of one task sends what has gathered; and however long that takes, nothing waits for ever."""
    for _ in range(2):
        gathering.take(pack())
        loop.turn()
    gathering.take(pack())
    loop.turn()
    gathering.take(pack())
    loop.turn()
    assert len(handed) == 2

    handed[0].ack_log_error(None, ())
    loop.turn()
    assert sizes(handed) == [1, 1, 2]
    gathering.take(pack())
    loop.turn()
    assert len(handed) == 3
    seconds, flush = loop.later[-1]
    flush()

    assert seconds == LONGEST_WAIT
    assert len(handed) == 4


def test_one_that_cannot_be_answered_does_not_hold_the_others(
    gathering: Gathering, handed: list[Together], loop: Loop
) -> None:
    """The count of tasks under way is right even then."""
    broken = pack()
    broken.ack_log_error = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
    for _ in range(2):
        gathering.take(broken)
        loop.turn()
    for each in list(handed):
        with pytest.raises(ZeroDivisionError):
            each.ack_log_error(None, ())
    gathering.take(pack())
    loop.turn()

    assert len(handed) == 3


def test_what_celery_refuses_is_rejected_in_the_messages_own_way(
    gathering: Gathering, handed: list[Together], loop: Loop
) -> None:
    """An unknown task, say: pgmq's own message keeps what is rejected, and the child that it never met stays free."""
    foreign = pack(task="tasks.of_tomorrow")
    gathering.take(foreign)
    loop.turn()

    handed[0].reject(requeue=False)

    assert foreign.answer == "rejected"
    assert gathering._under_way == 0
