"""Tables of the three databases; ``migrations`` creates them, a test proves that both say the same.

What a query filters or sorts by is a column; the rest of an object is one JSON text, ``content``, in which
the fields that have a column are left blank, so no value is kept twice.

``patient_key`` leads every key of patient data: the tables spread over a PostgreSQL cluster by it, and one
patient's rows lie together. Look-ups that carry no patient go through ``locator`` alone.

Text compares byte by byte on every engine. Times are 14 digits, or "" when not given. What is the same in every
row is kept short, because it is repeated in the indexes: an entryUUID without its ``urn:uuid:``, the URNs of the
framework as the words of ``storage.words``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    literal_column,
    text,
)

registry_metadata = MetaData()
repository_metadata = MetaData()
tokens_metadata = MetaData()

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared and sorted by code point, whatever the language of the server."""
KEY = BigInteger().with_variant(Integer, "sqlite")

# roles of an identifier in ``locator``
ENTRY_UUID = "uuid"
UNIQUE_ID = "uid"
LOGICAL_ID = "lid"
PATIENT_ID = "cx"

# kinds of a value in ``entry_value``
EVENT = "ev"
CONFIDENTIALITY = "cf"
REFERENCE = "rf"
AUTHOR = "au"
AUTHOR_ID = "ai"
STRUCTURE_ID = "si"
FOLDER_CODE = "fc"


def _text(*names: str) -> list[Column[str]]:
    return [Column(name, TEXT, nullable=False) for name in names]


def _added(*names: str) -> list[Column[str]]:
    """Columns that came with a later revision: rows of before have nothing there."""
    return [Column(name, TEXT, nullable=False, server_default=text("''")) for name in names]


def _patient_key() -> Column[int]:
    return Column("patient_key", KEY, nullable=False)


def _later_versions(table: Table) -> None:
    """Versions after the first, which hardly any object has: nothing to write for the others, next to nothing to
    read when a query asks for the newest."""
    is_later = table.c.version > literal_column("1")
    Index(f"ix_{table.name}_later", table.c.patient_key, table.c.logical_id, table.c.version,
          sqlite_where=is_later, postgresql_where=is_later)


record = Table(
    "record", registry_metadata,
    Column("patient_key", KEY, primary_key=True, autoincrement=True),
    *_text("patient_id", "status", "opened_at", "opened_by", "consent", "channel", "closed_at", "objected_purposes"),
    Column("subsumed_by", KEY),
    *_added("closed_because", "deceased_on", "destruction_token", "destruction_asked_at"),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in ("shows_masked", "is_attached")),
)
"""``objected_purposes`` is a JSON list. ``patient_id`` is unique through ``locator``. ``subsumed_by`` is the
``patient_key`` of the record this one was merged into."""
Index("ix_record_subsumed_by", record.c.subsumed_by)
Index("ix_record_status", record.c.status, record.c.closed_at)

record_traits = Table(
    "record_traits", registry_metadata,
    _patient_key(),
    *_text("birth_key", "used_key", "given_key", "birth_date", "sex", "postal_code", "city_key", "content"),
    PrimaryKeyConstraint("patient_key", name="pk_record_traits"),
)
"""Administrative data. Columns ending in ``_key`` are names in the form they are compared in."""
Index("ix_record_traits_birth", record_traits.c.birth_key, record_traits.c.birth_date)
Index("ix_record_traits_used", record_traits.c.used_key, record_traits.c.birth_date)

record_identifier = Table(
    "record_identifier", registry_metadata,
    _patient_key(),
    *_text("patient_id"),
    PrimaryKeyConstraint("patient_key", "patient_id", name="pk_record_identifier"),
)
"""Further identifiers of the same person; ``locator`` finds the record by them."""

circle = Table(
    "circle", registry_metadata,
    _patient_key(),
    *_text("kind", "subject", "name", "specialty", "basis", "since", "until", "attending_since", "blocked_since",
           "last_act_at"),
    PrimaryKeyConstraint("patient_key", "kind", "subject", name="pk_circle"),
)
"""Who may open the record and who may not. Small, and read by its key at every decision."""
Index("ix_circle_subject", circle.c.subject, circle.c.kind, circle.c.since)

