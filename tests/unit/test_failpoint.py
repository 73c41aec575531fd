"""Failpoints: off they are nothing, armed they strike once, and never beside a live account."""

import dis
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import stripe

from domain.errors import ConfigurationError
from worker import failpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture
def armed() -> Iterator[None]:
    """Whatever the test arms is off afterwards."""
    yield
    failpoint.at = failpoint._nothing


def passings(point: str, times: int) -> list[int]:
    """At which passings the point raised."""
    raised = []
    for passing in range(1, times + 1):
        try:
            failpoint.at(point)
        except failpoint.Struck:
            raised.append(passing)
    return raised


def test_off_a_point_is_the_call_of_an_empty_function() -> None:
    """Three instructions: begin, load None, return it. No look at the environment, no branch."""
    body = [step.opname for step in dis.get_instructions(failpoint.at)]

    assert failpoint.at is failpoint._nothing
    assert body == ["RESUME", "LOAD_CONST", "RETURN_VALUE"]


@pytest.mark.usefixtures("armed")
def test_a_plan_strikes_once_at_its_point_and_number() -> None:
    """Other points and other passings go by."""
    failpoint.arm("settle.written:2:raise")

    assert passings("settle.orders_locked", 3) == []
    assert passings("settle.written", 4) == [2]


@pytest.mark.usefixtures("armed")
def test_a_plan_in_a_file_is_read_anew_and_taken_away_by_whom_it_strikes(tmp_path: Path) -> None:
    """Without a file nothing happens; each new plan counts from the beginning, and says whom it struck."""
    plan, taken = tmp_path / "plan", tmp_path / f"plan.{os.getpid()}"
    failpoint.arm(str(plan))

    assert passings("settle.written", 2) == []
    plan.write_text("settle.written:2:raise")
    assert passings("settle.written", 4) == [2]
    assert not plan.exists()
    assert taken.exists()
    plan.write_text("settle.written:1:raise")
    os.utime(plan, ns=(1, 1))
    assert passings("settle.written", 2) == [1]


@pytest.mark.usefixtures("armed")
@pytest.mark.parametrize("plan", ["settle.written", "settle.written:x:kill", "settle.written:1:dance", ":1:kill", ""])
def test_a_plan_that_cannot_be_read_is_refused(plan: str) -> None:
    """A typing error must not pass for a test that survived."""
    with pytest.raises(ConfigurationError, match="PAIDONCE_FAILPOINTS"):
        failpoint.arm(plan)


@pytest.mark.usefixtures("armed")
def test_a_process_with_a_live_account_refuses_to_start_armed() -> None:
    """Sandbox accounts may; unarmed, nobody asks."""
    dialects = {"shop-crunchy": stripe("shop-crunchy"), "shop-live": stripe("shop-live")}
    object.__setattr__(dialects["shop-live"], "live", True)
    failpoint.refuse_live(dialects)
    failpoint.arm("settle.written:1:kill")

    failpoint.refuse_live({"shop-crunchy": dialects["shop-crunchy"]})
    with pytest.raises(ConfigurationError, match="shop-live"):
        failpoint.refuse_live(dialects)


@pytest.mark.parametrize(("action", "code"), [("kill", -9), ("raise", 1)])
def test_a_process_armed_by_its_environment_is_struck(action: str, code: int) -> None:
    """As whoever starts it wrote it."""
    command = [sys.executable, "-c", "from worker import failpoint; failpoint.at('here.we_are')"]
    environment = os.environ | {"PAIDONCE_FAILPOINTS": f"here.we_are:1:{action}"}

    end = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, timeout=60, check=False)

    assert end.returncode == code
