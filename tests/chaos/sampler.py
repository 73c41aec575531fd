"""Memory and descriptors of the stack's processes, sampled while it runs."""

import statistics
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from .stack import Stack

#: Seconds between two samples, and until the processes count as warm.
EVERY, WARM = 5.0, 60.0


class Sample(NamedTuple):
    """Seconds since the start, MB resident, open descriptors."""

    at: float
    rss: float
    descriptors: int


class Sampler:
    """A thread from start() to stop()."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._ended = Event()
        self._thread = Thread(target=self._run, name="sampler", daemon=True)
        #: (role, pid) -> samples.
        self.samples: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)

    def start(self) -> None:
        """Samples at once, and then again and again."""
        self._thread.start()

    def stop(self) -> None:
        """No more samples."""
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(EVERY):
            for role, pid in self._everybody():
                # A process that is just ending has no memory to speak of.
                with suppress(OSError, ValueError, IndexError):
                    rss = _resident(pid)
                    count = len([*Path(f"/proc/{pid}/fd").iterdir()])
                    self.samples[role, pid].append(Sample(time.monotonic() - began, rss, count))

    def _everybody(self) -> list[tuple[str, int]]:
        found = [("receiver", process.pid) for process in self._stack.receivers]
        found += [("beat", process.pid) for process in self._stack.beats]
        for worker in self._stack.workers:
            found.append(("worker parent", worker.pid))
            found += [("worker child", pid) for pid in worker.children()]
        return found

    def growth(self) -> dict[str, dict[str, float]]:
        """Each role's worst process, from when it was warm: MB at first and last, MB/h, more descriptors."""
        worst: dict[str, dict[str, float]] = {}
        for (role, _), samples in self.samples.items():
            warm = [sample for sample in samples if sample.at >= WARM]
            if len(warm) < 10:
                continue
            tenth = len(warm) // 10 or 1
            first, last = (statistics.median(s.rss for s in part) for part in (warm[:tenth], warm[-tenth:]))
            slope = statistics.linear_regression([s.at for s in warm], [s.rss for s in warm]).slope * 3600
            more = warm[-1].descriptors - warm[0].descriptors
            facts = {"first_mb": first, "last_mb": last, "mb_per_hour": slope, "more_descriptors": more}
            if role not in worst or last - first > worst[role]["last_mb"] - worst[role]["first_mb"]:
                worst[role] = {name: round(value, 1) for name, value in facts.items()}
        return worst


def _resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024
