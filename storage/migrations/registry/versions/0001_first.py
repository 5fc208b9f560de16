"""First schema of the registry: records, objects, locator, access log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def text(*names: str) -> list[sa.Column]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def patient_key() -> sa.Column:
    return sa.Column("patient_key", KEY, nullable=False)


def upgrade() -> None:
    _create_record_and_locator()
    _create_objects()
    _create_access_log()


def _create_record_and_locator() -> None:
    op.create_table(
        "record",
        sa.Column("patient_key", KEY, primary_key=True, autoincrement=True),
        *text("patient_id", "status", "opened_at", "opened_by", "consent", "channel", "closed_at",
              "objected_purposes"),
    )
    op.create_table(
        "locator",
        *text("identifier", "role", "entry_uuid", "kind"),
        patient_key(),
        sa.PrimaryKeyConstraint("identifier", "role", "entry_uuid", name="pk_locator"),
        sqlite_with_rowid=False,
    )


def _create_objects() -> None:
    op.create_table(
        "document_entry",
        patient_key(),
        *text("entry_uuid", "status", "creation_time", "object_type", "type_code", "class_code", "format_code",
              "practice_setting_code", "healthcare_facility_type_code", "document_availability",
              "service_start_time", "service_stop_time", "unique_id", "logical_id"),
        sa.Column("version", sa.Integer, nullable=False),
        *text("patient_id", "hash"),
        sa.Column("size", sa.BigInteger),
        *text("content"),
        sa.PrimaryKeyConstraint("patient_key", "entry_uuid", name="pk_document_entry"),
    )
    op.create_index(
        "ix_document_entry_newest", "document_entry",
        ["patient_key", "status", sa.column("creation_time").desc(), "entry_uuid"],
    )
    op.create_table(
        "entry_value",
        patient_key(),
        *text("kind", "value", "entry_uuid"),
        sa.PrimaryKeyConstraint("patient_key", "kind", "value", "entry_uuid", name="pk_entry_value"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "submission_set",
        patient_key(),
        *text("entry_uuid", "status", "submission_time", "source_id", "content_type_code", "unique_id",
              "patient_id", "content"),
        sa.PrimaryKeyConstraint("patient_key", "entry_uuid", name="pk_submission_set"),
    )
    op.create_table(
        "folder",
        patient_key(),
        *text("entry_uuid", "status", "last_update_time", "unique_id", "logical_id"),
        sa.Column("version", sa.Integer, nullable=False),
        *text("patient_id", "content"),
        sa.PrimaryKeyConstraint("patient_key", "entry_uuid", name="pk_folder"),
    )
    op.create_table(
        "association",
        patient_key(),
        *text("entry_uuid", "status", "type", "source", "target", "content"),
        sa.PrimaryKeyConstraint("patient_key", "entry_uuid", name="pk_association"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_association_source", "association", ["patient_key", "source"])
    op.create_index("ix_association_target", "association", ["patient_key", "target"])


def _create_access_log() -> None:
    op.create_table(
        "access_log",
        patient_key(),
        sa.Column("number", sa.BigInteger, nullable=False),
        *text("at", "trace_id", "event", "action", "outcome", "patient_id", "caller_id", "caller_name", "role",
              "structure_id", "structure_name", "mode", "purpose", "purpose_reason", "documents", "detail",
              "reason", "clause", "peer", "assertion_id"),
        sa.PrimaryKeyConstraint("patient_key", "number", "trace_id", name="pk_access_log"),
    )
    op.create_index("ix_access_log_number", "access_log", ["number"])
