"""The ASGI app: `uvicorn receiver.app:app`. Settings, accounts and the broker are looked at when it starts, not before.

Three routes and no other: /notify/{account}, /healthz (the process lives), /readyz (the broker took the last message).
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

from domain.errors import ConfigurationError
from providers.accounts import load_accounts
from providers.dialect import Dialect
from receiver.notify import Notify
from receiver.request import Receive, Send
from worker.publisher import Publisher
from worker.settings import Settings
from worker.settings import settings as settings_of_the_process
from worker.telemetry import configure_logging


class App:
    """Its routes exist between start-up and shutdown; a process without lifespan events has none."""

    def __init__(
        self, settings: Settings | None, dialects: Mapping[str, Dialect] | None, publisher: Publisher | None
    ) -> None:
        self._settings = settings
        self._dialects = dialects
        self._publisher = publisher
        self._router: Any = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serves a request, or the process's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._router(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            settings, publisher = self._start()
        except (ConfigurationError, ValidationError) as error:
            # Starlette's own lifespan would print the whole traceback for a typing error in a file.
            await send({"type": "lifespan.startup.failed", "message": one_line(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # Every request has been answered by now; the thread ends its epoch and says good-bye.
        await asyncio.to_thread(publisher.close, settings.publish_timeout_seconds)
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> tuple[Settings, Publisher]:
        settings = self._settings or _configured()
        dialects = load_accounts(settings.accounts, os.environ) if self._dialects is None else self._dialects
        publisher = self._publisher or Publisher(settings)
        publisher.start()
        # A bare router: no middleware between a stranger's bytes and us, and no redirect for a slash too many.
        self._router = Router(
            [
                Route("/notify/{account}", Notify(settings, dialects, publisher), methods=["POST"]),
                Route("/healthz", healthz),
                Route("/readyz", readyz(publisher)),
            ],
            redirect_slashes=False,
        )
        return settings, publisher


def create_app(
    settings: Settings | None = None,
    dialects: Mapping[str, Dialect] | None = None,
    publisher: Publisher | None = None,
) -> App:
    """The app; what is not given is read from the environment when it starts. Also for `uvicorn --factory`."""
    return App(settings, dialects, publisher)


async def healthz(_: Request) -> PlainTextResponse:
    """The process lives."""
    return PlainTextResponse("ok")


def readyz(publisher: Publisher) -> Any:
    """The endpoint that says 200 while the broker takes messages, 503 otherwise."""

    async def endpoint(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok") if publisher.ready() else PlainTextResponse("broker away", 503)

    return endpoint


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


app = create_app()
