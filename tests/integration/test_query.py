"""Asking over real HTTP: three providers as documented, and networks as they are."""

import datetime as dt
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from asked import AlipaySide, Answering, Asked, Reply, StripeSide, WechatSide, listening
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from domain.event import EventKind, PaymentEvent
from domain.finding import Finding
from domain.finding import Testimony as Witness  # pytest takes a name that begins with Test for a test
from providers.alipay import Alipay
from providers.alipay_query import AlipayCredentials
from providers.dialect import Dialect, Notice
from providers.keys import Key
from providers.standard_webhooks import StandardWebhooks
from providers.stripe import Stripe
from providers.stripe_query import StripeCredentials
from providers.wechat_query import WechatCredentials
from providers.wechat_v3 import WechatV3
from worker import inquiry
from worker.inquiry import ask

K = EventKind
ROOT = Path(__file__).parents[2]
THEIRS, OURS = generate_private_key(65537, 2048), generate_private_key(65537, 2048)
SECRET = Key("env:SECRET", b"a marsupilami keeps this one....")
RESTRICTED = "rk_test_marsupilami7keeps7this"

CONFIRMED = Finding(Witness.CONFIRMED, "agrees")
ORDER = "crunchy-armchair"


def _denied(detail: str) -> Finding:
    return Finding(Witness.DENIED, detail)


def _unknown(detail: str) -> Finding:
    return Finding(Witness.UNKNOWN, detail)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost,provider.invalid")


# ---- the merchant's side --------------------------------------------------------------------------------------------


def _dialect(provider: str, url: str) -> Dialect:
    public = (Key("PUB_KEY_ID_1", THEIRS.public_key()),)
    mine = Key("file:merchant.pem", OURS)
    if provider == "alipay":
        gateway = AlipayCredentials(mine, f"{url}/gateway.do")
        return Alipay("shop", False, "2021", public, signing_key=THEIRS, credentials=gateway)
    if provider == "wechat_v3":
        merchant = WechatCredentials(mine, "5157F09E", url)
        return WechatV3("shop", False, "wx8888", "1900000001", public, (SECRET,), THEIRS, credentials=merchant)
    restricted = StripeCredentials(Key("env:RESTRICTED", RESTRICTED.encode()), url, "acct_1")
    return Stripe("shop", False, (SECRET,), "acct_1", credentials=restricted)


def _event(dialect: Dialect, kind: EventKind = K.PAYMENT, amount: int = 500) -> PaymentEvent:
    """As the provider's own notification says it: signed, and read by the dialect."""
    refund = {"alipay": "T1wombat:R1", "wechat_v3": "5030:R1", "stripe": "evt_1"}[dialect.provider]
    payment = "pi_1wombat" if dialect.provider == "stripe" else "T1wombat"
    notice = Notice(
        notification_id="evt_1",
        kind=kind,
        order_no=ORDER,
        transaction_id={K.REFUND: refund, K.CHARGEBACK: "du_1", K.REFUND_REVERSAL: "re_1"}.get(kind, payment),
        payment_id=payment if kind in (K.REFUND, K.CHARGEBACK, K.REFUND_REVERSAL) else "",
        amount=amount,
        currency="CNY",
        order_amount=1999,
        occurred_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    )
    now = time.time()
    delivery = dialect.sign(notice, now)
    dialect.verify(delivery, now)
    [event] = dialect.parse(delivery)
    return event


# ---- the providers' side --------------------------------------------------------------------------------------------


def _stripe() -> StripeSide:
    charge = {"id": "ch_1", "payment_intent": "pi_1wombat", "amount": 1999, "amount_refunded": 500, "currency": "cny"}
    facts = {"currency": "cny", "livemode": False, "metadata": {"order_no": ORDER}}
    intent = {"id": "pi_1wombat", "object": "payment_intent", "status": "succeeded", "amount_received": 500, **facts}
    dispute = {"id": "du_1", "object": "dispute", "payment_intent": "pi_1wombat", "amount": 500, **facts}
    refund = {
        "id": "re_1",
        "object": "refund",
        "payment_intent": "pi_1wombat",
        "amount": 500,
        "status": "failed",
        **facts,
    }
    return StripeSide(
        RESTRICTED,
        {
            "/v1/payment_intents/pi_1wombat": {**intent, "latest_charge": {**charge, "metadata": {"order_no": ORDER}}},
            "/v1/disputes/du_1": {**dispute, "balance_transactions": [{"amount": -500}]},
            "/v1/refunds/re_1": {**refund, "status": "failed"},
        },
    )


