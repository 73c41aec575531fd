"""The peer's door: FastAPI, the signature checked, then `task.delay` with a publisher confirm in the thread pool.

Stripe's HMAC, and Alipay's RSA2 with a key that was parsed at the start.
"""

import base64
import hashlib
import hmac
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from bench.naive_worker import process_event

SECRET = os.environ.get("NAIVE_SECRET", "").encode()
KEY_FILE = os.environ.get("NAIVE_PUBLIC_KEY")
PUBLIC_KEY: Any = load_pem_public_key(Path(KEY_FILE).read_bytes()) if KEY_FILE else None
api = FastAPI()


@api.post("/notify/shop-rsa")
async def notify_rsa(request: Request) -> Response:
    """Answers `success` when the broker has the notification."""
    body = await request.body()
    if not is_signed(dict(parse_qsl(body.decode()))):
        raise HTTPException(401)
    await run_in_threadpool(process_event.delay, body.decode())
    return Response("success")


@api.post("/notify/{account}")
async def notify(account: str, request: Request) -> Response:
    """Answers 200 when the broker has the notification."""
    body = await request.body()
    if not is_genuine(request.headers.get("stripe-signature", ""), body):
        raise HTTPException(401)
    await run_in_threadpool(process_event.delay, body.decode())
    return Response(account)


def is_genuine(header: str, body: bytes) -> bool:
    """Stripe's scheme: `t=..,v1=..`, HMAC-SHA256 over the time and the body, five minutes."""
    parts = dict(item.split("=", 1) for item in header.split(",") if "=" in item)
    stamp = parts.get("t", "")
    expected = hmac.new(SECRET, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    fresh = stamp.isdigit() and abs(time.time() - int(stamp)) <= 300
    return fresh and hmac.compare_digest(expected, parts.get("v1", ""))


def is_signed(form: dict[str, str]) -> bool:
    """Alipay's scheme: SHA256withRSA over the sorted fields."""
    signed = "&".join(f"{name}={form[name]}" for name in sorted(form) if name not in ("sign", "sign_type"))
    try:
        PUBLIC_KEY.verify(base64.b64decode(form.get("sign", "")), signed.encode(), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
