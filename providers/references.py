"""References to secrets: where they are, never what they are. No error here shows a value."""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from domain.errors import ConfigurationError

#: The bytes behind "env:NAME" or "file:path". Raises ConfigurationError.
Resolve = Callable[[str], bytes]

#: 128 bits; Stripe's and WeChat's have more.
SHORTEST_SECRET = 16

FORM = 'write "env:NAME" or "file:path", never the value itself'

#: Upper case only: what was pasted behind "env:" by mistake is hardly ever all in upper case, and is not shown.
_ENVIRONMENT = re.compile(r"env:[A-Z_][A-Z0-9_]{0,127}")
_FILE = re.compile(r"file:[^\x00-\x1f]{1,1024}")
#: No user and password, no query and no fragment: they would be lost, or end in a log.
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?")
#: What people leave in examples; or one character, repeated.
_PLACEHOLDER = re.compile(
    rb"(?i).*(change.?me|placeholder|replace.?(me|this)|example|your[_-]).*|<.*>|(.)\3*",
    re.DOTALL,
)


def resolver(folder: Path, environ: Mapping[str, str]) -> Resolve:
    """Looks references up in `environ`, and in files below or beside `folder` (absolute paths stay)."""

    def resolve(reference: str) -> bytes:
        if reference.startswith("env:"):
            return _from_environment(reference, environ)
        return _from_file(folder / reference.removeprefix("file:"), reference)

    return resolve


def checked_reference(value: object) -> str:
    """A reference in one of the two forms. Raises ConfigurationError, without showing what was there instead."""
    if isinstance(value, str) and (_ENVIRONMENT.fullmatch(value) or _FILE.fullmatch(value)):
        return value
    raise ConfigurationError(FORM)


def checked_secret(value: bytes) -> bytes:
    """A secret that can keep one. Raises ConfigurationError for empty, short, public or placeholder ones."""
    if not value.strip():
        raise ConfigurationError("is empty")
    if b"-----BEGIN" in value:
        raise ConfigurationError("is a PEM key, not a shared secret")
    if _PLACEHOLDER.fullmatch(value):
        raise ConfigurationError("is a placeholder")
    if len(value) < SHORTEST_SECRET:
        raise ConfigurationError(f"is shorter than {SHORTEST_SECRET} bytes")
    return value


def checked_url(text: str) -> str:
    """An address to send credentials to: https, or http on the loopback. Raises ConfigurationError, ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or not _ADDRESS.fullmatch(text):
        raise ConfigurationError("must be an address like https://api.example.com")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ConfigurationError("must be https, unless the host is this machine's own loopback")
    if parts.port == 0:
        raise ConfigurationError("must be an address like https://api.example.com")
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_environment(reference: str, environ: Mapping[str, str]) -> bytes:
    value = environ.get(reference.removeprefix("env:"))
    if value is None:
        raise ConfigurationError(reference, "is not set")
    return value.encode("utf-8", "surrogateescape")


def _from_file(path: Path, reference: str) -> bytes:
    try:
        value = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(reference, f"cannot be read: {error.strerror}") from None
    return value.removesuffix(b"\n").removesuffix(b"\r")
