"""Asking a broker for messages from the event loop."""

import time
from typing import Any

from kombu.asynchronous import Hub

from worker.polled import Polled


class Base:
    """What kombu's transport does in the end."""

    closed: Any = None

    def close_connection(self, connection: Any) -> None:
        self.closed = connection


class Asked(Polled, Base):
    """A transport with three messages and then nothing."""

    poll_seconds = 0.001

    def __init__(self) -> None:
        self.left = 3

    def drain_events(self, connection: Any, timeout: float) -> None:
        assert (connection, timeout) == ("wire", 0)
        if not self.left:
            raise TimeoutError
        self.left -= 1


def _turn(hub: Hub) -> None:
    """A few turns of the loop's timers, as the hub does them."""
    for _ in range(20):
        hub.fire_timers()
        time.sleep(0.001)


def test_the_loop_takes_all_there_is_and_goes_on_asking() -> None:
    """One question takes every message that there is room for; the next comes by itself."""
    hub, transport = Hub(), Asked()
    transport.register_with_event_loop("wire", hub)

    _turn(hub)
    assert transport.left == 0
    transport.left = 2
    _turn(hub)

    assert transport.left == 0
    hub.close()


def test_a_closed_connection_is_not_asked_again() -> None:
    """Its channels are gone: asking them would end the worker."""
    hub, transport = Hub(), Asked()
    transport.register_with_event_loop("wire", hub)

    transport.close_connection("wire")
    _turn(hub)

    assert (transport.left, transport.closed) == (3, "wire")
    hub.close()


def test_a_new_connection_takes_the_place_of_the_old_one() -> None:
    """Two connections are never asked by turns."""
    hub, transport = Hub(), Asked()
    transport.register_with_event_loop("an old wire", hub)
    transport.register_with_event_loop("wire", hub)

    _turn(hub)
    _turn(hub)

    assert transport.left == 0
    hub.close()
