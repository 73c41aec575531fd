"""What every task of this process works with, made at first use and never before a fork."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from celery.signals import beat_init, celeryd_init
from sqlalchemy import Engine

from domain.errors import ConfigurationError
from providers.accounts import load_accounts
from providers.dialect import Dialect
from worker.database import engine
from worker.lock import OrderLock
from worker.settings import Settings, settings


@dataclass(frozen=True)
class Context:
    """Settings, engine, merchant accounts, and the optional order lock."""

    settings: Settings
    engine: Engine
    dialects: Mapping[str, Dialect]
    lock: OrderLock | None = None

    @property
    def patience(self) -> float:
        """Seconds to wait for an absent database."""
        return self.settings.database_patience_seconds

    def hold(self, orders: set[tuple[str, str]]) -> AbstractContextManager[Any]:
        """The order lock, where one is configured."""
        return self.lock.hold(orders) if self.lock else nullcontext()


@cache
def context() -> Context:
    """This process's context. Raises ConfigurationError."""
    own = settings()
    dialects = load_accounts(own.accounts, os.environ)
    lock = OrderLock(own.lock_url, own.lock_ttl_seconds, own.broker_prefix) if own.lock_url else None
    return Context(own, engine(), dialects, lock)


def check_retention(own: Settings, dialects: Mapping[str, Dialect]) -> None:
    """Refuses settings under which a purged notification could come back. Raises ConfigurationError.

    The ledger's key would still stop a second effect; but its history and its case would be gone.
    """
    kept = timedelta(days=own.status_retention_days)
    for name, dialect in sorted(dialects.items()):
        if kept <= dialect.horizon:
            raise ConfigurationError(
                "PAIDONCE_STATUS_RETENTION_DAYS", name, f"{dialect.provider} redelivers for {dialect.horizon.days} days"
            )
    if timedelta(days=own.payload_retention_days) <= timedelta(seconds=own.expires_after_seconds):
        raise ConfigurationError("PAIDONCE_PAYLOAD_RETENTION_DAYS", "shorter than PAIDONCE_EXPIRES_AFTER_SECONDS")


@celeryd_init.connect
@beat_init.connect
def _refuse_to_start(**_: Any) -> None:
    try:
        own = settings()
        check_retention(own, load_accounts(own.accounts, os.environ))
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
