"""`python -m tests.sabotage`: turns each protection off in a copy of the code and looks whether the tests see it.

All of these tests must be green on an unchanged copy. The last line is JSON; exit code 1 unless every switch is red.
"""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .copies import PATIENCE, Ending, copied, ending_of
from .switches import SWITCHES, Switch

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Runs the control and every switch."""
    parser = argparse.ArgumentParser(prog="python -m tests.sabotage", description=__doc__)
    parser.add_argument("--only", default="", help="switches whose name holds this")
    parser.add_argument("--jobs", type=int, default=2, help="switches at once")
    options = parser.parse_args()
    switches = [switch for switch in SWITCHES if options.only in switch.name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="paidonce-sabotage-") as folder:
        place = Path(folder)
        with ThreadPoolExecutor(options.jobs) as pool:
            control = pool.submit(_control, place, switches)
            endings = list(pool.map(lambda numbered: _turned_off(place, *numbered), enumerate(switches, 1)))
        unchanged = control.result()
    _tell(switches, endings, unchanged)
    seconds = {switch.name: round(ending.seconds, 1) for switch, ending in zip(switches, endings, strict=True)}
    red = sum(ending.is_red for ending in endings)
    report = {"switches": len(switches), "red": red, "unchanged_is_green": unchanged.is_green}
    report |= {"seconds_to_red": seconds, "seconds": round(time.monotonic() - began, 1)}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if red == len(switches) and unchanged.is_green else 1


def _control(place: Path, switches: list[Switch]) -> Ending:
    """Without it a red switch would prove nothing."""
    tests = sorted({test for switch in switches for test in switch.tests})
    return ending_of(copied(ROOT, place / "unchanged"), tests, 4 * PATIENCE)


def _turned_off(place: Path, number: int, switch: Switch) -> Ending:
    copy = copied(ROOT, place / f"{number:02}")
    for patch in switch.patches:
        patch.apply(copy)
    ending = ending_of(copy, switch.tests)
    sys.stderr.write(f"{number:2} {switch.name}: {_word(ending)} after {ending.seconds:.0f} s\n")
    return ending


def _tell(switches: list[Switch], endings: list[Ending], unchanged: Ending) -> None:
    lines = ["| # | turned off | is | after | says |", "|---|---|---|---|---|"]
    named = [*((switch.name, ending) for switch, ending in zip(switches, endings, strict=True)), ("nothing", unchanged)]
    for number, (name, ending) in enumerate(named, 1):
        why = ending.why.replace("|", "\\|")
        lines.append(f"| {number} | {name} | {_word(ending)} | {ending.seconds:.0f} s | `{why}` |")
    sys.stdout.write("\n".join(lines) + "\n")


def _word(ending: Ending) -> str:
    return "red" if ending.is_red else "green" if ending.is_green else f"broken ({ending.code})"


if __name__ == "__main__":
    sys.exit(main())
