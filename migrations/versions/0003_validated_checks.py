"""validated checks.

The scan of a large table, in a transaction of its own: readers and writers go on.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE ledger_entries VALIDATE CONSTRAINT ck__ledger_entries__standing")
    op.execute("ALTER TABLE cases VALIDATE CONSTRAINT ck__cases__resolution")


def downgrade() -> None:
    """Nothing: a validated check holds for the older code too."""
