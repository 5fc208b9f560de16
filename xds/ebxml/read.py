"""Requests and answers from ebXML elements to plain values.

A reader never raises for bad content: structural faults come back as findings beside whatever could be read.
Elements are matched by namespace and local name; prefixes mean nothing.

Clause: ITI TF-3 4.2; ITI TF-2 3.18.4, 3.42.4, 3.43.4
"""

from __future__ import annotations

from collections import defaultdict
from urllib.parse import unquote

from lxml import etree

from xds import namespaces as ns
from xds.ebxml.objects import (
    package_kind,
    read_association,
    read_entry,
    read_folder,
    read_submission_set,
    refuse_update_semantics,
)
from xds.ebxml.tree import Report, children, reference, rim, slot_values, text_of
from xds.errors import Actor, ErrorCode, Finding, Refused, Severity
from xds.model import DocumentEntry, Folder, RegistryObject, Submission, SubmissionSet
from xds.model.messages import AdhocQuery, DocumentRequest, ReceivedError, RetrieveAnswer, RetrievedDocument
from xds.rules import problem

__all__ = [
    "AdhocQuery", "DocumentRequest", "ReceivedError", "RetrieveAnswer", "RetrievedDocument", "read_adhoc_query",
    "read_query_response", "read_registry_response", "read_removal", "read_retrieve_request", "read_retrieve_response",
    "read_submission",
]

RETURN_TYPES = ("LeafClass", "ObjectRef")


def read_submission(
    submit_objects_request: etree._Element, actor: Actor, *, updating: bool = False, brief: bool = False
) -> tuple[Submission, list[Finding]]:
    """``lcm:SubmitObjectsRequest`` and every fault that only the XML shows.

    ``updating`` leaves in peace what only a metadata update may carry. ``brief`` reads no authors, and no codes but
    formatCode and classCode: for who passes the request on and looks at nothing else.

    Without a readable SubmissionSet the submission holds an empty one (``entry_uuid`` "") and the finding
    R-004 says so.

    Clause: ITI TF-2 3.42.4.1.2; ITI TF-3 4.1.4
    """
    report = Report(actor, brief)
    lists = list(children(submit_objects_request, rim("RegistryObjectList")))
    if len(lists) != 1:
        report.add("R-003", "SubmitObjectsRequest", "RegistryObjectList", found=f"{len(lists)} lists",
                   expected="exactly one")
    objects = _read_list(lists[0], report, registering=not updating) if lists else []
    sets = [o for o in objects if isinstance(o, SubmissionSet)]
    if len(sets) != 1:
        report.add("R-004", "SubmitObjectsRequest", "SubmissionSet", found=", ".join(s.entry_uuid for s in sets),
                   expected="exactly one SubmissionSet")
    submission = Submission(sets[0] if sets else SubmissionSet(entry_uuid=""))
    for obj in objects:
        if isinstance(obj, DocumentEntry):
            submission.entries.append(obj)
        elif isinstance(obj, Folder):
            submission.folders.append(obj)
        elif not isinstance(obj, SubmissionSet):
            submission.associations.append(obj)
    return submission, report.findings


def read_removal(element: etree._Element) -> tuple[list[str], list[Finding]]:
    """``lcm:RemoveObjectsRequest``: the ids named, each once, in their order.

    Clause: ITI TF-2 3.62.4.1.2
    """
    findings: list[Finding] = []
    if any(True for _ in children(element, rim("AdhocQuery"))):
        findings.append(problem("R-157", ErrorCode.XDSInvalidRequestException, "RemoveObjectsRequest", "AdhocQuery",
                                found="AdhocQuery", expected="objects named one by one, not by a query"))
    ids = [
        reference(ref.get("id"))
        for refs in children(element, rim("ObjectRefList")) for ref in children(refs, rim("ObjectRef"))
    ]
    if not ids and not findings:
        findings.append(problem("R-157", ErrorCode.XDSInvalidRequestException, "RemoveObjectsRequest",
                                "ObjectRefList", expected="at least one ObjectRef"))
    return list(dict.fromkeys(ids)), findings


