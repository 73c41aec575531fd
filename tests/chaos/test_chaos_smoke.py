"""The chaos runner itself: the whole stack on servers of its own, every kind of fault, its verdict, and its end."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.guard import marked
from chaos.machine import compiler
from missing import missing
from running import until

ROOT = Path(__file__).parents[2]
RUNNER = [sys.executable, "-m", "tests.chaos", "--seed", "7"]
NO_SERVER = 2
ZERO = (
    *("lost", "double_applied", "under_applied", "forged_accepted", "unsettled", "unacknowledged"),
    *("poison_missing", "not_quarantined", "untold", "told_too_early"),
)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("profile", "broker", "kinds"), [("smoke", "rabbitmq", 25), ("tiny", "redis", 18)])
def test_a_run_survives_every_kind_of_fault(profile: str, broker: str, kinds: int) -> None:
    """Nothing lost, doubled, forged or unsettled, every invariant holds, all kinds of fault but one met a victim."""
    if compiler() is None:
        missing("A C compiler", "the faults of clocks and disks need cc")
    command = [*RUNNER, "--profile", profile, "--broker", broker]

    end = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380, check=False)

    if end.returncode == NO_SERVER:
        missing("A server of the run's own", end.stderr.splitlines()[-1])
    assert end.returncode == 0, end.stderr
    report = json.loads(end.stdout.splitlines()[-1])
    assert {name: report[name] for name in ZERO} == dict.fromkeys(ZERO, 0)
    assert report["acknowledged"] == report["notifications"]
    assert report["deliveries"] > report["notifications"]
    assert report["answers"]["401"] > 0
    assert report["poison_messages"] > 0
    assert report["cases"]["dead"] > 0
    # A queue that is not empty for a moment is not deleted: on a busy machine it may never be.
    assert len({*report["faults"], "queue_deleted"}) == kinds
    assert report["faults_survived"] == sum(report["faults"].values())
    assert len(report["invariants"]) == 18
    assert set(report["invariants"].values()) == {0}
    assert report["safety_looks"] > 0
    assert report["safety_breaches"] == []


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that another user can get to, as pytest's own is not: the servers run as one."""
    with tempfile.TemporaryDirectory(prefix="paidonce-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing_behind(how: signal.Signals, outside: Path) -> None:
    """Neither a process nor a folder, though nobody was left to clear up."""
    environment = os.environ | {"TMPDIR": str(outside)}
    command = [*RUNNER, "--profile", "tiny", "--broker", "redis"]
    with (outside / "said").open("wb") as said:
        run = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
    try:
        until(lambda: run.poll() is not None or bool([*outside.glob("*/worker-1.log")]), "the workers start")
        if run.poll() == NO_SERVER:
            missing("A server of the run's own", (outside / "said").read_text().splitlines()[-1])
        (folder,) = outside.glob("paidonce-chaos-*")
        names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in marked(folder)}
        assert names >= {"postgres", "redis-server"}, names
    finally:
        run.send_signal(how)
        run.wait(60)
    until(lambda: not folder.exists(), "its folder is removed")
    assert marked(folder) == []