def _alipay() -> AlipaySide:
    ids = {"trade_no": "T1wombat", "out_trade_no": ORDER}
    trade = {**ids, "trade_status": "TRADE_SUCCESS", "total_amount": "5.00", "send_pay_date": "2026-01-01 08:00:00"}
    refund = {**ids, "out_request_no": "R1", "refund_amount": "5.00", "refund_status": "REFUND_SUCCESS"}
    notes = {"subject": "座垫/armchair"}
    return AlipaySide(
        THEIRS, OURS.public_key(), {"T1wombat": {**trade, **notes}}, {("T1wombat", "R1"): {**refund, **notes}}
    )


def _wechat() -> WechatSide:
    ids = {"transaction_id": "T1wombat", "out_trade_no": ORDER}
    money = {"total": 500, "refund": 500, "currency": "CNY"}
    order = {**ids, "appid": "wx8888", "mchid": "1900000001", "trade_state": "SUCCESS", "amount": money}
    refund = {**ids, "refund_id": "5030", "out_refund_no": "R1", "status": "SUCCESS", "amount": money}
    return WechatSide(THEIRS, OURS.public_key(), {ORDER: order}, {"R1": refund})


SIDES: Mapping[str, Callable[[], Any]] = {"stripe": _stripe, "alipay": _alipay, "wechat_v3": _wechat}
WHO = ("stripe", "alipay", "wechat")
each_provider = pytest.mark.parametrize("provider", SIDES)


def _asked(provider: str, side: Answering, kind: EventKind = K.PAYMENT, amount: int = 500) -> Finding | None:
    with listening(side) as url:
        dialect = _dialect(provider, url)
        return ask(dialect, _event(dialect, kind, amount))


@each_provider
@pytest.mark.parametrize("kind", [K.PAYMENT, K.REFUND])
def test_what_happened_is_confirmed(provider: str, kind: EventKind) -> None:
    """The provider verifies the question, and its answer agrees with its own notification."""
    assert _asked(provider, SIDES[provider](), kind) == CONFIRMED


@pytest.mark.parametrize("kind", [K.CHARGEBACK, K.REFUND_REVERSAL])
def test_stripes_disputes_and_failed_refunds_are_confirmed(kind: EventKind) -> None:
    """Each by its own object."""
    assert _asked("stripe", _stripe(), kind) == CONFIRMED


@each_provider
@pytest.mark.parametrize("kind", [K.PAYMENT, K.REFUND])
def test_another_amount_is_denied(provider: str, kind: EventKind) -> None:
    """The notification says a yuan more than the provider."""
    finding = _asked(provider, SIDES[provider](), kind, amount=600)

    # Of an Alipay refund the answer tells its own amount alone: the rest may be an earlier refund's.
    total_only = (provider, kind) == ("alipay", K.REFUND)
    assert finding == (_unknown("total_not_told") if total_only else _denied("amount_differs"))


@each_provider
def test_what_is_not_there_is_denied(provider: str) -> None:
    """Neither the payment nor the refund: each provider in its own words for it."""
    side = SIDES[provider]()
    for things in ("objects", "trades", "refunds", "orders"):
        if hasattr(side, things):
            getattr(side, things).clear()

    assert _asked(provider, side) == _denied("not_found")
    assert _asked(provider, side, K.REFUND) == _denied("not_refunded" if provider == "alipay" else "not_found")


def _closed(provider: str, side: Any) -> None:
    if provider == "stripe":
        side.objects["/v1/payment_intents/pi_1wombat"]["status"] = "canceled"
    if provider == "alipay":
        side.trades["T1wombat"].update(trade_status="TRADE_CLOSED", send_pay_date="")
    if provider == "wechat_v3":
        side.orders[ORDER].update(trade_state="CLOSED")


