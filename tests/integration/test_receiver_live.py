"""The receiver as it runs: uvicorn in its own process, a real dialect, RabbitMQ, raw sockets."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import kombu
import pytest

from domain.event import EventKind
from providers.accounts import load_accounts
from providers.dialect import Delivery, Dialect, Notice

ROOT = Path(__file__).parents[2]
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OWN_WIRE = ("receiver.app:app", "--http", "receiver.wire:Wire")
ACCOUNTS = '[accounts.kiosk]\nprovider = "standard_webhooks"\nsecrets = ["env:KIOSK_SECRET"]\nlive = true\n'


class Web:
    """A running receiver."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, dialect: Dialect) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.dialect = dialect

    def delivery(self, name: str) -> Delivery:
        notice = Notice(
            notification_id=name,
            kind=EventKind.PAYMENT,
            order_no=f"order-{name}",
            transaction_id=f"txn-{name}",
            amount=1250,
            currency="EUR",
            order_amount=1250,
            occurred_at=datetime.now(UTC),
        )
        return self.dialect.sign(notice, time.time())

    def raw(self, request: bytes) -> bytes:
        """What comes back for these bytes until the server closes; the sender keeps its side open."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as wire:
            wire.sendall(request)
            answer = b""
            # A reset after the answer: we were not done sending, and are not listened to any more.
            with contextlib.suppress(ConnectionResetError):
                while data := wire.recv(65536):
                    answer += data
            return answer


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """Starts receivers on free ports and stops them."""
    processes: list[subprocess.Popen[str]] = []

    def start(broker_url: str, *, ready: bool = True, app: tuple[str, ...] = OWN_WIRE, **more: str) -> Web:
        path = tmp_path / "accounts.toml"
        path.write_text(ACCOUNTS)
        environ = {"PAIDONCE_BROKER_URL": broker_url, "PAIDONCE_ACCOUNTS": str(path), "KIOSK_SECRET": SECRET} | more
        # The socket is made here, so that nobody else can take its port meanwhile.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", *app, "--fd", str(listener.fileno()), "--no-access-log"],
                cwd=ROOT,
                env=os.environ | environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                pass_fds=[listener.fileno()],
            )
        processes.append(process)
        web = Web(process, port, load_accounts(path, {"KIOSK_SECRET": SECRET})["kiosk"])
        answers(web, "/readyz" if ready else "/healthz")
        return web

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(web: Web, path: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and web.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{web.url}{path}").status_code == 200:
                return
        time.sleep(0.05)
    web.process.kill()
    pytest.fail(f"{path} never answered 200:\n{web.process.communicate()[0]}")


def post(web: Web, delivery: Delivery, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{web.url}/notify/kiosk", content=delivery.body, headers=dict(delivery.headers) | headers, timeout=20
    )


def queued_packs(url: str) -> list[dict[str, Any]]:
    """Takes every pack off the queue: {envelopes, origin, epoch, ...}."""
    packs: list[dict[str, Any]] = []
    with kombu.Connection(url) as connection:
        while message := connection.default_channel.basic_get("paidonce.apply", no_ack=True):
            (envelopes,), said, _ = json.loads(message.body)
            packs.append({"envelopes": envelopes, "origin": message.headers["origin"], **said})
    return packs


def queued(url: str) -> list[dict[str, Any]]:
    """Takes every envelope off the queue."""
    return [envelope for pack in queued_packs(url) for envelope in pack["envelopes"]]


def names(envelopes: list[dict[str, Any]]) -> list[str]:
    return sorted(envelope["headers"]["webhook-id"] for envelope in envelopes)


def test_what_is_answered_with_success_is_in_the_queue_and_a_forgery_is_not(
    web: Callable[..., Web], rabbitmq_url: str
) -> None:
    """The real dialect, the real broker: the envelope that the worker will verify again verifies."""
    kiosk = web(rabbitmq_url)
    genuine = kiosk.delivery("genuine")
    forged = Delivery(genuine.headers, genuine.body.replace(b"1250", b"1"))
    assert (post(kiosk, genuine).status_code, post(kiosk, forged).status_code) == (200, 401)
    (envelope,) = queued(rabbitmq_url)
    again = Delivery(envelope["headers"], envelope["body"].encode())
    assert again == genuine
    assert kiosk.dialect.verify(again, envelope["received_at"])


def test_the_factory_is_the_same_app(web: Callable[..., Web], rabbitmq_url: str) -> None:
    """Either way of naming it to uvicorn starts it, and so does uvicorn's own HTTP."""
    kiosk = web(rabbitmq_url, app=("--factory", "receiver.app:create_app"))
    assert post(kiosk, kiosk.delivery("factory")).status_code == 200


