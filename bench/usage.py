"""What processes cost: CPU time and memory of a process and all that it started, from /proc."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.chaos.processes import Process

#: What the servers' processes are called.
SERVERS = {"postgres": "postgres", "rabbitmq": "beam.smp"}
_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(process: Process) -> float:
    """User and system time of the whole group so far, and of its children that have ended: a worker renews them."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in group(process)) / _TICK


def cpu_seconds_of_all(name: str) -> float:
    """User and system time of every process of this name so far, and of their children that have ended.

    A server that starts a process per connection has its time in the children; what ended is in the parent's account.
    """
    return sum(sum(map(int, fields[11:15])) for fields in _all_stats(name)) / _TICK


def _all_stats(name: str) -> Iterator[list[str]]:
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text().strip() == name:
                yield _stat(int(path.parent.name))


def megabytes(process: Process) -> float:
    """Memory of the group per process, shared pages by their share (PSS)."""
    pids = group(process)
    return sum(_pss(pid) for pid in pids) / 1024 / len(pids)


def resident(process: Process) -> float:
    """RSS of its first process, in megabytes."""
    return _resident(process.pid)


def largest_child(process: Process) -> float:
    """RSS of the largest process that it started, in megabytes."""
    return max(_resident(pid) for pid in group(process) if pid != process.pid)


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def group(process: Process) -> list[int]:
    """Its process ids; every process here leads a group of its own."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if _is_of(pid, process.pid)]


def _is_of(pid: int, leader: int) -> bool:
    try:
        return int(_stat(pid)[2]) == leader
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
