"""The life of a record and its circle: traits, further identifiers, who may open it, destruction."""

import sqlalchemy as sa
from alembic import op

revision = "0004_record"
down_revision = "0003"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def text(*names: str) -> list[sa.Column]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def patient_key() -> sa.Column:
    return sa.Column("patient_key", KEY, nullable=False)


def upgrade() -> None:
    for name in ("closed_because", "deceased_on", "destruction_token", "destruction_asked_at"):
        op.add_column("record", sa.Column(name, TEXT, nullable=False, server_default=sa.text("''")))
    for name in ("shows_masked", "is_attached"):
        op.add_column("record", sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_index("ix_record_status", "record", ["status", "closed_at"])
    _create_identity()
    op.create_table(
        "circle",
        patient_key(),
        *text("kind", "subject", "name", "specialty", "basis", "since", "until", "attending_since", "blocked_since",
              "last_act_at"),
        sa.PrimaryKeyConstraint("patient_key", "kind", "subject", name="pk_circle"),
    )
    op.create_index("ix_circle_subject", "circle", ["subject", "kind", "since"])
    _create_destruction()


def _create_identity() -> None:
    op.create_table(
        "record_traits",
        patient_key(),
        *text("birth_key", "used_key", "given_key", "birth_date", "sex", "postal_code", "city_key", "content"),
        sa.PrimaryKeyConstraint("patient_key", name="pk_record_traits"),
    )
    op.create_index("ix_record_traits_birth", "record_traits", ["birth_key", "birth_date"])
    op.create_index("ix_record_traits_used", "record_traits", ["used_key", "birth_date"])
    op.create_table(
        "record_identifier",
        patient_key(),
        *text("patient_id"),
        sa.PrimaryKeyConstraint("patient_key", "patient_id", name="pk_record_identifier"),
    )


def _create_destruction() -> None:
    op.create_table(
        "destruction",
        patient_key(),
        *text("receipt", "decided_at"),
        sa.Column("documents", sa.Integer, nullable=False),
        *text("completed_at", "scrubbed_at"),
        sa.PrimaryKeyConstraint("patient_key", "receipt", name="pk_destruction"),
    )
    op.create_table(
        "erasure",
        patient_key(),
        *text("repository_unique_id", "unique_id", "sha1"),
        sa.PrimaryKeyConstraint("patient_key", "repository_unique_id", "unique_id", "sha1", name="pk_erasure"),
    )
    op.create_index("ix_erasure_repository", "erasure", ["repository_unique_id"])
