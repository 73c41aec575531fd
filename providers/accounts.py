"""accounts.toml: the merchant accounts, each as its dialect with its keys. docs/accounts.md is the reference."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domain.errors import ConfigurationError
from providers.account_table import AccountTable
from providers.dialect import Dialect
from providers.references import Resolve, resolver
from providers.registry import DIALECTS

#: It stands in a URL, in metrics and in lock names.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

#: The keys that every table may hold beside those of its dialect; docs/accounts.md names each of them.
EVERY = frozenset({"provider", "live", "expires_after_seconds"})


def load_accounts(path: Path, environ: Mapping[str, str]) -> dict[str, Dialect]:
    """The accounts of the file at `path`, by name. Raises ConfigurationError, which never shows a secret."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError:
        # From None, and without its message: it may quote the line.
        raise ConfigurationError(str(path), "is not TOML") from None
    return read_accounts(table, resolver(path.parent, environ))


def read_accounts(table: Mapping[str, Any], resolve: Resolve) -> dict[str, Dialect]:
    """The accounts of a parsed accounts.toml; `resolve` gives the bytes of a reference. Raises ConfigurationError."""
    accounts = table.get("accounts")
    if table.keys() != {"accounts"} or not isinstance(accounts, dict) or not accounts:
        raise ConfigurationError("accounts.toml holds [accounts.<name>] tables, at least one, and nothing else")
    return {name: _account(name, members, resolve) for name, members in accounts.items()}


def _account(name: str, members: object, resolve: Resolve) -> Dialect:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"accounts.{name!r}", "a name is made of a-z, 0-9, _ and -, at most 63 of them")
    if not isinstance(members, dict):
        raise ConfigurationError(f"accounts.{name}", "must be a table")
    table = AccountTable(name, members, resolve)
    provider = table.text("provider")
    if provider not in DIALECTS:
        raise ConfigurationError(table.place("provider"), "must be one of", *sorted(DIALECTS))
    table.only(EVERY | DIALECTS[provider].keys)
    return DIALECTS[provider].build(table, table.flag("live", True))
