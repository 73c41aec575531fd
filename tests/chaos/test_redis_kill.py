"""A real Celery prefork worker on the Redis Streams transport, under load: killed, paused, cut off, stopped."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Exchange, Queue

from worker.redis_group import GROUP
from worker.redis_streams import register

ROOT = Path(__file__).parents[2]
MESSAGES = 300
KILLS = 3

APP = """
import os, time
from celery import Celery
from kombu import Exchange, Queue
from worker.redis_streams import register

register()
app = Celery("fells")
app.conf.update(
    broker_url={url!r},
    broker_transport_options={{"global_keyprefix": {prefix!r}, "visibility_timeout": 2}},
    broker_connection_retry_on_startup=True,
    task_queues=[Queue("fells", Exchange("fells", "direct"), "climb")],
    task_default_queue="fells", task_default_exchange="fells", task_default_routing_key="climb",
    task_acks_late=True, task_reject_on_worker_lost=True, task_ignore_result=True,
    worker_enable_remote_control=False, worker_prefetch_multiplier=4,
)

@app.task(name="climb")
def climb(number):
    time.sleep(0.02)
    with open({done!r}, "a") as done:
        done.write(f"{{number}}\\n")
"""


class Crew:
    """One worker at a time, its app in a file of its own, and a publisher."""

    def __init__(self, folder: Path, python: str, url: str, prefix: str) -> None:
        register()
        self.folder, self.python, self.done = folder, python, folder / "done"
        broker = url.replace("redis", "redisstreams", 1)
        (folder / "fells.py").write_text(APP.format(url=broker, prefix=prefix, done=str(self.done)))
        self.done.touch()
        self.app = Celery("fells", broker=broker, set_as_current=False)
        self.app.conf.update(
            broker_transport_options={"global_keyprefix": prefix},
            task_queues=[Queue("fells", Exchange("fells", "direct"), "climb")],
        )
        self.server: Any = redis.Redis.from_url(url)
        self.stream = f"{prefix}fells"
        self.worker: Any = None

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        command = [self.python, "-m", "celery", "-A", "fells", "worker", "-c", "2", "-l", "INFO"]
        self.worker = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def publish(self, numbers: range) -> None:
        for number in numbers:
            self.app.send_task("climb", (number,), queue="fells", mandatory=True)

    def counted(self) -> Counter[int]:
        return Counter(int(line) for line in self.done.read_text().splitlines())

    def wait_for(self, count: int) -> None:
        """Until so many different messages are done, or half a minute."""
        end = time.monotonic() + 30
        while len(self.counted()) < count and time.monotonic() < end:
            time.sleep(0.1)

    def in_hand(self) -> int:
        """Delivered by the server and not acknowledged."""
        return int(self.server.xpending(self.stream, GROUP)["pending"])

    def wait_until_settled(self) -> None:
        """Until the stream is empty, or half a minute."""
        end = time.monotonic() + 30
        while self.server.xlen(self.stream) and time.monotonic() < end:
            time.sleep(0.1)

    def cut_off(self) -> None:
        """Kills every connection of the worker, on the server's side."""
        for row in self.server.client_list():
            if f".{self.worker.pid}." in row["name"]:
                self.server.client_kill_filter(_id=row["id"])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()

    def stop(self) -> None:
        self.worker.terminate()
        # Celery's children wait 30 s for their last results to be read, which a stopping parent may not do any more.
        self.worker.wait(60)


@pytest.fixture
def crew(tmp_path: Path, python: str, redis_server: str, redis_prefix: str) -> Iterator[Crew]:
    """Workers under this test's own key prefix; none outlives the test."""
    crew = Crew(tmp_path, python, redis_server, redis_prefix)
    crew.start()
    yield crew
    crew.kill()
    crew.app.close()
    crew.server.close()


def test_a_worker_killed_under_load_loses_nothing(crew: Crew) -> None:
    """Three kills of the process group with messages in hand, paused before or not: every message is worked on."""
    share = MESSAGES // (KILLS + 1)
    for kill in range(KILLS):
        crew.publish(range(kill * share, kill * share + share // 2))
        crew.wait_for(kill * share + 1)
        if kill % 2 == 0:
            os.killpg(crew.worker.pid, signal.SIGSTOP)
        crew.publish(range(kill * share + share // 2, (kill + 1) * share))
        assert crew.in_hand()
        crew.kill()
        crew.start()
    crew.publish(range(KILLS * share, MESSAGES))

    crew.wait_until_settled()

    assert sorted(crew.counted()) == list(range(MESSAGES))
    assert crew.server.xlen(crew.stream) == 0


def test_a_worker_asked_to_stop_hands_back_what_it_holds(crew: Crew) -> None:
    """What it had fetched it finishes or hands back at once, and the next worker goes on with the rest."""
    crew.publish(range(100))
    crew.wait_for(1)
    assert crew.in_hand()
    crew.stop()
    assert crew.in_hand() == 0
    crew.start()

    crew.wait_until_settled()

    assert sorted(crew.counted()) == list(range(100))


def test_a_worker_cut_off_under_load_goes_on(crew: Crew) -> None:
    """It connects anew, again and again, and every message is worked on."""
    for tens in range(0, 100, 10):
        crew.publish(range(tens, tens + 10))
        crew.wait_for(tens + 1)
        crew.cut_off()

    crew.wait_until_settled()

    assert sorted(crew.counted()) == list(range(100))
    assert crew.worker.poll() is None
