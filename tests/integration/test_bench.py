"""The benchmark's shape: what it prints, and that both sides really work. Its figures are nobody's test."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bench(python: str, postgres: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m bench` with `words`."""
    environment = os.environ | {"PAIDONCE_TEST_DATABASE_URL": postgres}
    command = [python, "-m", "bench", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.usefixtures("rabbitmq_vhost")
def test_a_figure_is_one_json_object(python: str, postgres: str) -> None:
    """Ours and the peer's, both above nothing, and their ratio."""
    end = bench(python, postgres, "--quick", "--only", "worker, packs of 50")

    assert end.returncode == 0, end.stderr
    figure = json.loads(end.stdout)
    assert set(figure) == {"name", "ours", "peer", "ratio", "unit"}
    assert (figure["name"], figure["unit"]) == ("worker, packs of 50", "1/s")
    assert figure["ours"] > 0
    assert figure["peer"] > 0
    assert figure["ratio"] == pytest.approx(figure["ours"] / figure["peer"], abs=0.01)


def test_a_missing_server_is_one_line(python: str) -> None:
    """Which server, where it was looked for, and no traceback."""
    end = bench(python, "postgresql+psycopg://postgres@127.0.0.1:9/postgres", "--quick")

    assert (end.returncode, end.stdout) == (1, "")
    assert end.stderr.startswith("bench: PostgreSQL is not there (127.0.0.1:9, PAIDONCE_TEST_DATABASE_URL): ")
    assert len(end.stderr.splitlines()) == 1


def test_an_unknown_figure_is_refused(python: str, postgres: str) -> None:
    """Rather than a report of nothing."""
    end = bench(python, postgres, "--only", "penguins")

    assert end.returncode == 2
    assert "penguins" in end.stderr
