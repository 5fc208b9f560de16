"""What the further stored queries select by: versions after the first, and the codes of folders."""

import json
from unicodedata import normalize

import sqlalchemy as sa
from alembic import op

revision = "0002_queries"
down_revision = "0002"

FOLDER_CODE = "fc"


def upgrade() -> None:
    for table in ("document_entry", "folder"):
        is_later = sa.text("version > 1")
        op.create_index(
            f"ix_{table}_later", table, ["patient_key", "logical_id", "version"],
            sqlite_where=is_later, postgresql_where=is_later,
        )
    _fill_folder_codes()


def _fill_folder_codes() -> None:
    """The codes of the folders that are there already, from their content."""
    value = sa.table("entry_value", *(sa.column(name) for name in ("patient_key", "kind", "value", "entry_uuid")))
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT patient_key, entry_uuid, content FROM folder")).all()
    found = {
        (patient_key, normalize("NFC", f"{code}^^{scheme}"), entry_uuid)
        for patient_key, entry_uuid, content in rows
        for code, scheme, *_ in json.loads(content).get("cl", ())
    }
    if found:
        op.bulk_insert(value, [
            {"patient_key": patient_key, "kind": FOLDER_CODE, "value": key, "entry_uuid": entry_uuid}
            for patient_key, key, entry_uuid in sorted(found)
        ])
