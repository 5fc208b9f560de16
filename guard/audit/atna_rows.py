"""Which audit message each event gives: one row an event, the data of ``guard.audit.atna``.

``RECEIVED`` are the events our own actors answer for, by the event of the access line or by ``Particulars.row``, those
of the record services apart (``guard.audit.atna_td``);
``SENT`` are transactions we start ourselves, serving another or at the command line (``Particulars.sent_on``). An event
without a row stays in the access log and gives no message.

Clause: ITI TF-2 3.18.5.1, 3.41.5.1, 3.42.5.1, 3.43.5.1 and the same section of each other transaction
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from xds.model.codes import Code

DCM, TRANSACTIONS, RFC3881 = "DCM", "IHE Transactions", "RFC-3881"
REGISTRY, REPOSITORY, TOKENS, CLIENT = "registry", "repository", "tokens", "client"

ACTIVITY = Code("110100", DCM, "Application Activity")
EXPORT = Code("110106", DCM, "Export")
IMPORT = Code("110107", DCM, "Import")
PATIENT_RECORD = Code("110110", DCM, "Patient Record")
MANIFEST = Code("113031", DCM, "Signed Manifest")
VERIFICATION = Code("110007", DCM, "Report Verification")
QUERY = Code("110112", DCM, "Query")
ALERT = Code("110113", DCM, "Security Alert")
AUTHENTICATION = Code("110114", DCM, "User Authentication")

APPLICATION = Code("110150", DCM, "Application")
DESTINATION = Code("110152", DCM, "Destination")
SOURCE = Code("110153", DCM, "Source")

PATIENT_NUMBER = Code("2", RFC3881, "Patient Number")
REPORT_NUMBER = Code("9", RFC3881, "Report Number")
LOG_ADDRESS = Code("12", RFC3881, "URI")
NODE_ID = Code("110182", DCM, "Node ID")
SUBMISSION_SET = Code(
    "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd", "IHE XDS Metadata", "submission set classificationNode"
)
OBJECT_REF = Code("urn:ihe:iti:2017:ObjectRef", "IHE XDS Metadata", "registry object reference")


class Who(Enum):
    """A participant of the event."""

    CLIENT_SENDS = auto()
    """The peer that called, as Source."""
    CLIENT_TAKES = auto()
    """The peer that called, as Destination."""
    SERVER_SENDS = auto()
    SERVER_TAKES = auto()
    HUMAN = auto()
    """The person of the accepted token; left out where there was none."""
    APPLICATION = auto()
    USER = auto()
    """Who tried to log in, as far as he said."""
    NODE = auto()
    """The node that authenticates."""
    REPORTER = auto()
    """The node that raises an alert."""
    PEER = auto()
    """The node a report is about."""


class What(Enum):
    """An object of the event; left out where the line does not name it."""

    PATIENT = auto()
    SUBMISSION_SET = auto()
    DOCUMENTS = auto()
    ERASED_DOCUMENTS = auto()
    ERASED_OBJECTS = auto()
    STORED_QUERY = auto()
    NODE = auto()
    LOG = auto()
    """The access log itself, by the address it is read at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One event. ``act`` is the action code unless the line says another; ``side`` the actor of ours that reports.

    ``detail`` is the type of the patient's detail that holds the message id; ``failure`` the outcome of a refusal.
    """

    event: Code
    act: str
    kind: Code
    side: str = ""
    who: tuple[Who, ...]
    what: tuple[What, ...] = ()
    detail: str = ""
    also: tuple[Code, ...] = ()
    """More types of the event, behind ``kind``."""
    failure: str = "8"


_CALLED = (Who.CLIENT_SENDS, Who.SERVER_TAKES, Who.HUMAN)
_CALLED_BY_PERSON = (Who.CLIENT_SENDS, Who.HUMAN, Who.SERVER_TAKES)
_SUBMITTED = (What.PATIENT, What.SUBMISSION_SET)
_ASKED = (What.PATIENT, What.STORED_QUERY)
_SIGNATURE = Code("urn:ihe:iti:dsg", TRANSACTIONS, "Document Digital Signature")
"""Clause: ITI TF-3 5.5.7"""


def _iti(number: int, name: str) -> Code:
    return Code(f"ITI-{number}", TRANSACTIONS, name)


RECEIVED: dict[str, Row] = {
    "ITI-8": Row(
        event=PATIENT_RECORD, act="C", kind=_iti(8, "Patient Identity Feed"), side=REGISTRY, who=_CALLED,
        what=(What.PATIENT,), detail="MSH-10",
    ),
    "ITI-18": Row(
        event=QUERY, act="E", kind=_iti(18, "Registry Stored Query"), side=REGISTRY, who=_CALLED, what=_ASKED
    ),
    "ITI-41": Row(
        event=IMPORT, act="C", kind=_iti(41, "Provide and Register Document Set-b"), side=REPOSITORY, who=_CALLED,
        what=_SUBMITTED,
    ),
    "ITI-42": Row(
        event=IMPORT, act="C", kind=_iti(42, "Register Document Set-b"), side=REGISTRY, who=_CALLED, what=_SUBMITTED
    ),
    "ITI-43": Row(
        event=EXPORT, act="R", kind=_iti(43, "Retrieve Document Set"), side=REPOSITORY,
        who=(Who.SERVER_SENDS, Who.CLIENT_TAKES, Who.HUMAN), what=(What.PATIENT, What.DOCUMENTS),
    ),
    "ITI-44": Row(
        event=PATIENT_RECORD, act="C", kind=_iti(44, "Patient Identity Feed"), side=REGISTRY, who=_CALLED_BY_PERSON,
        what=(What.PATIENT,), detail="II",
    ),
    "ITI-51": Row(
        event=QUERY, act="E", kind=_iti(51, "Multi-Patient Stored Query"), side=REGISTRY, who=_CALLED, what=_ASKED
    ),
    "ITI-57": Row(
        event=IMPORT, act="U", kind=_iti(57, "Update Document Set"), side=REGISTRY, who=_CALLED_BY_PERSON,
        what=_SUBMITTED,
    ),
    "ITI-61": Row(
        event=IMPORT, act="C", kind=_iti(61, "Register On-Demand Document Entry"), side=REGISTRY,
        who=_CALLED_BY_PERSON, what=_SUBMITTED,
    ),
    "ITI-62": Row(
        event=PATIENT_RECORD, act="D", kind=_iti(62, "Remove Metadata"), side=REGISTRY, who=_CALLED_BY_PERSON,
        what=(What.PATIENT, What.ERASED_OBJECTS),
    ),
    "ITI-86": Row(
        event=PATIENT_RECORD, act="D", kind=_iti(86, "Remove Documents"), side=REPOSITORY, who=_CALLED_BY_PERSON,
        what=(What.PATIENT, What.ERASED_DOCUMENTS),
    ),
    "ITI-92": Row(
        event=IMPORT, act="U", kind=_iti(92, "Restricted Update Document Set"), side=REGISTRY, who=_CALLED_BY_PERSON,
        what=_SUBMITTED,
    ),
    "DSG": Row(
        event=VERIFICATION, act="R", kind=_SIGNATURE, side=REPOSITORY, who=_CALLED, what=(What.PATIENT, What.DOCUMENTS)
    ),
    "client DSG": Row(
        event=MANIFEST, act="C", kind=_SIGNATURE, side=CLIENT, who=(Who.APPLICATION, Who.HUMAN),
        what=(What.PATIENT, What.DOCUMENTS),
    ),
    "application start": Row(
        event=ACTIVITY, act="E", kind=Code("110120", DCM, "Application Start"), who=(Who.APPLICATION,)
    ),
    "application stop": Row(
        event=ACTIVITY, act="E", kind=Code("110121", DCM, "Application Stop"), who=(Who.APPLICATION,)
    ),
    "login": Row(event=AUTHENTICATION, act="E", kind=Code("110122", DCM, "Login"), who=(Who.USER, Who.NODE)),
    "WS-Trust Issue": Row(
        event=AUTHENTICATION, act="E", kind=Code("110122", DCM, "Login"), side=TOKENS, who=(Who.USER, Who.NODE)
    ),
    "WS-Trust Cancel": Row(
        event=AUTHENTICATION, act="E", kind=Code("110123", DCM, "Logout"), side=TOKENS, who=(Who.USER, Who.NODE)
    ),
    "node authentication": Row(
        event=ALERT, act="E", kind=Code("110126", DCM, "Node Authentication"), who=(Who.REPORTER, Who.PEER),
        what=(What.NODE,), failure="4",
    ),
}

_CALLS = (Who.CLIENT_SENDS, Who.HUMAN, Who.SERVER_TAKES)

SENT: dict[str, Row] = {
    "ITI-18": Row(event=QUERY, act="E", kind=_iti(18, "Registry Stored Query"), who=_CALLS, what=_ASKED),
    "ITI-41": Row(
        event=EXPORT, act="R", kind=_iti(41, "Provide and Register Document Set-b"), who=_CALLS, what=_SUBMITTED
    ),
    "ITI-42": Row(
        event=EXPORT, act="R", kind=_iti(42, "Register Document Set-b"), who=(Who.CLIENT_SENDS, Who.SERVER_TAKES),
        what=_SUBMITTED,
    ),
    "ITI-43": Row(
        event=IMPORT, act="C", kind=_iti(43, "Retrieve Document Set"),
        who=(Who.SERVER_SENDS, Who.CLIENT_TAKES, Who.HUMAN), what=(What.PATIENT, What.DOCUMENTS),
    ),
    "ITI-51": Row(event=QUERY, act="E", kind=_iti(51, "Multi-Patient Stored Query"), who=_CALLS, what=_ASKED),
    "ITI-61": Row(
        event=EXPORT, act="R", kind=_iti(61, "Register On-Demand Document Entry"), who=_CALLS, what=_SUBMITTED
    ),
    "ITI-62": Row(
        event=PATIENT_RECORD, act="D", kind=_iti(62, "Remove Metadata"), who=_CALLS,
        what=(What.PATIENT, What.ERASED_OBJECTS),
    ),
    "ITI-86": Row(
        event=PATIENT_RECORD, act="D", kind=_iti(86, "Remove Documents"), who=_CALLS,
        what=(What.PATIENT, What.ERASED_DOCUMENTS),
    ),
}
