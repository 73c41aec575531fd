"""accounts.toml: what it may hold, what stops the start, and what no message may show."""

import base64
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from domain.errors import ConfigurationError
from domain.event import EventKind
from providers import alipay_query, stripe_query, wechat_query
from providers.accounts import EVERY, load_accounts, read_accounts
from providers.dialect import Dialect
from providers.keys import Key
from providers.references import resolver
from providers.registry import DIALECTS
from providers.standard_webhooks import StandardWebhooks
from providers.stripe import Stripe
from providers.webhook_payload import USUAL_KINDS, Paths
from providers.wechat_v3 import WechatV3

DOCS = Path(__file__).parents[2] / "docs" / "accounts.md"
SECRET = "whsec_marsupilami_keeps_this"
RESTRICTED = "rk_live_marsupilami7keeps7this"
OWL = base64.b64encode(b"twenty-four bytes of owl").decode()
APIV3 = "thirty-two bytes for a beaver..."
ED25519 = Ed25519PrivateKey.from_private_bytes(b"thirty-two bytes for a wombat...").public_key().public_bytes_raw()

ENVIRON = {
    "STRIPE_SECRET": SECRET,
    "STRIPE_RESTRICTED_KEY": RESTRICTED,
    "STRIPE_TEST_KEY": RESTRICTED.replace("live", "test"),
    "HOOKS_SECRET": f"whsec_{OWL}",
    "HOOKS_PUBLIC_KEY": f"whpk_{base64.b64encode(ED25519).decode()}",
    "WECHAT_APIV3_KEY": APIV3,
    "EMPTY": "",
    "BLANK": " " * 20,
    "SHORT": "fifteen bytes..",
    "PLACEHOLDER": "whsec_change_me_please",
    "POINTED": "<the signing secret>",
    "REPEATED": "xxxxxxxxxxxxxxxxxxxxxx",
    "PEM": "-----BEGIN PUBLIC KEY-----\nMIIBIjANBg\n-----END PUBLIC KEY-----",
}

LATER = "2026-01-01T00:00:00Z"
STRIPE = {"provider": "stripe", "secrets": ["env:STRIPE_SECRET"]}
HOOKS = {"provider": "standard_webhooks", "secrets": ["env:HOOKS_SECRET"]}
ALIPAY = {"provider": "alipay", "app_id": "2021", "public_keys": ["file:public.pem"], "live": False}
WECHAT = {
    "provider": "wechat_v3",
    "app_id": "wx",
    "merchant_id": "19",
    "public_keys": {"PUB_KEY_ID_1": "file:public.pem"},
    "secrets": ["env:WECHAT_APIV3_KEY"],
    "live": False,
}
STRIPE_QUERY = {"key": "env:STRIPE_RESTRICTED_KEY"}
ALIPAY_QUERY = {"key": "file:private.pem"}
WECHAT_QUERY = {"key": "file:private.pem", "serial": "5157f09e"}
QUERIES = {"alipay": alipay_query.KEYS, "stripe": stripe_query.KEYS, "wechat_v3": wechat_query.KEYS}


@pytest.fixture(scope="module")
def signing_key() -> RSAPrivateKey:
    """One RSA key for the whole file: making one takes a tenth of a second."""
    return generate_private_key(65537, 2048)


def _pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _der(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, signing_key: RSAPrivateKey) -> Path:
    """The files that the examples refer to."""
    place = tmp_path_factory.mktemp("accounts")
    small = generate_private_key(65537, 1024)  # noqa: S505 - it has to be refused
    stray = generate_private_key(65537, 2048)
    files = {
        "secrets/stripe-old": b"whsec_an_older_marsupilami\n",
        "keys/alipay-public.pem": _public_pem(signing_key),
        "keys/wechat-public.pem": _public_pem(signing_key),
        "keys/simulator.pem": _pem(signing_key),
        "keys/alipay-application.pem": _pem(stray),
        "keys/apiclient_key.pem": _pem(stray),
        "bare": base64.b64encode(_der(stray)),
        "small-private.pem": _pem(small),
        "public.pem": _public_pem(signing_key),
        "private.pem": _pem(signing_key),
        "small.pem": _public_pem(small),
        "stray.pem": _pem(stray),
        "broken.pem": b"-----BEGIN PUBLIC KEY-----\nmarsupilami\n-----END PUBLIC KEY-----\n",
        "nothing": b"\n",
    }
    for name, value in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(value)
    return place


