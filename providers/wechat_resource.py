"""The sealed part of a WeChat Pay v3 notification: AES-GCM under the merchant's API v3 key."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import MalformedNotification
from providers.keys import Secret, base64_bytes

ALGORITHM = "AEAD_AES_256_GCM"


def open_resource(resource: Mapping[str, Any], secrets: tuple[Secret, ...]) -> bytes:
    """The plain text of a sealed resource under any of `secrets`. Raises MalformedNotification.

    A key out of its time still opens: the signature has proved the sender, and old deliveries must stay readable.
    """
    if resource.get("algorithm") != ALGORITHM:
        raise MalformedNotification("resource.algorithm")
    nonce, sealed, bound = (resource.get(name) for name in ("nonce", "ciphertext", "associated_data"))
    if not (isinstance(nonce, str) and isinstance(sealed, str) and isinstance(bound, str | None)):
        raise MalformedNotification("resource")
    for secret in secrets:
        try:
            return AESGCM(secret.value).decrypt(nonce.encode(), base64_bytes(sealed), (bound or "").encode())
        except (InvalidTag, ValueError):
            continue
    raise MalformedNotification("resource.ciphertext")


def seal_resource(said: Mapping[str, Any], secret: Secret, seed: str, kind: str) -> dict[str, str]:
    """A resource as WeChat seals it. The nonce comes from `seed`, so that signing needs no dice; use a seed once."""
    nonce = hashlib.sha256(f"resource|{seed}".encode()).hexdigest()[:12]
    plain = json.dumps(said, ensure_ascii=False).encode()
    packed = AESGCM(secret.value).encrypt(nonce.encode(), plain, kind.encode())
    ciphertext = base64.b64encode(packed).decode("ascii")
    shape = {"original_type": kind, "algorithm": ALGORITHM, "ciphertext": ciphertext}
    return {**shape, "associated_data": kind, "nonce": nonce}