@each_provider
def test_a_closed_payment_is_denied_and_its_closing_confirmed(provider: str) -> None:
    """One answer to two questions."""
    side = SIDES[provider]()
    _closed(provider, side)

    assert _asked(provider, side) == _denied("closed")
    assert _asked(provider, side, K.CLOSED) == CONFIRMED


@each_provider
def test_a_question_under_another_key_is_refused(provider: str) -> None:
    """The provider does not know us: that says nothing about the payment."""
    side = SIDES[provider]()
    stranger = generate_private_key(65537, 2048).public_key()
    for name, value in (("key", "rk_test_other"), ("application", stranger), ("merchant", stranger)):
        if hasattr(side, name) and (name != "key" or provider == "stripe"):
            setattr(side, name, value)

    assert _asked(provider, side) == _unknown("refused")


@pytest.mark.parametrize("provider", ["alipay", "wechat_v3"])
def test_an_answer_under_another_key_is_unknown(provider: str) -> None:
    """Who sits between us and the provider cannot say that anything was paid, or that it was not."""
    side = SIDES[provider]()
    side.key = generate_private_key(65537, 2048)

    assert _asked(provider, side) == _unknown("signature_invalid")


@pytest.mark.parametrize("late", [-400, 400])
def test_an_answer_signed_at_another_time_is_unknown(late: int) -> None:
    """A genuine answer of WeChat Pay's, recorded earlier, or from a clock that is wrong."""
    side = _wechat()
    side.late = late

    assert _asked("wechat_v3", side) == _unknown("signature_invalid")


class Bare:
    """Says one thing to everybody."""

    def __init__(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.reply = Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})
        self.asked: list[Asked] = []

    def answer(self, asked: Asked) -> Reply:
        """The one thing."""
        self.asked.append(asked)
        return self.reply


@each_provider
@pytest.mark.parametrize(
    ("status", "detail"), [(500, "unavailable"), (503, "unavailable"), (429, "limited"), (403, "refused")]
)
def test_a_provider_in_trouble_is_unknown(provider: str, status: int, detail: str) -> None:
    """Errors of the server, too many questions, a key that may not read."""
    assert _asked(provider, Bare(status, b"<html>nginx</html>")) == _unknown(detail)


@each_provider
@pytest.mark.parametrize("body", [b"", b"OK", b"[]", b'{"a":1,"a":2}', b"\xff", b"{" * 5000, b"null"])
def test_an_answer_that_is_no_answer_is_unknown(provider: str, body: bytes) -> None:
    """A proxy's page, half a body, JSON that two parsers would read differently."""
    finding = _asked(provider, Bare(200, body))

    assert finding == _unknown("unsigned" if provider == "wechat_v3" else "unreadable")


@each_provider
def test_a_redirect_is_not_followed(provider: str) -> None:
    """The credentials go nowhere else."""
    elsewhere = Bare(200)
    with listening(elsewhere) as there:
        for status in (301, 302, 307, 308):
            assert _asked(provider, Bare(status, Location=f"{there}/")) == _unknown("redirected")

    assert elsewhere.asked == []


