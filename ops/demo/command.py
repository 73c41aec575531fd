"""`paidonce demo`: the whole house started, stormed, examined and taken down."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from ops.demo.report import report
from ops.demo.run import Plan, Result, play
from ops.embedded.interrupt import interruptible
from ops.embedded.place import occupied
from ops.embedded.stack import Addresses, running_stack
from ops.output import err, fail, json_line, out

Orders = typer.Option(200, min=1, help="Orders to pay, on four sandbox accounts in turn.")
Duplicates = typer.Option(3, min=1, help="How often each genuine notification is delivered.")
Forged = typer.Option(0.05, min=0.0, max=10.0, help="Forged deliveries on top, as a share of the genuine ones.")
Seed = typer.Option(1, help="The same seed draws the same orders, amounts and ids.")
Port = typer.Option(0, min=0, max=65535, help="Where the receiver listens; 0 takes a free one.")
Data = typer.Option(None, help="A directory to work in and keep. Default: a temporary one, removed.")
DatabaseUrl = typer.Option(None, hidden=True, help="Another PostgreSQL instead of the embedded one.")
BrokerUrl = typer.Option(None, hidden=True, help="Another broker instead of the embedded one.")
AsJson = typer.Option(False, "--json", help="Last line: one JSON object; the report goes to standard error.")


def demo(  # noqa: PLR0917 - typer passes options by name
    orders: int = Orders,
    duplicates: int = Duplicates,
    forged: float = Forged,
    seed: int = Seed,
    port: int = Port,
    data: Path | None = Data,
    database_url: str | None = DatabaseUrl,
    broker_url: str | None = BrokerUrl,
    as_json: bool = AsJson,
) -> None:
    """Starts everything, pays orders through it by real notifications, and shows what came of them."""
    plan = Plan(orders, duplicates, forged, seed)
    try:
        with interruptible(), _folder(data) as folder:
            result = _played(folder, Addresses(port, database_url, broker_url), plan)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    console = err if as_json else out
    for part in report(result):
        console.print(part)
    if as_json:
        json_line(result.figures())
    if not result.ok:
        raise typer.Exit(1)


def _played(folder: Path, addresses: Addresses, plan: Plan) -> Result:
    began = time.monotonic()
    err.print("starting database, receiver, worker and beat")
    with occupied(folder) as place, running_stack(place, addresses) as stack:
        result = play(stack, plan, began)
        if result.ok:
            stack.grace = 0.5  # nothing is under way; Celery's farewell to its queues takes seconds
        else:
            stack.show_logs()
        return result


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """`data`, which is kept, or a temporary directory."""
    if data is not None:
        yield data
        return
    folder = Path(tempfile.mkdtemp(prefix="paidonce-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
