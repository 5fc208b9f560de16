"""Filling an empty registry database quickly, for measurements."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from operator import itemgetter
from typing import Any

from sqlalchemy import Table

from guard.policy.facts import RecordStatus
from record.store import Record
from storage.engines import connect
from storage.record import SqlRecordStore
from storage.rows import submission_rows
from storage.transaction import Transaction
from xds.model import Submission

BATCH = 5_000
"""Submissions whose rows are inserted together."""


def bulk_load(url: str, submissions: Iterable[tuple[str, Submission]]) -> int:
    """Store (patient identifier as CX, submission) pairs; opens the record of a patient met for the first time.

    The schema must be there. One transaction; on SQLite without protection against a crash, so
    that the file is worthless unless this returns. Returns the number of submissions.
    """
    engine = connect(url)
    gc.disable()  # hundreds of thousands of rows wait at a time, and none of them is garbage
    try:
        with engine.bulk_writing() as transaction:
            return _load(transaction, submissions)
    finally:
        gc.enable()
        engine.close()


def _load(transaction: Transaction, submissions: Iterable[tuple[str, Submission]]) -> int:
    records = SqlRecordStore(transaction)
    keys: dict[str, int] = {}
    pending: dict[Table, list[dict[str, Any]]] = {}
    count = 0
    for patient_id, submission in submissions:
        patient_key = keys.get(patient_id)
        if patient_key is None:
            patient_key = keys[patient_id] = _record_key(records, patient_id, submission)
        for table, rows in submission_rows(patient_key, submission).items():
            pending.setdefault(table, []).extend(rows)
        count += 1
        if count % BATCH == 0:
            _flush(transaction, pending)
    _flush(transaction, pending)
    return count


def _record_key(records: SqlRecordStore, patient_id: str, submission: Submission) -> int:
    found = records.find(patient_id)
    if found is None:
        found = records.add(Record(
            patient_key=0, patient_id=patient_id, status=RecordStatus.ACTIVE, channel="batch",
            opened_at=submission.submission_set.submission_time,
        ))
    return found.patient_key


def _flush(transaction: Transaction, pending: dict[Table, list[dict[str, Any]]]) -> None:
    """Rows in the order of their primary key touch each page once."""
    for table, rows in pending.items():
        rows.sort(key=itemgetter(*(column.name for column in table.primary_key)))
        transaction.change_many(("insert", table.name), table.insert, rows)
        rows.clear()
