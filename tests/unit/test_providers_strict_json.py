"""One strict JSON parser."""

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedNotification
from providers.strict_json import DEEPEST, read_object

_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_SCALARS = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | _TEXTS


def _nested(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4)


_OBJECTS = st.dictionaries(_TEXTS, st.recursive(_SCALARS, _nested), max_size=6)


@given(_OBJECTS, st.booleans())
def test_what_everybody_reads_alike_is_read(value: dict[str, object], ascii_only: bool) -> None:
    """Any object that a usual writer wrote comes back as it was, escapes, emoji and all."""
    assert read_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=300))
def test_bytes_are_an_object_or_malformed(body: bytes) -> None:
    """No bytes lead to another error, and none to anything but an object."""
    with contextlib.suppress(MalformedNotification):
        assert isinstance(read_object(body), dict)


@given(st.text('{}[]",:\\u0d8 1eE.-ntf', max_size=60))
def test_we_refuse_whatever_python_refuses(text: str) -> None:
    """Strictness only adds: what the standard parser does not take, we do not take either."""
    try:
        read_object(text.encode())
    except MalformedNotification:
        return
    assert isinstance(json.loads(text), dict)


def test_points_and_exponents_are_decimal() -> None:
    """No number becomes a float on the way."""
    assert read_object(b'{"a": 0.1, "b": 1e3, "c": 7}') == {"a": Decimal("0.1"), "b": Decimal("1E+3"), "c": 7}


def test_depth_is_counted_to_the_last_level() -> None:
    """Thirty-two levels are read, thirty-three are not; brackets inside of texts are text."""
    deepest = b'{"a":' * (DEEPEST - 1) + b"{}" + b"}" * (DEEPEST - 1)
    wide = b'{"a": [' + b"[]," * 500 + b"[]]}"
    text = json.dumps({"a": "[{" * 500 + '\\"[', "b": "\\"}).encode()

    for body in (deepest, wide, text):
        assert read_object(body) == json.loads(body)
    with pytest.raises(MalformedNotification, match="json_depth"):
        read_object(b'{"a":' + deepest + b"}")


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 100_000, b'{"a":"' + b"\\" * 200_001 + b"[" * 100, b"[" * 200_000])
def test_hostile_bodies_are_refused_in_one_pass(body: bytes) -> None:
    """Unending strings, endless escapes and brackets: each byte is looked at once (quadratic would be an hour)."""
    with pytest.raises(MalformedNotification):
        read_object(body)


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        (b'{"a":1,"a":1}', "json_duplicate_key"),
        (b'{"b":[{"a":1,"\\u0061":2}]}', "json_duplicate_key"),
        (b'{"a":NaN}', "json_constant"),
        (b'{"a":Infinity}', "json_constant"),
        (b'{"a":-Infinity}', "json_constant"),
        (b'{"a":123456789012345678901}', "json_integer"),
        (b'{"a":' + b"1" * 200_000 + b"}", "json_integer"),
        (b'{"a":"\\u0000"}', "json_text"),
        (b'{"a\\u0000":1}', "json_text"),
        (b'{"a":[["\\ud83d"]]}', "json_text"),
        (b'{"a":"\\udc00\\ud83d"}', "json_text"),
        (b'{"a":"\x00"}', "json"),
        (b"[]", "json_object"),
        (b"null", "json_object"),
        (b'"x"', "json_object"),
        (b"7", "json_object"),
        (b"", "json"),
        (b"{", "json"),
        (b'{"a":1}}', "json"),
        (b"{'a':1}", "json"),
        (b'{"a":01}', "json"),
        (b'\xef\xbb\xbf{"a":1}', "json"),
        ('{"a":1}'.encode("utf-16"), "json"),
        ('{"a":1}'.encode("utf-16-le"), "json"),
        (b'{"a":"\xed\xa0\x80"}', "json"),
        (b'{"a":"\xc0\x80"}', "json"),
    ],
)
def test_what_parsers_disagree_on_is_refused(body: bytes, fact: str) -> None:
    """Each for its own reason, and the reason never carries the document."""
    with pytest.raises(MalformedNotification) as caught:
        read_object(body)

    assert caught.value.facts == (fact,)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_escapes_that_only_look_suspect_are_read() -> None:
    """A surrogate pair is a character, and a backslash before u0000 makes it text."""
    assert read_object(b'{"a":"\\ud83d\\ude00","b":"\\\\u0000"}') == {"a": "😀", "b": "\\u0000"}
