"""`paidonce up`: the embedded stack, left running."""

import shlex
import signal
from pathlib import Path

import typer

from ops.embedded.interrupt import interruptible
from ops.embedded.place import default_data, occupied
from ops.embedded.stack import Addresses, Stack, running_stack
from ops.output import err, json_line, out

Port = typer.Option(8000, min=0, max=65535, help="Where the receiver listens; 0 takes a free one.")
Data = typer.Option(None, help="The stack's directory. Default: paidonce under the user's data directory.")
DatabaseUrl = typer.Option(None, hidden=True, help="Another PostgreSQL instead of the embedded one.")
BrokerUrl = typer.Option(None, hidden=True, help="Another broker instead of the embedded one.")
AsJson = typer.Option(False, "--json", help="One JSON object when everything is ready.")


def up(
    port: int = Port,
    data: Path | None = Data,
    database_url: str | None = DatabaseUrl,
    broker_url: str | None = BrokerUrl,
    as_json: bool = AsJson,
) -> None:
    """Runs receiver, worker, beat, database and broker on this machine until Ctrl-C."""
    try:
        with (
            interruptible(),
            occupied(data or default_data()) as place,
            running_stack(place, Addresses(port, database_url, broker_url)) as stack,
        ):
            _announce(stack, as_json)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        err.print("stopped")


def _announce(stack: Stack, as_json: bool) -> None:
    if as_json:
        json_line({"url": stack.url, "data": str(stack.place.data), **stack.environ()})
        return
    export = " ".join(f"{name}={shlex.quote(value)}" for name, value in stack.environ().items())
    plan = "--orders 50 --duplicates 3 --reorder --forged 0.05"
    simulate = f"paidonce simulate --url {stack.url} {plan}"
    for line in (
        f"Paidonce is running; Ctrl-C stops it. Everything is in {stack.place.data}, logs in {stack.place.logs}.",
        f"Providers post to {stack.url}/notify/ACCOUNT; the accounts are in {stack.place.accounts}.",
        "",
        "In another terminal:",
        f"  export {export}",
        f"  curl -i {stack.url}/readyz",
        f"  {simulate} --orders-csv orders.csv --dry-run && paidonce orders import orders.csv",
        f"  {simulate}",
        "  paidonce audit",
    ):
        out.print(line, markup=False)
