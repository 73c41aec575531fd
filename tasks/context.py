"""What every task of this process works with, made at first use and never before a fork."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

from celery.signals import beat_init, celeryd_init
from sqlalchemy import Engine

from domain.errors import ConfigurationError
from providers import retention
from providers.accounts import load_accounts
from providers.dialect import Dialect
from tasks.handlers import Handler, load_handlers
from worker import failpoint
from worker.broker import refuse_overrides
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
    #: The shop's own code, by event name.
    handlers: Mapping[str, Sequence[Handler]] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        """Seconds to wait for an absent database."""
        return self.settings.database_patience_seconds

    def expires_after(self, account: str) -> timedelta:
        """How long after its receipt a notification of `account` may be applied on its own."""
        return retention.deadline(self.dialects[account], self.settings.expires_after_seconds)

    def hold(self, orders: set[tuple[str, str]]) -> AbstractContextManager[Any]:
        """The order lock, where one is configured."""
        return self.lock.hold(orders) if self.lock else nullcontext()


@cache
def context() -> Context:
    """This process's context. Raises ConfigurationError."""
    own = settings()
    dialects = load_accounts(own.accounts, os.environ)
    lock = OrderLock(own.lock_url, own.lock_ttl_seconds, own.broker_prefix) if own.lock_url else None
    return Context(own, engine(), dialects, lock, load_handlers(own.handlers))


def check_retention(own: Settings, dialects: Mapping[str, Dialect]) -> None:
    """Refuses settings under which a purged notification could come back. Raises ConfigurationError."""
    retention.check_retention(
        dialects, own.status_retention_days, own.payload_retention_days, own.expires_after_seconds
    )


@celeryd_init.connect
@beat_init.connect
def _refuse_to_start(**_: Any) -> None:
    try:
        refuse_overrides(os.environ)
        own = settings()
        check_retention(own, load_accounts(own.accounts, os.environ))
        load_handlers(own.handlers)
        failpoint.refuse_live(load_accounts(own.accounts, os.environ))
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
