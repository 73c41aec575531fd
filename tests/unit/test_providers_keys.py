"""Keys, their windows, and the plain cryptography."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConfigurationError, SignatureInvalid
from providers.keys import (
    Key,
    base64_bytes,
    clock,
    ed25519_verifies,
    first_usable,
    hmac_sha256,
    rsa_private_key,
    rsa_public_key,
    rsa_signature,
    usable,
)

PEM = serialization.Encoding.PEM
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PKCS8 = serialization.PrivateFormat.PKCS8


@pytest.mark.parametrize(
    ("begin", "end", "now", "counts"),
    [
        (None, None, 0, True),
        (100, None, 99.9, False),
        (100, None, 100, True),
        (None, 200, 200, True),
        (None, 200, 200.1, False),
        (100, 200, 150, True),
        (100, 200, float("nan"), False),
    ],
)
def test_a_window_includes_both_ends(begin: float | None, end: float | None, now: float, counts: bool) -> None:
    """A key counts from its first second to its last."""
    assert Key("k", b"v", begin, end).usable_at(now) is counts


def test_the_first_key_that_counts_signs() -> None:
    """Keys out of their time and empty secrets are passed over; without any nothing is signed."""
    keys = (Key("old", b"a", None, 1), Key("empty", b""), Key("now", b"b"), Key("next", b"c"))

    assert first_usable(keys, 2).id == "now"
    assert [key.id for key in usable(keys, 2)] == ["now", "next"]
    with pytest.raises(ConfigurationError):
        first_usable(keys[:2], 2)


def test_a_key_does_not_show_itself() -> None:
    """Its reference is for people, its value is not."""
    assert repr(Key("env:SECRET", b"marsupilami")) == "Key(id='env:SECRET', not_before=None, not_after=None)"


@pytest.mark.parametrize("text", ["", "0", "00", "-1", "+1", "1.0", "1e9", " 1", "1\n", "¹", "٣", "1" * 13])
def test_what_is_no_time(text: str) -> None:
    """Only ASCII digits, more than nothing, at most twelve."""
    with pytest.raises(SignatureInvalid):
        clock(text, 1.0)


def test_the_clock_looks_both_ways() -> None:
    """Seconds between, never negative."""
    assert (clock("100", 90.5), clock("100", 109.5), clock("100", 100)) == (9.5, 9.5, 0)


@given(st.binary(max_size=64))
def test_one_text_for_the_same_bytes(value: bytes) -> None:
    """Base64 is read in its canonical form alone: else several texts would carry one signature."""
    text = base64.b64encode(value).decode()

    assert base64_bytes(text) == value
    for other in (text + "\n", " " + text, text + "=", text.replace("=", "") + "é"):
        with pytest.raises(ValueError):
            base64_bytes(other)


def test_bits_behind_the_last_byte_are_refused() -> None:
    """AA== and AB== are one byte for a usual decoder."""
    assert base64_bytes("AA==") == b"\0"
    with pytest.raises(ValueError):
        base64_bytes("AB==")


def test_hmac_is_that_of_rfc_4231() -> None:
    """The second test case of RFC 4231."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    assert hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == expected


def test_an_ed25519_signature_of_any_length_is_judged() -> None:
    """Too short and too long are wrong, not an error."""
    key = Ed25519PrivateKey.generate()
    signature = key.sign(b"beaver")

    assert ed25519_verifies(key.public_key(), signature, b"beaver")
    for wrong in (b"", signature[:-1], signature + b"\0", bytes(64)):
        assert not ed25519_verifies(key.public_key(), wrong, b"beaver")


def test_only_rsa_keys_of_2048_bits_are_public_keys() -> None:
    """Other curves, short keys, private keys and text are refused with a ValueError."""
    ec = generate_ec_key(SECP256R1()).public_key().public_bytes(PEM, SPKI)
    short = generate_private_key(65537, 1024).public_key().public_bytes(PEM, SPKI)  # noqa: S505 - it has to be refused

    for wrong in (
        ec,
        short,
        b"",
        b"marsupilami",
        "钥匙".encode(),
        b"-----BEGIN CERTIFICATE-----",
        b"BEGIN PRIVATE KEY",
    ):
        with pytest.raises(ValueError):
            rsa_public_key(wrong)


def test_only_open_rsa_keys_sign() -> None:
    """An encrypted key, another kind of key, and no key at all do not sign."""
    locked = generate_private_key(65537, 2048).private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"owl"))
    ec = generate_ec_key(SECP256R1()).private_bytes(PEM, PKCS8, serialization.NoEncryption())

    for wrong in (locked, ec, b"", b"marsupilami"):
        with pytest.raises(ValueError):
            rsa_private_key(wrong)
    with pytest.raises(ConfigurationError):
        rsa_signature(None, b"beaver")
