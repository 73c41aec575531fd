"""One strict reader of forms."""

import re
from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import MalformedNotification
from providers.strict_form import MOST_FIELDS, percent_decoded, read_form


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True), st.binary(max_size=30), min_size=1))
def test_what_a_usual_writer_wrote_is_read(form: dict[str, bytes]) -> None:
    """Any bytes survive: plus signs, percent signs, ampersands, other charsets."""
    assert read_form(urlencode(form).encode()) == {name.encode(): value for name, value in form.items()}


@given(st.lists(st.sampled_from([*b"%%%%\\\\xuNU{}09afAFgz \n\xff\x80"]), max_size=40).map(bytes))
def test_percent_signs_are_decoded_as_the_library_does(text: bytes) -> None:
    """Half escapes, backslashes, what would be an escape of Python's own: every byte the same."""
    assert percent_decoded(text) == unquote_to_bytes(text)


@given(st.text(alphabet="ab=&%+236Dd", max_size=40))
def test_it_reads_what_the_slow_way_reads(text: str) -> None:
    """Field by field, name by name: whatever is escaped, borders stay where they were written."""
    body = text.encode()
    plain = [item.partition(b"=")[::2] for item in body.replace(b"+", b" ").split(b"&")]
    slow = [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, value in plain]
    try:
        assert read_form(body) == dict(slow)
    except MalformedNotification:
        assert len(dict(slow)) != len(slow) or not all(re.fullmatch(rb"[A-Za-z0-9_.-]+", name) for name, _ in slow)


def test_plus_is_a_space_and_its_escape_a_plus() -> None:
    """In this order: base64 in a form depends on it."""
    assert read_form(b"a=1+2%2B3&b=&c=%e5%ba%a7&d=x=y") == {
        b"a": b"1 2+3",
        b"b": b"",
        b"c": "座".encode(),
        b"d": b"x=y",
    }


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        (b"a=1&a=1", "form_duplicate_field"),
        (b"ab=1&a%62=2", "form_duplicate_field"),
        (b"a=1&", "form_field_name"),
        (b"a=1&b%26c=2", "form_field_name"),
        (b"a=1&b%3Dc=2", "form_field_name"),
        (b"a=1&b%0A=2", "form_field_name"),
        (b"a=1&" + b"b" * 129 + b"=2", "form_field_name"),
        (b"a=1&\xff=2", "form_field_name"),
        (b"", "form_field_name"),
        (b"&".join(b"f%d=" % number for number in range(MOST_FIELDS + 1)), "form_fields"),
        (b"&" * 250_000, "form_fields"),
    ],
)
def test_forms_that_are_refused(body: bytes, fact: str) -> None:
    """Duplicates, names that could pass for two fields, more fields than anybody sends."""
    with pytest.raises(MalformedNotification) as caught:
        read_form(body)

    assert caught.value.facts == (fact,)


def test_the_last_field_is_counted() -> None:
    """Two hundred are read."""
    assert len(read_form(b"&".join(b"f%d=" % number for number in range(MOST_FIELDS)))) == MOST_FIELDS
