"""`paidonce audit`: whether everything is as promised."""

import typer
from rich.table import Table

from ops.audit.run import INVARIANTS, Row, examine
from ops.database import snapshot
from ops.output import json_line, out

#: Rows named for each broken invariant; the count says how many there are.
EXAMPLES = 3

AsJson = typer.Option(False, "--json", help="Last line: one JSON object.")
Drained = typer.Option(False, "--drained", help="The queues are empty and nothing runs: excuse nothing.")


def audit(as_json: bool = AsJson, drained: bool = Drained) -> None:
    """Checks every invariant in one snapshot; exit code 1 if one is broken. Safe while everything runs."""
    with snapshot() as connection:
        found = examine(connection, drained=drained)
    broken = any(found.values())
    if as_json:
        json_line({"ok": not broken, "violations": {name: len(rows) for name, rows in found.items()}})
    else:
        out.print(report(found))
    if broken:
        raise typer.Exit(1)


def report(found: dict[str, list[Row]]) -> Table:
    """A line for each invariant, with examples of what breaks it."""
    table = Table("", "invariant", "violations", "for example")
    for invariant in INVARIANTS:
        rows = found[invariant.name]
        examples = "; ".join(" ".join(map(str, row)) for row in rows[:EXAMPLES])
        style = "red" if rows else "green"
        table.add_row(invariant.name, invariant.sentence, f"[{style}]{len(rows)}[/]", examples)
    return table
