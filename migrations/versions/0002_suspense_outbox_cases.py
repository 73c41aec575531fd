"""suspense, outbox, case actions.

Safe while traffic runs: every new column has a constant default, and the next revision validates the new checks,
under a lock that readers and writers do not feel.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_CHECKS = {
    "ledger_entries": ("standing", "standing IN ('counted', 'suspense', 'void')"),
    "cases": ("resolution", "resolution IN ('applied', 'closed')"),
}


def upgrade() -> None:
    speaks_of = "transaction_id of the payment it speaks of"
    op.add_column(
        "notifications", sa.Column("payment_id", sa.Text(), server_default="", nullable=False, comment=speaks_of)
    )
    op.add_column(
        "notifications",
        sa.Column(
            "overruled",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="a person said: apply anyway",
        ),
    )
    op.add_column(
        "ledger_entries",
        sa.Column(
            "standing", sa.Text(), server_default="counted", nullable=False, comment="whether the order counts it"
        ),
    )
    op.add_column(
        "ledger_entries", sa.Column("payment_id", sa.Text(), server_default="", nullable=False, comment=speaks_of)
    )
    op.add_column(
        "cases",
        sa.Column(
            "resolution",
            sa.Text(),
            nullable=True,
            comment="applied: the notification took effect after all; closed: a person's word",
        ),
    )
    for table, (name, condition) in _CHECKS.items():
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck__{table}__{name} CHECK ({condition}) NOT VALID")
    _outbox()
    _case_actions()


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="what consumers dedupe on"),
        sa.Column("name", sa.Text(), nullable=False, comment="order.paid, case.opened, ...: the routing key"),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("order_no", sa.Text(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False, comment="amounts in minor units, times RFC 3339"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("relayed_at", sa.DateTime(timezone=True), nullable=True, comment="when the broker confirmed it"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__outbox")),
    )
    op.create_index(
        "ix__outbox__waiting", "outbox", ["id"], unique=False, postgresql_where=sa.text("relayed_at IS NULL")
    )


def _case_actions() -> None:
    op.create_table(
        "case_actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="who, by their own word"),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("action IN ('apply', 'close', 'ask')", name=op.f("ck__case_actions__action")),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk__case_actions__case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk__case_actions")),
    )
    op.create_index("ix__case_actions__case_id", "case_actions", ["case_id"], unique=False)


def downgrade() -> None:
    op.drop_table("case_actions")
    op.drop_table("outbox")
    for table, columns in {
        "cases": ("resolution",),
        "ledger_entries": ("payment_id", "standing"),
        "notifications": ("overruled", "payment_id"),
    }.items():
        for column in columns:
            op.drop_column(table, column)