async def stopped_in_traffic(web: Web) -> set[str]:
    """The names of the deliveries that were answered with success, of 600 with a SIGTERM among them."""

    async def one(client: httpx.AsyncClient, name: str) -> str | None:
        delivery = web.delivery(name)
        try:
            answer = await client.post("/notify/kiosk", content=delivery.body, headers=dict(delivery.headers))
        except httpx.TransportError:
            return None
        return name if answer.status_code == 200 else None

    limits = httpx.Limits(max_connections=50)
    async with httpx.AsyncClient(base_url=web.url, limits=limits, timeout=60) as client:
        tasks = [asyncio.ensure_future(one(client, f"n{number:04}")) for number in range(600)]
        while sum(task.done() and task.result() is not None for task in tasks) < 60:
            await asyncio.sleep(0.005)
        web.process.send_signal(signal.SIGTERM)
        return {name for name in await asyncio.gather(*tasks) if name}


def test_stopping_answers_everybody_it_let_in(web: Callable[..., Web], rabbitmq_url: str) -> None:
    """SIGTERM in the middle of the traffic: each success is in the queue, and the process ends by itself."""
    kiosk = web(rabbitmq_url)
    successes = asyncio.run(stopped_in_traffic(kiosk))
    kiosk.process.wait(30)
    # uvicorn raises the signal again when it has shut down in order.
    assert kiosk.process.returncode in (0, -signal.SIGTERM)
    assert 60 <= len(successes) < 600
    assert successes <= set(names(queued(rabbitmq_url)))


TWO = (*OWN_WIRE, "--workers", "2")


def children(web: Web) -> list[int]:
    """The web processes under their parent; its resource tracker is none."""
    found = subprocess.run(
        ["pgrep", "-P", str(web.process.pid), "-f", "spawn_main"], check=False, capture_output=True, text=True
    )
    return [int(pid) for pid in found.stdout.split()]


def all_at_once(web: Web, names: list[str]) -> list[int]:
    """Each on a connection of its own."""

    async def one(name: str) -> int:
        delivery = web.delivery(name)
        async with httpx.AsyncClient(timeout=20) as client:
            sent = await client.post(f"{web.url}/notify/kiosk", content=delivery.body, headers=dict(delivery.headers))
            return sent.status_code

    async def every() -> list[int]:
        return await asyncio.gather(*[one(name) for name in names])

    return asyncio.run(every())


def test_two_processes_share_the_port_and_each_has_its_own_epoch(web: Callable[..., Web], rabbitmq_url: str) -> None:
    """Packs of both are numbered apart: the worker can tell a lost one of either."""
    kiosk = web(rabbitmq_url, app=TWO)
    epochs: dict[str, set[str]] = {}
    for turn in range(40):
        fresh = [f"t{turn}-{number}" for number in range(25)]
        assert all_at_once(kiosk, fresh) == [200] * 25
        packs = queued_packs(rabbitmq_url)
        for pack in packs:
            epochs.setdefault(pack["origin"], set()).add(pack["epoch"])
        assert sorted(names([one for pack in packs for one in pack["envelopes"]])) == sorted(fresh)
        if len(epochs) == 2:
            break
    assert len(epochs) == 2
    # A slow machine may have one connect again, with a new epoch: still its own.
    assert not set.intersection(*epochs.values())


def test_one_of_two_processes_dies_and_nobody_notices(web: Callable[..., Web], rabbitmq_url: str) -> None:
    """Who was not talking to it is answered by the other; the parent starts it again."""
    kiosk = web(rabbitmq_url, app=TWO)
    wait_for(lambda: len(children(kiosk)) == 2)
    victim = children(kiosk)[0]
    os.kill(victim, signal.SIGKILL)
    assert all_at_once(kiosk, [f"n{number}" for number in range(30)]) == [200] * 30
    wait_for(lambda: len(set(children(kiosk)) - {victim}) == 2)
    assert names(queued(rabbitmq_url)) == sorted(f"n{number}" for number in range(30))


