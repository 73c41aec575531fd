"""Providers that are asked: real HTTP on the loopback, in a thread of their own, each as its documentation has it.

They verify what they are asked with their own few lines, so that a fault in ours cannot hide behind itself.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer as it leaves."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Answering(Protocol):
    """A provider."""

    def answer(self, asked: Asked) -> Reply:
        """What it says to a request."""


#: Writes to the socket itself, for what no provider should do.
Raw = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def listening(provider: Answering | Raw) -> Iterator[str]:
    """The address of `provider` on the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if callable(provider):
                with suppress(OSError):
                    provider(self)
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = provider.answer(Asked(self.command, self.path, headers, body))
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def signed(key: RSAPrivateKey, message: bytes) -> str:
    """SHA256withRSA, base64."""
    return base64.b64encode(key.sign(message, PKCS1v15(), SHA256())).decode()


def holds(key: RSAPublicKey, signature: str, message: bytes) -> bool:
    """Whether `signature` is `key`'s."""
    try:
        key.verify(base64.b64decode(signature), message, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass
class StripeSide:
    """api.stripe.com: objects by path; docs.stripe.com/api/authentication, .../errors, .../versioning."""

    key: str
    objects: dict[str, dict[str, Any]]

    def answer(self, asked: Asked) -> Reply:
        """401 for another key, 404 for what is not there."""
        if asked.headers.get("authorization") != f"Bearer {self.key}":
            return self._error(401, "api_key_expired")
        if asked.method != "GET" or not re.fullmatch(r"20\d\d-\d\d-\d\d", asked.headers.get("stripe-version", "")):
            return self._error(400, "parameter_unknown")
        if asked.headers.get("stripe-account") != "acct_1":
            return self._error(403, "account_invalid")
        parts = urlsplit(asked.target)
        thing = self.objects.get(parts.path)
        if thing is None:
            return self._error(404, "resource_missing")
        # Only what was asked for is expanded.
        expanded = [value for name, value in parse_qsl(parts.query) if name == "expand[]"]
        shown = {name: value if self._shows(name, value, expanded) else value["id"] for name, value in thing.items()}
        return Reply(200, json.dumps(shown).encode(), {"Content-Type": "application/json"})

    @staticmethod
    def _shows(name: str, value: object, expanded: list[str]) -> bool:
        return not (isinstance(value, dict) and "id" in value) or any(path.startswith(name) for path in expanded)

    @staticmethod
    def _error(status: int, code: str) -> Reply:
        return Reply(status, json.dumps({"error": {"type": "invalid_request_error", "code": code}}).encode())


@dataclass
class AlipaySide:
    """The open platform's gateway: opendocs.alipay.com/common/02kf5q, docs.open.alipay.com/api_1/alipay.trade.query."""

    key: RSAPrivateKey
    application: RSAPublicKey
    trades: dict[str, dict[str, Any]]
    refunds: dict[tuple[str, str], dict[str, Any]]

    def answer(self, asked: Asked) -> Reply:
        """A node for the method, its text signed; an unsigned error_response for who signs wrongly."""
        form = dict(parse_qsl(asked.body.decode(), strict_parsing=True))
        sign = form.pop("sign", "")
        to_sign = "&".join(f"{name}={form[name]}" for name in sorted(form) if form[name])
        if asked.method != "POST" or urlsplit(asked.target).query != "charset=utf-8":
            return Reply(200, b'{"error_response":{"code":"40001","sub_code":"isv.missing-method"}}')
        if not holds(self.application, sign, to_sign.encode()) or not self._common(form):
            return Reply(200, b'{"error_response":{"code":"40002","sub_code":"isv.invalid-signature"}}')
        content = json.loads(form["biz_content"])
        if form["method"] == "alipay.trade.query":
            node = self.trades.get(content["trade_no"])
        else:
            node = self.refunds.get((content["trade_no"], content["out_request_no"]), {})
        missing = {"code": "40004", "msg": "Business Failed", "sub_code": "ACQ.TRADE_NOT_EXIST"}
        said = missing if node is None else {"code": "10000", "msg": "Success", **node}
        text = json.dumps(said, ensure_ascii=False).replace("/", "\\/")
        name = form["method"].replace(".", "_") + "_response"
        body = f'{{"{name}":{text},"sign":"{signed(self.key, text.encode())}"}}'
        return Reply(200, body.encode(), {"Content-Type": "text/html;charset=utf-8"})

    @staticmethod
    def _common(form: Mapping[str, str]) -> bool:
        beijing = datetime.now(UTC) + timedelta(hours=8)
        stamp = datetime.strptime(form["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        fixed = {"app_id": "2021", "charset": "utf-8", "sign_type": "RSA2", "version": "1.0", "format": "JSON"}
        return abs(beijing - stamp) < timedelta(minutes=10) and fixed.items() <= form.items()


@dataclass
class WechatSide:
    """api.mch.weixin.qq.com: pay.weixin.qq.com/doc/v3/merchant/4012791838 and .../4013071041."""

    key: RSAPrivateKey
    merchant: RSAPublicKey
    orders: dict[str, dict[str, Any]]
    refunds: dict[str, dict[str, Any]]
    #: Seconds by which the answer's signed time is off.
    late: int = 0

    def answer(self, asked: Asked) -> Reply:
        """401, unsigned, for who signs wrongly; everything else is signed, 404 too."""
        if not asked.headers.get("user-agent") or "application/json" not in asked.headers.get("accept", ""):
            return Reply(400, b'{"code":"PARAM_ERROR"}')
        if not self._authorized(asked):
            return Reply(401, b'{"code":"SIGN_ERROR"}')
        path, _, query = asked.target.partition("?")
        kind, number = path.rsplit("/", 1)
        if kind == "/v3/pay/transactions/out-trade-no" and query == "mchid=1900000001":
            return self._signed(self.orders.get(unquote(number)), "ORDER_NOT_EXIST")
        if kind == "/v3/refund/domestic/refunds" and not query:
            return self._signed(self.refunds.get(unquote(number)), "RESOURCE_NOT_EXISTS")
        return self._signed(None, "NOT_FOUND")

    def _authorized(self, asked: Asked) -> bool:
        scheme, _, values = asked.headers.get("authorization", "").partition(" ")
        said = dict(re.findall(r'(\w+)="([^"]*)"', values))
        if scheme != "WECHATPAY2-SHA256-RSA2048" or said.keys() < {"mchid", "serial_no", "nonce_str", "timestamp"}:
            return False
        if (said["mchid"], said["serial_no"]) != ("1900000001", "5157F09E"):
            return False
        message = f"{asked.method}\n{asked.target}\n{said['timestamp']}\n{said['nonce_str']}\n{asked.body.decode()}\n"
        fresh = abs(time.time() - int(said["timestamp"])) < 300
        return fresh and holds(self.merchant, said["signature"], message.encode())

    def _signed(self, said: dict[str, Any] | None, missing: str) -> Reply:
        body = json.dumps({"code": missing, "message": "…"} if said is None else said).encode()
        stamp, nonce = str(int(time.time()) - self.late), "c5ac7061fccab6bf3e254dcf98995b8c"
        headers = {
            "Wechatpay-Timestamp": stamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": "PUB_KEY_ID_1",
            "Wechatpay-Signature": signed(self.key, f"{stamp}\n{nonce}\n".encode() + body + b"\n"),
        }
        return Reply(404 if said is None else 200, body, headers)
