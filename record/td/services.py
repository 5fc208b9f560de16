"""The typed services as their callers see them: types, names and order of the DMP's interface of 2010.

Every operation hands plain values to the file of its transaction, which answers with objects whose fields are the
members of the type here. A refusal is the same answer, with the name of the error as its status.

Clause: DMP TD0.3, TD0.4, TD1.6
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

from guard.audit import access_log
from guard.audit.particulars import particulars
from record.actor import RecordRefused
from record.td import management, patient_acts, td03_set_authorization, td04_patient_list, td16_list_authorizations
from record.td.actor import RecordServices
from record.td.hl7 import error_name
from record.td.spyne_import import Boolean, ComplexModel, Integer32, Service, Unicode, rpc
from record.td.typed import Operation, TypedService
from xds.errors import ErrorCode, Finding, Refused
from xds.wire.exchange import Exchange, Reply, Transaction
from xds.wire.xml import escape_text

OK = "DMPOk"
"""Status of a call that was carried out."""
HABILITATIONS, PATIENTS, ACTS = "urn:si-dmp-habilitations", "urn:si-dmp-patients", "urn:carnet:patient-acts:2026"
SYSTEM = "urn:carnet:system:2026"
"""The first two are the DMP's, the others ours: the DMP gives the patient's acts and the operator's no message."""
MANY = "unbounded"


def _type(namespace: str, name: str, *members: tuple[str, Any]) -> Any:
    """A complex type of that name; the order of members is theirs on the wire."""
    attributes = {"__namespace__": namespace, "__type_name__": name, "_type_info": list(members)}
    return type(ComplexModel)(name, (ComplexModel,), attributes)


def _enum(namespace: str, name: str, *values: str) -> Any:
    """Not spyne's Enum, whose values are objects of its own."""
    made = Unicode(values=list(values), type_name=name)
    made.__namespace__ = namespace
    return made


_STATUS = (("status", Unicode), ("context", Unicode))
Action = _enum(HABILITATIONS, "actionType", *td03_set_authorization.ACTIONS)
Role = _enum(HABILITATIONS, "roleType", *td03_set_authorization.ROLES)
Mode = _enum(HABILITATIONS, "modeType", *td16_list_authorizations.MODES)
DateType = _enum(PATIENTS, "dateTypeEnum", *td04_patient_list.DATE_TYPES)
Done = _type(HABILITATIONS, "WebServiceResponse", *_STATUS)
Authorization = _type(
    HABILITATIONS, "AuthorizationByPatient",
    ("nationalId", Unicode), ("nationalIdType", Unicode), ("firstName", Unicode), ("lastName", Unicode),
    ("codeSpeciality", Unicode(max_occurs=MANY)), ("libSpeciality", Unicode(max_occurs=MANY)),
    ("startOfAuthorization", Unicode), ("lastActionDate", Unicode), ("mode", Mode),
    ("specificRight", Role.customize(max_occurs=MANY)),
)
Authorizations = _type(
    HABILITATIONS, "AuthorizationByPatientResponse",
    ("listOfAuthorizationByPatient", Authorization.customize(max_occurs=MANY)), *_STATUS,
)
Identifier = _type(PATIENTS, "PatientIdentifierListData", ("nationalId", Unicode), ("nationalIdType", Unicode))
Patient = _type(
    PATIENTS, "PatientListData",
    ("patientIdentifier", Identifier.customize(max_occurs=MANY)), ("lastName", Unicode),
    ("patronymicalName", Unicode), ("firstName", Unicode), ("civility", Unicode), ("dateOfBirth", Unicode),
    ("MT", Boolean(min_occurs=1)), ("message", Boolean(min_occurs=1)), ("lastAccessDate", Unicode),
    ("lastUpdateDate", Unicode), ("lastAddDate", Unicode),
)
PatientList = _type(
    PATIENTS, "PatientListDataResponse", ("patientlistData", Patient.customize(max_occurs=MANY)), *_STATUS
)

Verb = _enum(ACTS, "actionType", *patient_acts.VERBS)
DocumentVerb = _enum(ACTS, "documentActionType", *patient_acts.DOCUMENT_VERBS)
ActDone = _type(ACTS, "WebServiceResponse", *_STATUS)
LogLine = _type(ACTS, "LogLine", ("date", Unicode), ("outcome", Unicode), ("sentence", Unicode))
Log = _type(ACTS, "LogResponse", ("line", LogLine.customize(max_occurs=MANY)), *_STATUS)

