"""Every setting of the house, read once from the environment. docs/settings.md lists them; a test compares."""

from functools import cache
from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """`PAIDONCE_` + the field's name in upper case. Seconds and days as named; sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="PAIDONCE_", frozen=True, hide_input_in_errors=True)

    database_url: str = Field(
        "postgresql+psycopg://postgres@127.0.0.1:5432/paidonce",
        description="PostgreSQL 15 or newer. One primary, or one with a synchronous standby.",
    )
    database_pooler: bool = Field(
        False,
        description="PgBouncer in transaction mode stands before it: settings go with each transaction, nothing is"
        " prepared.",
    )
    broker_url: str = Field(
        "amqp://guest:guest@127.0.0.1:5672//",
        description="`amqp://` (RabbitMQ), `redis://` (through our crash-safe transport) or `pgmq://` (embedded).",
    )
    broker_prefix: str = Field("paidonce:", description="Prefix of every key on Redis; RabbitMQ has vhosts for this.")
    lock_url: str | None = Field(
        None, description="Redis for the optional lock per order; unset, the row lock alone decides."
    )
    lock_ttl_seconds: PositiveFloat = Field(5.0, description="The lock of a dead worker is free after this.")
    accounts: Path = Field(Path("accounts.toml"), description="The merchant accounts: docs/accounts.md.")
    max_body_bytes: PositiveInt = Field(256 * 1024, description="A longer body is answered 413 while it is read.")
    body_timeout_seconds: PositiveFloat = Field(5.0, description="A slower body is answered 408.")
    publish_timeout_seconds: PositiveFloat = Field(
        4.0, description="503 after this without a confirm; WeChat and Razorpay wait 5 s."
    )
    pack_max_envelopes: PositiveInt = Field(256, description="The most envelopes in one broker message.")
    pack_max_bytes: PositiveInt = Field(1024 * 1024, description="The most bytes of envelopes in one broker message.")
    max_waiting: PositiveInt = Field(10_000, description="More requests than this waiting for a confirm: 503 at once.")
    expires_after_seconds: PositiveFloat | None = Field(
        None, description="One deadline for all accounts; unset, each has its own (`expires_after_seconds` there)."
    )
    handlers: str | None = Field(
        None, description="Module with the shop's own handlers, run inside the transaction: docs/handlers.md."
    )
    max_attempts: PositiveInt = Field(5, description="Attempts at applying one notification before it is `dead`.")
    retry_base_seconds: PositiveFloat = Field(
        5.0, description="Wait after the first failed attempt; doubles each time."
    )
    database_patience_seconds: PositiveFloat = Field(
        600.0, description="How long a task waits for the database before it hands its pack back to the broker."
    )
    lost_pack_patience_seconds: PositiveFloat = Field(
        60.0,
        description="A pack that overtook others waits so long for them before they count as lost; on Redis and pgmq "
        "longer by the visibility time-out.",
    )
    payload_retention_days: PositiveInt = Field(
        14, description="Raw payloads are dropped after this, by whole days; relayed rows of the outbox go, too."
    )
    status_retention_days: PositiveInt = Field(
        45, description="Settled rows of `notifications` go after this; never below a provider's redelivery horizon."
    )
    visibility_timeout_seconds: PositiveInt | None = Field(
        None,
        description="A dead worker's message is run again after this; unset, 12 on Redis, where a living worker renews "
        "what it holds, and 60 on pgmq, where it does not.",
    )
    events_kept: PositiveInt = Field(
        100_000, description="Redis and pgmq: about so many of the newest events are kept for who has not read them."
    )
    log_json: bool = Field(True, description="One JSON object per line; false: for a terminal.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")


@cache
def settings() -> Settings:
    """The settings of this process. Raises pydantic.ValidationError, which names the variable and never its value."""
    return Settings()
