"""PostgreSQL: there, new enough, a primary, durable, on time, and with our tables."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from models.payload import existing_days
from ops.database import connected
from ops.doctor.finding import Finding, error, first_line, ok, warning
from ops.migrate import scripts

#: Seconds. Providers allow minutes for a signature's age, and windows of lost packs are told by the receiver's clock.
CLOCK_WARNING, CLOCK_ERROR = 2.0, 60.0
OLDEST = 150000
DRIVER = "postgresql+psycopg://"


def check_database(url: str) -> Iterator[Finding]:
    """Everything about the database at `url`."""
    if not url.startswith(DRIVER):
        yield error("database", f"PAIDONCE_DATABASE_URL must begin with {DRIVER}")
        return
    try:
        with connected(url) as connection:
            for check in (_server, _durability, _standby, _clock, _tables):
                yield from check(connection)
    except ArgumentError:
        yield error("database", "PAIDONCE_DATABASE_URL cannot be read")
    except DBAPIError as why:
        yield error("database", f"{first_line(why.orig)} (PAIDONCE_DATABASE_URL)")


def _server(connection: Connection) -> Iterator[Finding]:
    number, version, is_standby = connection.execute(
        text(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()"
        )
    ).one()
    if number < OLDEST:
        yield error("database", f"PostgreSQL {version}: 15 or newer is needed")
    elif is_standby:
        yield error("database", "a standby takes no writes, and its rows are late: point to the primary")
    else:
        yield ok("database", f"PostgreSQL {version}, primary")


def _durability(connection: Connection) -> Iterator[Finding]:
    names = ("fsync", "full_page_writes", "synchronous_commit")
    found = {name: connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar() for name in names}
    for name in ("fsync", "full_page_writes"):
        if found[name] != "on":
            yield error(
                "database durability", f"{name} = {found[name]}: a crash loses or tears what was committed; set it on"
            )
    # Our own sessions set it; the shop's, which write orders, have what the database has.
    if found["synchronous_commit"] not in ("on", "remote_apply"):
        yield error(
            "database durability",
            f"synchronous_commit = {found['synchronous_commit']}: a commit may be lost; set it on",
        )
    elif found["fsync"] == found["full_page_writes"] == "on":
        yield ok("database durability", f"fsync, full_page_writes, synchronous_commit = {found['synchronous_commit']}")


def _standby(connection: Connection) -> Iterator[Finding]:
    asynchronous = connection.execute(
        text("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async' AND state = 'streaming'")
    ).scalar_one()
    synchronous = connection.execute(text("SELECT current_setting('synchronous_standby_names')")).scalar_one()
    if asynchronous and not synchronous:
        yield warning("standby", "asynchronous: a failover to it loses commits; set synchronous_standby_names")


def _clock(connection: Connection) -> Iterator[Finding]:
    before = time.time()
    theirs = connection.execute(text("SELECT clock_timestamp()")).scalar_one().timestamp()
    apart = theirs - (before + time.time()) / 2
    told = f"{abs(apart):.1f} s {'ahead of' if apart > 0 else 'behind'} this machine"
    if abs(apart) > CLOCK_ERROR:
        yield error("clock", f"the database is {told}: keep both by NTP")
    elif abs(apart) > CLOCK_WARNING:
        yield warning("clock", f"the database is {told}: keep both by NTP")
    else:
        yield ok("clock", "the database and this machine agree")


def _tables(connection: Connection) -> Iterator[Finding]:
    head = scripts().get_current_head()
    there = connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one()
    now = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if there else None
    if now == head:
        yield ok("tables", f"at revision {now}")
        yield from _beat(connection)
    elif now is None:
        yield error("tables", "there are none of ours: run `paidonce migrate`")
    elif _is_known(now):
        yield error("tables", f"at revision {now}, this release wants {head}: run `paidonce migrate`")
    else:
        yield error("tables", f"at revision {now}, which this release does not know: a newer one migrated them")


def _is_known(revision: str) -> bool:
    try:
        return scripts().get_revision(revision) is not None
    except CommandError:
        return False


def _beat(connection: Connection) -> Iterator[Finding]:
    """What beat makes every minute tells whether it runs, together with a worker."""
    if datetime.now(UTC).date() in existing_days(connection):
        yield ok("beat", "makes the partitions of payloads ahead of time; two of them are fine")
    else:
        yield warning("beat", "payloads have no partition of today: start `beat` and `worker`")
