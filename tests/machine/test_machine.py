"""A machine of everything that may happen, on a real PostgreSQL."""

import os

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import machine_on
from mortal import Mortal
from seen import Look

#: (examples, steps)
PROFILES = {"usual": (200, 50), "nightly": (2000, 100)}
PROFILE = os.environ.get("PAIDONCE_TEST_MACHINE", "usual")
SEED = int(os.environ.get("PAIDONCE_TEST_SEED", "1"))
EXAMPLES, STEPS = PROFILES.get(PROFILE) or map(int, PROFILE.split("x"))


@pytest.mark.timeout(EXAMPLES * STEPS * 0.1)
@pytest.mark.parametrize("given", [f"seed {SEED}, {EXAMPLES} x {STEPS} steps"])
def test_whatever_happens_everything_holds(mortal: Mortal, look: Look, given: str) -> None:
    """Every example, step by step: the 18 invariants, the sums, conservation; at its end everything comes again."""
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )

    run_state_machine_as_test(seed(SEED)(machine_on(mortal, look)), settings=chosen)
