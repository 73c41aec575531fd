"""`paidonce migrate`: brings the tables to the newest revision, from any directory."""

from pathlib import Path

import typer
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import migrations
from ops.database import connected
from ops.output import json_line, out

AsJson = typer.Option(False, "--json", help="Last line: one JSON object.")


def migrate(as_json: bool = AsJson) -> None:
    """Brings the tables to the newest revision. Safe to run twice, and by two releases at once."""
    with connected() as connection:
        revision = upgrade(connection)
    if as_json:
        json_line({"revision": revision})
    else:
        out.print(f"The tables are at revision {revision}.")


def upgrade(connection: Connection) -> str:
    """`alembic upgrade head` on `connection`; the revision. Needs no alembic.ini and no working directory."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def scripts() -> ScriptDirectory:
    """The revisions of this release."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    # The place is found by import; a % would be read as an interpolation.
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config
