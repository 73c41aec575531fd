"""The figures as docs/performance.md has them: a table between two marks, the same as JSON, and a picture."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import capacity
from bench.sizes import Sizes

_BEGIN, _END = "<!-- figures: written by python -m bench --write docs -->", "<!-- end of figures -->"

_MORE_IS_BETTER = ("1/s", "of 1")

Lines = list[dict[str, Any]]


def write(lines: Lines, sizes: Sizes, folder: Path) -> None:
    """Renews performance.json, the part of performance.md between its marks, and performance.png with matplotlib."""
    machine = _machine(sizes)
    (folder / "performance.json").write_text(json.dumps({**machine, "figures": lines}, indent=1) + "\n")
    _renew(folder / "performance.md", _table(lines, machine))
    if needs := capacity.table(lines, sizes.cost_rates):
        _renew(folder / "capacity.md", f"From the run at {machine['revision']} on {machine['day']}.\n\n{needs}")
    _picture(lines, folder / "performance.png")


def _renew(page: Path, said: str) -> None:
    """What is between the marks of `page`, which has them."""
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}\n\n{said}\n{_END}{after}")


def _machine(sizes: Sizes) -> dict[str, Any]:
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "revision": revision.stdout.strip() or "unknown",
        "day": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "rounds": sizes.rounds,
        "orders": sizes.orders,
    }


def _table(lines: Lines, machine: dict[str, Any]) -> str:
    said = (
        f"One run at {machine['revision']} on {machine['day']}: {machine['cores']} cores ({machine['machine']}),"
        f" Python {machine['python']}, {machine['rounds']} rounds, {machine['orders']:,} orders. Medians, in brackets"
        " the least and the most of the rounds.\n\n| figure | ours | peer | ratio | unit |\n|---|---|---|---|---|\n"
    )
    return said + "".join(
        f"| {each['name']} | {_value(each, 'ours')} | {_value(each, 'peer')} | {_ratio(each)} | {each['unit']} |\n"
        for each in lines
    )


def _value(line: dict[str, Any], side: str) -> str:
    value, spread = line[side], line[f"{side}_spread"]
    if value is None:
        return ""
    return _short(value) if spread[0] == spread[1] else f"{_short(value)} ({_short(spread[0])} .. {_short(spread[1])})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(line: dict[str, Any]) -> str:
    return "" if line["ratio"] is None else f"{line['ratio']:.2f}"


def _picture(lines: Lines, path: Path) -> None:
    """Every ratio on one logarithmic axis; to the right of 1 where more is better, to the left where less is."""
    from matplotlib.figure import Figure as Canvas

    shown = [line for line in reversed(lines) if line["ratio"]]
    canvas = Canvas(figsize=(10, 1.2 + 0.24 * len(shown)), layout="constrained")
    axes = canvas.subplots()
    good = [(line["ratio"] > 1) == (line["unit"] in _MORE_IS_BETTER) for line in shown]
    axes.barh(
        [line["name"] for line in shown],
        [line["ratio"] - 1 for line in shown],
        left=1,
        color=["#2a7f62" if better else "#b5533c" for better in good],
    )
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("ours by the peer's; green: better than the peer")
    axes.tick_params(axis="y", labelsize=8)
    canvas.savefig(path, dpi=110)
