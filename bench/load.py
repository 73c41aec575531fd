"""Load on a door: as much as some connections carry (wrk), or a rate that does not yield (bench.steady)."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

#: Nothing that is measured takes longer; then something is broken.
PATIENCE = 300.0


def saturate(port: int, requests: Path, connections: int, seconds: float, *, again: bool) -> dict[str, float]:
    """{answered (1/s), p50, p99 (ms)}, by wrk, or bench.client without it; `again`: the requests go round.

    Raises RuntimeError when a request was not answered with success.
    """
    if shutil.which("wrk"):
        script, url = Path(__file__).with_name("post.lua"), f"http://127.0.0.1:{port}"
        words = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "--latency"]
        command = [*words, "-s", str(script), url, "--", str(requests), "again" if again else "once"]
    else:
        command = [sys.executable, "-m", "bench.client", "127.0.0.1", str(port), str(requests)]
        command += [str(connections), str(seconds), "again" if again else "once"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout
    found: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    if found["refused"] or found["broken"] or not found["answered"]:
        raise RuntimeError(f"not every delivery was answered with success: {found}")
    rate = found["answered"] / found["seconds"]
    return {"answered": rate, "p50": found["p50_ms"], "p99": found["p99_ms"], "count": found["answered"]}


def steady(port: int, requests: Path, rate: float) -> "subprocess.Popen[str]":
    """Sends each request at its time, however late the answers are; its last line is what bench.steady prints."""
    command = [sys.executable, "-m", "bench.steady", "127.0.0.1", str(port), str(requests), str(rate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
