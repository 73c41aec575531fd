"""`python -m tests.failpoints`: the whole matrix in shards. The last line is JSON; exit code 1 if one is red."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: A shard that takes longer hangs, seconds.
PATIENCE = 3600


def main() -> int:
    """Runs every case of the matrix."""
    parser = argparse.ArgumentParser(prog="python -m tests.failpoints", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="shards at once")
    parser.add_argument("-k", default="", help="pytest's: only cases whose name matches")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="paidonce-failpoints-") as folder:
        reports = [Path(folder) / f"{shard}.xml" for shard in range(1, options.jobs + 1)]
        shards = [_shard(number, options, report) for number, report in enumerate(reports, 1)]
        codes = [shard.wait(PATIENCE) for shard in shards]
        counts = _count(reports)
    report = {"failpoints": dict(counts), "seconds": round(time.monotonic() - began, 1)}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if not any(codes) else 1


def _shard(number: int, options: argparse.Namespace, report: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "tests/failpoints", f"--junit-xml={report}"]
    environment = os.environ | {
        "PAIDONCE_TEST_FAILPOINTS": "all",
        "PAIDONCE_TEST_SHARD": f"{number}/{options.jobs}",
    }
    return subprocess.Popen([*command, "-k", options.k], cwd=ROOT, env=environment)


def _count(reports: list[Path]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for report in reports:
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - as above
            for name in ("tests", "failures", "errors", "skipped"):
                counts[name] += int(suite.get(name, "0"))
    return counts


if __name__ == "__main__":
    sys.exit(main())
