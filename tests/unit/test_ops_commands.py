"""The command line and its page say the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ops.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command with its full name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


EVERY = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", EVERY)
def test_every_command_is_on_the_page(name: str) -> None:
    """A command that nobody can read about does not exist."""
    assert f"`paidonce {name}" in PAGE.read_text("utf-8")


@pytest.mark.parametrize("name", EVERY)
def test_every_option_is_on_the_page(name: str) -> None:
    """With two dashes, as it is typed; hidden ones are for tests."""
    options = [
        option
        for parameter in EVERY[name].params
        if parameter.param_type_name == "option" and not parameter.hidden
        for option in parameter.opts
    ]

    assert [option for option in options if option not in PAGE.read_text("utf-8")] == []


@pytest.mark.parametrize("name", EVERY)
def test_every_command_says_what_it_does(name: str) -> None:
    """`--help` works without settings and without servers."""
    result = CliRunner().invoke(app, [*name.split(), "--help"])

    assert result.exit_code == 0
    assert EVERY[name].help


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["simulate", "--dry-run", "--accounts", "{folder}/accounts.toml"], "cannot be read"),
        (["simulate", "--accounts", "{folder}/good.toml"], "--url is needed"),
        (["simulate", "--url", "teapot", "--accounts", "{folder}/good.toml"], "no http:// or https:// URL"),
        (["simulate", "--account", "kettle", "--accounts", "{folder}/good.toml"], "no account kettle; it has teapot"),
        (
            ["simulate", "--dry-run", "--accounts", "{folder}/good.toml", "--orders-csv", "{folder}/no/orders.csv"],
            "/no/orders.csv: No such file or directory",
        ),
    ],
)
def test_what_a_person_mistypes_is_said_in_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    """No traceback, and an exit code that is not 0."""
    (tmp_path / "good.toml").write_text(
        '[accounts.teapot]\nprovider = "stripe"\nsecrets = ["file:secret"]\nlive = false\n'
    )
    (tmp_path / "secret").write_text("whsec_uncommon_walrus_of_the_sea")

    result = CliRunner().invoke(app, [word.format(folder=tmp_path) for word in words])

    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
