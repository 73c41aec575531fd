"""`paidonce cases list | close`: what a person has to see, and the note that settles it."""

import getpass
from typing import Any

import typer
from rich.table import Table
from sqlalchemy import Connection, Select, select

from models.case import cases, close_case, lock_case
from models.case_action import record_action
from ops.database import connected, snapshot
from ops.output import fail, json_line, out, rfc3339

All = typer.Option(False, "--all", help="The resolved ones too.")
AsJson = typer.Option(False, "--json", help="Last line: one JSON array, or object.")
Id = typer.Argument(help="The case's number.")
Note = typer.Option(..., help="What was found and done; it stays with the case.")
By = typer.Option(default_factory=getpass.getuser, help="Who says so; the login name unless told.", show_default=False)

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
        why = row.detail or row.reason
        cells = (row.id, row.kind, row.status, row.account, row.order_no or "", why, row.notification_id)
        table.add_row(*map(str, cells), opened, row.note)
    out.print(table if rows else "No case is open." if not everything else "There is no case.")


def close_by_hand(number: int = Id, note: str = Note, by: str = By, as_json: bool = AsJson) -> None:
    """Closes an open case with a note: nothing is applied."""
    check_note(note)
    with connected() as connection:
        open_case(connection, number)
        closed = close_case(connection, number, note)
        record_action(connection, number, by, "close", note)
        connection.commit()
    if as_json:
        json_line(case_shape(closed))
    else:
        out.print(f"Case {number} ({closed.kind}) is closed.")


def open_case(connection: Connection, number: int) -> Any:
    """The open case of this number, its row locked; ends the command where there is none."""
    found = lock_case(connection, number)
    if found is None:
        fail(f"there is no case {number}")
    if found.status != "open":
        fail(f"case {number} is resolved already: {found.note or found.resolution}")
    return found


def check_note(note: str) -> None:
    """Ends the command without a note."""
    if not note.strip():
        fail("a case is settled with a note: what was found and done?", 2)


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
        "detail": row.detail,
        "resolved_at": rfc3339(row.resolved_at),
        "resolution": row.resolution,
        "note": row.note,
    }


def _wanted(everything: bool) -> Select[Any]:
    statement = select(cases).order_by(c.opened_at, c.id)
    return statement if everything else statement.where(c.status == "open")
