"""accounts.toml: the merchant accounts, each as its dialect with its keys. docs/accounts.md is the reference."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from domain.errors import ConfigurationError
from domain.event import EventKind
from providers import standard_webhooks
from providers.account_table import AccountTable, naming
from providers.alipay import Alipay
from providers.dialect import Dialect
from providers.keys import RsaKey, certificate_serial, rsa_public_key
from providers.references import Resolve, checked_secret, resolver
from providers.standard_webhooks import USUAL_KINDS, Paths, StandardWebhooks
from providers.stripe import Stripe
from providers.wechat_v3 import WechatV3

#: It stands in a URL, in metrics and in lock names.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SERIAL = re.compile(r"[0-9A-F]{1,40}|PUB_KEY_ID_[0-9A-Z]{1,64}")
_APIV3_KEY_BYTES = 32

_EVERY = frozenset({"provider", "live"})
#: The keys that each provider's table may hold; docs/accounts.md names each of them.
KEYS: Mapping[str, frozenset[str]] = {
    "alipay": _EVERY | {"app_id", "seller_id", "public_keys", "signing_key"},
    "wechat_v3": _EVERY | {"app_id", "merchant_id", "public_keys", "secrets", "signing_key"},
    "stripe": _EVERY | {"secrets", "stripe_account"},
    "standard_webhooks": _EVERY | {"secrets", "public_keys", "paths", "kinds"},
}


def load_accounts(path: Path, environ: Mapping[str, str]) -> dict[str, Dialect]:
    """The accounts of the file at `path`, by name. Raises ConfigurationError, which never shows a secret."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None
    except ValueError:
        # From None, and without its message: it may quote the line.
        raise ConfigurationError(str(path), "is not TOML") from None
    return read_accounts(table, resolver(path.parent, environ))


def read_accounts(table: Mapping[str, Any], resolve: Resolve) -> dict[str, Dialect]:
    """The accounts of a parsed accounts.toml; `resolve` gives the bytes of a reference. Raises ConfigurationError."""
    accounts = table.get("accounts")
    if table.keys() != {"accounts"} or not isinstance(accounts, dict) or not accounts:
        raise ConfigurationError("accounts.toml holds [accounts.<name>] tables, at least one, and nothing else")
    return {name: _account(name, members, resolve) for name, members in accounts.items()}


def _account(name: str, members: object, resolve: Resolve) -> Dialect:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"accounts.{name!r}", "a name is made of a-z, 0-9, _ and -, at most 63 of them")
    if not isinstance(members, dict):
        raise ConfigurationError(f"accounts.{name}", "must be a table")
    table = AccountTable(name, members, resolve)
    provider = table.text("provider")
    if provider not in _BUILDERS:
        raise ConfigurationError(table.place("provider"), "must be one of", *sorted(_BUILDERS))
    table.only(KEYS[provider])
    return _BUILDERS[provider](table, table.flag("live", True))


def _alipay(table: AccountTable, live: bool) -> Alipay:
    public_keys = table.keys("public_keys", rsa_public_key)
    return Alipay(
        account=table.account,
        live=live,
        app_id=table.text("app_id"),
        public_keys=public_keys,
        seller_id=table.optional_text("seller_id"),
        signing_key=table.signing_key(live, public_keys),
    )


def _wechat_v3(table: AccountTable, live: bool) -> WechatV3:
    public_keys = _keys_by_serial(table)
    return WechatV3(
        account=table.account,
        live=live,
        app_id=table.text("app_id"),
        merchant_id=table.text("merchant_id"),
        public_keys=public_keys,
        secrets=table.keys("secrets", _apiv3_key),
        signing_key=table.signing_key(live, public_keys),
    )


def _stripe(table: AccountTable, live: bool) -> Stripe:
    secrets = table.keys("secrets", checked_secret)
    return Stripe(table.account, live, secrets, table.optional_text("stripe_account"))


def _standard_webhooks(table: AccountTable, live: bool) -> StandardWebhooks:
    if not table.members.keys() & {"secrets", "public_keys"}:
        raise ConfigurationError(table.place("secrets"), "needs secrets, or public_keys, or both")
    return StandardWebhooks(
        account=table.account,
        live=live,
        secrets=table.keys("secrets", _webhook_secret) if "secrets" in table.members else (),
        public_keys=table.keys("public_keys", _webhook_public_key) if "public_keys" in table.members else (),
        paths=_paths(table),
        kinds=_kinds(table),
    )


_BUILDERS: Mapping[str, Callable[[AccountTable, bool], Dialect]] = {
    "alipay": _alipay,
    "wechat_v3": _wechat_v3,
    "stripe": _stripe,
    "standard_webhooks": _standard_webhooks,
}


def _keys_by_serial(table: AccountTable) -> tuple[RsaKey, ...]:
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


def _apiv3_key(value: bytes) -> bytes:
    if len(checked_secret(value)) != _APIV3_KEY_BYTES:
        raise ConfigurationError(f"the API v3 key has {_APIV3_KEY_BYTES} bytes")
    return value


def _webhook_secret(value: bytes) -> bytes:
    checked_secret(value.removeprefix(b"whsec_"))
    return checked_secret(standard_webhooks.secret_bytes(value))


def _webhook_public_key(value: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(standard_webhooks.public_key_bytes(value))


def _paths(table: AccountTable) -> Paths:
    with naming(table.place("paths")):
        paths = {name: tuple(text.split(".")) for name, text in table.texts("paths").items()}
        if not paths.keys() <= set(Paths.__slots__):
            raise ConfigurationError("knows", *Paths.__slots__)
        if not all(all(path) for path in paths.values()):
            raise ConfigurationError('a path is written "data.object.id"')
        found = Paths(**paths)
        whole = [getattr(found, name) for name in Paths.__slots__]
        if any(inner != outer and inner[: len(outer)] == outer for inner in whole for outer in whole):
            raise ConfigurationError("one path leads through the member of another")
        return found


def _kinds(table: AccountTable) -> Mapping[str, EventKind]:
    """The table takes the place of the usual words: half of each would be nobody's intention."""
    words = table.texts("kinds")
    unknown = set(words.values()) - set(EventKind)
    if unknown:
        raise ConfigurationError(table.place("kinds"), "knows", *EventKind)
    return {word: EventKind(kind) for word, kind in words.items()} if words else USUAL_KINDS
