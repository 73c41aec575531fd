"""One case on the whole stack: its order, its deliveries, what is done to the struck process, and its account."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
from chaos.proxy import Proxy
from failpoints.children import is_stopped, soon
from failpoints.stage import QUARANTINE, Stage, eventually
from failpoints.stage_matrix import Case
from running import SECRET
from shop import ACCOUNT, stripe

from domain.event import EventKind
from ops.audit import violations
from providers.dialect import Notice
from worker.database import build_engine

#: Seconds of a stall: longer than the receiver waits for a confirm.
STALL = 3.0
#: Seconds until a provider gives an answer up, and until it gives everything up.
PATIENCE, GIVES_UP = 4.0, 40.0
#: An exception that leaves the task puts its message into the quarantine.
REJECTED = ("apply.delivered", "apply.returning")


class Payment:
    """One order and the provider's notification of its payment, delivered until it is answered 200."""

    def __init__(self, name: str) -> None:
        self.order_no = f"TEAPOT-{name}"
        self.answers: Counter[int] = Counter()
        self._dialect = stripe(ACCOUNT, SECRET.encode())
        self._notice = Notice(
            notification_id=f"evt_{name}",
            kind=EventKind.PAYMENT,
            order_no=self.order_no,
            transaction_id=f"pi_{name}",
            amount=1000,
            currency="EUR",
            order_amount=1000,
            occurred_at=datetime.now(UTC),
        )

    def deliver(self, url: str) -> None:
        """Again and again until it is answered 200. Raises TimeoutError."""
        end = time.monotonic() + GIVES_UP
        while (status := self._once(url)) != 200:
            self.answers[status] += 1
            if time.monotonic() > end:
                raise TimeoutError(f"never answered 200: {self.answers}")
            time.sleep(0.2)
        self.answers[200] += 1

    def _once(self, url: str) -> int:
        delivery = self._dialect.sign(self._notice, time.time())
        with suppress(httpx.TransportError):
            answer = httpx.post(
                f"{url}/notify/{ACCOUNT}", content=delivery.body, headers=dict(delivery.headers), timeout=PATIENCE
            )
            return answer.status_code
        return 0


