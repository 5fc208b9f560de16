"""Notices of new documents: who wants them, and those that wait to be told. Nobody wants any so far."""

import sqlalchemy as sa
from alembic import op

revision = "0010_record"
down_revision = "0007_credentials"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "notice_wish",
        sa.Column("patient_key", KEY, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("kind", "recipient", "types", "caller", "since")),
        sa.PrimaryKeyConstraint("patient_key", "kind", "recipient", name="pk_notice_wish"),
    )
    op.create_table(
        "notice",
        sa.Column("patient_key", KEY, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("trace_id", "kind", "recipient")),
        sa.PrimaryKeyConstraint("patient_key", "number", "trace_id", "kind", "recipient", name="pk_notice"),
    )
    op.create_index("ix_notice_number", "notice", ["number"])
