"""`paidonce simulate`: real signed notifications over HTTP, as the providers send them, and forged ones."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops.orders_csv import write_orders
from ops.output import err, fail, json_line, out
from ops.simulator.http import Client
from ops.simulator.parcel import Parcel
from ops.simulator.run import PATIENCE, Outcome, Simulation
from ops.simulator.schedule import genuine_parcels, schedule
from ops.simulator.workload import draw_orders
from providers.accounts import load_accounts
from providers.dialect import Dialect
from worker.settings import settings

Url = typer.Option(None, help="The receiver: http://127.0.0.1:8000; /notify/ACCOUNT is put behind it.")
Account = typer.Option([], help="An account, or several with commas; may be repeated. Default: all of the file.")
Accounts = typer.Option(None, help="accounts.toml with keys that can sign. Default: PAIDONCE_ACCOUNTS.")
Orders = typer.Option(100, min=0, help="Orders to pay, dealt out to the accounts in turn.")
Duplicates = typer.Option(1, min=1, help="How often each genuine notification is delivered.")
Reorder = typer.Option(False, "--reorder", help="Shuffle everything.")
Forged = typer.Option(0.0, min=0.0, max=10.0, help="Forged deliveries on top, as a share of the genuine ones.")
Refunds = typer.Option(0.1, min=0.0, max=1.0, help="Share of the orders that are refunded too.")
Seed = typer.Option(1, help="The same seed draws the same orders, amounts and ids.")
Concurrency = typer.Option(32, min=1, max=1024, help="Connections.")
Patience = typer.Option(PATIENCE, min=0.0, help="Seconds after which a delivery is given up.")
OrdersCsv = typer.Option(None, help="Writes the orders that are paid, for `paidonce orders import`.")
JournalFile = typer.Option(None, "--journal", help="Appends a JSON line for each delivery answered with success.")
DryRun = typer.Option(False, "--dry-run", help="Write --orders-csv and send nothing.")
AsJson = typer.Option(False, "--json", help="Last line: one JSON object.")


def simulate(  # noqa: PLR0917 - typer passes options by name
    url: str | None = Url,
    account: list[str] = Account,
    accounts: Path | None = Accounts,
    orders: int = Orders,
    duplicates: int = Duplicates,
    reorder: bool = Reorder,
    forged: float = Forged,
    refunds: float = Refunds,
    seed: int = Seed,
    concurrency: int = Concurrency,
    patience: float = Patience,
    orders_csv: Path | None = OrdersCsv,
    journal: Path | None = JournalFile,
    dry_run: bool = DryRun,
    as_json: bool = AsJson,
) -> None:
    """Plays the providers. Exit code 1 if a forged delivery got in, or a genuine notification never did."""
    dialects = chosen(load_accounts(accounts or settings().accounts, os.environ), account)
    drawn = draw_orders(dialects, orders, seed, refunds)
    parcels = genuine_parcels(drawn, seed)
    planned = schedule(parcels, duplicates=duplicates, reorder=reorder, forged=forged, seed=seed)
    check_signing(parcels)
    if orders_csv is not None:
        write_orders(orders_csv, (order.row() for order in drawn))
    outcome = Outcome() if dry_run else send(checked(url), planned, concurrency, patience, journal)
    facts = summary(orders, parcels, planned, outcome)
    json_line(facts) if as_json else out.print(table(facts))
    if facts["forged_accepted"] or facts["gave_up"]:
        raise typer.Exit(1)


def chosen(dialects: Mapping[str, Dialect], names: Sequence[str]) -> list[Dialect]:
    """The accounts of these names, in this order; every account where none is named."""
    wanted = [name.strip() for each in names for name in each.split(",") if name.strip()] or sorted(dialects)
    unknown = [name for name in wanted if name not in dialects]
    if unknown:
        fail(f"accounts.toml has no account {', '.join(unknown)}; it has {', '.join(sorted(dialects))}", 2)
    return [dialects[name] for name in dict.fromkeys(wanted)]


def checked(url: str | None) -> str:
    """A usable URL, or the end of the command."""
    if url is None:
        fail("--url is needed: where the receiver listens", 2)
    try:
        Client(url)
    except ValueError as error:
        fail(str(error), 2)
    return url


def check_signing(parcels: Sequence[Parcel]) -> None:
    """Signs once for each account. Raises ConfigurationError where a key is missing, before anything is sent."""
    for parcel in {parcel.dialect.account: parcel for parcel in parcels}.values():
        parcel.dialect.sign(parcel.notice, 1.0)


def send(
    url: str, planned: Sequence[Parcel], concurrency: int, patience: float = PATIENCE, journal: Path | None = None
) -> Outcome:
    """Sends the schedule, with a progress bar where somebody looks."""
    with ExitStack() as closing:
        try:
            log = closing.enter_context(journal.open("a", encoding="utf-8")) if journal else None
        except OSError as error:
            fail(f"{journal} cannot be written: {error.strerror}")
        advance = closing.enter_context(progress_bar("deliveries", len(planned)))
        return asyncio.run(Simulation(url, concurrency, patience, log).run(planned, advance))


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], Any]]:
    """On a terminal a bar on standard error; elsewhere nothing."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def summary(orders: int, parcels: Sequence[Parcel], planned: Sequence[Parcel], outcome: Outcome) -> dict[str, Any]:
    """The figures. `genuine` and `forged` are what was planned; `deliveries` counts redeliveries after errors too."""
    forged = sum(1 for parcel in planned if parcel.forged)
    return {
        "deliveries": outcome.deliveries,
        "answers": dict(sorted(outcome.answers.items())),
        "orders": orders,
        "notifications": len(parcels),
        "genuine": len(planned) - forged,
        "forged": forged,
        "accepted": outcome.accepted.total(),
        "forged_refused": outcome.forged_refused,
        "forged_accepted": outcome.forged_accepted,
        "gave_up": len(outcome.gave_up),
        "seconds": round(outcome.seconds, 3),
    }


def table(facts: Mapping[str, Any]) -> Table:
    """The figures for people."""
    rows = Table(show_header=False)
    for name, value in facts.items():
        answers = value.items() if isinstance(value, dict) else ()
        shown = ", ".join(f"{count} x {status}" for status, count in answers) if answers else value
        rows.add_row(name.replace("_", " "), str(shown))
    return rows
