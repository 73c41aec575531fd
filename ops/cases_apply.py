"""`paidonce cases apply`: a person overrules the clock, or the state of the order, and never the money."""

import time
from typing import Any

import typer
from sqlalchemy import Connection, select

from domain.verdict import Verdict
from models.case import cases
from models.case_action import record_action
from models.notification import RECEIVED, lock_copy, notifications, overrule
from ops.cases import AsJson, By, Id, Note, case_shape, check_note, open_case
from ops.database import connected
from ops.output import fail, json_line, out

Wait = typer.Option(15.0, help="Seconds to wait for the worker's verdict.")

#: Why the others cannot be applied, and what to do instead.
_REFUSED = {
    Verdict.CONFLICT: "the first copy stands; decide by the two payloads, then close the case",
    Verdict.DUPLICATE_PAYMENT: "a paid order takes no second payment: refund it at the provider, then close the case",
}
_STEP = 0.2


def apply_anyway(number: int = Id, note: str = Note, by: str = By, wait: float = Wait, as_json: bool = AsJson) -> None:
    """Has a case's notification applied after all: late, or given up. Amounts and accounts are checked as ever."""
    check_note(note)
    with connected() as connection:
        row_id = _overrule(connection, number, by, note)
    settled = _verdict(row_id, wait)
    with connected() as connection:
        case = connection.execute(select(cases).where(cases.c.id == number)).one()
    if as_json:
        json_line({"case": case_shape(case), "verdict": settled.status, "reason": settled.reason})
    _tell(number, case, settled, wait)


def _overrule(connection: Connection, number: int, by: str, note: str) -> int:
    """Marks the notification; its id. The row is locked before the case, as the worker locks."""
    seen = connection.execute(select(cases).where(cases.c.id == number)).one_or_none()
    row = lock_copy(connection, seen.provider, seen.account, seen.notification_id, seen.digest) if seen else None
    case = open_case(connection, number)
    if case.kind in _REFUSED:
        fail(f"a {case.kind} cannot be applied: {_REFUSED[case.kind]}")
    if row is None:
        fail("what it speaks of was never verified or could not be read: there is nothing to apply; close the case")
    if row.status != case.kind:
        fail(f"its notification is {row.status} ({row.reason}) by now")
    overrule(connection, row.id)
    record_action(connection, number, by, "apply", note)
    connection.commit()
    return int(row.id)


def _verdict(row_id: int, wait: float) -> Any:
    deadline = time.monotonic() + wait
    while True:
        with connected() as connection:
            row = connection.execute(select(notifications).where(notifications.c.id == row_id)).one()
        if row.status != RECEIVED or time.monotonic() > deadline:
            return row
        time.sleep(_STEP)


def _tell(number: int, case: Any, settled: Any, wait: float) -> None:
    if settled.status == RECEIVED:
        out.print(f"Case {number}: no worker took it up in {wait:g} s; it is applied as soon as one runs.")
    elif case.status == "resolved":
        out.print(f"Case {number} is resolved: {settled.status} ({settled.reason}).")
    else:
        fail(f"case {number} stays open: {settled.status} ({settled.reason})")
