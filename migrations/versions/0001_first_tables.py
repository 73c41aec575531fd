"""first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="the verdict that opened it"),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column(
            "notification_id", sa.Text(), nullable=False, comment="the provider's id; empty where it could not be read"
        ),
        sa.Column("digest", sa.Text(), nullable=False, comment="of the copy that opened it: finds the payload"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "kind IN ('conflict', 'dead', 'duplicate_payment', 'expired', 'late_payment', 'mismatch')",
            name=op.f("ck__cases__kind"),
        ),
        sa.CheckConstraint("status IN ('open', 'resolved')", name=op.f("ck__cases__status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__cases")),
        sa.UniqueConstraint(
            "provider",
            "account",
            "notification_id",
            "digest",
            "kind",
            name=op.f("uq__cases__provider_account_notification_id_digest_kind"),
        ),
    )
    op.create_index("ix__cases__account_order_no", "cases", ["account", "order_no"], unique=False)
    op.create_index(
        "ix__cases__open", "cases", ["opened_at"], unique=False, postgresql_where=sa.text("status = 'open'")
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("notification_id", sa.Text(), nullable=False, comment="the provider's id: the delivery key"),
        sa.Column(
            "digest", sa.Text(), nullable=False, comment="sha256 of what it says, less what a redelivery changes"
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("provider_kind", sa.Text(), nullable=False, comment="the provider's own word"),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("transaction_id", sa.Text(), nullable=False, comment="with kind: the effect key"),
        sa.Column("amount", sa.BigInteger(), nullable=True, comment="minor units"),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column(
            "cumulative", sa.Boolean(), nullable=False, comment="amount is the order's total of this kind so far"
        ),
        sa.Column(
            "foreign_fields", sa.Text(), nullable=False, comment="fields that name another account, space separated"
        ),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=False, comment="which key verified it; never the key"),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), server_default="received", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("deliveries", sa.Integer(), server_default="1", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="not null exactly while the row is open",
        ),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('received', 'applied', 'conflict', 'dead', 'duplicate_payment', 'expired', 'failed', 'ignored', 'late_payment', 'mismatch', 'parked', 'stale')",
            name=op.f("ck__notifications__status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__notifications")),
        sa.UniqueConstraint(
            "provider", "account", "notification_id", name=op.f("uq__notifications__provider_account_notification_id")
        ),
        postgresql_with={"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02"},
    )
    op.create_index("ix__notifications__account_order_no", "notifications", ["account", "order_no"], unique=False)
    op.create_index(
        "ix__notifications__open",
        "notifications",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.create_index(
        "ix__notifications__received_at", "notifications", ["received_at"], unique=False, postgresql_using="brin"
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account", sa.Text(), nullable=False, comment="merchant account of accounts.toml"),
        sa.Column(
            "order_no", sa.Text(), nullable=False, comment="the merchant's number, as the provider hands it back"
        ),
        sa.Column("currency", sa.Text(), nullable=False, comment="ISO 4217"),
        sa.Column("amount", sa.BigInteger(), nullable=False, comment="minor units that the buyer owes"),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column(
            "paid", sa.BigInteger(), server_default="0", nullable=False, comment="minor units, sum of the ledger"
        ),
        sa.Column(
            "refunded", sa.BigInteger(), server_default="0", nullable=False, comment="minor units, sum of the ledger"
        ),
        sa.Column(
            "charged_back",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="minor units, sum of the ledger",
        ),
        sa.Column(
            "version", sa.Integer(), server_default="0", nullable=False, comment="number of transitions: the fence"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'failed', 'paid', 'partially_refunded', 'refunded', 'charged_back', 'closed')",
            name=op.f("ck__orders__status"),
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck__orders__amount")),
        sa.CheckConstraint("length(currency) = 3", name=op.f("ck__orders__currency")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__orders")),
        sa.UniqueConstraint("account", "order_no", name=op.f("uq__orders__account_order_no")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_table(
        "packs",
        sa.Column("epoch", sa.Uuid(), nullable=False, comment="one publisher connection"),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="1, 2, 3, ... inside the epoch"),
        sa.Column(
            "deliveries", sa.Integer(), nullable=False, comment="counted before the work, where it may be a redelivery"
        ),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("epoch", "number", name=op.f("pk__packs")),
    )
    op.create_table(
        "payloads",
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("notification_id", sa.Text(), nullable=False, comment="empty where the body could not be read"),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False, comment="JSON object of the headers that matter"),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="the exact bytes"),
        postgresql_partition_by="RANGE (received_at)",
    )
    op.create_index("ix__payloads__account_notification_id", "payloads", ["account", "notification_id"], unique=False)
    # Beat makes a partition for each day; until it has, and when it is away, rows go here.
    op.execute("CREATE TABLE payloads_default PARTITION OF payloads DEFAULT")
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("notification_row", sa.BigInteger(), nullable=False, comment="notifications.id, which may be purged"),
        sa.Column("amount", sa.BigInteger(), nullable=False, comment="signed minor units; 0 where no money moves"),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('payment', 'payment_reversal', 'refund', 'refund_reversal', 'chargeback', 'chargeback_reversal', 'closed', 'failed')",
            name=op.f("ck__ledger_entries__kind"),
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk__ledger_entries__order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__ledger_entries")),
        sa.UniqueConstraint(
            "provider",
            "account",
            "transaction_id",
            "kind",
            name=op.f("uq__ledger_entries__provider_account_transaction_id_kind"),
        ),
    )
    op.create_index(op.f("ix__ledger_entries__order_id"), "ledger_entries", ["order_id"], unique=False)
    op.create_table(
        "transitions",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, comment="the order's version after the change"),
        sa.Column("from_status", sa.Text(), nullable=False),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("notification_row", sa.BigInteger(), nullable=False, comment="notifications.id, which may be purged"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk__transitions__order_id")),
        sa.PrimaryKeyConstraint("order_id", "seq", name=op.f("pk__transitions")),
    )


def downgrade() -> None:
    op.drop_table("transitions")
    op.drop_index(op.f("ix__ledger_entries__order_id"), table_name="ledger_entries")
    op.drop_table("ledger_entries")
    op.drop_index("ix__payloads__account_notification_id", table_name="payloads")
    op.drop_table("payloads")
    op.drop_table("packs")
    op.drop_table("orders")
    op.drop_index("ix__notifications__received_at", table_name="notifications", postgresql_using="brin")
    op.drop_index(
        "ix__notifications__open",
        table_name="notifications",
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )
    op.drop_index("ix__notifications__account_order_no", table_name="notifications")
    op.drop_table("notifications")
    op.drop_index("ix__cases__open", table_name="cases", postgresql_where=sa.text("status = 'open'"))
    op.drop_index("ix__cases__account_order_no", table_name="cases")
    op.drop_table("cases")
