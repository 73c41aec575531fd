"""What a look at one thing found."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: It works; somebody should know.
    WARNING = "warning"
    #: A promise does not hold, or nothing works.
    ERROR = "error"


class Finding(NamedTuple):
    """One line: what was looked at, and what was found and what to do. Never a secret."""

    name: str
    level: Level
    detail: str


def ok(name: str, detail: str) -> Finding:
    """As it should be."""
    return Finding(name, Level.OK, detail)


def warning(name: str, detail: str) -> Finding:
    """To be known."""
    return Finding(name, Level.WARNING, detail)


def error(name: str, detail: str) -> Finding:
    """To be mended."""
    return Finding(name, Level.ERROR, detail)


def first_line(reason: object) -> str:
    """What a library said, without its second line: that may quote a URL or a query."""
    return str(reason).strip().partition("\n")[0] or type(reason).__name__
