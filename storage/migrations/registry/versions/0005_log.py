"""The chain of the access log, and the accesses by emergency. Lines written before it stay outside of the chain."""

import sqlalchemy as sa
from alembic import op

revision = "0005_log"
down_revision = "0004_record"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
LOG = "access_log"


def upgrade() -> None:
    for column in (
        sa.Column("is_secret", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lane", sa.Integer, nullable=False, server_default="0"),
        sa.Column("sequence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("hash", TEXT, nullable=False, server_default=sa.text("''")),
    ):
        op.add_column(LOG, column)
    op.create_index(f"ix_{LOG}_chain", LOG, ["lane", "sequence"])
    op.create_index(f"ix_{LOG}_caller", LOG, ["caller_id", "structure_id"])
    op.create_table(
        f"{LOG}_head",
        sa.Column("lane", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
        sa.Column("unchained", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("lane", name=f"pk_{LOG}_head"),
    )
    count = op.get_bind().execute(sa.select(sa.func.count()).select_from(sa.table(LOG))).scalar()
    names = ("lane", "sequence", "hash", "unchained")
    heads = sa.table(f"{LOG}_head", *(sa.column(name) for name in names))
    op.bulk_insert(heads, [{"lane": 0, "sequence": 0, "hash": "0" * 64, "unchained": count}])
    op.create_table(
        f"{LOG}_destroyed",
        sa.Column("lane", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("digest", "hash", "trace_id")),
        sa.PrimaryKeyConstraint("lane", "sequence", name=f"pk_{LOG}_destroyed"),
    )
    op.create_table(
        f"{LOG}_checkpoint",
        sa.Column("number", sa.BigInteger, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("body", "signature", "certificate")),
        sa.PrimaryKeyConstraint("number", name=f"pk_{LOG}_checkpoint"),
    )
    _emergencies()


def _emergencies() -> None:
    table = "emergency_access"
    op.create_table(
        table,
        sa.Column("patient_key", KEY, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("trace_id", "caller_id", "structure_id")),
        sa.Column("notified_at", sa.BigInteger, nullable=False),
        sa.Column("watched", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("patient_key", "number", "trace_id", name=f"pk_{table}"),
    )
    op.create_index(f"ix_{table}_caller", table, ["caller_id", "number"])
    op.create_index(f"ix_{table}_number", table, ["number"])
    op.create_index(f"ix_{table}_notified", table, ["notified_at", "number"])
    op.create_index(f"ix_{table}_watched", table, ["watched", "number"])
