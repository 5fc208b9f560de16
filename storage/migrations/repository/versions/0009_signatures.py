"""What was known of the signer when a signed submission set was accepted."""

import sqlalchemy as sa
from alembic import op

revision = "0009_signatures"
down_revision = "0007_credentials"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "signature_proof",
        *(sa.Column(name, TEXT, nullable=False) for name in ("key", "chain", "lists")),
        sa.Column("accepted_at", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_signature_proof"),
    )
    op.create_table(
        "revocation_list",
        *(sa.Column(name, TEXT, nullable=False) for name in ("sha256", "content")),
        sa.PrimaryKeyConstraint("sha256", name="pk_revocation_list"),
    )
