"""`paidonce doctor`: whether everything is set up as the promise needs it."""

import typer

from ops.doctor.examination import examine
from ops.doctor.finding import Finding, Level
from ops.output import json_line, out

AsJson = typer.Option(False, "--json", help="Last line: one JSON object.")
STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def doctor(as_json: bool = AsJson) -> None:
    """Looks at settings, accounts and servers; exit code 1 if something must be mended. Changes nothing."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            tell(finding)
    well = all(finding.level is not Level.ERROR for finding in findings)
    if as_json:
        json_line({"ok": well, "findings": [finding._asdict() for finding in findings]})
    if not well:
        raise typer.Exit(1)


def tell(finding: Finding) -> None:
    """One line."""
    out.print(f"{finding.level:8}", style=STYLES[finding.level], end="")
    out.print(f"{finding.name:24} {finding.detail}", markup=False)
