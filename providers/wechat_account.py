"""The keys of a WeChat Pay account: each under the name that a delivery calls it by."""

import re
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from domain.errors import ConfigurationError
from providers.account_table import AccountTable
from providers.keys import RsaKey, certificate_serial, rsa_public_key
from providers.references import checked_secret

_SERIAL = re.compile(r"[0-9A-F]{1,40}|PUB_KEY_ID_[0-9A-Z]{1,64}")
_APIV3_KEY_BYTES = 32


def keys_by_serial(table: AccountTable) -> tuple[RsaKey, ...]:
    """A certificate must stand under its own serial: under another one no delivery would ever find it."""
    entries = table.members.get("public_keys")
    if not isinstance(entries, dict) or not entries:
        raise ConfigurationError(table.place("public_keys"), "must be a table: serial = reference")
    serials = [serial.upper() for serial in entries]
    if len(set(serials)) != len(serials) or not all(map(_SERIAL.fullmatch, serials)):
        raise ConfigurationError(table.place("public_keys"), "a key is a certificate's serial or PUB_KEY_ID_...")
    return tuple(
        table.key(f"public_keys.{serial}", value, _of_serial(serial), serial)
        for serial, value in zip(serials, entries.values(), strict=True)
    )


def _of_serial(serial: str) -> Callable[[bytes], RSAPublicKey]:
    def decode(text: bytes) -> RSAPublicKey:
        found = certificate_serial(text)
        if found is not None and f"{found:X}" != serial.lstrip("0"):
            raise ConfigurationError(f"the certificate's serial is {found:X}")
        return rsa_public_key(text)

    return decode


def apiv3_key(value: bytes) -> bytes:
    """A secret of exactly 32 bytes. Raises ConfigurationError."""
    if len(checked_secret(value)) != _APIV3_KEY_BYTES:
        raise ConfigurationError(f"the API v3 key has {_APIV3_KEY_BYTES} bytes")
    return value
