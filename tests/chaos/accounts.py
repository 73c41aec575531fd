"""Stripe sandbox accounts for whole runs: accounts.toml for our processes, dialects for the side that signs."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from providers.accounts import load_accounts
from providers.stripe import Stripe


def sandbox_accounts(folder: Path, names: Sequence[str], more: str = "") -> tuple[dict[str, str], dict[str, Stripe]]:
    """Writes `folder`/accounts.toml; the environment that our processes need, and each account's dialect.

    `more`: further lines of every account's table. The secrets are made here and live in that environment only.
    """
    environment = {"PAIDONCE_ACCOUNTS": str(folder / "accounts.toml")}
    tables = []
    for name in names:
        variable = f"SECRET_OF_{name.upper().replace('-', '_')}"
        environment[variable] = f"whsec_{secrets.token_hex(16)}"
        tables.append(f'[accounts.{name}]\nprovider = "stripe"\nsecrets = ["env:{variable}"]\nlive = false\n{more}')
    path = folder / "accounts.toml"
    path.write_text("\n".join(tables))
    dialects = load_accounts(path, environment)
    return environment, {name: found for name, found in dialects.items() if isinstance(found, Stripe)}
