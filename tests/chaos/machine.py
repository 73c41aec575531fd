"""The machine under a process, as a fault may change it: machine.c, loaded before libc.

libfaketime would do for the clock alone, but not under Python 3.11, whose sleep it breaks.
"""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

_SOURCE = Path(__file__).with_name("machine.c")
#: Seconds ahead, and 1 where files may not grow.
_STATE = struct.Struct("=qq")


class Machine:
    """The clock and the disk of one process and of whatever it starts. Sound at first."""

    def __init__(self, library: Path, state: Path) -> None:
        self._state, self._ahead, self._full = state, 0, False
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), "CHAOS_MACHINE": str(state)}
        state.write_bytes(_STATE.pack(0, 0))

    def set_clock(self, ahead: int) -> None:
        """Its wall clock is `ahead` seconds of the true one, or behind where negative; timers go on as they were."""
        self._ahead = ahead
        self._write()

    def fill_disk(self, *, full: bool) -> None:
        """No file may grow any more; or they may again."""
        self._full = full
        self._write()

    def _write(self) -> None:
        """In place: it is mapped by whoever runs there."""
        with self._state.open("r+b") as file:
            file.write(_STATE.pack(self._ahead, int(self._full)))


class Machines:
    """Makes them. Without a C compiler there are none, and their faults are left out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = _compiled(folder / "machine.so")

    def new(self, name: str) -> Machine | None:
        """That of process `name`."""
        return Machine(self._library, self._folder / f"{name}.machine") if self._library else None


def compiler() -> str | None:
    """A C compiler of this machine."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def _compiled(library: Path) -> Path | None:
    found = compiler()
    if found is None:
        return None
    command = [found, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
    end = subprocess.run(command, capture_output=True, text=True, check=False)
    if end.returncode:
        raise RuntimeError(f"machine.c: {end.stderr.strip()[:500]}")
    return library
