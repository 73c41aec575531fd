"""`python -m tests.chaos --profile smoke --seed 1`: the whole stack under load and under faults, then the accounts.

The last line on standard output is one JSON object; exit code 1 when anything is lost, doubled, forged or broken.
"""

import argparse
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .guard import guarded
from .processes import ROOT
from .profiles import PROFILES
from .run import DRAIN, GIVE_UP, Outcome, Run
from .servers import ServerMissing
from .soak import soak

#: Seconds beside a profile's span in which everything must be over; then the run is ended and counts as red.
SPARE = 420 + GIVE_UP
#: Exit code when a server that the run needs cannot be started here.
NO_SERVER = 2


def main() -> int:
    """Runs one seed."""
    options = _options()
    if options.profile == "soak":
        return soak(options.seed, options.broker, options.minutes, say)
    profile = PROFILES[options.profile]
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="paidonce-chaos-"))
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupted)
    signal.alarm(int(profile.span + SPARE))
    keep = False
    try:
        with guarded(folder):
            run = Run(options.seed, options.broker, profile, folder, say)
            say(f"profile {options.profile}, seed {options.seed}, broker {options.broker}, revision {revision()}")
            outcome = run.go()
        signal.alarm(0)
        is_clean = _is_clean(outcome)
        keep = not is_clean
        if keep:
            (folder / "findings.json").write_text(json.dumps(dataclasses.asdict(outcome.found), indent=2, default=str))
        tell(outcome)
        report = _report(options, run, outcome, seconds=time.monotonic() - began)
        sys.stdout.write(json.dumps(report) + "\n")
        return 0 if is_clean else 1
    except ServerMissing as why:
        say(f"chaos: {why}")
        return NO_SERVER
    except RuntimeError as why:
        say(f"chaos: {why}")
        keep = True
        return 1
    finally:
        if keep:
            say(f"seed {options.seed}, {options.profile}, {options.broker}: logs and findings in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _interrupted(number: int, _: object) -> None:
    """Ends the run by way of every `finally`."""
    signal.alarm(0)
    if number == signal.SIGALRM:
        raise RuntimeError("the run took too long")
    raise SystemExit(128 + number)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--profile", choices=[*PROFILES, "soak"], default="smoke")
    parser.add_argument("--seed", type=int, default=1, help="decides workload, schedule and victims")
    parser.add_argument("--broker", choices=("rabbitmq", "redis", "pgmq"), default="rabbitmq")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long a soak takes")
    return parser.parse_args()


def _is_clean(outcome: Outcome) -> bool:
    return outcome.found.is_clean and not outcome.unacknowledged and outcome.drain_seconds <= DRAIN


def tell(outcome: Outcome) -> None:
    """For people."""
    found = outcome.found
    for kind, count in sorted(outcome.struck.done.items()):
        say(f"{count:5}  {kind}")
    broken = {name: rows for name, rows in found.invariants.items() if rows}
    counts = f"lost {len(found.lost)}, double applied {len(found.double_applied)}"
    say(f"{counts}, forged accepted {len(found.forged_accepted)}")
    say(f"drained in {outcome.drain_seconds} s; invariants {'broken: ' + str(broken) if broken else 'hold'}")
    say(f"safety looked at {outcome.looks} times under faults, broken {len(found.breaches)}")


def _report(options: argparse.Namespace, run: Run, outcome: Outcome, *, seconds: float) -> dict[str, Any]:
    found, struck = outcome.found, outcome.struck
    return {
        "profile": options.profile,
        "seed": options.seed,
        "broker": options.broker,
        "revision": revision(),
        "notifications": run.workload.notifications,
        "acknowledged": outcome.acknowledged,
        "deliveries": outcome.deliveries,
        "answers": outcome.answers,
        "faults": dict(sorted(struck.done.items())),
        "faults_left_out": dict(sorted(struck.left_out.items())),
        "faults_survived": struck.done.total() if _is_clean(outcome) else 0,
        "died_alone": outcome.died_alone,
        "did_not_end": outcome.did_not_end,
        "unacknowledged": outcome.unacknowledged,
        "lost": len(found.lost),
        "double_applied": len(found.double_applied),
        "under_applied": len(found.under_applied),
        "forged_accepted": len(found.forged_accepted),
        "unsettled": len(found.unsettled),
        "poison_missing": len(found.poison_missing),
        "poison_messages": len(run.written),
        "not_quarantined": len(found.not_quarantined),
        "given_up": len(found.given_up),
        "told": outcome.told,
        "untold": len(found.untold),
        "told_too_early": len(found.told_too_early),
        "cases": found.cases,
        "invariants": found.invariants,
        "safety_looks": outcome.looks,
        "safety_breaches": sorted(found.breaches),
        "drain_seconds": outcome.drain_seconds,
        "seconds": round(seconds, 1),
    }


def revision() -> str:
    """The commit that is tested; with a plus where the files differ from it."""
    end = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return end.stdout.strip() or "unknown"


def say(line: str) -> None:
    """For people."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
