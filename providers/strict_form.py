"""One strict reader of application/x-www-form-urlencoded bodies: raw bytes in, raw bytes out."""

import re
from urllib.parse import unquote_to_bytes

from domain.errors import MalformedNotification

#: Alipay sends thirty.
MOST_FIELDS = 200
#: A name with & or = in it could pass for two fields in the string to sign.
_NAME = re.compile(rb"[A-Za-z0-9_.-]{1,128}")


def read_form(body: bytes) -> dict[bytes, bytes]:
    """Each field's percent-decoded bytes. Raises MalformedNotification for duplicates, odd names, over 200 fields."""
    if body.count(b"&") >= MOST_FIELDS:
        raise MalformedNotification("form_fields")
    pairs = [item.partition(b"=") for item in body.split(b"&")]
    form = {_plain(name): _plain(value) for name, _, value in pairs}
    if len(form) != len(pairs):
        raise MalformedNotification("form_duplicate_field")
    if not all(map(_NAME.fullmatch, form)):
        raise MalformedNotification("form_field_name")
    return form


def _plain(text: bytes) -> bytes:
    """The plus sign is a space and %2B a plus sign, in this order. Most fields have neither."""
    text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text
