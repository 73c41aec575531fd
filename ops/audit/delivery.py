"""Invariants about notifications: none lost, none applied twice, none unverified, none out of sight."""

from ops.audit.invariant import Invariant


def _unkeyed(table: str, columns: str) -> str:
    """One row if no unique index stands on exactly `columns` (sorted): "insert or nothing" would always insert."""
    return f"""
            SELECT 'unique key of {table} is missing'
            WHERE NOT EXISTS (
                SELECT
                FROM pg_index AS i
                WHERE i.indrelid = to_regclass('{table}')
                  AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
                  AND '{columns}' = (
                      SELECT string_agg(a.attname::text, ' ' ORDER BY a.attname::text)
                      FROM pg_attribute AS a
                      WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
                  )
            )
            """  # noqa: S608 - both words stand in this file


DELIVERY = (
    Invariant(
        "I1",
        "Every pack that the broker confirmed was seen and finished.",
        (
            # A number missing inside an epoch was confirmed by the broker and never came. A row may stand for several
            # numbers, up to its own. What a person has closed is settled.
            """
            SELECT epoch, coalesce("before", 0) + 1 AS missing
            FROM (
                SELECT epoch, number - numbers + 1 AS first, first_seen_at,
                       max(number) OVER (
                           PARTITION BY epoch ORDER BY number - numbers + 1, number
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                       ) AS "before"
                FROM packs
            ) AS seen
            WHERE first > coalesce("before", 0) + 1
              AND first_seen_at < now() - make_interval(secs => :patience)
              AND NOT EXISTS (
                  SELECT
                  FROM cases
                  WHERE CASE
                      WHEN kind = 'lost_pack' AND status = 'resolved' AND split_part(digest, ':', 1) = epoch::text
                      THEN split_part(split_part(digest, ':', 2), '-', 1)::bigint <= coalesce("before", 0) + 1
                          AND split_part(split_part(digest, ':', 2), '-', 2)::bigint >= first - 1
                      ELSE false
                  END
              )
            """,
            # Begun, and neither finished nor come back.
            """
            SELECT epoch, number
            FROM packs
            WHERE applied_at IS NULL
              AND first_seen_at < now() - make_interval(secs => :patience)
            """,
        ),
    ),
    Invariant(
        "I2",
        "A notification is applied exactly if one entry of it counts in the ledger and it made one transition.",
        (
            """
            SELECT n.id, n.status, count(l.id) AS entries
            FROM notifications AS n
            LEFT JOIN ledger_entries AS l ON l.notification_row = n.id AND l.standing = 'counted'
            GROUP BY n.id
            HAVING count(l.id) <> CASE WHEN n.status = 'applied' THEN 1 ELSE 0 END
            """,
            # Money beside the orders comes from what a person sees, or from what goes back of that; and it stays there
            # while what a person lets in after all is tried, and when that is refused again.
            """
            SELECT n.id, n.status, l.standing
            FROM notifications AS n
            JOIN ledger_entries AS l ON l.notification_row = n.id AND l.standing <> 'counted'
            WHERE NOT (n.status = ANY(:case_kinds) OR n.status IN ('ignored', 'stale')
                       OR n.overruled AND n.status IN ('received', 'failed'))
               OR (n.status = 'stale') <> (l.standing = 'void')
            """,
            """
            SELECT n.id, n.status, count(t.order_id) AS changes
            FROM notifications AS n
            LEFT JOIN transitions AS t ON t.notification_row = n.id
            GROUP BY n.id
            HAVING count(t.order_id) <> CASE WHEN n.status = 'applied' THEN 1 ELSE 0 END
            """,
        ),
    ),
    Invariant(
        "I3",
        "No effect is in the ledger twice.",
        (
            """
            SELECT provider, account, transaction_id, kind
            FROM ledger_entries
            GROUP BY provider, account, transaction_id, kind
            HAVING count(*) > 1
            """,
            _unkeyed("ledger_entries", "account kind provider transaction_id"),
        ),
    ),
    Invariant(
        "I7",
        "Every notification was verified, and by which key is known.",
        (
            """
            SELECT id
            FROM notifications
            WHERE verified_at IS NULL OR key_id IS NULL OR key_id = ''
            """,
        ),
    ),
    Invariant(
        "I10",
        "Nothing is stuck, and whatever needs a person has a case.",
        (
            # An attempt that died, or a pause that nobody ended: redrive does not run.
            """
            SELECT id, status
            FROM notifications
            WHERE status IN ('received', 'failed')
              AND (coalesce(next_attempt_at, received_at) < now() - make_interval(secs => :patience)
                   OR (:drained AND status = 'received'))
            """,
            # Open without a next attempt, so that no sweep would find it; or settled with one.
            """
            SELECT id, status
            FROM notifications
            WHERE (status IN ('received', 'failed', 'parked')) <> (next_attempt_at IS NOT NULL)
            """,
            # Past its time and still waiting: expire_overdue does not run. It may ask the provider for an hour; and
            # where a pack lay in the queue for days, its row is young though its time has long been over.
            """
            SELECT id, status
            FROM notifications
            WHERE status IN ('received', 'failed', 'parked')
              AND greatest(expires_at, next_attempt_at) < now() - interval '2 hours'
              AND NOT overruled
            """,
            """
            SELECT n.id, n.status
            FROM notifications AS n
            WHERE n.status = ANY(:case_kinds)
              AND NOT EXISTS (
                  SELECT FROM cases AS c
                  WHERE c.provider = n.provider
                    AND c.account = n.account
                    AND c.notification_id = n.notification_id
                    AND c.kind = n.status
              )
            """,
        ),
    ),
    Invariant(
        "I11",
        "An id has one row, and other content under the same id never takes its place.",
        (
            """
            SELECT n.id, c.id AS case_id
            FROM cases AS c
            JOIN notifications AS n USING (provider, account, notification_id)
            WHERE c.kind = 'conflict'
              AND c.reason = 'same_id_other_content'
              AND n.digest = c.digest
            """,
            """
            SELECT provider, account, notification_id
            FROM notifications
            GROUP BY provider, account, notification_id
            HAVING count(*) > 1
            """,
            _unkeyed("notifications", "account notification_id provider"),
        ),
    ),
    Invariant(
        "I13",
        "Cleanup took nothing that a person still has to see.",
        (
            # A conflict's row is the first copy's, which may settle and go; a dead one without an id never had a row.
            """
            SELECT c.id, c.kind
            FROM cases AS c
            LEFT JOIN notifications AS n USING (provider, account, notification_id)
            WHERE c.status = 'open'
              AND c.kind <> 'conflict'
              AND c.notification_id <> ''
              AND n.id IS NULL
            """,
        ),
    ),
    Invariant(
        "I15",
        "No notification is tried more often than allowed.",
        (
            """
            SELECT id, attempts
            FROM notifications
            WHERE attempts > :max_attempts
            """,
        ),
    ),
    Invariant(
        "I16",
        "A parked notification is looked at soon after its order changed, and the outbox is relayed.",
        (
            """
            SELECT n.id, o.order_no
            FROM notifications AS n
            JOIN orders AS o ON o.account = n.account AND o.order_no = n.order_no
            WHERE n.status = 'parked'
              AND o.updated_at > n.processed_at
              AND o.updated_at < now() - interval '2 minutes'
            """,
            # The rest of the shop was not told: relay_outbox does not run, or the broker is away.
            """
            SELECT id, name
            FROM outbox
            WHERE relayed_at IS NULL
              AND created_at < now() - make_interval(secs => :patience)
            """,
        ),
    ),
)
