"""The benchmark's shape: what it prints, and that both sides really work. Its figures are nobody's test."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A port where nothing listens.
NOBODY = "postgresql+psycopg://postgres@127.0.0.1:9/postgres"


def bench(python: str, postgres: str, *words: str, **servers: str) -> subprocess.CompletedProcess[str]:
    """`python -m bench` with `words`."""
    environment = os.environ | {"PAIDONCE_TEST_DATABASE_URL": postgres} | servers
    command = [python, "-m", "bench", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.usefixtures("rabbitmq_vhost")
def test_a_figure_is_one_json_object(python: str, postgres: str) -> None:
    """Ours and the peer's, both above nothing, and their ratio."""
    end = bench(python, postgres, "--quick", "worker, packs of 50, beside naive")

    assert end.returncode == 0, end.stderr
    figure = json.loads(end.stdout)
    assert set(figure) == {"name", "ours", "peer", "ratio", "unit", "ours_spread", "peer_spread"}
    assert (figure["name"], figure["unit"]) == ("worker, packs of 50, beside naive", "1/s")
    assert figure["ours"] > 0
    assert figure["peer"] > 0
    assert figure["ratio"] == pytest.approx(figure["ours"] / figure["peer"], abs=0.01)


@pytest.mark.usefixtures("rabbitmq_vhost")
def test_a_missing_postgresql_is_one_line(python: str) -> None:
    """Which server, where it was looked for, and no traceback."""
    end = bench(python, NOBODY, "--quick")

    assert (end.returncode, end.stdout) == (1, "")
    assert end.stderr.startswith("bench: PostgreSQL is not there (127.0.0.1:9, PAIDONCE_TEST_DATABASE_URL): ")
    assert len(end.stderr.splitlines()) == 1


def test_a_missing_rabbitmq_is_one_line(python: str) -> None:
    """The same of the broker, whose client raises errors of its own."""
    end = bench(python, NOBODY, "worker", PAIDONCE_TEST_BROKER_URL="amqp://guest:guest@127.0.0.1:9//")

    assert (end.returncode, end.stdout) == (1, "")
    assert end.stderr.splitlines()[-1].startswith(
        "bench: RabbitMQ is not there (127.0.0.1:9, PAIDONCE_TEST_BROKER_URL): "
    )
    assert "Traceback" not in end.stderr


def test_an_unknown_figure_is_refused(python: str, postgres: str) -> None:
    """Rather than a report of nothing."""
    end = bench(python, postgres, "penguins")

    assert end.returncode == 2
    assert "penguins" in end.stderr


@pytest.mark.usefixtures("rabbitmq_vhost")
def test_what_is_sent_is_seen_committed_and_written_down(python: str, postgres: str, tmp_path: Path) -> None:
    """End to end over HTTP, at a rate both hold; the page keeps what stands around its figures."""
    (tmp_path / "performance.md").write_text("Before\n" + "\n".join(report_marks()) + "\nBehind\n")

    end = bench(python, postgres, "--quick", "--write", str(tmp_path), "end to end at a rate both hold, half within")

    assert end.returncode == 0, end.stderr
    figure = json.loads(end.stdout)
    assert figure["ours"] > 0
    assert figure["peer"] > 0
    page = (tmp_path / "performance.md").read_text()
    assert page.startswith("Before\n")
    assert page.endswith("\nBehind\n")
    assert "| end to end at a rate both hold, half within |" in page
    assert json.loads((tmp_path / "performance.json").read_text())["figures"] == [figure]
    assert (tmp_path / "performance.png").read_bytes().startswith(b"\x89PNG")


def report_marks() -> list[str]:
    """Where the page of the documentation has its table."""
    page = (ROOT / "docs" / "performance.md").read_text()
    return [line for line in page.splitlines() if line.startswith("<!--")]


def test_one_failed_measurement_takes_no_other_with_it(python: str) -> None:
    """Twenty-five minutes are not lost for one side that did not get its work done; its figures are left out."""
    program = """
from bench.figure import Figure, Measure, Place, is_whole, line, run_rounds

def fails():
    raise RuntimeError("applied too little")

lark, wren = Place("lark", "song"), Place("wren", "song")
figures = [Figure("both", "1/s", lark, wren), Figure("one", "1/s", lark)]
songs = iter([4.0, 2.0, 9.0])
values = run_rounds([Measure("wren", fails), Measure("lark", lambda: {"song": next(songs)})], figures, 3)
print([line(each, values) for each in figures if is_whole(each, values)])
"""
    end = subprocess.run([python, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert end.stderr.count("wren: failed: applied too little") == 3
    assert end.stdout.strip() == str(
        [
            {
                "name": "one",
                "ours": 4.0,
                "peer": None,
                "ratio": None,
                "unit": "1/s",
                "ours_spread": [2.0, 9.0],
                "peer_spread": None,
            }
        ]
    )
