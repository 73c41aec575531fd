"""Secrets and keys of Standard Webhooks, as a sender shows them."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from providers.keys import base64_bytes
from providers.references import checked_secret


def secret_bytes(text: bytes) -> bytes:
    """The key behind a secret as the sender shows it: base64, whsec_ in front or not. Raises ValueError."""
    return base64_bytes(text.decode("ascii").removeprefix("whsec_"))


def public_key_bytes(text: bytes) -> bytes:
    """The 32 bytes of an Ed25519 public key as the sender shows it: whpk_ and base64. Raises ValueError."""
    return base64_bytes(text.decode("ascii").strip().removeprefix("whpk_"))


def signing_secret(text: bytes) -> bytes:
    """The key behind a secret that can keep one. Raises ConfigurationError, ValueError."""
    checked_secret(text.removeprefix(b"whsec_"))
    return checked_secret(secret_bytes(text))


def public_key(text: bytes) -> Ed25519PublicKey:
    """The Ed25519 key behind its text. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(public_key_bytes(text))
