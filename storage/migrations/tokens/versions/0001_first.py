"""First schema of the token service: tokens issued, logins used, access log with proofs, chain and outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
LOG, OUTBOX, PROOF = "tokens_access_log", "tokens_audit_outbox", "tokens_assertion_proof"


def text(*names: str) -> list[sa.Column]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "issued_token",
        *text("token_id", "issuer", "holder"),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("token_id", name="pk_issued_token"),
    )
    op.create_index("ix_issued_token_until", "issued_token", ["until"])
    op.create_index("ix_issued_token_cancelled", "issued_token", ["cancelled", "until"])
    op.create_table(
        "used_login",
        *text("sha256"),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_used_login"),
    )
    op.create_index("ix_used_login_until", "used_login", ["until"])
    _log()
    _chain()


def _log() -> None:
    op.create_table(
        LOG,
        sa.Column("patient_key", KEY, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *text("at", "trace_id", "event", "action", "outcome", "patient_id", "caller_id", "caller_name", "role",
              "structure_id", "structure_name", "mode", "purpose", "purpose_reason", "documents", "detail",
              "reason", "clause", "peer", "assertion_id"),
        sa.Column("assertion_sha256", TEXT, nullable=False, server_default=sa.text("''")),
        sa.Column("is_secret", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lane", sa.Integer, nullable=False, server_default="0"),
        sa.Column("sequence", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("hash", TEXT, nullable=False, server_default=sa.text("''")),
        sa.PrimaryKeyConstraint("patient_key", "number", "trace_id", name=f"pk_{LOG}"),
    )
    op.create_index(f"ix_{LOG}_number", LOG, ["number"])
    op.create_index(f"ix_{LOG}_chain", LOG, ["lane", "sequence"])
    op.create_table(
        OUTBOX,
        sa.Column("patient_key", KEY, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *text("trace_id", "particulars"),
        sa.Column("state", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("patient_key", "number", "trace_id", name=f"pk_{OUTBOX}"),
    )
    op.create_index(f"ix_{OUTBOX}_state", OUTBOX, ["state", "number"])
    op.create_table(
        PROOF,
        *text("sha256"),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("assertion", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=f"pk_{PROOF}"),
    )


def _chain() -> None:
    op.create_table(
        f"{LOG}_head",
        sa.Column("lane", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        *text("hash"),
        sa.Column("unchained", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("lane", name=f"pk_{LOG}_head"),
    )
    op.create_table(
        f"{LOG}_destroyed",
        sa.Column("lane", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        *text("digest", "hash", "trace_id"),
        sa.PrimaryKeyConstraint("lane", "sequence", name=f"pk_{LOG}_destroyed"),
    )
    op.create_table(
        f"{LOG}_checkpoint",
        sa.Column("number", sa.BigInteger, nullable=False),
        *text("body", "signature", "certificate"),
        sa.PrimaryKeyConstraint("number", name=f"pk_{LOG}_checkpoint"),
    )