def read_adhoc_query(element: etree._Element) -> tuple[AdhocQuery, list[Finding]]:
    """``query:AdhocQueryRequest``. Paging attributes, ``federated`` and ``returnComposedObjects`` are ignored.

    Clause: ITI TF-2 3.18.4.1.2
    """
    findings: list[Finding] = []
    options = list(children(element, f"{{{ns.QUERY}}}ResponseOption"))
    return_type = (options[0].get("returnType") or "").strip() if options else ""
    queries = list(children(element, rim("AdhocQuery")))
    query_id = queries[0].get("id", "").strip().lower() if queries else ""
    if return_type not in RETURN_TYPES:
        findings.append(problem("Q-19", ErrorCode.XDSRegistryError, f"AdhocQuery {query_id}".strip(), "returnType",
                                found=return_type, expected=" or ".join(RETURN_TYPES)))
    if not query_id:
        return AdhocQuery("", return_type), [*findings, problem(
            "Q-19", ErrorCode.XDSUnknownStoredQuery, "AdhocQuery", "id", expected="the id of a stored query"
        )]
    slots = [((slot.get("name") or "").strip(), slot_values(slot)) for slot in children(queries[0], rim("Slot"))]
    return AdhocQuery(query_id, return_type, slots, reference(queries[0].get("home"))), findings


def read_registry_response(element: etree._Element) -> tuple[str, list[ReceivedError]]:
    """Status URN and problems of ``rs:RegistryResponse`` (or of another answer built on it).

    Clause: ITI TF-3 4.2.4
    """
    errors = [
        ReceivedError(
            error.get("errorCode", "").strip(), error.get("codeContext", ""),
            error.get("severity", Severity.ERROR.value).strip(), error.get("location", ""),
        )
        for error_list in children(element, f"{{{ns.RS}}}RegistryErrorList")
        for error in children(error_list, f"{{{ns.RS}}}RegistryError")
    ]
    return element.get("status", "").strip(), errors


def read_query_response(
    element: etree._Element,
) -> tuple[str, list[RegistryObject], list[str], list[ReceivedError]]:
    """Status, objects, ids of ObjectRefs and problems of ``query:AdhocQueryResponse``.

    A client takes what it gets: structural faults of the objects are not reported.

    Clause: ITI TF-2 3.18.4.1.3
    """
    status, errors = read_registry_response(element)
    objects: list[RegistryObject] = []
    references: list[str] = []
    for object_list in children(element, rim("RegistryObjectList")):
        objects += _read_list(object_list, Report(Actor.REGISTRY), registering=False)
        references += [reference(ref.get("id")) for ref in children(object_list, rim("ObjectRef"))]
    return status, objects, references, errors


def read_retrieve_request(element: etree._Element) -> list[DocumentRequest]:
    """``xds:RetrieveDocumentSetRequest``, in the order asked; never empty.

    Raises Refused with XDSRepositoryError when nothing is asked, or something without its two identifiers.

    Clause: ITI TF-2 3.43.4.1.2
    """
    requests, findings = [], []
    for n, request in enumerate(children(element, _xds("DocumentRequest")), start=1):
        asked = DocumentRequest(
            _child(request, "RepositoryUniqueId"), _child(request, "DocumentUniqueId"),
            _child(request, "HomeCommunityId"),
        )
        if asked.repository_unique_id and asked.document_unique_id:
            requests.append(asked)
        else:
            findings.append(problem("R-120", ErrorCode.XDSRepositoryError, f"DocumentRequest {n}",
                                    expected="RepositoryUniqueId and DocumentUniqueId"))
    if not requests and not findings:
        findings.append(problem("R-120", ErrorCode.XDSRepositoryError, "RetrieveDocumentSetRequest",
                                expected="at least one DocumentRequest"))
    if findings:
        raise Refused(findings)
    return requests


