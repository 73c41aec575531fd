"""Invariants about the history of orders: legal, unbroken, and the order stands where it ends."""

from ops.audit.invariant import Invariant

HISTORY = (
    Invariant(
        "I6",
        "Every transition is allowed and begins where the last one ended; the order stands where its history ends.",
        (
            """
            SELECT t.order_id, t.seq, t.from_status, t.to_status
            FROM transitions AS t
            LEFT JOIN unnest(CAST(:from_states AS text[]), CAST(:to_states AS text[]))
                AS allowed (from_status, to_status)
                USING (from_status, to_status)
            WHERE allowed.from_status IS NULL
            """,
            """
            SELECT order_id, seq, from_status, "before"
            FROM (
                SELECT order_id, seq, from_status,
                       lag(to_status, 1, 'pending') OVER (PARTITION BY order_id ORDER BY seq) AS "before"
                FROM transitions
            ) AS history
            WHERE from_status <> "before"
            """,
            """
            SELECT o.id, o.status, o.version
            FROM orders AS o
            LEFT JOIN LATERAL (
                SELECT to_status, seq FROM transitions AS t WHERE t.order_id = o.id ORDER BY seq DESC LIMIT 1
            ) AS newest ON true
            WHERE o.status <> coalesce(newest.to_status, 'pending')
               OR o.version <> coalesce(newest.seq, 0)
            """,
        ),
    ),
    Invariant(
        "I18",
        "Histories are numbered 1, 2, 3 without a gap.",
        (
            """
            SELECT order_id
            FROM transitions
            GROUP BY order_id
            HAVING min(seq) <> 1 OR max(seq) <> count(*)
            """,
        ),
    ),
)