destruction = Table(
    "destruction", registry_metadata,
    _patient_key(),
    *_text("receipt", "decided_at"),
    Column("documents", Integer, nullable=False),
    *_text("completed_at", "scrubbed_at"),
    PrimaryKeyConstraint("patient_key", "receipt", name="pk_destruction"),
)
erasure = Table(
    "erasure", registry_metadata,
    _patient_key(),
    *_text("repository_unique_id", "unique_id", "sha1"),
    PrimaryKeyConstraint("patient_key", "repository_unique_id", "unique_id", "sha1", name="pk_erasure"),
)
"""What a repository has still to erase; a row goes when it says that it has."""
Index("ix_erasure_repository", erasure.c.repository_unique_id)

locator = Table(
    "locator", registry_metadata,
    *_text("identifier", "role", "entry_uuid", "kind"),
    _patient_key(),
    PrimaryKeyConstraint("identifier", "role", "entry_uuid", name="pk_locator"),
    sqlite_with_rowid=False,
)
"""Identifier -> object and patient. ``entry_uuid`` is "" where the identifier can belong to one object only
(its own entryUUID, or the CX of a record): the primary key then refuses a second owner."""

document_entry = Table(
    "document_entry", registry_metadata,
    _patient_key(),
    *_text("entry_uuid", "status", "creation_time", "object_type", "type_code", "class_code", "format_code",
           "practice_setting_code", "healthcare_facility_type_code", "document_availability",
           "service_start_time", "service_stop_time", "unique_id", "logical_id"),
    Column("version", Integer, nullable=False),
    *_text("patient_id", "hash"),
    Column("size", BigInteger),
    *_text("content"),
    PrimaryKeyConstraint("patient_key", "entry_uuid", name="pk_document_entry"),
)
Index(
    "ix_document_entry_newest",
    document_entry.c.patient_key, document_entry.c.status, document_entry.c.creation_time.desc(),
    document_entry.c.entry_uuid,
)
_later_versions(document_entry)

entry_value = Table(
    "entry_value", registry_metadata,
    _patient_key(),
    *_text("kind", "value", "entry_uuid"),
    PrimaryKeyConstraint("patient_key", "kind", "value", "entry_uuid", name="pk_entry_value"),
    sqlite_with_rowid=False,
)
"""Values of which an object has many, for filtering only. ``entry_uuid`` is a DocumentEntry's; for ``AUTHOR`` also a
SubmissionSet's, for ``FOLDER_CODE`` a Folder's."""

submission_set = Table(
    "submission_set", registry_metadata,
    _patient_key(),
    *_text("entry_uuid", "status", "submission_time", "source_id", "content_type_code", "unique_id", "patient_id",
           "content"),
    PrimaryKeyConstraint("patient_key", "entry_uuid", name="pk_submission_set"),
)

folder = Table(
    "folder", registry_metadata,
    _patient_key(),
    *_text("entry_uuid", "status", "last_update_time", "unique_id", "logical_id"),
    Column("version", Integer, nullable=False),
    *_text("patient_id", "content"),
    PrimaryKeyConstraint("patient_key", "entry_uuid", name="pk_folder"),
)
_later_versions(folder)

association = Table(
    "association", registry_metadata,
    _patient_key(),
    *_text("entry_uuid", "status", "type", "source", "target", "content"),
    PrimaryKeyConstraint("patient_key", "entry_uuid", name="pk_association"),
    sqlite_with_rowid=False,
)
Index("ix_association_source", association.c.patient_key, association.c.source)
Index("ix_association_target", association.c.patient_key, association.c.target)
IS_REFERENCE: ColumnElement[bool] = literal_column("replace(content, 'Reference', '') <> content")
"""True of memberships by reference, the only associations that may lead to another patient's object, and of hardly any
other: written like this because both engines then find the partial index by it."""
Index("ix_association_reference", association.c.target, sqlite_where=IS_REFERENCE, postgresql_where=IS_REFERENCE)


def _access_log(name: str, metadata: MetaData) -> Table:
    """``number`` grows with time; ``patient_key`` 0 is a line that concerns no known record."""
    table = Table(
        name, metadata,
        _patient_key(),
        Column("number", BigInteger, nullable=False),
        *_text("at", "trace_id", "event", "action", "outcome", "patient_id", "caller_id", "caller_name", "role",
               "structure_id", "structure_name", "mode", "purpose", "purpose_reason", "documents", "detail",
               "reason", "clause", "peer", "assertion_id"),
        Column("is_secret", Integer, nullable=False, server_default="0"),
        Column("lane", Integer, nullable=False, server_default="0"),
        Column("sequence", BigInteger, nullable=False, server_default="0"),
        Column("hash", TEXT, nullable=False, server_default=text("''")),
        *_added("assertion_sha256"),
        PrimaryKeyConstraint("patient_key", "number", "trace_id", name=f"pk_{name}"),
    )
    Index(f"ix_{name}_number", table.c.number)
    Index(f"ix_{name}_chain", table.c.lane, table.c.sequence)
    return table


