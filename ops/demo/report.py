"""The demo's result for people."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ops.audit import INVARIANTS
from ops.demo.run import Result


def report(result: Result) -> Iterator[RenderableType]:
    """A table and a verdict."""
    figures, outcome, found = result.figures(), result.outcome, result.evidence
    table = Table(show_header=False)

    def row(name: str, value: object, remark: str) -> None:
        table.add_row(name, str(value), remark)

    answers = ", ".join(f"{count} x {status}" for status, count in sorted(outcome.answers.items()))
    row("deliveries", figures["deliveries"], f"answered {answers}")
    row("accepted", figures["accepted"], "genuine, each notification several times and out of order")
    row("refused", figures["refused"], f"forged; {outcome.forged_accepted} forged ones got in")
    for status, count in found.statuses.items():
        row(status, count, "notifications, each exactly once" if status == "applied" else "notifications, in the end")
    row("duplicates", found.duplicates, "answered with success, changed nothing")
    row("were parked", result.parked, "came before their order, applied when it came")
    row("cases", found.cases, "for a person")
    row("lost", found.lost, "answered with success and gone")
    row("double_applied", found.double_applied, "effects beyond those that were accepted")
    row("short", found.short, "orders that hold less than was accepted for them")
    row("invariants", _invariants(result), "")
    yield table
    yield _verdict(result)


def _invariants(result: Result) -> str:
    names = {invariant.name: invariant.sentence for invariant in INVARIANTS}
    red = [f"{name} broken {count} times: {names[name]}" for name, count in result.broken.items() if count]
    return "; ".join(red) or f"all {len(names)} hold"


def _verdict(result: Result) -> Text:
    orders, seconds = result.plan.orders, result.seconds
    if result.ok:
        kept = "lost 0, double_applied 0"
        return Text(f"{orders} orders, every one paid exactly once, in {seconds:.1f} s: {kept}.", "bold green")
    if not result.settled:
        return Text(f"Not settled after {seconds:.1f} s: something is stuck.", "bold red")
    return Text("The promise is broken: see above.", "bold red")
