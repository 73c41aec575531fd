"""How long rows must be kept: a purged notification must not come back."""

from collections.abc import Mapping
from datetime import timedelta

from domain.errors import ConfigurationError
from providers.dialect import Dialect


def deadline(dialect: Dialect, everywhere: float | None) -> timedelta:
    """How long a notification of the account may wait to be applied; `everywhere`: seconds for all accounts."""
    return dialect.expires_after if everywhere is None else timedelta(seconds=everywhere)


def check_retention(
    dialects: Mapping[str, Dialect], status_days: int, payload_days: int, everywhere: float | None
) -> None:
    """Refuses settings under which a purged notification could come back. Raises ConfigurationError.

    The ledger's key would still stop a second effect; but its history and its case would be gone.
    """
    for name, dialect in sorted(dialects.items()):
        if timedelta(days=status_days) <= dialect.horizon.longest:
            raise ConfigurationError(
                "PAIDONCE_STATUS_RETENTION_DAYS", name, f"{dialect.provider} redelivers for {dialect.horizon.longest}"
            )
        waits = deadline(dialect, everywhere)
        if timedelta(days=payload_days) <= waits:
            raise ConfigurationError("PAIDONCE_PAYLOAD_RETENTION_DAYS", name, f"waits for {waits} before it expires")