class Strike:
    """One case on a stage."""

    def __init__(self, case: Case, on: Stage, payment: Payment) -> None:
        self.case, self.on, self.payment = case, on, payment
        self.process = case.point.partition(".")[0]
        self.proxy: Proxy = on.door_to_broker if self.process in ("receiver", "link") else on.worker_to_broker

    def run(self) -> None:
        """Deliveries and strike at once; afterwards everything runs again and every delivery was answered 200."""
        itself = self.case.action in ("kill", "raise")
        self.on.arm(f"{self.case.point}:1:{self.case.action if itself else 'stop'}")
        if self.case.point == "link.connected":
            self.proxy.reset()  # the publisher connects anew, by itself or for the first delivery
        with ThreadPoolExecutor(self.case.copies) as pool:
            sent = [pool.submit(self.payment.deliver, self.on.stack.url) for _ in range(self.case.copies)]
            pid = self.on.struck()
            if not itself:
                soon(lambda: is_stopped(pid), f"{pid} does not stop")
                self._act(pid)
            elif self.case.action == "kill":
                self._wait_for_death()
            self.on.revive()
            for each in sent:
                self._answered(each)

    @staticmethod
    def _answered(sent: Future[None]) -> None:
        sent.result(GIVES_UP + PATIENCE)

    def _act(self, pid: int) -> None:
        acts: dict[str, Callable[[int], None]] = {
            "stop": self._stop,
            "reset": self._reset,
            "close": self._close,
            "stall": lambda pid: self._hold(pid, "up", "down"),
            "late": lambda pid: self._hold(pid, "down"),
            "deaf": lambda pid: self._lose(pid, "down"),
            "dumb": lambda pid: self._lose(pid, "up"),
            "backend": self._end_sessions,
            "parent": lambda _: self.on.kill("worker"),
            "term": self._term,
        }
        acts[self.case.action](pid)

    def _stop(self, pid: int) -> None:
        time.sleep(1)
        _go_on(pid)

    def _reset(self, pid: int) -> None:
        self.proxy.reset()
        _go_on(pid)

    def _close(self, pid: int) -> None:
        self.on.rabbitmqctl("close_all_connections", "--vhost", self.on.vhost, "failpoint")
        _go_on(pid)

    def _hold(self, pid: int, *directions: str) -> None:
        self.proxy.hold(*directions)
        _go_on(pid)
        time.sleep(STALL)

    def _lose(self, pid: int, direction: str) -> None:
        self.proxy.swallow(direction)
        _go_on(pid)
        time.sleep(1)  # what is lost is under way meanwhile
        self.proxy.reset()

    def _end_sessions(self, pid: int) -> None:
        self.on.end_sessions()
        _go_on(pid)

    def _term(self, pid: int) -> None:
        """As a deploy does: what was taken in is answered before the process ends."""
        os.kill(pid, signal.SIGTERM)
        _go_on(pid)
        self.on.stack.running["web"].wait(20)

    def _wait_for_death(self) -> None:
        """Of a whole process; a child's is its parent's to notice."""
        name = {"receiver": "web", "link": "web", "worker": "worker", "beat": "beat"}.get(self.process)
        if name:
            self.on.stack.running[name].wait(10)

    def check(self) -> None:
        """Applied exactly once, each 200 counted, and nothing is left anywhere."""
        self._put_back_what_was_rejected()
        eventually(self._is_settled, "not paid once, not told, or a delivery was lost")
        eventually(self.on.drained, "the queue is not drained")
        cases = "SELECT kind FROM cases WHERE order_no = %(order_no)s"
        assert self.payment.answers[200] == self.case.copies
        assert self.on.rows(cases, order_no=self.payment.order_no) == []
        assert self._audit() == {}

    def _put_back_what_was_rejected(self) -> None:
        if self.case.action == "raise" and self.case.point in REJECTED:
            eventually(lambda: self.on.depths()[QUARANTINE] > 0, "nothing was quarantined")
            assert self.on.put_back() > 0

    def _is_settled(self) -> bool:
        """Paid by one effect, told to the shop, and every delivery that was answered 200 is counted."""
        self.on.restart_the_dead()  # an exception may take its time to end a worker
        rows = self.on.rows(
            "SELECT o.status, o.paid, o.version, n.status, count(l.id), n.deliveries >= %(copies)s, count(x.relayed_at)"
            " FROM orders o JOIN notifications n USING (order_no) JOIN ledger_entries l ON l.order_id = o.id"
            " JOIN outbox x USING (order_no) WHERE o.order_no = %(order_no)s GROUP BY o.id, n.id",
            order_no=self.payment.order_no,
            copies=self.case.copies,
        )
        return rows == [("paid", 1000, 1, "applied", 1, True, 1)]

    def _audit(self) -> dict[str, int]:
        engine = build_engine(self.on.database_url)
        with engine.connect() as connection:
            found = violations(connection, drained=True)
        engine.dispose()
        return {name: count for name, count in found.items() if count}


def _go_on(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


def survive(case: Case, on: Stage, folder: Path) -> None:
    """One case from its order to its audit."""
    payment = Payment(folder.name)
    order = "INSERT INTO orders (account, order_no, amount, currency) VALUES (%(account)s, %(order_no)s, 1000, 'EUR')"
    strike = Strike(case, on, payment)
    late = case.point == "beat.sent"
    if not late:
        on.database.execute(order, {"account": ACCOUNT, "order_no": payment.order_no})
    strike.run()
    if late:  # parked meanwhile; the beat that lives on has it redriven
        on.database.execute(order, {"account": ACCOUNT, "order_no": payment.order_no})
    strike.check()