AnnouncedRecord = _type(SYSTEM, "AnnouncedRecord", ("patientId", Unicode), ("opensAt", Unicode), ("status", Unicode))
Announced = _type(SYSTEM, "AnnounceResponse", ("record", AnnouncedRecord.customize(max_occurs=MANY)), *_STATUS)
SystemDone = _type(SYSTEM, "WebServiceResponse", *_STATUS)
TraceLine = _type(
    SYSTEM, "TraceLine", ("date", Unicode), ("patientId", Unicode), ("event", Unicode), ("action", Unicode),
    ("outcome", Unicode), ("purpose", Unicode), ("structureId", Unicode), ("documents", Unicode(max_occurs=MANY)),
    ("traceId", Unicode),
)
Traces = _type(SYSTEM, "TracesResponse", ("line", TraceLine.customize(max_occurs=MANY)), *_STATUS)
NamedValue = _type(SYSTEM, "Parameter", ("name", Unicode), ("value", Unicode))
Parameters = _type(SYSTEM, "ParametersResponse", ("parameter", NamedValue.customize(max_occurs=MANY)), *_STATUS)


class Habilitations(Service):
    """TD0.3 and TD1.6: ``ctx.udc`` is (services, exchange)."""

    @rpc(Action, Role, _args=["action", "role"], _returns=Done, _out_variable_name="output")
    def setAuthorization(ctx: Any, action: str | None, role: str | None) -> Any:
        services, exchange = ctx.udc
        context = td03_set_authorization.answer(services, exchange, action or "", role or "")
        return SimpleNamespace(status=OK, context=context)

    @rpc(Mode, _args=["mode"], _returns=Authorizations, _out_variable_name="output")
    def listAuthorizationByPatient(ctx: Any, mode: str | None) -> Any:
        services, exchange = ctx.udc
        found = td16_list_authorizations.answer(services, exchange, mode or "")
        return SimpleNamespace(status=OK, context=f"{len(found)}", listOfAuthorizationByPatient=found)


class Patients(Service):
    """TD0.4: ``ctx.udc`` is (services, exchange)."""

    @rpc(
        Unicode(max_len=14), DateType, Unicode(max_len=64), _args=["startDate", "dateType", "psOwnerId"],
        _returns=PatientList, _out_variable_name="output",
    )
    def patientList(ctx: Any, since: str | None, kind: str | None, owner: str | None) -> Any:
        services, exchange = ctx.udc
        found = td04_patient_list.answer(services, exchange, since or "", kind or "", owner or "")
        return SimpleNamespace(status=OK, context=f"{len(found)}", patientlistData=found)


class PatientActs(Service):
    """The patient's acts: ``ctx.udc`` is (services, exchange)."""

    @rpc(
        Verb, Unicode(max_len=100), Unicode(max_len=64), _args=["action", "nationalId", "nationalIdType"],
        _returns=ActDone, _out_variable_name="output",
    )
    def setAccess(ctx: Any, action: str | None, subject: str | None, system: str | None) -> Any:
        services, exchange = ctx.udc
        context = patient_acts.set_access(services, exchange, action or "", subject or "", system or "")
        return SimpleNamespace(status=OK, context=context)

    @rpc(
        Unicode(max_len=64), Boolean(min_occurs=1), _args=["code", "value"], _returns=ActDone,
        _out_variable_name="output",
    )
    def setObjection(ctx: Any, code: str | None, objects: bool) -> Any:
        services, exchange = ctx.udc
        return SimpleNamespace(status=OK, context=patient_acts.set_objection(services, exchange, code or "", objects))

    @rpc(
        DocumentVerb, Unicode(max_len=256), _args=["action", "uniqueId"], _returns=ActDone, _out_variable_name="output"
    )
    def setDocument(ctx: Any, action: str | None, document: str | None) -> Any:
        services, exchange = ctx.udc
        context = patient_acts.set_document(services, exchange, action or "", document or "")
        return SimpleNamespace(status=OK, context=context)

    @rpc(Boolean(min_occurs=1), _args=["value"], _returns=ActDone, _out_variable_name="output")
    def setEmergencyView(ctx: Any, shown: bool) -> Any:
        services, exchange = ctx.udc
        return SimpleNamespace(status=OK, context=patient_acts.set_emergency_view(services, exchange, shown))

    @rpc(
        Boolean(min_occurs=1), Unicode(max_len=100, max_occurs=MANY), _args=["value", "typeCode"], _returns=ActDone,
        _out_variable_name="output",
    )
    def setNotices(ctx: Any, wanted: bool, types: list[str] | None) -> Any:
        services, exchange = ctx.udc
        return SimpleNamespace(
            status=OK, context=patient_acts.set_notices(services, exchange, wanted, types or [])
        )

    @rpc(_returns=ActDone, _out_variable_name="output")
    def declineRecord(ctx: Any) -> Any:
        services, exchange = ctx.udc
        return SimpleNamespace(status=OK, context=patient_acts.decline_record(services, exchange))

    @rpc(Unicode(max_len=64), _args=["token"], _returns=ActDone, _out_variable_name="output")
    def confirmDestruction(ctx: Any, token: str | None) -> Any:
        services, exchange = ctx.udc
        return SimpleNamespace(status=OK, context=patient_acts.confirm_destruction(services, exchange, token or ""))

    @rpc(_returns=ActDone, _out_variable_name="output")
    def askDestruction(ctx: Any) -> Any:
        services, exchange = ctx.udc
        return SimpleNamespace(status=OK, context=patient_acts.ask_destruction(services, exchange))

    @rpc(Integer32, _args=["skip"], _returns=Log, _out_variable_name="output")
    def readLog(ctx: Any, skip: int | None) -> Any:
        services, exchange = ctx.udc
        found = patient_acts.read_log(services, exchange, skip or 0)
        return SimpleNamespace(status=OK, context=f"{len(found)}", line=found)


