"""One account's table in accounts.toml, read member by member; each error names the account and the key."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from domain.errors import ConfigurationError
from providers.horizon import Horizon
from providers.keys import Key, RsaKey, rsa_private_key
from providers.reading import moment
from providers.references import FORM, Resolve, checked_reference, checked_url

Material = TypeVar("Material")

#: Seconds. Whoever wants to wait longer wants no deadline; and a date behind the calendar would fail in the worker.
_LONGEST_DEADLINE = 366 * 86_400
_WINDOW_KEYS = frozenset({"ref", "not_before", "not_after"})


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Puts `place` in front of a configuration error's facts; what a decoder said about a value is left out."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(place, *error.facts) from None
    except ValueError:
        raise ConfigurationError(place, "is not a key of the right kind") from None


@dataclass(frozen=True, slots=True)
class AccountTable:
    """The members of [accounts.<account>], and the way to what they refer to."""

    account: str
    members: Mapping[str, Any]
    resolve: Resolve

    def place(self, key: str) -> str:
        """How errors name a key."""
        return f"accounts.{self.account}.{key}"

    def only(self, allowed: frozenset[str]) -> None:
        """Raises ConfigurationError for the first unknown key: a misspelt one would silently not count."""
        for key in sorted(self.members.keys() - allowed):
            raise ConfigurationError(self.place(key), "is not a key of this provider")

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self.members.get(key)
        if not isinstance(value, str) or not value.strip():
            raise ConfigurationError(self.place(key), "must be a text")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text that may be left out."""
        return self.text(key) if key in self.members else None

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.members.get(key, default)
        if not isinstance(value, bool):
            raise ConfigurationError(self.place(key), "must be true or false")
        return value

    def expires_after(self, horizon: Horizon) -> timedelta:
        """The account's own deadline, else the horizon's; above zero, and at most a year."""
        if "expires_after_seconds" not in self.members:
            return horizon.deadline
        value = self.members["expires_after_seconds"]
        # Compared, not converted: NaN compares with nothing, infinity is above every end, and less than a microsecond
        # would become none.
        if not isinstance(value, int | float) or isinstance(value, bool) or not 1e-6 <= value <= _LONGEST_DEADLINE:
            raise ConfigurationError(self.place("expires_after_seconds"), "must be seconds above 0, at most a year")
        return timedelta(seconds=value)

    def inner(self, key: str, allowed: frozenset[str]) -> "AccountTable | None":
        """The table at `key`, with these keys and no other; None if it is left out."""
        if key not in self.members:
            return None
        members = self.members[key]
        if not isinstance(members, dict):
            raise ConfigurationError(self.place(key), "must be a table")
        table = AccountTable(f"{self.account}.{key}", members, self.resolve)
        table.only(allowed)
        return table

    def url(self, key: str, default: str) -> str:
        """An address without a slash at its end: https, or http to this very machine."""
        if key not in self.members:
            return default
        with naming(self.place(key)):
            return checked_url(self.text(key))

    def texts(self, key: str) -> Mapping[str, str]:
        """A table of texts; empty if it is left out."""
        value = self.members.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise ConfigurationError(self.place(key), "must be a table of texts")
        return value

    def keys(self, key: str, decode: Callable[[bytes], Material]) -> tuple[Key[Material], ...]:
        """The keys of a list of references, at least one; each carries its reference as id."""
        value = self.members.get(key)
        if not isinstance(value, list) or not value:
            raise ConfigurationError(self.place(key), "must be a list of references;", FORM)
        return tuple(self.key(f"{key}[{index}]", each, decode) for index, each in enumerate(value))

    def key(
        self, key: str, value: object, decode: Callable[[bytes], Material], name: str | None = None
    ) -> Key[Material]:
        """The key of one reference, or of {ref, not_before, not_after}; its id is `name`, or the reference."""
        with naming(self.place(key)):
            window = value if isinstance(value, dict) else {"ref": value}
            if not window.keys() <= _WINDOW_KEYS:
                raise ConfigurationError("knows ref, not_before and not_after only")
            reference = checked_reference(window.get("ref"))
            begin, end = _seconds(window.get("not_before")), _seconds(window.get("not_after"))
            if begin is not None and end is not None and begin >= end:
                raise ConfigurationError("not_before is not before not_after")
            return Key(name or reference, decode(self.resolve(reference)), begin, end)

    def signing_key(self, live: bool, public_keys: tuple[RsaKey, ...]) -> RSAPrivateKey | None:
        """The simulator's RSA key; a live account must have none, for who can sign can say that anything was paid."""
        if "signing_key" not in self.members:
            return None
        if live:
            raise ConfigurationError(self.place("signing_key"), "is refused while live = true")
        key = self.key("signing_key", self.members["signing_key"], rsa_private_key).value
        if all(known.value != key.public_key() for known in public_keys):
            raise ConfigurationError(self.place("signing_key"), "belongs to none of public_keys")
        return key


def _seconds(value: object) -> float | None:
    """Unix seconds of a TOML date-time or RFC 3339 text, with its offset."""
    if value is None:
        return None
    when = value if isinstance(value, datetime) else moment(value)
    if when is None or when.tzinfo is None:
        raise ConfigurationError("a time needs its offset: 2027-01-31T00:00:00Z")
    return when.timestamp()
