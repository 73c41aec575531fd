"""Asking Stripe: docs.stripe.com/api (payment_intents, checkout/sessions, refunds, disputes: retrieve).

Stripe signs no answer: TLS and the key are all that proves it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from domain.errors import ConfigurationError, MalformedNotification
from domain.event import EventKind, PaymentEvent
from providers.account_table import AccountTable
from providers.keys import Secret
from providers.query import USER_AGENT, Finding, Query, askable, denied, refusal, unknown
from providers.reading import member
from providers.references import checked_secret
from providers.strict_json import read_object
from providers.stripe_testimony import testimony_of

K = EventKind
Thing = Mapping[str, Any]

KEYS = frozenset({"key", "url"})
LIVE_URL = "https://api.stripe.com"
#: Pinned, for an account's own version may be from before `latest_charge` (2022-11-15). docs.stripe.com/api/versioning
VERSION = "2024-06-20"

#: A restricted key or a secret one, of live or test mode.
_KEY = re.compile(rb"(?:rk|sk)_(?:[a-z]+_)*(live|test)_[A-Za-z0-9]+")
#: What an id may be made of to stand in a path.
_ID = re.compile(r"[A-Za-z0-9_]{1,255}")
_SESSION = "checkout.session."


@dataclass(frozen=True, slots=True)
class StripeCredentials:
    """With what we ask Stripe, and where."""

    key: Secret
    url: str = LIVE_URL
    #: The connected account that a platform asks about.
    stripe_account: str | None = None


def credentials_of(table: AccountTable, live: bool, stripe_account: str | None) -> StripeCredentials | None:
    """Those of the account's `query` table, if it has one. Raises ConfigurationError."""
    inner = table.inner("query", KEYS)
    if inner is None:
        return None
    key = inner.key("key", inner.members.get("key"), _api_key(live))
    return StripeCredentials(key, inner.url("url", LIVE_URL), stripe_account)


def request(credentials: StripeCredentials, event: PaymentEvent, now: float) -> Query | None:
    """GET of what the event spoke of; None where Stripe cannot be asked about it."""
    path = _path(event) if askable(event) else None
    if path is None or not credentials.key.usable_at(now):
        return None
    headers = {
        "authorization": f"Bearer {credentials.key.value.decode('ascii')}",
        "stripe-version": VERSION,
        "accept": "application/json",
        "user-agent": USER_AGENT,
    }
    if credentials.stripe_account is not None:
        headers["stripe-account"] = credentials.stripe_account
    return Query("GET", credentials.url + path, headers)


def finding(event: PaymentEvent, status: int, body: bytes, live: bool) -> Finding:
    """What Stripe's answer says about the event."""
    refused = refusal(status)
    if refused is not None:
        return refused
    try:
        said = read_object(body)
        if status == 404:
            missing = member(said, "error").get("code") == "resource_missing"
            return denied("not_found") if missing else unknown("unexpected")
        return testimony_of(event, said, live)
    except MalformedNotification:
        return unknown("unreadable")


def _api_key(live: bool) -> Callable[[bytes], bytes]:
    def decode(value: bytes) -> bytes:
        found = _KEY.fullmatch(checked_secret(value))
        if found is None:
            raise ConfigurationError("is not a restricted or secret key: rk_live_...")
        if (found[1] == b"live") is not live:
            raise ConfigurationError("is a key of the other mode")
        return value

    return decode


def _path(event: PaymentEvent) -> str | None:
    asked = event.payment_id if event.kind is K.REFUND else event.transaction_id
    if not _ID.fullmatch(asked):
        return None
    if event.kind in (K.CHARGEBACK, K.CHARGEBACK_REVERSAL):
        return f"/v1/disputes/{asked}"
    if event.kind is K.REFUND_REVERSAL:
        return f"/v1/refunds/{asked}"
    if not event.provider_kind.startswith(_SESSION):
        return f"/v1/payment_intents/{asked}?expand%5B%5D=latest_charge"
    if asked.startswith("cs_"):
        return f"/v1/checkout/sessions/{asked}?expand%5B%5D=payment_intent.latest_charge"
    # The order's number may be the session's own (client_reference_id), so the intent alone would not do.
    return f"/v1/checkout/sessions?payment_intent={asked}&expand%5B%5D=data.payment_intent.latest_charge"
