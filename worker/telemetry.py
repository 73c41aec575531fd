"""Logging: one line per fact, and only facts from the allow-list, so that no payload and no secret gets out."""

import logging
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

import structlog

from worker.settings import Settings

#: Every key that may stand in a log line. A new one is added here, deliberately, or it is dropped.
ALLOWED_KEYS = frozenset(
    [
        "event",
        "level",
        "timestamp",
        "logger",
        "account",
        "provider",
        "notification_id",
        "order_no",
        "verdict",
        "reason",
        "status",
        "error",
        "count",
        "packs",
        "members",
        "applied",
        "duplicates",
        "parked",
        "cases",
        "pack",
        "epoch",
        "number",
        "attempts",
        "seconds",
        "key_id",
        "queue",
        "task",
        "table",
        "partition",
        "deleted",
        "stack",
    ]
)


def configure_logging(settings: Settings) -> None:
    """Sends everything, the libraries' lines too, to standard error."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = structlog.processors.JSONRenderer() if settings.log_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            allowed_only,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, without_text, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=())],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    # httpx and Celery's strategy write a line per request or task, with arguments.
    for noisy in ("httpx", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def allowed_only(_: Any, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drops every key that is not on the allow-list; a value stays one line."""
    return {
        key: value.replace("\n", "\\n").replace("\r", "\\r") if isinstance(value, str) else value
        for key, value in facts.items()
        if key in ALLOWED_KEYS
    }


def without_text(_: Any, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception that a library logs: its type and where it was raised. Its text may quote a payload."""
    match facts.pop("exc_info", None):
        case (_, BaseException() as error, trace):
            facts["error"], facts["stack"] = type(error).__name__, places(trace)
    return facts


def places(trace: TracebackType | None) -> str:
    """`file:line function` of each frame, outermost first."""
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(found)
