"""What an operator does while payments come: restart, deploy, migrate, stop. Nothing is lost, nothing applied twice."""

import json
import os
import threading
from pathlib import Path
from signal import SIGQUIT, SIGTERM

import kombu
import pytest
import redis
from chaos.processes import ROOT, Process
from chaos.traffic import Traffic
from running import until

import celeryconfig
from worker.broker import connect, declare
from worker.settings import Settings

#: Seconds for a good-bye, as docs/adr/0009 asks of a platform.
GOOD_BYE = 45


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment that leads to a place of the test's own on each broker."""
    if request.param == "rabbitmq":
        return {"PAIDONCE_BROKER_URL": request.getfixturevalue("rabbitmq_url")}
    url, prefix = request.getfixturevalue("redis_server"), request.getfixturevalue("redis_prefix")
    soon = {"PAIDONCE_VISIBILITY_TIMEOUT_SECONDS": "3"}
    return {"PAIDONCE_BROKER_URL": url, "PAIDONCE_BROKER_PREFIX": prefix, **soon}


@pytest.fixture
def traffic(tmp_path: Path, database_url: str, broker: dict[str, str]) -> Traffic:
    """Some seconds of payments, their orders written."""
    own = Traffic(tmp_path, database_url, broker, 300, 6.0)
    own.write_orders()
    return own


def test_a_rolling_restart_under_load(traffic: Traffic) -> None:
    """Each receiver and each worker in turn, by SIGTERM: each ends by itself, and no delivery is answered wrongly."""
    with traffic.stack.running():
        with traffic.flowing():
            traffic.wait_until_under_way()
            for process in [*traffic.stack.receivers, *traffic.stack.workers]:
                assert process.ask(SIGTERM, GOOD_BYE), process.log.read_text()[-2000:]
                process.start()
                traffic.stack.wait_for_doors()
                traffic.stack.wait_for_pools()
        traffic.wait_until_applied()
    traffic.assert_all_is_well()
    assert set(traffic.provider.answers) <= {0, 200, 401, 503}


@pytest.mark.parametrize("how", [SIGTERM, SIGQUIT])
def test_a_shutdown_of_every_worker_under_load(traffic: Traffic, how: int) -> None:
    """Warm or cold, both at once with packs in hand: each ends by itself, and the next ones go on."""
    with traffic.stack.running():
        with traffic.flowing():
            traffic.wait_until_under_way()
            threads = [threading.Thread(target=worker.ask, args=(how, GOOD_BYE)) for worker in traffic.stack.workers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ended = [worker.exit_code() for worker in traffic.stack.workers]
            for worker in traffic.stack.workers:
                worker.start()
        traffic.wait_until_applied()
    traffic.assert_all_is_well()
    assert -9 not in ended


#: The worker, but SIGQUIT comes in the middle of its first write of a kind: with py-amqp's lock held, or half of a job
#: written to a child.
INTERRUPTED = """
import os, signal
import amqp.transport, billiard.connection
from worker.app import app

kind, acks = {kind!r}, b"\\x00\\x3c\\x00\\x50"

def interrupted(owner, name, where):
    write = getattr(owner, name)
    def wrapper(self, data, *more):
        if where(data, *more):
            setattr(owner, name, write)
            os.kill(os.getpid(), signal.SIGQUIT)
        return write(self, data, *more)
    setattr(owner, name, wrapper)

if kind == "broker":
    interrupted(amqp.transport._AbstractTransport, "write", lambda data: data[7:11] == acks)
else:
    interrupted(billiard.connection._ConnectionBase, "send_offset", lambda data, offset: len(data) > 1000)
"""


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
@pytest.mark.parametrize("kind", ["broker", "child"])
def test_a_cold_stop_in_the_middle_of_a_write(tmp_path: Path, traffic: Traffic, kind: str) -> None:
    """Celery's own handler would wait for ever. The worker ends by itself, and the other goes on."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED.format(kind=kind))
    struck = _worker_of("interrupted", tmp_path, traffic)
    traffic.stack.workers[1] = struck
    with traffic.stack.running():
        with traffic.flowing():
            until(lambda: not struck.is_running(), struck.log.read_text, GOOD_BYE)
        traffic.wait_until_applied()
    traffic.assert_all_is_well()
    assert "does not end by itself" not in struck.log.read_text()


TOMORROW = """
from worker.app import app

@app.task(name="tasks.of_tomorrow")
def of_tomorrow(number):
    with open({done!r}, "a") as done:
        done.write(f"{{number}}\\n")
"""


def test_old_and_new_code_side_by_side(tmp_path: Path, traffic: Traffic) -> None:
    """A task that only the new worker knows is run there, or kept whole by the old one; payments go on in both."""
    done = tmp_path / "done"
    (tmp_path / "tomorrow.py").write_text(TOMORROW.format(done=str(done)))
    done.touch()
    traffic.stack.workers[1] = _worker_of("tomorrow", tmp_path, traffic)
    settings = _settings(traffic)
    with traffic.stack.running():
        with traffic.flowing():
            traffic.wait_until_under_way()
            for number in range(60):
                _publish(settings, number)
        traffic.wait_until_applied()
        run = lambda: {int(line) for line in done.read_text().split()}  # noqa: E731
        kept: set[int] = set()
        until(lambda: len(run() | kept) == 60 or bool(kept.update(_quarantined(settings))), "sixty run or kept")
    assert run() | kept == set(range(60))
    assert run()
    assert kept
    traffic.assert_all_is_well()


def _worker_of(module: str, folder: Path, traffic: Traffic) -> Process:
    """The Procfile's worker with an app of the test's own, in `folder`."""
    command = ["sh", "-c", _worker_line().replace("-A worker.app", f"-A {module}")]
    paths = {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "PAIDONCE_WORKERS": "2"}
    return Process(f"{module}-worker", command, traffic.environment | paths, folder)


def _worker_line() -> str:
    lines = (ROOT / "Procfile").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("worker:"))


def _settings(traffic: Traffic) -> Settings:
    prefix = traffic.environment.get("PAIDONCE_BROKER_PREFIX", "paidonce:")
    return Settings(broker_url=traffic.environment["PAIDONCE_BROKER_URL"], broker_prefix=prefix)


def _publish(settings: Settings, number: int) -> None:
    with connect(settings) as connection:
        declare(connection)
        kombu.Producer(connection.default_channel, auto_declare=False).publish(
            json.dumps([[number], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]),
            exchange="paidonce",
            routing_key="apply",
            content_type="application/json",
            content_encoding="utf-8",
            headers={"task": "tasks.of_tomorrow", "id": str(number), "lang": "py"},
            delivery_mode=2,
            mandatory=True,
        )


def _quarantined(settings: Settings) -> set[int]:
    """Ids of what is in the quarantine; each call takes what is new there."""
    found = set()
    if settings.broker_url.startswith("redis"):
        key = f"{settings.broker_prefix}{celeryconfig.QUARANTINE.name}"
        with redis.Redis.from_url(settings.broker_url) as client:
            return {int(json.loads(fields[b"message"])["headers"]["id"]) for _, fields in client.xrange(key)}
    with connect(settings) as connection:
        while message := connection.default_channel.basic_get(celeryconfig.QUARANTINE.name, no_ack=True):
            found.add(int(message.headers["id"]))
    return found
