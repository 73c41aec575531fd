"""A topic exchange on RabbitMQ, with confirms that are counted and not waited for one by one.

py-amqp's own confirm mode costs a round trip for each message and takes any confirm for the one that it waits for. Here
the channel numbers the messages, as the protocol does, and each confirm names its numbers.
"""

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import amqp

import celeryconfig
from worker.broker import connect, tune
from worker.settings import Settings
from worker.topic_line import Announcement

#: Seconds for each answer while the line is opened.
SETUP = 1.0
#: Messages in one write: some 30 kB.
WRITTEN_TOGETHER = 50


class RabbitMQLine:
    """One connection, one channel in confirm mode."""

    def __init__(self, settings: Settings) -> None:
        """Connects and declares the exchange. Raises whatever py-amqp raises."""
        self._connection = connect(settings, confirm_publish=False)
        self._number = 0
        #: Message number -> id of the announcement, for what is on its way.
        self._sent: dict[int, int] = {}
        self._confirmed: set[int] = set()
        try:
            self._channel = self._opened()
        except BaseException:
            self.drop()
            raise

    def _opened(self) -> Any:
        self._connection.ensure_connection(max_retries=0)
        tune(self._connection, SETUP)
        channel = self._connection.channel()
        celeryconfig.EVENTS(channel).declare()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.confirm_select()
        return channel

    def send(self, announcements: Sequence[Announcement], confirmed: set[int], seconds: float) -> None:
        """As Line says. Not mandatory: where no queue is bound, nobody wants to know, and the broker confirms."""
        until = monotonic() + seconds
        self._confirmed = confirmed
        for start in range(0, len(announcements), WRITTEN_TOGETHER):
            self._write(announcements[start : start + WRITTEN_TOGETHER], until)
        while self._sent:
            self._connection.connection.drain_events(timeout=_left(until))

    def _write(self, announcements: Sequence[Announcement], until: float) -> None:
        """py-amqp writes each message to the socket; gathered, they cost half."""
        transport, frames = self._connection.connection.transport, bytearray()
        to_the_socket, transport._write = transport._write, frames.extend
        try:
            for announcement in announcements:
                self._number += 1
                self._sent[self._number] = announcement.id
                self._channel.basic_publish(
                    _message(announcement), exchange=celeryconfig.EVENTS.name, routing_key=announcement.name
                )
        finally:
            transport._write = to_the_socket
        with transport.having_timeout(_left(until)):
            transport.write(frames)

    def _on_ack(self, number: int, multiple: bool) -> None:
        self._confirmed.update(self._settled(number, multiple))

    def _on_nack(self, number: int, multiple: bool) -> None:
        self._settled(number, multiple)

    def _settled(self, number: int, multiple: bool) -> list[int]:
        numbers = [each for each in self._sent if each <= number] if multiple else [number]
        return [self._sent.pop(each) for each in numbers if each in self._sent]

    def drop(self) -> None:
        """A good-bye would wait for an answer, without a bound."""
        with suppress(Exception):
            self._connection.collect(socket_timeout=0.3)


def _left(until: float) -> float:
    """Seconds until then. Raises TimeoutError when it is over: a time-out of 0 would mean "do not wait" to a socket."""
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError("no confirm in time")
    return left


def _message(announcement: Announcement) -> amqp.Message:
    headers = {"account": announcement.account}
    if announcement.order_no is not None:
        headers["order_no"] = announcement.order_no
    return amqp.Message(
        announcement.body.encode(),
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        message_id=str(announcement.id),
        type=announcement.name,
        timestamp=int(announcement.at.timestamp()),
        app_id="paidonce",
        application_headers=headers,
    )