def read_retrieve_response(element: etree._Element) -> RetrieveAnswer:
    """Status, documents and problems of ``xds:RetrieveDocumentSetResponse``.

    Clause: ITI TF-2 3.43.4.2.2
    """
    status: str = ""
    errors: list[ReceivedError] = []
    for response in children(element, f"{{{ns.RS}}}RegistryResponse"):
        status, errors = read_registry_response(response)
    return RetrieveAnswer(status, [_retrieved(d) for d in children(element, _xds("DocumentResponse"))], errors)


def included_content_id(element: etree._Element) -> str:
    """Content-ID an ``xop:Include`` below ``element`` points to, percent-decoded; "" when there is none.

    Clause: W3C XOP 1.0 3.2; RFC 2392
    """
    for include in children(element, f"{{{ns.XOP}}}Include"):
        href = include.get("href", "").strip()
        return unquote(href[4:]) if href[:4].lower() == "cid:" else ""
    return ""


def _read_list(object_list: etree._Element, report: Report, *, registering: bool) -> list[RegistryObject]:
    """Objects of one RegistryObjectList, in order. ``registering`` adds what only a registration forbids."""
    markers = _markers_beside(object_list, report)
    objects: list[RegistryObject] = []
    for element in children(object_list):
        obj = _read_object(element, markers, report)
        if obj is None:
            continue
        objects.append(obj)
        if registering:
            refuse_update_semantics(element, report, f"{obj.kind} {obj.entry_uuid}")
    return objects


def _read_object(
    element: etree._Element, markers: dict[str, list[str]], report: Report
) -> RegistryObject | None:
    if element.tag == rim("ExtrinsicObject"):
        return read_entry(element, report)
    if element.tag == rim("Association"):
        return read_association(element, report)
    if element.tag == rim("RegistryPackage"):
        kind = package_kind(element, markers.get(reference(element.get("id")), []), report)
        if kind == "SubmissionSet":
            return read_submission_set(element, report)
        return read_folder(element, report) if kind else None
    if element.tag not in (rim("Classification"), rim("ObjectRef")):
        name = etree.QName(element)
        report.add("R-008", "RegistryObjectList", name.localname, found=name.text,
                   expected="ExtrinsicObject, RegistryPackage, Association or Classification")
    return None


def _markers_beside(object_list: etree._Element, report: Report) -> dict[str, list[str]]:
    """Classifications that stand in the list itself: the nodes by the package they name.

    Anything but a marker of a package of this request has lost its object (R-010).
    """
    packages = {reference(p.get("id")) for p in children(object_list, rim("RegistryPackage"))}
    markers: dict[str, list[str]] = defaultdict(list)
    for element in children(object_list, rim("Classification")):
        id_ = report.identify(element, "Classification")
        owner, node = reference(element.get("classifiedObject")), reference(element.get("classificationNode"))
        if owner not in packages or not node:
            report.add("R-010", f"Classification {id_}", "classifiedObject", found=owner,
                       expected="a marker of a RegistryPackage of this request; other Classifications stand "
                                "inside their object")
        markers[owner].append(node)
    return markers


def _retrieved(element: etree._Element) -> RetrievedDocument:
    content_id = inline = ""
    for document in children(element, _xds("Document")):
        content_id = included_content_id(document)
        inline = "" if content_id else text_of(document)
    return RetrievedDocument(
        repository_unique_id=_child(element, "RepositoryUniqueId"),
        document_unique_id=_child(element, "DocumentUniqueId"), mime_type=_child(element, "mimeType"),
        content_id=content_id, inline=inline, home_community_id=_child(element, "HomeCommunityId"),
        new_repository_unique_id=_child(element, "NewRepositoryUniqueId"),
        new_document_unique_id=_child(element, "NewDocumentUniqueId"),
    )


def _xds(name: str) -> str:
    return f"{{{ns.XDS}}}{name}"


def _child(element: etree._Element, name: str) -> str:
    for child in children(element, _xds(name)):
        return text_of(child).strip()
    return ""
