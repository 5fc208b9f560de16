"""First schema of the repository: documents held, access log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def text(*names: str) -> list[sa.Column]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "held_document",
        *text("key", "unique_id", "sha1"),
        sa.Column("size", sa.BigInteger, nullable=False),
        *text("mime_type", "submission_unique_id"),
        sa.Column("received_at", sa.Float(53), nullable=False),
        sa.Column("settled", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_held_document"),
    )
    op.create_index("ix_held_document_unique_id", "held_document", ["unique_id"])
    op.create_index("ix_held_document_waiting", "held_document", ["settled", "received_at"])
    op.create_table(
        "repository_access_log",
        sa.Column("patient_key", KEY, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *text("at", "trace_id", "event", "action", "outcome", "patient_id", "caller_id", "caller_name", "role",
              "structure_id", "structure_name", "mode", "purpose", "purpose_reason", "documents", "detail",
              "reason", "clause", "peer", "assertion_id"),
        sa.PrimaryKeyConstraint("patient_key", "number", "trace_id", name="pk_repository_access_log"),
    )
    op.create_index("ix_repository_access_log_number", "repository_access_log", ["number"])
