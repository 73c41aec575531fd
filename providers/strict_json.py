"""One strict JSON parser, so that no two readers of a notification can disagree on what it says."""

import json
import re
from decimal import Decimal
from typing import Any, NoReturn

from domain.errors import MalformedNotification

#: No provider nests deeper than ten; Python's own parser recurses once for each level.
DEEPEST = 32
#: Digits of an integer, its sign included. 2**63 has 19; Python needs quadratic time for thousands.
LONGEST_INTEGER = 20

#: A string, or what stands behind an opening quote without an end. Possessive, and the end is optional: each byte is
#: looked at once, whatever an attacker writes.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
#: NUL, or half of a surrogate pair: both only get into a string by an escape. Most bodies have none, and need no walk.
_SUSPECT_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89A-Fa-f])")


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is; numbers with a point or an exponent come as Decimal.

    Refuses what parsers disagree on: anything but UTF-8, a byte order mark, duplicate keys, NaN and Infinity, more
    than 32 levels, integers of more than 20 digits, NUL and lone surrogates (PostgreSQL stores neither).
    Raises MalformedNotification.
    """
    if _too_deep(body):
        raise MalformedNotification("json_depth")
    try:
        value = _DECODER.decode(body.decode("utf-8"))
    except ValueError:
        # From None: the message of a JSONDecodeError carries the document.
        raise MalformedNotification("json") from None
    if not isinstance(value, dict):
        raise MalformedNotification("json_object")
    if _SUSPECT_ESCAPE.search(body) and not _storable(value):
        raise MalformedNotification("json_text")
    return value


def raw_members(body: bytes) -> dict[str, str]:
    """The text of each member's value, exactly as it stands in the object that `body` is: Alipay signs such a text.

    Only for a body that `read_object` has taken.
    """
    text = body.decode("utf-8")
    members: dict[str, str] = {}
    place = _next(text, 0)
    while text[place] in "{," and text[_next(text, place + 1)] != "}":
        name, colon = _DECODER.raw_decode(text, _next(text, place + 1))
        begin = _next(text, _next(text, colon) + 1)
        _, end = _DECODER.raw_decode(text, begin)
        members[name] = text[begin:end]
        place = _next(text, end)
    return members


def _next(text: str, place: int) -> int:
    """Where the next character stands that is no space, from `place` on."""
    while text[place] in " \t\n\r":
        place += 1
    return place


def _too_deep(body: bytes) -> bool:
    """Counted before parsing: behind a recursion error the interpreter may be out of C stack."""
    if body.count(b"{") + body.count(b"[") <= DEEPEST:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _ALL_BUT_BRACKETS):
        depth += 1 if bracket in b"{[" else -1
        if depth > DEEPEST:
            return True
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedNotification("json_duplicate_key")
    return members


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise MalformedNotification("json_integer")
    return int(digits)


def _no_constant(_: str) -> NoReturn:
    raise MalformedNotification("json_constant")


def _storable(value: object) -> bool:
    """No string in `value`, keys included, holds a NUL or a lone surrogate."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(_storable(key) and _storable(member) for key, member in value.items())
    return not isinstance(value, list) or all(map(_storable, value))


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=Decimal, parse_int=_integer, parse_constant=_no_constant
)
