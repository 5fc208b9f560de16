"""The outbox of audit messages beside the registry's access log. Lines written before it give no message."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit_outbox",
        sa.Column("patient_key", KEY, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("trace_id", TEXT, nullable=False),
        sa.Column("particulars", TEXT, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("patient_key", "number", "trace_id", name="pk_audit_outbox"),
    )
    op.create_index("ix_audit_outbox_state", "audit_outbox", ["state", "number"])
