"""Settings, accounts, retention, and which transport Celery would really take."""

import os
from collections.abc import Callable, Iterator, Mapping

from pydantic import ValidationError

from domain.errors import ConfigurationError
from ops.doctor.finding import Finding, error, ok
from providers.accounts import load_accounts
from providers.dialect import Dialect
from providers.retention import check_retention
from worker import failpoint
from worker.broker import OVERRIDES, connect
from worker.settings import Settings

#: The transports that lose nothing when a process is killed. kombu's own for Redis does.
SAFE = {
    "kombu.transport.pyamqp": "RabbitMQ",
    "worker.redis_streams": "Redis, through our transport on Streams",
    "worker.polled": "pgmq, for trying and developing",
}


def read_settings() -> tuple[Settings | None, list[Finding]]:
    """The settings, or None with what is wrong about them."""
    try:
        return Settings(), [ok("settings", "every PAIDONCE_ variable can be read")]
    except ValidationError as faults:
        return None, [
            error("settings", f"PAIDONCE_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}")
            for fault in faults.errors()
        ]


def check_accounts(own: Settings) -> Iterator[Finding]:
    """Every account with its secrets, and whether rows are kept for as long as its provider may send them again."""
    try:
        dialects = load_accounts(own.accounts, os.environ)
    except ConfigurationError as why:
        yield error("accounts", str(why))
        return
    live = sum(dialect.live for dialect in dialects.values())
    yield ok("accounts", f"{len(dialects)} ({live} live), each with its keys")
    yield _refused("retention", lambda: _retention(own, dialects), "longer than every provider's redelivery horizon")
    yield _refused("failpoints", lambda: failpoint.refuse_live(dialects), "none armed for a live account")


def _retention(own: Settings, dialects: Mapping[str, Dialect]) -> None:
    check_retention(dialects, own.status_retention_days, own.payload_retention_days, own.expires_after_seconds)


def check_transport(own: Settings) -> Iterator[Finding]:
    """Whether messages go through a transport that a killed worker cannot make lose them."""
    for name in OVERRIDES:
        if os.environ.get(name):
            yield error("transport", f"{name} is set: worker and beat would use it instead of ours; unset it")
    try:
        module = connect(own).get_transport_cls().__module__
    except ConfigurationError as why:
        yield error("transport", str(why))
        return
    if module in SAFE:
        yield ok("transport", SAFE[module])
    else:
        yield error("transport", f"{module} loses messages when a worker is killed; use amqp:// or redis://")


def _refused(name: str, check: Callable[[], None], fine: str) -> Finding:
    try:
        check()
    except ConfigurationError as why:
        return error(name, str(why))
    return ok(name, fine)