def _load(folder: Path, text: str) -> dict[str, Dialect]:
    path = folder / "accounts.toml"
    path.write_text(text, "utf-8")
    return load_accounts(path, ENVIRON)


def _one(account: Mapping[str, Any], folder: Path) -> Any:
    return read_accounts({"accounts": {"shop": account}}, resolver(folder, ENVIRON))["shop"]


def _examples() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)


def test_every_example_of_the_page_loads(folder: Path) -> None:
    """The documented file works as it stands, with one example for each provider."""
    accounts = _load(folder, "\n".join(_examples()))

    assert {type(account) for account in accounts.values()} == set(DIALECTS.values())
    assert all(account.account == name for name, account in accounts.items())


@pytest.mark.parametrize("provider", DIALECTS)
def test_every_key_is_on_the_page(provider: str) -> None:
    """A key that may stand in accounts.toml has its row in the reference."""
    page = DOCS.read_text("utf-8")

    assert f"`{provider}`" in page
    for key in EVERY | DIALECTS[provider].keys:
        assert f"| `{key}` |" in page


def _spelt(time: timedelta | None) -> str:
    """As the page writes a time: days where it is whole days, else hours, minutes and seconds."""
    if time is None:
        return "-"
    if time % timedelta(days=1) == timedelta():
        return f"{time.days} d"
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (seconds, "s")) if number)


@pytest.mark.parametrize("provider", QUERIES)
def test_every_key_of_a_query_is_on_the_page(provider: str) -> None:
    """The same for the inner table."""
    page = DOCS.read_text("utf-8")

    for key in QUERIES[provider]:
        assert f"| `{provider}` | `{key}` |" in page


def test_the_page_tells_the_horizons_and_words_as_they_are() -> None:
    """Horizons, usual words and usual places on the page are those of the code."""
    page = DOCS.read_text("utf-8")

    for provider, dialect in DIALECTS.items():
        horizon = dialect.horizon
        times = " | ".join(map(_spelt, (horizon.automatic, horizon.manual, horizon.lifecycle, horizon.deadline)))
        assert f"| `{provider}` | {times} | {horizon.source} |" in page
    for word, kind in USUAL_KINDS.items():
        assert re.search(rf"\| `{kind}` \|[^|]*`{re.escape(word)}`", page)
    for fact in Paths.__slots__:
        assert f'`{fact} = "{".".join(getattr(Paths(), fact))}"`' in page


def test_a_stripe_account(folder: Path) -> None:
    """Live by default; a secret is its whole text, its reference is its name, its window in unix seconds."""
    old = {
        "ref": "file:secrets/stripe-old",
        "not_before": "2026-01-01T08:00:00+08:00",
        "not_after": "2026-02-01T00:00:00Z",
    }

    account = _one({**STRIPE, "secrets": ["env:STRIPE_SECRET", old]}, folder)

    assert account == Stripe(
        "shop",
        True,
        (
            Key("env:STRIPE_SECRET", SECRET.encode()),
            Key("file:secrets/stripe-old", b"whsec_an_older_marsupilami", 1767225600.0, 1769904000.0),
        ),
    )


def test_a_standard_webhooks_account(folder: Path) -> None:
    """The secret is decoded; what is not said about the payload stays as usual."""
    account = _one({**HOOKS, "paths": {"kind": "event.name"}, "kinds": {"paid": "payment"}}, folder)

    assert account == StandardWebhooks(
        "shop",
        True,
        (Key("env:HOOKS_SECRET", b"twenty-four bytes of owl"),),
        paths=Paths(kind=("event", "name")),
        kinds={"paid": EventKind.PAYMENT},
    )
    assert _one(HOOKS, folder).kinds == USUAL_KINDS


def test_a_wechat_account(folder: Path, signing_key: RSAPrivateKey) -> None:
    """Keys carry the serial that deliveries name, in upper case."""
    account = _one({**WECHAT, "public_keys": {"5157f09e": "file:public.pem"}}, folder)

    public_keys = (Key("5157F09E", signing_key.public_key()),)
    secrets = (Key("env:WECHAT_APIV3_KEY", APIV3.encode()),)
    assert account == WechatV3("shop", False, "wx", "19", public_keys, secrets)


