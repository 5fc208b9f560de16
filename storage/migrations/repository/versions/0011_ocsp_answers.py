"""What OCSP responders answered about the signer of a submission set."""

import sqlalchemy as sa
from alembic import op

revision = "0011_ocsp_answers"
down_revision = "0009_signatures"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("signature_proof", sa.Column("answers", TEXT, nullable=False, server_default=""))
