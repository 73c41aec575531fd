"""`paidonce cases ask`: what the provider itself says about a case's notification."""

import os

from sqlalchemy import select

from models.case import cases
from models.case_action import record_action
from models.notification import event_of, lock_copy
from ops.cases import AsJson, By, Id
from ops.database import connected
from ops.output import fail, json_line, out
from providers.accounts import load_accounts
from worker.inquiry import ask
from worker.settings import settings


def ask_provider(number: int = Id, by: str = By, as_json: bool = AsJson) -> None:
    """Asks the provider whether a case's notification is true. Changes nothing; the answer is kept with the case."""
    with connected() as connection:
        case = connection.execute(select(cases).where(cases.c.id == number)).one_or_none()
        if case is None:
            fail(f"there is no case {number}")
        row = lock_copy(connection, case.provider, case.account, case.notification_id, case.digest)
    if row is None:
        fail("what it speaks of was never verified, or its copy is not the one that counts")
    dialect = load_accounts(settings().accounts, os.environ).get(row.account)
    if dialect is None:
        fail(f"account {row.account} is not in accounts.toml")
    finding = ask(dialect, event_of(row))
    if finding is None:
        fail("the provider cannot be asked: no `query` credentials for the account, or no question for this kind")
    with connected() as connection:
        record_action(connection, number, by, "ask", f"{finding.testimony.value}: {finding.detail}")
        connection.commit()
    if as_json:
        json_line({"case_id": number, "testimony": finding.testimony.value, "detail": finding.detail})
    else:
        out.print(f"Case {number}: the provider's word is {finding.testimony.value} ({finding.detail}).")
