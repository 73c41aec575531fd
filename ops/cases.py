"""`paidonce cases`: what a person has to see, and the note that settles it."""

from typing import Any

import typer
from rich.table import Table
from sqlalchemy import Select, func, select, update

from models.case import cases
from ops.database import connected, snapshot
from ops.output import fail, json_line, out, rfc3339

All = typer.Option(False, "--all", help="The resolved ones too.")
AsJson = typer.Option(False, "--json", help="Last line: one JSON array, or object.")
Id = typer.Argument(help="The case's number.")
Note = typer.Option(..., help="What was found and done; it stays with the case.")

c = cases.c


def list_cases(everything: bool = All, as_json: bool = AsJson) -> None:
    """Lists the open cases, oldest first."""
    with snapshot() as connection:
        rows = connection.execute(_wanted(everything)).all()
    if as_json:
        json_line([case_shape(row) for row in rows])
        return
    table = Table("id", "kind", "status", "account", "order", "reason", "notification", "opened", "note")
    for row in rows:
        opened = rfc3339(row.opened_at)
        cells = (row.id, row.kind, row.status, row.account, row.order_no or "", row.reason, row.notification_id)
        table.add_row(*map(str, cells), opened, row.note)
    out.print(table if rows else "No case is open." if not everything else "There is no case.")


def resolve_case(number: int = Id, note: str = Note, as_json: bool = AsJson) -> None:
    """Marks an open case as resolved."""
    if not note.strip():
        fail("a case is resolved with a note: what was found and done?", 2)
    with connected() as connection:
        found = connection.execute(
            update(cases)
            .where(c.id == number, c.status == "open")
            .values(status="resolved", resolved_at=func.now(), note=note)
            .returning(cases)
        ).one_or_none()
        known = found or connection.execute(select(cases).where(c.id == number)).one_or_none()
        connection.commit()
    if found is None:
        fail(f"case {number} is resolved already: {known.note}" if known else f"there is no case {number}")
    if as_json:
        json_line(case_shape(found))
    else:
        out.print(f"Case {number} ({found.kind}) is resolved.")


def case_shape(row: Any) -> dict[str, Any]:
    """A case for programs; times RFC 3339."""
    return {
        "id": row.id,
        "kind": row.kind,
        "status": row.status,
        "account": row.account,
        "order_no": row.order_no,
        "notification_id": row.notification_id,
        "opened_at": rfc3339(row.opened_at),
        "reason": row.reason,
        "resolved_at": rfc3339(row.resolved_at),
        "note": row.note,
    }


def _wanted(everything: bool) -> Select[Any]:
    statement = select(cases).order_by(c.opened_at, c.id)
    return statement if everything else statement.where(c.status == "open")
