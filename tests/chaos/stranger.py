"""Somebody who may write to the broker, and writes what no worker can read. Every word of it must be kept."""

import random
import time
from collections.abc import Sequence
from contextlib import suppress

import kombu

from worker.broker import connect, declare
from worker.settings import Settings

#: Bodies that are no pack of ours: not text, not whole, not a call, and an unknown task's.
_BODIES = (b"\xff\xfe\x00", b'[[["half', b"5", b"[[], {}, {}]")
#: Seconds in which a broker that fell must take the message after all.
PATIENCE = 120.0


def schedule(seed: int, count: int, span: float) -> list[float]:
    """When the messages come, in seconds after the start."""
    dice = random.Random(f"stranger {seed}")
    return sorted(dice.uniform(0, span * 0.9) for _ in range(count))


def write(url: str, number: int) -> str | None:
    """Puts one unreadable message into the queue; its id when the broker has confirmed it, else None."""
    name = f"poison-{number}"
    headers = {"task": "tasks.of_the_other_version" if number % 4 == 3 else "tasks.apply_notifications", "id": name}
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(Exception):
            _publish(url, _BODIES[number % 4], headers)
            return name
        time.sleep(0.5)
    return None


def _publish(url: str, body: bytes, headers: dict[str, str]) -> None:
    with connect(Settings(broker_url=url)) as connection:
        connection.ensure_connection(max_retries=0)
        declare(connection)
        kombu.Producer(connection.default_channel, auto_declare=False).publish(
            body,
            exchange="paidonce",
            routing_key="apply",
            content_type="application/json",
            content_encoding="utf-8",
            headers=headers,
            delivery_mode=2,
            mandatory=True,
            confirm_timeout=5,
        )


def missing(written: Sequence[str], kept: set[str]) -> list[str]:
    """What was confirmed and is nowhere to be seen."""
    return sorted(set(written) - kept)
