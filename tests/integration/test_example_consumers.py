"""The consumers of examples/consumers, as a shop would run them: told twice, killed, and still once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ears import PgmqEars
from relaying import relaying
from running import until
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import ProgrammingError

from models import outbox

EXAMPLES = Path(__file__).parents[2] / "examples" / "consumers"
ORDERS = 400


@contextmanager
def consumer(script: str, engine: Engine, log: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """The script as a process, on the test's database as the shop's own."""
    shop = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, script],
            cwd=EXAMPLES,
            env=os.environ | {"SHOP_DATABASE_URL": shop, **environ},
            stdout=said,
            stderr=said,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def shipped(engine: Engine) -> list[str]:
    """Order numbers of the shipments, once for each."""
    with suppress(ProgrammingError), engine.connect() as connection:
        return list(connection.execute(text("SELECT order_no FROM shipments ORDER BY order_no")).scalars())
    return []


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_a_consumer_ships_once_what_it_is_told_twice(
    request: pytest.FixtureRequest, database: Engine, tmp_path: Path, broker: str
) -> None:
    """Killed in the middle, started again, and then everything is told a second time: each order is shipped once."""
    environ: dict[str, str]
    settings: dict[str, Any]
    if broker == "rabbitmq":
        settings = {"broker_url": request.getfixturevalue("rabbitmq_url")}
        script, environ = "rabbitmq.py", {"BROKER_URL": settings["broker_url"]}
    else:
        settings = {"broker_url": request.getfixturevalue("redis_server")}
        settings["broker_prefix"] = request.getfixturevalue("redis_prefix")
        script = "redis_streams.py"
        environ = {"BROKER_URL": settings["broker_url"], "STREAM": f"{settings['broker_prefix']}events"}
    log = tmp_path / "consumer.log"
    every = sorted(f"TEAPOT-{number}" for number in range(ORDERS))

    with relaying(database, PgmqEars(""), **settings) as own:
        with consumer(script, database, log, **environ):
            own.announce("order.paid", order_no="FIRST")
            # Its queue is bound, or its group made, when the first arrives; on RabbitMQ nothing waits for it before.
            until(lambda: _told_until_shipped(own, database), log.read_text)
            _announce(own)
            own.run()
            until(lambda: len(shipped(database)) > 1, log.read_text)
        with database.begin() as connection:
            connection.execute(update(outbox).values(relayed_at=None))
        own.run()
        own.announce("order.paid", order_no="LAST")
        own.run()
        with consumer(script, database, log, **environ):
            until(lambda: "LAST" in shipped(database), log.read_text)

    assert shipped(database) == sorted(["FIRST", "LAST", *every])


def _told_until_shipped(own: Any, engine: Engine) -> bool:
    with engine.begin() as connection:
        connection.execute(update(outbox).values(relayed_at=None))
    own.run()
    return shipped(engine) == ["FIRST"]


def _announce(own: Any) -> None:
    for number in range(ORDERS):
        own.announce("order.paid", order_no=f"TEAPOT-{number}")
