"""The chaos runner itself, small: the whole stack, every kind of fault, and its verdict."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("rabbitmq_vhost")
def test_a_small_run_survives_every_kind_of_fault(python: str, postgres: str) -> None:
    """Nothing lost, doubled, forged or unsettled, every invariant holds, and each kind of fault met a victim."""
    command = [python, "-m", "tests.chaos", "--profile", "tiny", "--seed", "7"]
    environment = os.environ | {"PAIDONCE_TEST_DATABASE_URL": postgres}

    end = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False)

    assert end.returncode == 0, end.stderr
    report = json.loads(end.stdout.splitlines()[-1])
    broken = ("lost", "double_applied", "under_applied", "forged_accepted", "unsettled", "unacknowledged")
    assert {name: report[name] for name in broken} == dict.fromkeys(broken, 0)
    assert report["acknowledged"] == report["notifications"] == 300
    assert report["deliveries"] > 300
    assert report["answers"]["401"] > 0
    assert len(report["faults"]) == 7
    assert report["faults_survived"] == sum(report["faults"].values())
    assert set(report["invariants"].values()) == {0}
