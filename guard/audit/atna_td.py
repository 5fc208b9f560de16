"""Audit messages of the record services: the rows of ``guard.audit.atna_rows`` for the TD catalogue.

No public source has tables for them. Queries and changes of a record follow the HL7 v3 transactions they ride on
(ITI-44, ITI-47); a right given, withdrawn or barred, and a mark on a document, are the security alerts DICOM has for
it; a look at the log is its Audit Log Used. The request itself is not kept: it holds traits. Names of ours are of the
code system ``DMP Transactions``.

Clause: DICOM PS3.15 A.5.3.2, A.5.3.10, A.5.3.11; ITI TF-2 3.20.7
"""

from __future__ import annotations

from guard.audit.atna_rows import ALERT, DCM, PATIENT_RECORD, QUERY, REGISTRY, Row, What, Who
from xds.model.codes import Code

LOG_USED = Code("110101", DCM, "Audit Log Used")
OBJECT_CHANGED = Code("110135", DCM, "Object Security Attributes Changed")
USER_CHANGED = Code("110137", DCM, "User Security Attributes Changed")
ACCESS_SET, DOCUMENT_MARKED, LOG_READ = "setAccess", "setDocument", "readLog"
"""Rows of the patient's acts (``Particulars.row``): their lines have one event in common."""

_CALLED = (Who.CLIENT_SENDS, Who.HUMAN, Who.SERVER_TAKES)


def _td(name: str, meaning: str) -> Code:
    return Code(name, "DMP Transactions", meaning)


def _row(event: Code, act: str, kind: Code, *also: Code, what: tuple[What, ...] = (What.PATIENT,)) -> Row:
    return Row(event=event, act=act, kind=kind, also=also, side=REGISTRY, who=_CALLED, what=what)


def _query(name: str, meaning: str) -> Row:
    return _row(QUERY, "E", _td(name, meaning), what=(What.PATIENT, What.STORED_QUERY))


RECORDS: dict[str, Row] = {
    "TD0.2": _query("TD0.2", "Existence and Access Status"),
    "TD0.3": _row(ALERT, "E", USER_CHANGED, _td("TD0.3", "Authorisation")),
    "TD0.4": _query("TD0.4", "List of Authorised Records"),
    "TD0.5": _query("TD0.5", "Search without Identifier"),
    "TD1.1": _row(PATIENT_RECORD, "C", _td("TD1.1", "Create Record")),
    "TD1.2": _row(PATIENT_RECORD, "U", _td("TD1.2", "Reactivate Record")),
    "TD1.3a": _query("TD1.3a", "Read Administrative Data"),
    "TD1.3b": _row(PATIENT_RECORD, "U", _td("TD1.3b", "Change Administrative Data")),
    "TD1.4": _row(PATIENT_RECORD, "U", _td("TD1.4", "Close Record")),
    "TD1.6": _query("TD1.6", "List of Authorised and Barred"),
    ACCESS_SET: _row(ALERT, "E", USER_CHANGED, _td("setAccess", "Access Set for the Patient")),
    DOCUMENT_MARKED: _row(
        ALERT, "E", OBJECT_CHANGED, _td("setDocument", "Document Marked"), what=(What.PATIENT, What.DOCUMENTS)
    ),
    "patient act": _row(ALERT, "E", OBJECT_CHANGED, _td("patientAct", "Act for the Patient")),
    "announceRecords": _row(PATIENT_RECORD, "C", _td("announceRecords", "Announce Records")),
    "recordDeath": _row(PATIENT_RECORD, "U", _td("recordDeath", "Death of the Holder")),
    "runRetention": _row(PATIENT_RECORD, "U", _td("runRetention", "Retention Run")),
    "extractTraces": _row(LOG_USED, "R", _td("extractTraces", "Traces of a Professional"), what=(What.LOG,)),
    "getParameters": _row(QUERY, "E", _td("getParameters", "Parameters of the Service"), what=()),
    LOG_READ: _row(LOG_USED, "R", _td("readLog", "Access Log Read"), what=(What.PATIENT, What.LOG)),
}
