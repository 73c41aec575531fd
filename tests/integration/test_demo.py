"""The whole house on the embedded PostgreSQL, started as a person would: demo, and up with its accidents."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from missing import missing
from running import free_port, until

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def _wheel() -> None:
    """Skips with the reason where the wheel is not installed."""
    try:
        from pgmq.install import get_embedded_install_sql
    except ImportError as why:
        missing("the embedded PostgreSQL", why)
    assert "pgmq" in get_embedded_install_sql()


def environ(**more: str) -> dict[str, str]:
    """A user's environment: no settings of ours but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAIDONCE_")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"} | more


def paidonce(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command in another directory than the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "ops", *words],
        cwd=folder,
        env=environ(**more),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def last(done: subprocess.CompletedProcess[str]) -> Any:
    """The last line of a command that succeeded."""
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def alive(pid: int) -> bool:
    """Whether the process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or ") Z " not in Path(f"/proc/{pid}/stat").read_text()


class Up:
    """`paidonce up` in the background."""

    def __init__(self, folder: Path, port: int) -> None:
        """Starts it; `wait` says when it is ready."""
        self.data = folder / "a place with spaces"
        self.errors = folder / "errors.txt"
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops", "up", "--port", str(port), "--data", str(self.data), "--json"],
                cwd=folder,
                env=environ(),
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it says where everything is."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        facts = json.loads(line)
        self.url = facts["url"]
        self.environ = {name: value for name, value in facts.items() if name.startswith("PAIDONCE_")}

    def children(self) -> dict[str, int]:
        """Process ids by name."""
        return {each["name"]: each["pid"] for each in json.loads((self.data / "children.json").read_text())}

    def postmaster(self) -> int:
        """PostgreSQL's process id."""
        return int((self.data / "pg" / "postmaster.pid").read_text().splitlines()[0])

    def ready(self) -> bool:
        """Whether the receiver has its broker."""
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def said(self, words: str) -> bool:
        """Whether standard error holds `words`."""
        return words in self.errors.read_text()

    def end(self, how: signal.Signals) -> int:
        """A signal, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], Up]]:
    """Starts `paidonce up` on a port, always in the same place; everything is stopped in the end."""
    started: list[Up] = []

    def up(port: int) -> Up:
        started.append(Up(tmp_path, port))
        started[-1].wait()
        return started[-1]

    yield up
    for each in started:
        each.end(signal.SIGTERM)


def test_the_demo_keeps_the_promise(tmp_path: Path) -> None:
    """Every order is paid once, every forgery refused, the parked ones applied; nothing but JSON on the last line."""
    done = paidonce(
        tmp_path,
        *shlex.split("demo --orders 120 --duplicates 3 --forged 0.1 --seed 7 --json --data kept"),
    )

    figures = last(done)
    genuine = figures["accepted"]
    assert figures["lost"] == figures["double_applied"] == figures["cases"] == 0
    assert figures["orders"] == 120
    assert figures["applied"] >= 120
    assert genuine == 3 * figures["applied"]
    assert figures["refused"] == round(0.1 * genuine)
    assert figures["deliveries"] == genuine + figures["refused"]
    assert figures["duplicates"] == genuine - figures["applied"]
    assert figures["parked"] >= 6
    assert done.stdout.count("\n") == 1
    assert not (tmp_path / "kept" / "pg" / "postmaster.pid").exists()
    assert list((tmp_path / "kept" / "logs").iterdir())


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """Without --data its directory is gone, a TMPDIR too long for a socket or not; and the report is for people."""
    temporary = tmp_path / f"long{'er' * 40}"
    temporary.mkdir()

    done = paidonce(tmp_path, *shlex.split("demo --orders 8 --duplicates 2"), TMPDIR=str(temporary))

    assert done.returncode == 0, done.stderr
    assert "8 orders, every one paid exactly once" in done.stdout
    assert "all 18 hold" in done.stdout
    assert list(temporary.iterdir()) == []


def test_up_serves_strangers_and_survives_its_accidents(tmp_path: Path, start: Callable[[int], Up]) -> None:
    """Simulated, audited, its worker and its PostgreSQL killed, itself killed, started again: nothing is lost."""
    port = free_port()
    first = start(port)
    words = shlex.split("--orders 40 --duplicates 2 --forged 0.1 --seed 3 --json --account shop-stripe,shop-alipay")
    dry = last(paidonce(tmp_path, "simulate", *words, "--orders-csv", "o.csv", "--dry-run", **first.environ))
    assert (dry["orders"], dry["deliveries"]) == (40, 0)
    assert last(paidonce(tmp_path, "orders", "import", "o.csv", "--json", **first.environ))["imported"] == 40

    again = paidonce(tmp_path, "up", "--data", str(first.data), "--port", str(free_port()))
    assert (again.returncode, "already running" in again.stderr) == (1, True)

    os.kill(first.children()["worker"], signal.SIGKILL)
    os.kill(first.postmaster(), signal.SIGKILL)
    until(lambda: first.said("worker started again") and first.said("PostgreSQL died and was started again"), "revival")
    sent = last(paidonce(tmp_path, "simulate", "--url", first.url, *words, **first.environ))
    assert (sent["forged_accepted"], sent["gave_up"]) == (0, 0)

    children = first.children()
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    assert all(map(alive, children.values()))
    second = start(port)
    assert second.said("ended a left-over worker")
    assert not any(map(alive, children.values()))
    until(second.ready, "the receiver is not ready")
    until(lambda: settled(tmp_path, second), "the audit does not get clean", 120)

    assert second.end(signal.SIGTERM) == 0
    assert not (second.data / "pg" / "postmaster.pid").exists()


def settled(folder: Path, stack: Up) -> bool:
    """Whether every order is paid and the audit is clean."""
    order = json.loads(
        paidonce(folder, "explain", "SIM-3-shop-stripe-20", "--json", **stack.environ).stdout.splitlines()[-1]
    )
    audit = paidonce(folder, "audit", "--drained", "--json", **stack.environ)
    return order["order"]["paid"] > 0 and audit.returncode == 0


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """One line, before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = paidonce(tmp_path, "up", "--port", str(port), "--data", "place")

    assert done.returncode == 1
    assert done.stderr == f"paidonce: port {port} cannot be used: Address already in use; choose another with --port\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("simulate --url http://127.0.0.1:1 --accounts nowhere.toml", "nowhere.toml"),
        ("simulate --accounts nowhere.toml --dry-run", "nowhere.toml"),
        ("up --data /proc/nowhere", "/proc/nowhere cannot be used"),
    ],
)
def test_foreseeable_mistakes_are_one_line(tmp_path: Path, words: str, said: str) -> None:
    """No traceback for what a person may mistype."""
    done = paidonce(tmp_path, *shlex.split(words))

    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
