"""Invariants about money: the ledger says what the notifications said, and the orders say what the ledger says."""

from ops.audit.invariant import Invariant

MONEY = (
    Invariant(
        "I4",
        "A ledger entry says what its notification said.",
        (
            # Where the notification named a running total, the entry is the part of it that was new: at most all of it.
            """
            SELECT l.id, l.amount, n.amount AS said
            FROM ledger_entries AS l
            JOIN notifications AS n ON n.id = l.notification_row
            LEFT JOIN unnest(CAST(:kinds AS text[]), CAST(:signs AS int[])) AS moves (kind, sign) ON moves.kind = l.kind
            WHERE l.kind <> n.kind
               OR l.payment_id <> n.payment_id
               OR l.transaction_id <> n.transaction_id
               OR ((moves.sign IS NULL OR l.standing = 'void') AND l.amount <> 0)
               OR (moves.sign IS NOT NULL AND l.standing <> 'void' AND l.currency IS DISTINCT FROM n.currency)
               OR (moves.sign IS NOT NULL AND l.standing <> 'void' AND NOT n.cumulative
                   AND l.amount IS DISTINCT FROM moves.sign * n.amount)
               OR (moves.sign IS NOT NULL AND l.standing <> 'void' AND n.cumulative
                   AND (moves.sign * l.amount BETWEEN 1 AND n.amount) IS NOT TRUE)
            """,
        ),
    ),
    Invariant(
        "I5",
        "An order's totals are the sums of its ledger entries that count.",
        (
            """
            SELECT o.id, o.order_no
            FROM orders AS o
            LEFT JOIN ledger_entries AS l ON l.order_id = o.id AND l.standing = 'counted'
            GROUP BY o.id
            HAVING o.paid <> coalesce(sum(l.amount) FILTER (WHERE l.kind IN ('payment', 'payment_reversal')), 0)
                OR o.refunded <> coalesce(-sum(l.amount) FILTER (WHERE l.kind IN ('refund', 'refund_reversal')), 0)
                OR o.charged_back
                   <> coalesce(-sum(l.amount) FILTER (WHERE l.kind IN ('chargeback', 'chargeback_reversal')), 0)
            """,
        ),
    ),
    Invariant(
        "I8",
        "What was paid is the order's amount in the order's currency, and no more went back than came.",
        (
            """
            SELECT l.id
            FROM ledger_entries AS l
            JOIN orders AS o ON o.id = l.order_id
            WHERE l.currency <> o.currency
            """,
            """
            SELECT id, order_no
            FROM orders
            WHERE paid NOT IN (0, amount)
               OR refunded NOT BETWEEN 0 AND paid
               OR charged_back NOT BETWEEN 0 AND paid
            """,
        ),
    ),
    Invariant(
        "I9",
        "An order, its ledger entries and their notifications belong to one account.",
        (
            """
            SELECT l.id
            FROM ledger_entries AS l
            JOIN orders AS o ON o.id = l.order_id
            LEFT JOIN notifications AS n ON n.id = l.notification_row
            WHERE l.account <> o.account
               OR l.account <> n.account
               OR l.provider <> n.provider
            """,
        ),
    ),
)