@pytest.mark.parametrize(
    ("account", "key"),
    [
        ({**STRIPE, "secret": "x"}, "secret"),
        ({**STRIPE, "signing_key": "file:private.pem"}, "signing_key"),
        ({"secrets": ["env:STRIPE_SECRET"]}, "provider"),
        ({**STRIPE, "provider": "strype"}, "provider"),
        ({**STRIPE, "provider": 7}, "provider"),
        ({**STRIPE, "live": "yes"}, "live"),
        ({**STRIPE, "live": 1}, "live"),
        ({**STRIPE, "stripe_account": ""}, "stripe_account"),
        *(
            ({**STRIPE, "expires_after_seconds": wrong}, "expires_after_seconds")
            for wrong in (0, 0.0, -1, 1e-9, math.nan, math.inf, -math.inf, 366 * 86_400 + 1, 10**400, True, "60", None)
        ),
        ({**STRIPE, "query": "env:STRIPE_RESTRICTED_KEY"}, "query"),
        ({**STRIPE, "query": {}}, "query.key"),
        ({**STRIPE, "query": {"key": RESTRICTED}}, "query.key"),
        ({**STRIPE, "query": {"key": "env:STRIPE_SECRET"}}, "query.key"),
        ({**STRIPE, "query": {"key": "env:STRIPE_TEST_KEY"}}, "query.key"),
        ({**STRIPE, "live": False, "query": STRIPE_QUERY}, "query.key"),
        ({**STRIPE, "query": {**STRIPE_QUERY, "secret": "x"}}, "query.secret"),
        *(
            ({**STRIPE, "query": {**STRIPE_QUERY, "url": url}}, "query.url")
            for url in (
                *("", 7, "api.stripe.com", "ftp://api.stripe.com", "https://", "http://api.stripe.com"),
                *("http://127.0.0.1.example.com", "http://localhost.example.com", "http://[::2]", "http://0x7f.1"),
                *("https://user:marsupilami@api.stripe.com", "https://api.stripe.com?marsupilami", "https://a/#b"),
                *("https://api.stripe.com:99999", "https://api.stripe.com:0", "https://api.stripe.com/\n"),
            )
        ),
        ({**ALIPAY, "query": {}}, "query.key"),
        ({**ALIPAY, "query": {"key": "file:small-private.pem"}}, "query.key"),
        ({**ALIPAY, "query": {"key": "file:public.pem"}}, "query.key"),
        ({**ALIPAY, "query": {"key": "env:STRIPE_SECRET"}}, "query.key"),
        ({**ALIPAY, "query": {**ALIPAY_QUERY, "app_cert_sn": 7}}, "query.app_cert_sn"),
        ({**ALIPAY, "query": {**ALIPAY_QUERY, "serial": "5157f09e"}}, "query.serial"),
        ({**WECHAT, "query": ALIPAY_QUERY}, "query.serial"),
        ({**WECHAT, "query": {**WECHAT_QUERY, "serial": "PUB_KEY_ID_1"}}, "query.serial"),
        ({**WECHAT, "query": {"serial": "5157f09e"}}, "query.key"),
        ({**HOOKS, "query": {}}, "query"),
        ({"provider": "stripe"}, "secrets"),
        ({**STRIPE, "secrets": []}, "secrets"),
        ({**STRIPE, "secrets": "env:STRIPE_SECRET"}, "secrets"),
        ({**STRIPE, "secrets": ["env:MISSING"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["env:STRIPE_SECRET", "env:EMPTY"]}, "secrets[1]"),
        ({**STRIPE, "secrets": ["env:BLANK"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["env:SHORT"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["env:PLACEHOLDER"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["env:POINTED"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["env:REPEATED"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["env:PEM"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["file:nowhere"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["file:secrets"]}, "secrets[0]"),
        ({**STRIPE, "secrets": ["file:nothing"]}, "secrets[0]"),
        ({**STRIPE, "secrets": [SECRET]}, "secrets[0]"),
        ({**STRIPE, "secrets": [f"env:{SECRET}"]}, "secrets[0]"),
        ({**STRIPE, "secrets": [7]}, "secrets[0]"),
        ({**STRIPE, "secrets": [{"env": "STRIPE_SECRET"}]}, "secrets[0]"),
        ({**STRIPE, "secrets": [{"ref": SECRET}]}, "secrets[0]"),
        ({**STRIPE, "secrets": [{"not_after": "2026-01-01T00:00:00Z"}]}, "secrets[0]"),
        ({**STRIPE, "secrets": [{"ref": "env:STRIPE_SECRET", "not_after": "2026-01-01 00:00:00"}]}, "secrets[0]"),
        ({**STRIPE, "secrets": [{"ref": "env:STRIPE_SECRET", "not_after": "soon"}]}, "secrets[0]"),
        ({**STRIPE, "secrets": [{"ref": "env:STRIPE_SECRET", "not_after": 1767225600}]}, "secrets[0]"),
        ({**STRIPE, "secrets": [{"ref": "env:STRIPE_SECRET", "not_before": LATER, "not_after": LATER}]}, "secrets[0]"),
        ({"provider": "standard_webhooks"}, "secrets"),
        ({**HOOKS, "secrets": ["env:STRIPE_SECRET"]}, "secrets[0]"),
        ({**HOOKS, "secrets": ["env:SHORT"]}, "secrets[0]"),
        ({**HOOKS, "public_keys": ["env:HOOKS_SECRET"]}, "public_keys[0]"),
        ({**HOOKS, "paths": {"order": "data.id"}}, "paths"),
        ({**HOOKS, "paths": {"order_no": "data..id"}}, "paths"),
        ({**HOOKS, "paths": {"order_no": 7}}, "paths"),
        ({**HOOKS, "paths": {"order_no": "data"}}, "paths"),
        ({**HOOKS, "kinds": {"paid": "paid"}}, "kinds"),
        ({**HOOKS, "kinds": ["payment"]}, "kinds"),
        ({**ALIPAY, "app_id": " "}, "app_id"),
        ({**ALIPAY, "app_id": 2021}, "app_id"),
        ({**ALIPAY, "public_keys": ["file:private.pem"]}, "public_keys[0]"),
        ({**ALIPAY, "public_keys": ["file:small.pem"]}, "public_keys[0]"),
        ({**ALIPAY, "public_keys": ["file:broken.pem"]}, "public_keys[0]"),
        ({**ALIPAY, "public_keys": ["env:STRIPE_SECRET"]}, "public_keys[0]"),
        ({**ALIPAY, "public_keys": ["file:nothing"]}, "public_keys[0]"),
        ({**ALIPAY, "signing_key": "file:private.pem", "live": True}, "signing_key"),
        ({**ALIPAY, "signing_key": "file:public.pem"}, "signing_key"),
        ({**ALIPAY, "signing_key": "file:stray.pem"}, "signing_key"),
        ({**WECHAT, "signing_key": "file:stray.pem"}, "signing_key"),
        ({**WECHAT, "public_keys": ["file:public.pem"]}, "public_keys"),
        ({**WECHAT, "public_keys": {}}, "public_keys"),
        ({**WECHAT, "public_keys": {"my key": "file:public.pem"}}, "public_keys"),
        ({**WECHAT, "public_keys": {"ab": "file:public.pem", "AB": "file:public.pem"}}, "public_keys"),
        ({**WECHAT, "public_keys": {"AB": "file:private.pem"}}, "public_keys.AB"),
        ({**WECHAT, "secrets": ["env:STRIPE_SECRET"]}, "secrets[0]"),
        ({**WECHAT, "merchant_id": None}, "merchant_id"),
    ],
)
def test_what_stops_the_start(account: dict[str, Any], key: str, folder: Path) -> None:
    """Each fault is named by account and key, and no secret that was near it is shown."""
    with pytest.raises(ConfigurationError) as caught:
        _one(account, folder)

    assert caught.value.facts[0] == f"accounts.shop.{key}"
    assert "marsupilami" not in str(caught.value)
    assert not any(value and value in str(caught.value) for name, value in ENVIRON.items() if name != "BLANK")


def test_a_literal_secret_is_told_the_form(folder: Path) -> None:
    """Who writes the value itself is told what to write."""
    with pytest.raises(ConfigurationError, match='write "env:NAME" or "file:path"'):
        _one({**STRIPE, "secrets": [SECRET]}, folder)


def test_accounts_that_can_ask(folder: Path, signing_key: RSAPrivateKey) -> None:
    """The provider's own address unless another is given; the sandbox's for an Alipay account that is not live."""
    stripe = _one({**STRIPE, "stripe_account": "acct_1", "query": STRIPE_QUERY}, folder).credentials
    alipay = _one({**ALIPAY, "query": ALIPAY_QUERY}, folder).credentials
    wechat = _one({**WECHAT, "query": {**WECHAT_QUERY, "url": "https://api2.mch.weixin.qq.com/"}}, folder).credentials

    key = Key("env:STRIPE_RESTRICTED_KEY", RESTRICTED.encode())
    assert stripe == stripe_query.StripeCredentials(key, "https://api.stripe.com", "acct_1")
    assert (alipay.key.id, alipay.url) == ("file:private.pem", alipay_query.SANDBOX_URL)
    assert alipay.key.value.public_key() == signing_key.public_key()
    assert (wechat.serial, wechat.url) == ("5157F09E", "https://api2.mch.weixin.qq.com")
    live = {**ALIPAY, "live": True, "query": {"key": "file:bare"}}
    assert _one(live, folder).credentials.url == alipay_query.LIVE_URL
    for account in (STRIPE, ALIPAY, WECHAT):
        assert _one(account, folder).credentials is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:81/x", "http://127.9.9.9/"])
def test_only_this_machine_is_asked_in_the_open(url: str, folder: Path) -> None:
    """Without TLS there is the loopback alone, where a test plays the provider."""
    account = _one({**STRIPE, "query": {**STRIPE_QUERY, "url": url}}, folder)

    assert account.credentials.url == url.rstrip("/")


@pytest.mark.parametrize("account", [STRIPE, HOOKS, ALIPAY, WECHAT], ids=lambda account: account["provider"])
def test_every_account_has_a_deadline(account: dict[str, Any], folder: Path) -> None:
    """Its own, to the fraction of a second, else a day more than the provider itself goes on sending."""
    horizon = DIALECTS[account["provider"]].horizon

    assert _one(account, folder).expires_after == horizon.automatic + timedelta(days=1)
    for seconds in (1, 0.5, 366 * 86_400):
        own = _one({**account, "expires_after_seconds": seconds}, folder)
        assert own.expires_after == timedelta(seconds=seconds)


def test_a_deadline_is_read_from_the_file(folder: Path) -> None:
    """TOML's own spellings, nan and inf among them, meet the same rule."""
    table = '[accounts.shop]\nprovider = "stripe"\nsecrets = ["env:STRIPE_SECRET"]\nexpires_after_seconds = '

    assert _load(folder, table + "86_400")["shop"].expires_after == timedelta(days=1)
    for wrong in ("nan", "inf", "-inf", "0", "-0.0", "1e30", "2026-01-01"):
        with pytest.raises(ConfigurationError, match="expires_after_seconds"):
            _load(folder, table + wrong)


def _certificate(serial: int) -> bytes:
    key = generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ominous mirror")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, begin, begin + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_certificate_stands_under_its_own_serial(folder: Path) -> None:
    """Under another serial no delivery would ever find it."""
    certificate = _certificate(0x5157F09E)
    (folder / "certificate.pem").write_bytes(certificate)

    for serial in ("5157F09E", "005157f09e"):
        assert _one({**WECHAT, "public_keys": {serial: "file:certificate.pem"}}, folder).public_keys
    with pytest.raises(ConfigurationError, match="5157F09E"):
        _one({**WECHAT, "public_keys": {"5157F09F": "file:certificate.pem"}}, folder)


@pytest.mark.parametrize("name", ["", "Shop", "shop.eu", "-shop", "shop/eu", "s" * 64, "店", "shop\n"])
def test_names_that_are_refused(name: str, folder: Path) -> None:
    """A name stands in a URL: small letters, digits, - and _."""
    with pytest.raises(ConfigurationError):
        read_accounts({"accounts": {name: STRIPE}}, lambda _: SECRET.encode())


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"accounts": {}},
        {"accounts": []},
        {"accounts": {"shop": STRIPE}, "account": {}},
        {"accounts": {"shop": 7}},
    ],
)
def test_tables_that_are_refused(table: dict[str, Any]) -> None:
    """No accounts, something beside them, an account that is no table."""
    with pytest.raises(ConfigurationError):
        read_accounts(table, lambda _: SECRET.encode())


@pytest.mark.parametrize("text", [f'secret = "{SECRET}', f"{SECRET} {SECRET}", "[accounts.shop]\n[accounts.shop]"])
def test_a_file_that_is_no_toml_is_not_quoted(text: str, folder: Path) -> None:
    """The message names the file, and nothing that stands in it."""
    with pytest.raises(ConfigurationError, match="is not TOML") as caught:
        _load(folder, text)

    assert "marsupilami" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    """So that a wrong PAIDONCE_ACCOUNTS is found at once."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        load_accounts(folder / "nowhere.toml", {})
