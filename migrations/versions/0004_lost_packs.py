"""lost packs.

Safe while traffic runs: new columns have constant defaults or none, `cases` is small, and what the older release still
writes stands for itself alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KINDS = ["conflict", "dead", "duplicate_payment", "expired", "late_payment", "mismatch"]


def upgrade() -> None:
    at = sa.DateTime(timezone=True)
    for column in (
        sa.Column("numbers", sa.BigInteger(), server_default="1", nullable=False, comment="how many it stands for"),
        sa.Column("before", sa.BigInteger(), comment="members of the packs of its epoch before it; null: not said"),
        sa.Column("members", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("began_at", at, comment="its epoch, by the receiver's clock"),
        sa.Column("sent_at", at, comment="by the receiver's clock; of the first that it stands for"),
        sa.Column("last_sent_at", at, comment="of the last that it stands for; null: sent_at"),
    ):
        op.add_column("packs", column)
    # The older release forgot the first packs of an epoch after a while: that is no loss.
    op.execute(
        "UPDATE packs SET numbers = packs.number FROM (SELECT epoch, min(number) AS number FROM packs GROUP BY epoch)"
        " AS lowest WHERE packs.epoch = lowest.epoch AND packs.number = lowest.number AND lowest.number > 1"
    )
    op.add_column(
        "cases",
        sa.Column("detail", sa.Text(), comment="of a lost_pack: how many notifications, and when they were received"),
    )
    op.alter_column("cases", "kind", existing_type=sa.Text(), comment="the verdict that opened it, or lost_pack")
    _kinds(sorted([*_KINDS, "lost_pack"]))


def downgrade() -> None:
    op.execute("DELETE FROM case_actions USING cases WHERE case_id = cases.id AND kind = 'lost_pack'")
    op.execute("DELETE FROM cases WHERE kind = 'lost_pack'")
    _kinds(_KINDS)
    op.alter_column("cases", "kind", existing_type=sa.Text(), comment="the verdict that opened it")
    op.drop_column("cases", "detail")
    for column in ("last_sent_at", "sent_at", "began_at", "members", "before", "numbers"):
        op.drop_column("packs", column)


def _kinds(kinds: list[str]) -> None:
    op.drop_constraint(op.f("ck__cases__kind"), "cases")
    op.create_check_constraint(op.f("ck__cases__kind"), "cases", sa.column("kind").in_(kinds))
