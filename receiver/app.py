"""The app: `uvicorn receiver.app:app --http receiver.wire:Wire`.

Settings, accounts and the broker are looked at when it starts, not before.

Any other ASGI server runs it too, with the same answers, at a higher cost of each request.
"""

import asyncio
import gc
import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from domain.errors import ConfigurationError
from providers.accounts import load_accounts
from providers.dialect import Dialect
from receiver.answer import Reply
from receiver.doors import Door, Doors
from receiver.request import Receive, Send, kept_headers, read_body
from worker import failpoint
from worker.publisher import Publisher
from worker.settings import Settings
from worker.settings import settings as settings_of_the_process
from worker.telemetry import configure_logging


class App:
    """Its doors exist between start-up and shutdown; a process without lifespan events has none."""

    def __init__(
        self, settings: Settings | None, dialects: Mapping[str, Dialect] | None, publisher: Publisher | None
    ) -> None:
        self._settings = settings
        self._dialects = dialects
        self._publisher = publisher
        self._doors: Any = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serves a request, or the process's life."""
        match scope["type"]:
            case "lifespan":
                await self._live(scope, receive, send)
            case "http":
                await self._answer(scope, receive, send)
            case _:
                await send({"type": "websocket.close"})

    async def _answer(self, scope: Any, receive: Receive, send: Send) -> None:
        # Decoded by the server; what it took for an escaped % is escaped again.
        path = scope["path"].replace("%", "%25").encode("utf-8")
        target = self._doors.find(scope["method"].encode("latin-1"), path)
        reply = await self._reply(target, scope["headers"], receive) if isinstance(target, Door) else target
        await send(reply.start)
        await send(reply.body)

    async def _reply(self, door: Door, headers: list[tuple[bytes, bytes]], receive: Receive) -> Reply:
        settings = self._doors.settings
        try:
            kept = kept_headers(headers, door.wanted, settings.max_body_bytes)
            body = await read_body(receive, settings.max_body_bytes, settings.body_timeout_seconds)
            confirm = self._doors.take(door, kept, body)
        except Exception as error:  # noqa: BLE001 - a stranger's input must not choose between an answer and a trace
            return door.refusal(error)
        await asyncio.wait((confirm,))
        return door.told(confirm)

    async def _live(self, scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        try:
            settings, publisher = self._start()
        except (ConfigurationError, ValidationError) as error:
            # The whole traceback is no help for a typing error in a file.
            await send({"type": "lifespan.startup.failed", "message": one_line(error)})
            return
        scope.get("state", {})["doors"] = self._doors
        _collect_less()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # Every request has been answered by now; the thread ends its epoch and says good-bye.
        await asyncio.to_thread(publisher.close, settings.publish_timeout_seconds)
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> tuple[Settings, Publisher]:
        settings = self._settings or _configured()
        dialects = load_accounts(settings.accounts, os.environ) if self._dialects is None else self._dialects
        failpoint.refuse_live(dialects)
        publisher = self._publisher or Publisher(settings)
        publisher.start()
        self._doors = Doors(settings, dialects, publisher)
        return settings, publisher


def create_app(
    settings: Settings | None = None,
    dialects: Mapping[str, Dialect] | None = None,
    publisher: Publisher | None = None,
) -> App:
    """The app; what is not given is read from the environment when it starts. Also for `uvicorn --factory`."""
    return App(settings, dialects, publisher)


def one_line(error: ConfigurationError | ValidationError) -> str:
    """What to mend, without the value: it may be a secret."""
    if isinstance(error, ConfigurationError):
        return " ".join(str(error).split())
    faults = (f"PAIDONCE_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors())
    return f"{ConfigurationError.__doc__} ({'; '.join(faults)})"


def _configured() -> Settings:
    settings = settings_of_the_process()
    configure_logging(settings)
    return settings


def _collect_less() -> None:
    """What start-up made is never garbage: a collection that walks it all stops every request for tens of milliseconds.

    Requests leave no cycles behind, so that the young need no look after each 700 either.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


app = create_app()
