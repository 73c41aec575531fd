"""A task that hangs beyond the hard limit is killed by its worker, and its pack is applied all the same."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.processes import Process
from failpoints.children import is_stopped, soon
from failpoints.stage import eventually
from honcho.environ import parse_procfile
from running import ACCOUNTS, ROOT, SECRET
from shop import ACCOUNT, Shop, stripe

from providers.envelope import Envelope
from worker.link import Link
from worker.settings import Settings

#: Seconds instead of 780 and 840. Tasks have their limits from the configuration; the worker's options do not count.
HASTY = """
from worker.app import app
app.conf.task_soft_time_limit, app.conf.task_time_limit = 1, 3
"""


@pytest.fixture
def worker(shop: Shop, rabbitmq_url: str, tmp_path: Path) -> Iterator[Process]:
    """A worker of two children whose tasks may take no longer."""
    (tmp_path / "accounts.toml").write_text(ACCOUNTS)
    (tmp_path / "hasty.py").write_text(HASTY)
    environment = {
        "PAIDONCE_DATABASE_URL": shop.engine.url.render_as_string(hide_password=False),
        "PAIDONCE_BROKER_URL": rabbitmq_url,
        "PAIDONCE_ACCOUNTS": str(tmp_path / "accounts.toml"),
        "PAIDONCE_FAILPOINTS": str(tmp_path / "plan"),
        "PAIDONCE_WORKERS": "2",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "WALRUS": SECRET,
    }
    line = parse_procfile((ROOT / "Procfile").read_text()).processes["worker"]
    worker = Process("worker", ["sh", "-c", line.replace("-A worker.app", "-A hasty")], environment, tmp_path)
    worker.start()
    yield worker
    worker.kill()


@pytest.mark.usefixtures("worker")
def test_a_pack_whose_task_hangs_beyond_the_hard_limit_is_applied(
    shop: Shop, rabbitmq_url: str, tmp_path: Path
) -> None:
    """The child stands still before its work and is killed for it; the pack goes to another."""
    notice = shop.notice(shop.order("TEAPOT"))
    now = notice.occurred_at.timestamp()
    envelope = Envelope(ACCOUNT, "stripe", stripe(ACCOUNT, SECRET.encode()).sign(notice, now), now)
    (tmp_path / "plan").write_text("apply.delivered:1:stop")
    link = Link(Settings(broker_url=rabbitmq_url))
    link.send([envelope.encoded()], 5)
    link.close()

    soon(lambda: bool(list(tmp_path.glob("plan.*"))), "the pack is not delivered", 60)
    struck = int(next(tmp_path.glob("plan.*")).suffix[1:])
    soon(lambda: not Path(f"/proc/{struck}").exists() or not is_stopped(struck), "the child is not killed", 60)
    eventually(lambda: shop.state("TEAPOT") == ("paid", 1000, 0), "the pack is lost", 30)

    assert shop.statuses() == {"applied": 1}
