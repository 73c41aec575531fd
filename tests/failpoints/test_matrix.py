"""No point of the code is left out of the matrix."""

import re
from pathlib import Path

import pytest
from failpoints import matrix, stage_matrix

ROOT = Path(__file__).parents[2]


CODE = "".join(path.read_text() for room in ("receiver", "worker", "tasks") for path in (ROOT / room).rglob("*.py"))
POINTS = set(re.findall(r'failpoint\.at\("([\w.]+)"\)', CODE))


def test_every_failpoint_is_struck() -> None:
    """Each name in the code stands in one of the two matrices, and no other."""
    assert {point for points in matrix.POINTS.values() for point in points} | set(stage_matrix.POINTS) == POINTS


def test_the_part_for_every_day_strikes_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """In `make test` each is struck at least once, and sixty cases in all."""
    monkeypatch.delenv("PAIDONCE_TEST_FAILPOINTS", raising=False)
    every_day = [*matrix.cases(), *stage_matrix.cases("rabbitmq"), *stage_matrix.cases("redis")]

    assert {case.point for case in every_day} == POINTS
    assert len({case.id for case in every_day}) == len(every_day) >= 60
