"""The command `paidonce`: a table of contents. Each command stands in the file of its name."""

from typing import Any

import typer
from typer.core import TyperGroup

from ops.audit.command import audit
from ops.cases import close_by_hand, list_cases
from ops.cases_apply import apply_anyway
from ops.cases_ask import ask_provider
from ops.demo.command import demo
from ops.doctor.command import doctor
from ops.embedded.up import up
from ops.explain import explain
from ops.foreseen import foreseen
from ops.metrics import metrics
from ops.migrate import migrate
from ops.orders_import import import_orders
from ops.replay import replay
from ops.simulator.command import simulate


class Polite(TyperGroup):
    """Says what was foreseeable in one line."""

    def invoke(self, ctx: Any) -> Any:
        """Every command runs inside this."""
        with foreseen():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Polite,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Applies every payment notification to its order exactly once, or shows it to a person with its reason.",
)
orders = typer.Typer(no_args_is_help=True, help="The orders we protect.")
cases = typer.Typer(no_args_is_help=True, help="What a person has to see.")

app.command()(audit)
app.command()(demo)
app.command()(doctor)
app.command()(explain)
app.command()(metrics)
app.command()(migrate)
app.command()(replay)
app.command()(simulate)
app.command()(up)
app.add_typer(orders, name="orders")
orders.command("import")(import_orders)
app.add_typer(cases, name="cases")
cases.command("list")(list_cases)
cases.command("apply")(apply_anyway)
cases.command("ask")(ask_provider)
cases.command("close")(close_by_hand)