class System(Service):
    """What the operator's people do, and what everybody may ask: ``ctx.udc`` is (services, exchange)."""

    @rpc(Unicode(max_len=256, max_occurs=MANY), _args=["patientId"], _returns=Announced, _out_variable_name="output")
    def announceRecords(ctx: Any, patients: list[str] | None) -> Any:
        services, exchange = ctx.udc
        told = management.announce(services, exchange, patients or [], OK)
        return SimpleNamespace(status=OK, context=f"{len(told)}", record=told)

    @rpc(
        Unicode(max_len=256), Unicode(max_len=10), _args=["patientId", "dateOfDeath"], _returns=SystemDone,
        _out_variable_name="output",
    )
    def recordDeath(ctx: Any, patient: str | None, day: str | None) -> Any:
        services, exchange = ctx.udc
        return SimpleNamespace(status=OK, context=management.note_death(services, exchange, patient or "", day or ""))

    @rpc(_returns=SystemDone, _out_variable_name="output")
    def runRetention(ctx: Any) -> Any:
        services, exchange = ctx.udc
        return SimpleNamespace(status=OK, context=management.run_retention(services, exchange))

    @rpc(
        Unicode(max_len=100), Unicode(max_len=10), Unicode(max_len=10), Integer32,
        _args=["nationalId", "since", "until", "skip"], _returns=Traces, _out_variable_name="output",
    )
    def extractTraces(ctx: Any, identifier: str | None, since: str | None, until: str | None, skip: int | None) -> Any:
        services, exchange = ctx.udc
        days = (since or "", until or "")
        found = management.extract(services, exchange, identifier or "", days, skip or 0)
        return SimpleNamespace(status=OK, context=f"{len(found)}", line=found)

    @rpc(_returns=Parameters, _out_variable_name="output")
    def getParameters(ctx: Any) -> Any:
        services, exchange = ctx.udc
        found = management.parameters(services, exchange)
        return SimpleNamespace(status=OK, context=f"{len(found)}", parameter=found)


SERVICES = {
    "/services/habilitations": TypedService(HABILITATIONS, "HabilitationsEndPoint", Habilitations),
    "/services/patients": TypedService(PATIENTS, "PatientSpecificEndPoint", Patients),
    "/services/patient-acts": TypedService(ACTS, "PatientActs", PatientActs),
    "/services/system": TypedService(SYSTEM, "System", System),
}
"""Path to the service that lives there; the last word of the first two is the DMP's own."""


def transactions(services: RecordServices) -> list[Transaction]:
    """One for each operation."""
    return [
        Transaction(
            name=operation.name,
            action=operation.action,
            response_action=operation.response_action,
            body=operation.body,
            mtom=False,
            handle=partial(_handle, services, service, operation),
            refuse=partial(_refuse, service, operation),
            schema_error=ErrorCode.XDSRegistryError,
            internal_error=ErrorCode.XDSRegistryError,
        )
        for service in SERVICES.values() for operation in service.operations
    ]


def _handle(services: RecordServices, service: TypedService, operation: Operation, exchange: Exchange) -> Reply:
    """Rule: D-47"""
    try:
        return Reply([service.call(exchange, (services, exchange))])
    except RecordRefused as refusal:
        clause = f" ({refusal.clause})" if refusal.clause else ""
        text = f"{refusal}{clause} trace {exchange.trace_id}"
        return Reply([_said(service, operation, refusal.problem.dmp_error, text)])
    except Refused as refused:
        finding = refused.findings[0]
        line = access_log.refusal(
            exchange.caller, trace_id=exchange.trace_id, event=operation.name, action=operation.name,
            patient_key=None, patient_id=exchange.caller.patient_id, clause=finding.clause,
            reason=f"{finding.field}: expected {finding.expected}", peer=exchange.peer.address,
            particulars=particulars(exchange),
        )
        with services.database.write() as unit:
            unit.audit.append(line)
        raise


def _refuse(service: TypedService, operation: Operation, exchange: Exchange, findings: Sequence[Finding]) -> Reply:
    """The answer to a message that is wrong in itself, or that we failed on."""
    text = "; ".join(one.context(exchange.trace_id) for one in findings)
    return Reply([_said(service, operation, error_name(findings[0]), text)])


def _said(service: TypedService, operation: Operation, status: str, context: str) -> bytes:
    """An answer that says no: every operation has these two members at the end of its output."""
    return (
        f'<{operation.name}Response xmlns="{service.namespace}"><output><status>{escape_text(status)}</status>'
        f"<context>{escape_text(context)}</context></output></{operation.name}Response>"
    ).encode()