def _proofs(name: str, metadata: MetaData) -> Table:
    """Assertions that lines of a log name, compressed. ``number`` is that of the first such line.

    No ``patient_key``: one assertion may serve for several records, and is found by its hash alone.
    """
    return Table(
        name, metadata,
        *_text("sha256"),
        Column("number", BigInteger, nullable=False),
        Column("assertion", LargeBinary, nullable=False),
        PrimaryKeyConstraint("sha256", name=f"pk_{name}"),
    )


def _shown(name: str, metadata: MetaData) -> Table:
    """Assertions that may be shown once only. ``name`` is a hash of issuer and ID, ``until`` in seconds since 1970."""
    table = Table(
        name, metadata,
        *_text("name", "sha256", "trace_id"),
        Column("until", BigInteger, nullable=False),
        Column("times", Integer, nullable=False),
        PrimaryKeyConstraint("name", name=f"pk_{name}"),
    )
    Index(f"ix_{name}_until", table.c.until)
    return table


def _chain(name: str, metadata: MetaData) -> tuple[Table, Table, Table]:
    """The ends of the lanes of a log, what is left of destroyed lines, and signed checkpoints.

    ``unchained`` is the number of lines that are older than the chain; they have ``sequence`` 0 and no hash.
    ``trace_id`` of a destroyed line is that of the act that destroyed it. None of this carries a patient.
    """
    heads = Table(
        f"{name}_head", metadata,
        Column("lane", Integer, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        *_text("hash"),
        Column("unchained", BigInteger, nullable=False),
        PrimaryKeyConstraint("lane", name=f"pk_{name}_head"),
    )
    destroyed = Table(
        f"{name}_destroyed", metadata,
        Column("lane", Integer, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("number", BigInteger, nullable=False),
        *_text("digest", "hash", "trace_id"),
        PrimaryKeyConstraint("lane", "sequence", name=f"pk_{name}_destroyed"),
    )
    checkpoints = Table(
        f"{name}_checkpoint", metadata,
        Column("number", BigInteger, nullable=False),
        *_text("body", "signature", "certificate"),
        PrimaryKeyConstraint("number", name=f"pk_{name}_checkpoint"),
    )
    return heads, destroyed, checkpoints


def _outbox(name: str, metadata: MetaData) -> Table:
    """One row a line of the access log of the same key: what its audit message says beyond it, and whether it is sent.

    ``state`` is one of WAITING, SENT, PASSED, and leads the index: finding and counting what waits costs the same
    however much was sent.
    """
    table = Table(
        name, metadata,
        _patient_key(),
        Column("number", BigInteger, nullable=False),
        *_text("trace_id", "particulars"),
        Column("state", Integer, nullable=False),
        PrimaryKeyConstraint("patient_key", "number", "trace_id", name=f"pk_{name}"),
    )
    Index(f"ix_{name}_state", table.c.state, table.c.number)
    return table


# states of a row of an outbox
WAITING = 0
SENT = 1
PASSED = 2
"""Nothing to send: the event has no audit message, or a later line tells it."""

access_log = _access_log("access_log", registry_metadata)
repository_access_log = _access_log("repository_access_log", repository_metadata)
tokens_access_log = _access_log("tokens_access_log", tokens_metadata)
audit_outbox = _outbox("audit_outbox", registry_metadata)
repository_audit_outbox = _outbox("repository_audit_outbox", repository_metadata)
tokens_audit_outbox = _outbox("tokens_audit_outbox", tokens_metadata)

assertion_proof = _proofs("assertion_proof", registry_metadata)
repository_assertion_proof = _proofs("repository_assertion_proof", repository_metadata)
tokens_assertion_proof = _proofs("tokens_assertion_proof", tokens_metadata)
shown_assertion = _shown("shown_assertion", registry_metadata)
repository_shown_assertion = _shown("repository_shown_assertion", repository_metadata)

access_log_chain = _chain("access_log", registry_metadata)
repository_access_log_chain = _chain("repository_access_log", repository_metadata)
tokens_access_log_chain = _chain("tokens_access_log", tokens_metadata)
Index("ix_access_log_caller", access_log.c.caller_id, access_log.c.structure_id)

emergency_access = Table(
    "emergency_access", registry_metadata,
    _patient_key(),
    Column("number", BigInteger, nullable=False),
    *_text("trace_id", "caller_id", "structure_id"),
    Column("notified_at", BigInteger, nullable=False),
    Column("watched", Integer, nullable=False),
    PrimaryKeyConstraint("patient_key", "number", "trace_id", name="pk_emergency_access"),
)
"""One row a line of the access log of the same key that is an access by emergency: the patient is to be told of it,
and it is looked at for abuse. ``notified_at`` is in nanoseconds since the epoch, 0 while he was not told."""
Index("ix_emergency_access_caller", emergency_access.c.caller_id, emergency_access.c.number)
Index("ix_emergency_access_number", emergency_access.c.number)
Index("ix_emergency_access_notified", emergency_access.c.notified_at, emergency_access.c.number)
Index("ix_emergency_access_watched", emergency_access.c.watched, emergency_access.c.number)

notice_wish = Table(
    "notice_wish", registry_metadata,
    _patient_key(),
    *_text("kind", "recipient", "types", "caller", "since"),
    PrimaryKeyConstraint("patient_key", "kind", "recipient", name="pk_notice_wish"),
)
"""Who wants to be told of new documents of a record. Hardly any record has a row."""

notice = Table(
    "notice", registry_metadata,
    _patient_key(),
    Column("number", BigInteger, nullable=False),
    *_text("trace_id", "kind", "recipient"),
    PrimaryKeyConstraint("patient_key", "number", "trace_id", "kind", "recipient", name="pk_notice"),
)
"""One row a line of the access log that is a deposit, and one recipient who was not told yet."""
Index("ix_notice_number", notice.c.number)

held_document = Table(
    "held_document", repository_metadata,
    *_text("key", "unique_id", "sha1"),
    Column("size", BigInteger, nullable=False),
    *_text("mime_type", "submission_unique_id"),
    Column("received_at", Float(53), nullable=False),
    Column("settled", Integer, nullable=False),
    PrimaryKeyConstraint("key", name="pk_held_document"),
)
removed_document = Table(
    "removed_document", repository_metadata,
    *_text("unique_id", "sha1"),
    Column("removed_at", Float(53), nullable=False),
    *_text("trace_id"),
    PrimaryKeyConstraint("unique_id", "sha1", name="pk_removed_document"),
)
"""Documents whose bytes were removed on request: what is still registered of them is not a loss."""

signature_proof = Table(
    "signature_proof", repository_metadata,
    *_text("key", "chain", "lists"),
    Column("accepted_at", Float(53), nullable=False),
    *_added("answers"),
    PrimaryKeyConstraint("key", name="pk_signature_proof"),
)
"""What was known of the signer of the signature document of that key: certificates in base64, and the SHA-256 of each
revocation list and OCSP answer, blanks between."""
revocation_list = Table(
    "revocation_list", repository_metadata,
    *_text("sha256", "content"),
    PrimaryKeyConstraint("sha256", name="pk_revocation_list"),
)
"""Each list and each OCSP answer once, in base64, however many signatures it was asked for. No patient is in one."""

Index("ix_held_document_unique_id", held_document.c.unique_id)
Index("ix_held_document_waiting", held_document.c.settled, held_document.c.received_at)

issued_token = Table(
    "issued_token", tokens_metadata,
    *_text("token_id", "issuer", "holder"),
    Column("until", BigInteger, nullable=False),
    Column("cancelled", Integer, nullable=False),
    PrimaryKeyConstraint("token_id", name="pk_issued_token"),
)
"""What the token service has issued and still holds: no content, only what taking it back needs."""
Index("ix_issued_token_until", issued_token.c.until)
Index("ix_issued_token_cancelled", issued_token.c.cancelled, issued_token.c.until)

used_login = Table(
    "used_login", tokens_metadata,
    *_text("sha256"),
    Column("until", BigInteger, nullable=False),
    PrimaryKeyConstraint("sha256", name="pk_used_login"),
)
"""Logins that were turned into an assertion, by the hash of their ID token."""
Index("ix_used_login_until", used_login.c.until)
