"""What people and programs read: answers on standard output, progress and complaints on standard error."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import typer
from rich.console import Console

#: A file or a pipe has no width: nothing is folded there, so that lines can be searched.
_UNFOLDED = 1_000
#: Answers.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _UNFOLDED)
#: Progress, warnings, and the one line that says what is wrong.
err = Console(stderr=True, highlight=False, soft_wrap=True)


def json_line(shape: Mapping[str, Any] | Sequence[Any]) -> None:
    """`shape` as one line on standard output, always the last."""
    sys.stdout.write(json.dumps(shape, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def fail(message: str, code: int = 1) -> NoReturn:
    """One line for a person, and the exit code."""
    err.print(f"paidonce: {message}", style="red", markup=False)
    raise typer.Exit(code)


def rfc3339(moment: datetime | None) -> str | None:
    """UTC with a Z; None stays None."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
