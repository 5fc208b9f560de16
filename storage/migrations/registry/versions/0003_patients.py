"""Patient identities that were merged into another."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002_queries"


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.add_column("record", sa.Column("subsumed_by", key, nullable=True))
    op.create_index("ix_record_subsumed_by", "record", ["subsumed_by"])
