"""Four sandbox accounts with keys made here: enough to try everything, and worth nothing elsewhere."""

import base64
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ops.embedded.place import Place

ACCOUNTS = """\
# Made by `paidonce up`: sandbox accounts whose keys only this directory knows. docs/accounts.md is the reference.

[accounts.shop-alipay]
provider = "alipay"
app_id = "2021000118634035"
seller_id = "2088621993877853"
public_keys = ["file:keys/alipay-public.pem"]
signing_key = "file:keys/alipay-private.pem"
live = false

[accounts.shop-hooks]
provider = "standard_webhooks"
secrets = ["file:keys/hooks-secret"]
live = false

[accounts.shop-stripe]
provider = "stripe"
secrets = ["file:keys/stripe-secret"]
live = false

[accounts.shop-wechat]
provider = "wechat_v3"
app_id = "wx8888888888888888"
merchant_id = "1900000001"
secrets = ["file:keys/wechat-apiv3-key"]
signing_key = "file:keys/wechat-private.pem"
live = false

[accounts.shop-wechat.public_keys]
PUB_KEY_ID_0119000000012026 = "file:keys/wechat-public.pem"
"""


def make_accounts(place: Place) -> None:
    """Writes accounts.toml and its keys unless accounts.toml is there; the keys come first."""
    if place.accounts.exists():
        return
    _write(place.keys / "hooks-secret", b"whsec_" + base64.b64encode(secrets.token_bytes(32)))
    _write(place.keys / "stripe-secret", b"whsec_" + secrets.token_hex(24).encode())
    _write(place.keys / "wechat-apiv3-key", secrets.token_hex(16).encode())
    for name in ("alipay", "wechat"):
        _write_pair(place.keys, name)
    place.accounts.write_text(ACCOUNTS, "utf-8")


def _write_pair(folder: Path, name: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(folder / f"{name}-private.pem", private)
    _write(folder / f"{name}-public.pem", public)


def _write(path: Path, content: bytes) -> None:
    """Readable by the owner alone, from the first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(content)
