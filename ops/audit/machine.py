"""Invariants about the database itself: durable, discreet, and nobody hangs in it."""

from ops.audit.invariant import Invariant

MACHINE = (
    Invariant(
        "I12",
        "What PostgreSQL says is committed survives a crash.",
        (
            """
            SELECT name, setting
            FROM pg_settings
            WHERE (name IN ('fsync', 'full_page_writes') AND setting <> 'on')
               OR (name = 'synchronous_commit' AND setting NOT IN ('on', 'remote_apply'))
            """,
        ),
    ),
    Invariant(
        "I14",
        "No payment data and no credential stands where it does not belong.",
        (
            # What SQL can see of it: error texts hold no parameters, no second line and no long numbers; reasons are
            # words; kept headers are no credentials. Logs and broker headers are looked at by tests.
            r"""
            SELECT id
            FROM notifications
            WHERE last_error ~ '[\n\r]|\[parameters|\d{12}'
               OR reason !~ '^[a-z0-9_]*$'
            """,
            "SELECT id FROM cases WHERE reason !~ '^[a-z0-9_]+$'",
            r"""
            SELECT provider, account, notification_id
            FROM payloads
            WHERE headers ~* '"(authorization|proxy-authorization|cookie|set-cookie)"\s*:'
            """,
        ),
    ),
    Invariant(
        "I17",
        "No session hangs in a transaction, and none waits for a lock for long.",
        (
            """
            SELECT pid, state
            FROM pg_stat_activity
            WHERE datname = current_database()
              AND pid <> pg_backend_pid()
              AND state LIKE 'idle in transaction%'
              AND clock_timestamp() - state_change > make_interval(secs => :moment)
            """,
            """
            SELECT l.pid, l.locktype
            FROM pg_locks AS l
            JOIN pg_stat_activity AS a USING (pid)
            WHERE NOT l.granted
              AND a.datname = current_database()
              AND clock_timestamp() - l.waitstart > make_interval(secs => :moment)
            """,
        ),
    ),
)
