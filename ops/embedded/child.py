"""A process of the house: started in its own process group, started again when it dies, stopped with its children."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ops.embedded.place import Place

#: Seconds before a dead child is started again; doubles with each death in a row.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
#: A child that lived this long (seconds) has recovered.
RECOVERED = 60.0
#: Seconds between SIGTERM and SIGKILL: Celery finishes its packs, and what is killed is delivered again.
GRACE = 10.0


class Child:
    """One process, its log, and how often it died in a row."""

    def __init__(self, name: str, argv: Sequence[str], place: Place, environ: Mapping[str, str]) -> None:
        """Starts nothing yet."""
        self.name = name
        self.deaths = 0
        self._argv = list(argv)
        self._place = place
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._due = 0.0

    @property
    def pid(self) -> int | None:
        """The process's id, which is its group's too."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts it; its output goes to its log."""
        with (self._place.logs / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                cwd=self._place.data,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for us: we stop the children in order.
                start_new_session=True,
            )
        self._started = time.monotonic()

    def watch(self) -> str | None:
        """Starts it again if it died and its pause is over; what there is to tell, or None."""
        code = self._process.poll() if self._process else 0
        if code is None or self._process is None:
            return None
        if not self._due:
            self._end_group(signal.SIGKILL)
            self.deaths = 1 if time.monotonic() - self._started > RECOVERED else self.deaths + 1
            pause = min(FIRST_PAUSE * 2 ** (self.deaths - 1), LONGEST_PAUSE)
            self._due = time.monotonic() + pause
            return f"{self.name} ended with code {code}; starts again in {pause:.0f} s"
        if time.monotonic() >= self._due:
            self._due = 0.0
            self.start()
            return f"{self.name} started again"
        return None

    def ask_to_stop(self) -> None:
        """SIGTERM to the process alone: Celery's children would die of it in the middle of their packs."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, grace: float) -> None:
        """Until it has ended; SIGKILL to its whole group after `grace` seconds."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=grace)
            self._end_group(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _end_group(self, how: signal.Signals) -> None:
        if self._process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, how)


def remember(file: Path, children: Sequence[Child]) -> None:
    """Writes down which processes run, by id and birth: ids are used again."""
    pids = {child.name: child.pid for child in children if child.pid}
    shape = [{"name": name, "pid": pid, "born": _born(pid)} for name, pid in pids.items()]
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(shape), "utf-8")
    beside.replace(file)


def end_leftovers(file: Path) -> list[str]:
    """Ends the processes that a killed predecessor left behind; their names."""
    try:
        shape = json.loads(file.read_text("utf-8"))
        left = [(str(each["name"]), int(each["pid"])) for each in shape if _is_same(each["pid"], each["born"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    for _, pid in left:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    deadline = time.monotonic() + GRACE
    while any(_born(pid) is not None for _, pid in left) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [name for name, _ in left]


def _is_same(pid: int, born: float | None) -> bool:
    now = _born(pid)
    return now is not None and born is not None and abs(now - born) < 1


def _born(pid: int) -> float | None:
    """When the process began (unix seconds); None if it is gone, or only waits to be reaped."""
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError:  # comes with the embedded PostgreSQL
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None
