"""Assertions kept for proof, and those that may be shown once only. Lines of before name no proof."""

import sqlalchemy as sa
from alembic import op

revision = "0007_credentials"
down_revision = "0005_log"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
PROOF, SHOWN = "assertion_proof", "shown_assertion"


def upgrade() -> None:
    column = sa.Column("assertion_sha256", TEXT, nullable=False, server_default=sa.text("''"))
    op.add_column("access_log", column)
    op.create_table(
        PROOF,
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("assertion", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=f"pk_{PROOF}"),
    )
    op.create_table(
        SHOWN,
        *(sa.Column(name, TEXT, nullable=False) for name in ("name", "sha256", "trace_id")),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("times", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name=f"pk_{SHOWN}"),
    )
    op.create_index(f"ix_{SHOWN}_until", SHOWN, ["until"])
