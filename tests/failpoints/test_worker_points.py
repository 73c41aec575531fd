"""Processes struck at every point of the worker's work on a real PostgreSQL, alone and among copies."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.proxy import Proxy
from chaos.servers import own_database, unique_name
from failpoints.children import DONE, HANDED_BACK, RAISED, Child, soon, stop_at
from failpoints.chores import SCENARIOS
from failpoints.matrix import Case, cases
from failpoints.scenarios import Scenario, through
from sqlalchemy import Engine, make_url, text

from ops.audit import violations
from tasks import expire_overdue, purge, relay_outbox
from worker.database import build_engine

#: Seconds that a process stands still, while the others run into what it holds.
STILL = 0.3
#: A process that was handed its work back this often does not come to an end.
HANDED_BACK_AT_MOST = 5


@pytest.fixture(autouse=True)
def _usual_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenarios make chores work row by row; they are themselves again afterwards."""
    for module, name in ((expire_overdue, "BATCH"), (purge, "WINDOW"), (relay_outbox, "BATCH")):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.fixture(scope="module")
def engine(postgres: str) -> Iterator[Engine]:
    """One database for all, each with orders of its own: the audit looks at everything that they leave."""
    with own_database(unique_name("failpoints")) as url:
        engine = build_engine(url)
        yield engine
        engine.dispose()


@pytest.fixture
def proxy(engine: Engine) -> Iterator[Proxy]:
    """Before the database; only the struck process goes through it."""
    url = make_url(engine.url)
    if not url.host:
        pytest.skip("the embedded PostgreSQL has no port to stand a proxy before")
    proxy = Proxy(url.port or 5432)
    proxy.start()
    yield proxy
    proxy.close()


class Run:
    """One case: the struck process, those beside it, and everything afterwards until nothing is left to do."""

    def __init__(self, case: Case, scenario: Scenario, proxy: Proxy, plan: Path) -> None:
        self.case, self.scenario, self.proxy, self.plan = case, scenario, proxy, plan
        self.engine = scenario.shop.engine
        self.url = self.engine.url.render_as_string(hide_password=False)
        self.children: list[Child] = []

    def strike(self) -> None:
        """The struck one first; the others run into what it holds at its point."""
        case = self.case
        outside = case.action in ("stop", "backend", "cut", "lost") or (case.action == "kill" and case.copies > 1)
        self.plan.write_text(f"{case.point}:{case.nth}:{'stop' if outside else case.action}")
        work = self.scenario.work(through(self.url, self.proxy.port), redelivered=False)
        struck = self._child(work, self.plan)
        if outside:
            assert stop_at(struck, self.plan), "the point was not passed"
        else:
            soon(lambda: struck.ended() or not self.plan.exists(), "the point was not passed")
        others = [self._child(self.scenario.work(self.url, redelivered=False)) for _ in range(case.copies - 1)]
        if outside:
            time.sleep(STILL if others or case.action == "stop" else 0)
            self._act(struck)
        self.settle(struck)
        for other in others:
            self.settle(other)

    def _child(self, job: object, plan: Path | None = None) -> Child:
        child = Child(job, plan)  # type: ignore[arg-type]
        self.children.append(child)
        return child

    def _act(self, struck: Child) -> None:
        match self.case.action:
            case "kill":
                struck.send(signal.SIGKILL)
            case "backend":
                self._end_sessions()
            case "cut":
                self._cut()
            case "lost":
                self.proxy.swallow("down")
        before = self._open_transactions()
        struck.send(signal.SIGCONT)
        if self.case.action == "lost":
            soon(lambda: self._open_transactions() < before, "COMMIT never reaches the server")
            self._cut()

    def _end_sessions(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'paidonce'"
                )
            )

    def _cut(self) -> None:
        self.proxy.reset()
        self.proxy.flow()

    def _open_transactions(self) -> int:
        """Sessions that stand idle inside one: when COMMIT has come there is one less."""
        with self.engine.connect() as connection:
            return int(
                connection.execute(
                    text(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
                    )
                ).scalar_one()
            )

    def settle(self, child: Child) -> None:
        """What a death or a refusal leaves behind the broker delivers again; a chore beat sends again in heal()."""
        code = child.end()
        for _ in range(HANDED_BACK_AT_MOST):
            if code == DONE or (code == RAISED and self.case.action == "raise"):
                break
            assert code in (-signal.SIGKILL, HANDED_BACK) or self._is_chore(), code
            code = self._child(self.scenario.work(self.url, redelivered=True)).end()
        if code == RAISED:  # quarantined by Celery; a person puts it back
            code = self._child(self.scenario.work(self.url, redelivered=True)).end()
        assert code == DONE

    def _is_chore(self) -> bool:
        return self.case.scenario not in ("apply", "apart")

    def bury(self) -> None:
        for child in self.children:
            child.bury()


@pytest.fixture
def run(
    request: pytest.FixtureRequest, engine: Engine, proxy: Proxy, rabbitmq_vhost: str, tmp_path: Path
) -> Iterator[Run]:
    """The case that the test is parametrized with; no process of it is left."""
    scenario = SCENARIOS[request.param.scenario](engine, rabbitmq_vhost)
    scenario.prepare()
    own = Run(request.param, scenario, proxy, tmp_path / "plan")
    yield own
    own.bury()
    scenario.close()


@pytest.mark.parametrize("run", cases(), indirect=True, ids=lambda case: case.id)
def test_a_process_struck_at_a_point(run: Run) -> None:
    """Whatever it was doing is done once when everything has healed, and every invariant holds."""
    run.strike()
    run.scenario.heal()

    run.scenario.check()
    assert [path.name for path in run.plan.parent.iterdir()] == [f"plan.{run.children[0].pid}"]
    with run.engine.connect() as connection:
        found = violations(connection, drained=True)
    assert {name: count for name, count in found.items() if count} == {}
