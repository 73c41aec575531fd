"""The peer's door: FastAPI, the signature checked, then `task.delay` with a publisher confirm in the thread pool."""

import hashlib
import hmac
import os
import time

from fastapi import FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from bench.naive_worker import process_event

SECRET = os.environ.get("NAIVE_SECRET", "").encode()
api = FastAPI()


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
