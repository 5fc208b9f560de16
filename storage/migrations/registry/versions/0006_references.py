"""References from sets of other patients, by their target: an index that is empty for nearly every patient."""

import sqlalchemy as sa
from alembic import op

revision = "0006_references"
down_revision = "0005_log"


def upgrade() -> None:
    is_reference = sa.text("replace(content, 'Reference', '') <> content")
    op.create_index(
        "ix_association_reference", "association", ["target"],
        sqlite_where=is_reference, postgresql_where=is_reference,
    )
