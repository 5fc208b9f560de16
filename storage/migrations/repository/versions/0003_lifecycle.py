"""What was removed on request is remembered, so that it is told from what was lost."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "removed_document",
        *(sa.Column(name, TEXT, nullable=False) for name in ("unique_id", "sha1")),
        sa.Column("removed_at", sa.Float(53), nullable=False),
        sa.Column("trace_id", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("unique_id", "sha1", name="pk_removed_document"),
    )