def test_stopping_the_parent_stops_both_in_order(web: Callable[..., Web], rabbitmq_url: str) -> None:
    """Each success that either gave is in the queue, and no child is left."""
    kiosk = web(rabbitmq_url, app=TWO)
    wait_for(lambda: len(children(kiosk)) == 2)
    ours = children(kiosk)
    successes = asyncio.run(stopped_in_traffic(kiosk))
    kiosk.process.wait(30)
    assert [pid for pid in ours if Path(f"/proc/{pid}").exists()] == []
    # All of them, where they were faster than the parent, which looks for signals twice a second.
    assert len(successes) >= 60
    assert successes <= set(names(queued(rabbitmq_url)))


def wait_for(is_so: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.05)


def test_without_a_broker_it_lives_and_asks_to_come_again(web: Callable[..., Web]) -> None:
    """Alive, not ready, 503 with Retry-After inside the provider's patience."""
    kiosk = web(f"amqp://guest:guest@127.0.0.1:{free_port()}//", ready=False)
    got = post(kiosk, kiosk.delivery("early"))
    assert (got.status_code, got.headers["retry-after"]) == (503, "2")
    assert httpx.get(f"{kiosk.url}/readyz").status_code == 503
    assert httpx.get(f"{kiosk.url}/healthz").status_code == 200


def test_a_broker_that_accepts_and_says_nothing_costs_a_503_and_no_more(web: Callable[..., Web]) -> None:
    """The deadline answers; other routes go on."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//"
        kiosk = web(url, ready=False, PAIDONCE_PUBLISH_TIMEOUT_SECONDS="0.5")
        assert post(kiosk, kiosk.delivery("silence")).status_code == 503


RUDE: dict[str, tuple[bytes, bytes]] = {
    "a length longer than allowed": (b"Content-Length: 99999999\r\n\r\n", b" 413 "),
    "chunks without an end": (
        b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"10000\r\n" + b"x" * 65536,
        b" 413 ",
    ),
    "a body that does not come": (b"Content-Length: 10\r\n\r\nabc", b" 408 "),
    "two lengths": (b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", b" 400 "),
    "a negative length": (b"Content-Length: -3\r\n\r\nabc", b" 400 "),
    "a length and chunks": (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b" 400 "),
    "a bomb": (b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", b" 415 "),
}


def test_rude_senders_are_answered_and_cut_off(web: Callable[..., Web], rabbitmq_url: str) -> None:
    """Each gets its status, the connection ends, nothing is enqueued, and the next sender is served."""
    kiosk = web(rabbitmq_url, PAIDONCE_MAX_BODY_BYTES="100000", PAIDONCE_BODY_TIMEOUT_SECONDS="0.3")
    start = b"POST /notify/kiosk HTTP/1.1\r\nHost: x\r\n"
    got = {name: kiosk.raw(start + rest)[:13] for name, (rest, _) in RUDE.items()}
    assert got == {name: b"HTTP/1.1" + status for name, (_, status) in RUDE.items()}
    assert post(kiosk, kiosk.delivery("next")).status_code == 200
    assert names(queued(rabbitmq_url)) == ["next"]


@pytest.mark.parametrize(
    ("accounts", "secret", "blames"),
    [
        (ACCOUNTS, "", "accounts.kiosk.secrets[0]"),
        ("[accounts.kiosk]\nprovider = 'nobody'\n", SECRET, "accounts.kiosk.provider"),
        ("not toml", SECRET, "accounts.toml"),
    ],
    ids=["empty secret", "unknown provider", "not TOML"],
)
def test_a_wrong_configuration_ends_the_start_with_a_line(
    tmp_path: Path, accounts: str, secret: str, blames: str
) -> None:
    """It never listens, it exits with an error, and the person sees one line about it, not a trace."""
    path = tmp_path / "accounts.toml"
    path.write_text(accounts)
    environ = os.environ | {"PAIDONCE_ACCOUNTS": str(path), "KIOSK_SECRET": secret}
    command = [sys.executable, "-m", "uvicorn", "receiver.app:app", "--port", str(free_port())]
    ended = subprocess.run(command, check=False, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if blames in line]
    assert ended.returncode != 0
    assert len(lines) == 1
    assert "Traceback" not in ended.stdout + ended.stderr
