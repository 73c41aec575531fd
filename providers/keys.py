"""Keys, when they hold, and the plain cryptography that every dialect shares."""

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from domain.errors import ConfigurationError, SignatureInvalid

Material = TypeVar("Material")

#: Alipay's RSA2 and WeChat Pay both demand it; a shorter key was typed from the wrong place.
SMALLEST_RSA_BITS = 2048
_PADDING, _HASH = PKCS1v15(), SHA256()


@dataclass(frozen=True, slots=True)
class Key(Generic[Material]):
    """A key with the time (unix seconds) in which it counts; an open end is None.

    `id` is safe to store and to show ("env:STRIPE_SECRET", a certificate's serial); `value` is neither.
    """

    id: str
    value: Material = field(repr=False)
    not_before: float | None = None
    not_after: float | None = None

    def usable_at(self, now: float) -> bool:
        """False outside its time, and for an empty secret: a signature under it could be made by anybody."""
        started = self.not_before is None or self.not_before <= now
        ended = self.not_after is not None and now > self.not_after
        return started and not ended and self.value != b""


Secret: TypeAlias = Key[bytes]
RsaKey: TypeAlias = Key[RSAPublicKey]
Ed25519Key: TypeAlias = Key[Ed25519PublicKey]


def usable(keys: tuple[Key[Material], ...], now: float) -> list[Key[Material]]:
    """The keys of `keys` that count at `now`."""
    return [key for key in keys if key.usable_at(now)]


def first_usable(keys: tuple[Key[Material], ...], now: float) -> Key[Material]:
    """The key to sign or seal with at `now`. Raises ConfigurationError if none counts."""
    for key in keys:
        if key.usable_at(now):
            return key
    raise ConfigurationError("no key is usable now")


def clock(text: str, now: float) -> float:
    """Seconds between `now` and the signed unix time `text`, never negative. Raises SignatureInvalid if it is none."""
    if not (0 < len(text) <= 12 and text.isascii() and text.isdigit() and int(text) > 0):
        raise SignatureInvalid("timestamp")
    return abs(now - int(text))


def base64_bytes(text: str) -> bytes:
    """The bytes of canonical base64. Raises ValueError.

    Not canonical: other characters between, bits set behind the last byte. Without this, several texts would carry
    the same signature.
    """
    try:
        packed = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("base64") from None
    if base64.b64encode(packed) != text.encode("ascii"):
        raise ValueError("base64")
    return packed


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes."""
    return hmac.digest(key, message, "sha256")


def rsa_verifies(key: RSAPublicKey, signature: bytes, message: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 with SHA-256: Alipay's RSA2, WeChat Pay's WECHATPAY2-SHA256-RSA2048."""
    try:
        key.verify(signature, message, _PADDING, _HASH)
    except InvalidSignature:
        return False
    return True


def rsa_signature(key: RSAPrivateKey | None, message: bytes) -> str:
    """The same scheme's signature in base64. Raises ConfigurationError without a key."""
    if key is None:
        raise ConfigurationError("signing_key is not set")
    return base64.b64encode(key.sign(message, _PADDING, _HASH)).decode("ascii")


def ed25519_verifies(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """Ed25519 as Standard Webhooks' v1a uses it."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def rsa_public_key(text: bytes) -> RSAPublicKey:
    """From a PEM public key, a PEM certificate, or the bare base64 that Alipay's console shows. Raises ValueError.

    A certificate's own dates and issuer are not looked at: the account pins this key, and `not_after` ends it.
    """
    if b"BEGIN CERTIFICATE" in text:
        key: object = x509.load_pem_x509_certificate(text).public_key()
    elif b"-----BEGIN" in text:
        key = serialization.load_pem_public_key(text)
    else:
        key = serialization.load_der_public_key(base64_bytes(b"".join(text.split()).decode("ascii")))
    if not isinstance(key, RSAPublicKey) or key.key_size < SMALLEST_RSA_BITS:
        raise ValueError("not an RSA key of 2048 bits or more")
    return key


def rsa_private_key(text: bytes) -> RSAPrivateKey:
    """From an unencrypted PEM, or the bare base64 that Alipay's key tool writes. Raises ValueError."""
    try:
        if b"-----BEGIN" in text:
            key = serialization.load_pem_private_key(text, password=None)
        else:
            key = serialization.load_der_private_key(base64_bytes(b"".join(text.split()).decode("ascii")), None)
    except TypeError:
        raise ValueError("an encrypted private key") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < SMALLEST_RSA_BITS:
        raise ValueError("not an RSA private key of 2048 bits or more")
    return key


def certificate_serial(text: bytes) -> int | None:
    """The serial number of a PEM certificate; None for a bare public key. Raises ValueError."""
    if b"BEGIN CERTIFICATE" not in text:
        return None
    return x509.load_pem_x509_certificate(text).serial_number