@each_provider
def test_an_answer_without_end_is_cut(provider: str) -> None:
    """A quarter of a megabyte is read, whether its length was said or not."""
    long = b"x" * (inquiry.LONGEST_ANSWER + 1)

    def pour(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(1000):
            request.wfile.write(long)

    with listening(pour) as url:
        dialect = _dialect(provider, url)
        assert ask(dialect, _event(dialect)) == _unknown("too_long")
    assert _asked(provider, Bare(200, long)) == _unknown("too_long")
    assert _asked(provider, Bare(200, long[:-1])) != _unknown("too_long")


def test_a_packed_answer_is_not_unpacked() -> None:
    """It was not asked for, and a kilobyte of it could be a gigabyte: who says that it is packed is believed."""
    body = json.dumps(_stripe().objects["/v1/payment_intents/pi_1wombat"]).encode()
    side = Bare(200, body, Content_Encoding="gzip")

    assert _asked("stripe", Bare(200, body)) == CONFIRMED
    assert _asked("stripe", side) == _unknown("unreadable")
    assert side.asked[0].headers["accept-encoding"] == "identity"


@each_provider
def test_nobody_there_is_unknown(provider: str) -> None:
    """Connection refused, a name that is none, a connection that is cut."""
    with listening(Bare(200)) as url:
        pass
    for address in (url, "http://provider.invalid"):
        dialect = _dialect(provider, address)
        assert ask(dialect, _event(dialect)) == _unknown("not_reached")
    with listening(lambda request: request.connection.shutdown(socket.SHUT_RDWR)) as url:
        dialect = _dialect(provider, url)
        assert ask(dialect, _event(dialect)) == _unknown("not_reached")


class Gate:
    """Something that lasts: 20 seconds, or until the test is over. `passed`: somebody waited for its end."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.passed = False

    def wait(self) -> None:
        """Lasts."""
        self.passed = not self.over.wait(20)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that nothing outlives."""
    one = Gate()
    yield one
    one.over.set()


@each_provider
def test_silence_is_unknown(provider: str, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connected, asked, and not a byte comes back: the wait for the next byte is bounded by itself."""
    monkeypatch.setattr(inquiry, "READ", 0.3)
    monkeypatch.setattr(inquiry, "TOTAL", 60.0)

    with listening(lambda _: gate.wait()) as url:
        dialect = _dialect(provider, url)
        assert ask(dialect, _event(dialect)) == _unknown("not_reached")
        assert not gate.passed
        gate.over.set()


def test_a_server_that_drips_is_left(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the answer would not for half a minute: the whole has its own bound."""
    monkeypatch.setattr(inquiry, "TOTAL", 1.0)
    body = json.dumps(_stripe().objects["/v1/payment_intents/pi_1wombat"]).encode()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(300):
            if gate.over.wait(0.1):
                return
            request.wfile.write(b"x")
        request.wfile.write(b"\r\nConnection: close\r\n\r\n" + body)

    with listening(drip) as url:
        dialect = _dialect("stripe", url)
        assert ask(dialect, _event(dialect)) == _unknown("not_reached")
        gate.over.set()


def test_a_name_that_is_not_looked_up_in_time_is_left(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver's thread cannot be stopped: it is not waited for."""
    monkeypatch.setattr(inquiry, "TOTAL", 0.5)
    monkeypatch.setattr(inquiry, "CONNECT", 60.0)

    def slow(*_: Any, **__: Any) -> Any:
        gate.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    dialect = _dialect("stripe", "http://provider.invalid")

    assert ask(dialect, _event(dialect)) == _unknown("not_reached")
    assert not gate.passed


def test_a_certificate_of_nobody_is_unknown(tmp_path: Path) -> None:
    """Stripe signs nothing: TLS is all that proves its answers, so a self-signed certificate ends the question."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    reached: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve_tls, args=(server, context, reached))
        thread.start()
        dialect = _dialect("stripe", f"https://127.0.0.1:{server.getsockname()[1]}")

        finding = ask(dialect, _event(dialect))
        thread.join(30)

    assert finding == _unknown("not_reached")
    assert reached == []


def _serve_tls(server: socket.socket, context: ssl.SSLContext, reached: list[bytes]) -> None:
    server.settimeout(20)
    with suppress(OSError):
        connection, _ = server.accept()
        with connection, context.wrap_socket(connection, server_side=True) as secure:
            reached.append(secure.recv(4096))


def _self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that no authority signed, with its key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ominous mirror")])
    begin = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    builder = x509.CertificateBuilder(
        name, name, THEIRS.public_key(), x509.random_serial_number(), begin, begin + dt.timedelta(days=1)
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = builder.add_extension(address, critical=False).sign(THEIRS, SHA256())
    pem = serialization.Encoding.PEM
    private = THEIRS.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


def test_who_cannot_be_asked_is_not() -> None:
    """No credentials, a kind without a question, a provider without an interface: None, and no connection."""
    nobody = Bare(200)
    with listening(nobody) as url:
        dialect: Any = _dialect("stripe", url)
        event = _event(dialect)
        assert ask(replace(dialect, credentials=None), event) is None
        assert ask(dialect, replace(event, kind=K.PENDING)) is None
        assert ask(StandardWebhooks("shop", True, (SECRET,)), event) is None
    assert nobody.asked == []


ASKS = """
import json, os, sys
from pathlib import Path
from domain.event import EventKind, PaymentEvent
from providers.accounts import load_accounts
from worker.inquiry import ask
from worker.settings import Settings
from worker.telemetry import configure_logging

configure_logging(Settings(log_level="DEBUG"))
events = json.loads(sys.argv[2])
for name, dialect in load_accounts(Path(sys.argv[1]), os.environ).items():
    said = events[dialect.provider]
    finding = ask(dialect, PaymentEvent(**{**said, "kind": EventKind(said["kind"])}))
    print(name, finding.detail)
"""


def _accounts(folder: Path, url: str, name: str) -> str:
    """Three accounts that ask at `url`, from the file to the answer as a merchant sets them up."""
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    public = THEIRS.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    (folder / "mine.pem").write_bytes(OURS.private_bytes(pem, private, serialization.NoEncryption()))
    return f"""
[accounts.stripe-{name}]
provider = "stripe"
live = false
secrets = ["env:SECRET"]
stripe_account = "acct_1"
query = {{ key = "env:RESTRICTED", url = "{url}" }}
[accounts.alipay-{name}]
provider = "alipay"
live = false
app_id = "2021"
public_keys = ["file:public.pem"]
query = {{ key = "file:mine.pem", url = "{url}/gateway.do" }}
[accounts.wechat-{name}]
provider = "wechat_v3"
live = false
app_id = "wx8888"
merchant_id = "1900000001"
public_keys = {{ PUB_KEY_ID_1 = "file:public.pem" }}
secrets = ["env:SECRET"]
query = {{ key = "file:mine.pem", serial = "5157f09e", url = "{url}" }}
"""


class Everybody:
    """All three providers at one address, told apart by what is asked."""

    def __init__(self) -> None:
        self.sides = {provider: side() for provider, side in SIDES.items()}
        self.asked: list[Asked] = []

    def answer(self, asked: Asked) -> Reply:
        """The answer of the one that was meant."""
        self.asked.append(asked)
        provider = "stripe" if asked.target.startswith("/v1/") else "wechat_v3"
        answer: Reply = self.sides["alipay" if asked.method == "POST" else provider].answer(asked)
        return answer


def test_nothing_secret_and_nothing_paid_is_logged(python: str, tmp_path: Path) -> None:
    """Confirmed, refused, redirected, not reached, at the loudest level: no key, signature, id, order or address."""
    everybody = Everybody()
    events = {}
    for provider in SIDES:
        said = asdict(_event(_dialect(provider, "http://127.0.0.1")))
        events[provider] = {name: value for name, value in said.items() if name not in ("occurred_at", "foreign")}
    with ExitStack() as stack:
        places = {
            "agrees": stack.enter_context(listening(everybody)),
            "refused": stack.enter_context(listening(Bare(401))),
            "redirected": stack.enter_context(listening(Bare(302, Location="http://provider.invalid/marsupilami"))),
            "not_reached": "https://provider.invalid",
        }
        accounts = tmp_path / "accounts.toml"
        accounts.write_text("".join(_accounts(tmp_path, url, name) for name, url in places.items()))
        environ = os.environ | {"SECRET": SECRET.value.decode(), "RESTRICTED": RESTRICTED, "PYTHONPATH": str(ROOT)}
        words = [python, "-c", ASKS, str(accounts), json.dumps(events)]
        ran = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)

    assert ran.stdout.split("\n")[:-1] == [f"{who}-{name} {name}" for name in places for who in WHO]
    assert ran.stderr.count("provider asked") == len(places) * len(WHO)
    proofs = [asked.headers["authorization"].split()[-1] for asked in everybody.asked if asked.method == "GET"]
    proofs += [value for asked in everybody.asked for name, value in parse_qsl(asked.body.decode()) if name == "sign"]
    assert len(proofs) == len(WHO)
    for secret in (*proofs, "marsupilami", ORDER, "wombat", "PRIVATE", "127.0.0.1:", "provider.invalid", "/v1", "/v3"):
        assert secret not in ran.stderr
