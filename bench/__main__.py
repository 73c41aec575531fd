"""`python -m bench [figure ...]`: one JSON object per figure on standard output, progress on standard error."""

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import age, capacity, doors, drains, floor, flow, report, servers, tables
from bench.figure import Figure, Measure, is_whole, line, run_rounds
from bench.sizes import FULL, QUICK, Sizes
from bench.stage import Stage
from tests.chaos.guard import guarded
from tests.chaos.servers import ServerMissing


def main() -> int:
    """Measures; 1 when a server is missing or a figure could not be measured, 2 for a word that no figure has."""
    options = _options()
    # As Ctrl-C: databases, vhosts and processes end with the run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.own_servers:
        try:
            return servers.run_again([word for word in sys.argv[1:] if word != "--own-servers"])
        except ServerMissing as why:
            print(f"bench: {why}", file=sys.stderr)
            return 1
    sizes = QUICK if options.quick else FULL
    sizes = dataclasses.replace(sizes, orders=options.orders or sizes.orders, rounds=options.rounds or sizes.rounds)
    wanted = [figure for figure in figures(sizes) if _is_asked(figure, options.figures)]
    if unknown := [word for word in options.figures if not any(word in figure.name for figure in wanted)]:
        print(f"bench: no figure has {unknown[0]!r} in its name", file=sys.stderr)
        return 2
    if missing := floor.pgbench_is_missing():
        skipped = [figure for figure in wanted if "pgbench" in figure.needs()]
        print(f"skipped, {missing}: {[figure.name for figure in skipped]}", file=sys.stderr)
        wanted = [figure for figure in wanted if figure not in skipped]
    try:
        found = _measure(sizes, wanted)
    except (ServerMissing, RuntimeError) as why:
        print(f"bench: {why}", file=sys.stderr)
        return 1
    if options.write and found:
        report.write(found, sizes, options.write)
    for each in found:
        print(json.dumps(each), flush=True)
    return 0 if len(found) == len(wanted) else 1


def figures(sizes: Sizes) -> list[Figure]:
    """Every figure there is."""
    return [
        *doors.figures(),
        *drains.figures(),
        *flow.figures(),
        *capacity.figures(sizes.cost_rates),
        *age.figures(sizes),
    ]


def _measure(sizes: Sizes, wanted: list[Figure]) -> list[dict[str, Any]]:
    """Databases, vhost, processes: everything that the measurements need, and nothing of it stays."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paidonce-bench-")))
        stack.enter_context(guarded(folder))
        stage = Stage(sizes, stack, folder)
        measures: list[Measure] = [
            *drains.measures(stage),
            *flow.measures(stage),
            *capacity.measures(stage),
            *doors.measures(stage),
            *tables.measures(stage),
            *age.measures(stage),
        ]
        values = run_rounds(measures, wanted, sizes.rounds)
    return [line(figure, values) for figure in wanted if is_whole(figure, values)]


def _is_asked(figure: Figure, words: list[str]) -> bool:
    return not words or any(word in figure.name for word in words)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("figures", nargs="*", help="only those with one of these words in their name")
    parser.add_argument("--orders", type=int, help=f"orders in each table, {FULL.orders} unless told")
    parser.add_argument("--rounds", type=int, help=f"rounds, of which the median counts, {FULL.rounds} unless told")
    parser.add_argument("--quick", action="store_true", help="small numbers, one round: the shape, not the speed")
    parser.add_argument("--own-servers", action="store_true", help="PostgreSQL, RabbitMQ and Redis for this run alone")
    parser.add_argument("--write", type=Path, metavar="DIR", help="performance.md, .json and .png there are renewed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
