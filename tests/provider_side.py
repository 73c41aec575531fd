"""A provider before the receiver: signed payments of one Stripe account, posted at once, and what each was answered."""

import asyncio
import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import httpx
from running import SECRET
from shop import ACCOUNT, stripe

from domain.event import EventKind
from providers.dialect import Delivery, Notice

#: Seconds that WeChat waits for an answer.
PATIENCE = 5.0
#: Stands for no answer within PATIENCE, or for a broken connection.
NONE = 0

_numbers = itertools.count(1)
_dialect = stripe(ACCOUNT, SECRET.encode())


class Answer(NamedTuple):
    """HTTP status, and when the request began (monotonic seconds)."""

    status: int
    began: float


#: By notification id.
Answers = dict[str, Answer]


def payment() -> tuple[str, Delivery]:
    """A new notification's id, and its delivery."""
    name = f"evt_{next(_numbers)}"
    notice = Notice(
        notification_id=name,
        kind=EventKind.PAYMENT,
        order_no=f"TEAPOT-{name}",
        transaction_id=f"pi_{name}",
        amount=1000,
        currency="EUR",
        order_amount=1000,
        occurred_at=datetime.now(UTC),
    )
    return name, _dialect.sign(notice, time.time())


def accepted(answers: Answers, since: float = 0.0) -> set[str]:
    """Those answered 200 that began after `since`."""
    return {name for name, answer in answers.items() if answer.status == 200 and answer.began > since}


def statuses(answers: Answers) -> set[int]:
    """Every status that occurred."""
    return {answer.status for answer in answers.values()}


def post(url: str, count: int, clients: int = 16) -> Answers:
    """`count` new payments, `clients` at a time."""

    async def main() -> Answers:
        answers: Answers = {}
        left = iter(range(count))
        async with _http(url, clients) as http:
            await asyncio.gather(
                *(_client(http, answers, lambda: next(left, None) is not None) for _ in range(clients))
            )
        return answers

    return asyncio.run(main())


def post_during(url: str, fault: Callable[[], object], clients: int = 16) -> Answers:
    """New payments without a pause, from a second before `fault` until fifty are accepted after it.

    Raises TimeoutError when that takes more than a minute.
    """

    async def main() -> Answers:
        answers: Answers = {}
        is_over = False
        async with _http(url, clients) as http:
            crowd = asyncio.gather(*(_client(http, answers, lambda: not is_over) for _ in range(clients)))
            await asyncio.sleep(1)
            await asyncio.to_thread(fault)
            enough = len(accepted(answers)) + 50
            async with asyncio.timeout(60):
                while len(accepted(answers)) < enough:
                    await asyncio.sleep(0.1)
            is_over = True
            await crowd
        return answers

    return asyncio.run(main())


def _http(url: str, clients: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=httpx.Limits(max_connections=clients))


async def _client(http: httpx.AsyncClient, answers: Answers, go_on: Callable[[], bool]) -> None:
    while go_on():
        name, delivery = payment()
        began = time.monotonic()
        status = NONE
        with suppress(httpx.TransportError):
            answer = await http.post(f"/notify/{ACCOUNT}", content=delivery.body, headers=dict(delivery.headers))
            status = answer.status_code
        answers[name] = Answer(status, began)
