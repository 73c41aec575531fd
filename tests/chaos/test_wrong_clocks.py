"""Machines whose clocks are wrong: what workers and beat do goes by the database's clock, or by none."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from chaos.accounts import sandbox_accounts
from chaos.machine import Machine, Machines
from chaos.processes import Process, from_procfile
from missing import missing
from running import until
from shop import Shop

from domain.event import EventKind
from models import cases, notifications
from models.clock import database_time
from models.order import insert_orders
from providers.dialect import Notice
from providers.envelope import Envelope
from worker.link import Link
from worker.settings import Settings

ACCOUNT = "shop-walrus"
#: Longer than any notification may wait.
A_WEEK = 7 * 24 * 3600

_LOOK = """
import sys, time
before = time.monotonic()
time.sleep(0.05)
print(time.time() - float(sys.argv[1]), time.monotonic() - before)
try:
    with open(sys.argv[2], "w") as file:
        file.write("grown")
except OSError as why:
    print(why.strerror)
"""


def _machine(folder: Path, name: str) -> Machine:
    machine = Machines(folder).new(name)
    if machine is None:
        missing("a C compiler", "cc")
    return machine


def _look(machine: Machine, folder: Path) -> list[str]:
    words = [sys.executable, "-c", _LOOK, str(time.time()), str(folder / "file")]
    return subprocess.run(
        words, env=dict(machine.environment), capture_output=True, text=True, check=True
    ).stdout.split("\n")


def test_a_machine_is_as_wrong_as_it_is_told(tmp_path: Path) -> None:
    """The wall clock jumps and the timers do not; a full disk lets nothing grow, and an emptied one does."""
    machine = _machine(tmp_path, "one")
    machine.set_clock(-600)
    machine.fill_disk(full=True)
    times, disk, *_ = _look(machine, tmp_path)
    wall, timer = map(float, times.split())

    assert -600 <= wall < -500
    assert 0.05 <= timer < 60
    assert disk == "No space left on device"
    machine.set_clock(0)
    machine.fill_disk(full=False)
    times, disk, *_ = _look(machine, tmp_path)
    assert 0 <= float(times.split()[0]) < 60
    assert not disk
    assert (tmp_path / "file").read_text() == "grown"


class Place:
    """A worker and a beat, each with a machine of its own, and the way to their queue."""

    def __init__(self, shop: Shop, url: str, folder: Path) -> None:
        self.shop = shop
        accounts, self._dialects = sandbox_accounts(folder, [ACCOUNT])
        self._link = Link(Settings(broker_url=url))
        self._database = shop.engine.url.render_as_string(hide_password=False)
        environment = {**accounts, "PAIDONCE_BROKER_URL": url, "PAIDONCE_DATABASE_URL": self._database}
        self.machines = {kind: _machine(folder, kind) for kind in ("worker", "beat")}
        self._processes: list[Process] = [
            from_procfile(kind, kind, environment, folder, machine) for kind, machine in self.machines.items()
        ]

    def start(self) -> None:
        for process in self._processes:
            process.start()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        self._link.close()

    def pay(self, order_no: str) -> None:
        """A payment that comes before its order; returns when it is parked."""
        now = time.time()
        notice = Notice(
            notification_id=f"evt_{order_no}",
            kind=EventKind.PAYMENT,
            order_no=order_no,
            transaction_id=f"pi_{order_no}",
            amount=700,
            currency="EUR",
            order_amount=700,
            occurred_at=datetime.now(UTC),
        )
        self._link.send([Envelope(ACCOUNT, "stripe", self._dialects[ACCOUNT].sign(notice, now), now).encoded()], 5)
        until(lambda: self.status(order_no) is not None, f"{order_no} does not arrive")

    def status(self, order_no: str) -> str | None:
        found = [row.status for row in self.shop.rows(notifications) if row.order_no == order_no]
        return found[0] if found else None

    def order(self, order_no: str) -> None:
        """The shop writes the order at last; returns when it is paid."""
        with self.shop.engine.begin() as connection:
            row = {"account": ACCOUNT, "order_no": order_no, "amount": 700, "currency": "EUR"}
            insert_orders(connection, [row])
        until(lambda: self.status(order_no) == "applied", f"{order_no} is not applied", 30)


@pytest.fixture
def place(shop: Shop, rabbitmq_url: str, tmp_path: Path) -> Iterator[Callable[[], Place]]:
    """Makes it; the test starts it when its clocks are set."""
    made = Place(shop, rabbitmq_url, tmp_path)
    yield lambda: made
    made.close()


def test_a_worker_a_week_ahead_gives_up_nothing_and_does_its_chores(place: Callable[[], Place]) -> None:
    """By its own clock every notification would be long overdue, and every chore of beat's long expired."""
    stand = place()
    stand.machines["worker"].set_clock(A_WEEK)
    stand.start()
    stand.pay("TEAPOT")

    with stand.shop.engine.begin() as connection:
        now = database_time(connection)
    [row] = stand.shop.rows(notifications)
    assert row.status == "parked"
    assert row.next_attempt_at < now + timedelta(minutes=5), "nobody else would look at it for a week"
    stand.order("TEAPOT")
    assert not stand.shop.rows(cases)


def test_a_beat_whose_clock_is_set_back_goes_on(place: Callable[[], Place]) -> None:
    """Its entries ran at a time that is yet to come; they are due by how long ago that was."""
    stand = place()
    stand.machines["beat"].set_clock(A_WEEK)
    stand.start()
    stand.pay("TEAPOT")
    stand.order("TEAPOT")

    stand.machines["beat"].set_clock(0)
    stand.pay("KETTLE")
    stand.order("KETTLE")
