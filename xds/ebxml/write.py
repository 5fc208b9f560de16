"""Requests and answers: what each transaction sends as its body element.

Bytes without an XML declaration, ready to stand in a SOAP body: one piece, or a list of pieces in order
where an answer may be long. The objects inside come from ``fragments``,
whose functions are exported here too.

Statuses are URNs of ``xds.namespaces``. Problems are written as ``rs:RegistryError``: a ``Finding`` in its
own words, a ``ReceivedError`` word for word.

Clause: ITI TF-3 4.2.4; ITI TF-2 3.18.4, 3.41.4, 3.42.4, 3.43.4
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from xds import namespaces as ns
from xds.ebxml.fragments import (
    association,
    document_entry,
    escape,
    folder,
    object_ref,
    registry_object,
    submission_set,
)
from xds.errors import ErrorCode, Finding, Severity
from xds.limits import DEFAULT
from xds.model import Submission
from xds.model.messages import DocumentRequest, ReceivedError, RetrievedDocument

__all__ = [
    "Problem", "RetrievedDocument", "adhoc_query_request", "adhoc_query_response", "association", "content_id_uri",
    "document_entry", "escape", "folder", "object_ref", "provide_and_register_request", "registry_object",
    "registry_response", "remove_documents_request", "remove_objects_request", "retrieve_request",
    "retrieve_response", "submission_set", "submit_objects_request",
]

Problem = Finding | ReceivedError

_CONTEXT_LENGTH = 2000
"""Characters of one codeContext; a value sent to us is never echoed without bound."""


def registry_response(
    status: str, findings: Iterable[Problem] = (), trace_id: str = "", limit: int = DEFAULT.findings
) -> bytes:
    """Answer of ITI-41, ITI-42 and of everything else that only says yes or no.

    At most ``limit`` problems are listed, errors before warnings; one more line counts the rest.

    Clause: ITI TF-3 4.2.4
    """
    return (
        f'<rs:RegistryResponse xmlns:rs="{ns.RS}" status="{escape(status)}">'
        f"{_error_list(findings, trace_id, limit)}</rs:RegistryResponse>"
    ).encode()


def adhoc_query_response(
    status: str, objects: Iterable[bytes], findings: Iterable[Problem] = (), trace_id: str = "",
    limit: int = DEFAULT.findings,
) -> list[bytes]:
    """Answer of ITI-18: pieces in order, never joined. ``objects`` are fragments of ``xds.ebxml.write``.

    The object list is there even when it is empty, on failure too.

    Clause: ITI TF-2 3.18.4.1.3
    """
    head = (
        f'<query:AdhocQueryResponse xmlns:query="{ns.QUERY}" xmlns:rim="{ns.RIM}" xmlns:rs="{ns.RS}"'
        f' status="{escape(status)}">{_error_list(findings, trace_id, limit)}<rim:RegistryObjectList>'
    )
    return [head.encode(), *objects, b"</rim:RegistryObjectList></query:AdhocQueryResponse>"]


def adhoc_query_request(
    query_id: str, return_type: str, slots: Iterable[tuple[str, Sequence[str]]], home: str = ""
) -> bytes:
    """Body of ITI-18. Values are written as they are: quote them with ``xds.check.query_params.quote``.

    Clause: ITI TF-2 3.18.4.1.2
    """
    home_attribute = f' home="{escape(home)}"' if home else ""
    inner = "".join([
        f'<rim:Slot name="{escape(name)}"><rim:ValueList>'
        + "".join([f"<rim:Value>{escape(value)}</rim:Value>" for value in values])
        + "</rim:ValueList></rim:Slot>"
        for name, values in slots
    ])
    return (
        f'<query:AdhocQueryRequest xmlns:query="{ns.QUERY}" xmlns:rim="{ns.RIM}">'
        f'<query:ResponseOption returnType="{escape(return_type)}" returnComposedObjects="true"/>'
        f'<rim:AdhocQuery id="{escape(query_id)}"{home_attribute}>{inner}</rim:AdhocQuery></query:AdhocQueryRequest>'
    ).encode()


def submit_objects_request(submission: Submission) -> bytes:
    """Body of ITI-42; what is passed on as received is not written anew. Clause: ITI TF-2 3.42.4.1.2"""
    return submission.as_received or b"".join((
        f'<lcm:SubmitObjectsRequest xmlns:lcm="{ns.LCM}" xmlns:rim="{ns.RIM}"><rim:RegistryObjectList>'.encode(),
        *[registry_object(obj) for obj in submission.objects()],
        b"</rim:RegistryObjectList></lcm:SubmitObjectsRequest>",
    ))


def provide_and_register_request(submission: Submission, documents: Iterable[tuple[str, str]]) -> list[bytes]:
    """Body of ITI-41. ``documents`` pairs the id of a DocumentEntry with the Content-ID of its part.

    Clause: ITI TF-2 3.41.4.1.2
    """
    inner = "".join([f'<xds:Document id="{escape(id_)}">{_include(cid)}</xds:Document>' for id_, cid in documents])
    return [
        f'<xds:ProvideAndRegisterDocumentSetRequest xmlns:xds="{ns.XDS}">'.encode(),
        submit_objects_request(submission), inner.encode(), b"</xds:ProvideAndRegisterDocumentSetRequest>",
    ]


def retrieve_request(requests: Iterable[DocumentRequest | tuple[str, str]]) -> bytes:
    """Body of ITI-43. A pair is (repositoryUniqueId, documentUniqueId). Clause: ITI TF-2 3.43.4.1.2"""
    return (
        f'<xds:RetrieveDocumentSetRequest xmlns:xds="{ns.XDS}">{_requests(requests)}</xds:RetrieveDocumentSetRequest>'
    ).encode()


def remove_documents_request(requests: Iterable[DocumentRequest | tuple[str, str]]) -> bytes:
    """Body of ITI-86, the same list as that of a retrieve. Clause: ITI TF-2 3.86.4.1.2"""
    return (
        f'<rmd:RemoveDocumentsRequest xmlns:rmd="{ns.RMD}" xmlns:xds="{ns.XDS}">{_requests(requests)}'
        "</rmd:RemoveDocumentsRequest>"
    ).encode()


def remove_objects_request(entry_uuids: Iterable[str]) -> bytes:
    """Body of ITI-62. Clause: ITI TF-2 3.62.4.1.2"""
    return b"".join((
        f'<lcm:RemoveObjectsRequest xmlns:lcm="{ns.LCM}" xmlns:rim="{ns.RIM}"><rim:ObjectRefList>'.encode(),
        *map(object_ref, entry_uuids),
        b"</rim:ObjectRefList></lcm:RemoveObjectsRequest>",
    ))


def _requests(requests: Iterable[DocumentRequest | tuple[str, str]]) -> str:
    wanted = [DocumentRequest(*r) if isinstance(r, tuple) else r for r in requests]
    return "".join([
        f"<xds:DocumentRequest>{_names(r.home_community_id, r.repository_unique_id, r.document_unique_id)}"
        "</xds:DocumentRequest>"
        for r in wanted
    ])


def retrieve_response(
    status: str, findings: Iterable[Problem] = (), documents: Iterable[RetrievedDocument] = (), trace_id: str = "",
    limit: int = DEFAULT.findings,
) -> list[bytes]:
    """Answer of ITI-43. A problem of one document has that document's uniqueId as its ``location``.

    Clause: ITI TF-2 3.43.4.2.2
    """
    head = (
        f'<xds:RetrieveDocumentSetResponse xmlns:xds="{ns.XDS}" xmlns:rs="{ns.RS}">'
        f'<rs:RegistryResponse status="{escape(status)}">{_error_list(findings, trace_id, limit)}</rs:RegistryResponse>'
    )
    return [
        head.encode(), *[_document_response(d).encode() for d in documents], b"</xds:RetrieveDocumentSetResponse>"
    ]


def content_id_uri(content_id: str) -> str:
    """``cid:`` URI of a Content-ID given without angle brackets. Clause: RFC 2392"""
    return "cid:" + quote(content_id, safe="@!$&'()*+,;=:~-._")


def _document_response(d: RetrievedDocument) -> str:
    new = _element("NewRepositoryUniqueId", d.new_repository_unique_id) + _element(
        "NewDocumentUniqueId", d.new_document_unique_id
    )
    content = _include(d.content_id) if d.content_id else escape(d.inline)
    return (
        f"<xds:DocumentResponse>{_names(d.home_community_id, d.repository_unique_id, d.document_unique_id)}{new}"
        f"<xds:mimeType>{escape(d.mime_type)}</xds:mimeType><xds:Document>{content}</xds:Document>"
        "</xds:DocumentResponse>"
    )


def _names(home: str, repository: str, document: str) -> str:
    return (
        f"{_element('HomeCommunityId', home)}<xds:RepositoryUniqueId>{escape(repository)}</xds:RepositoryUniqueId>"
        f"<xds:DocumentUniqueId>{escape(document)}</xds:DocumentUniqueId>"
    )


def _element(name: str, value: str) -> str:
    return f"<xds:{name}>{escape(value)}</xds:{name}>" if value else ""


def _include(content_id: str) -> str:
    return f'<xop:Include xmlns:xop="{ns.XOP}" href="{escape(content_id_uri(content_id))}"/>'


def _error_list(problems: Iterable[Problem], trace_id: str, limit: int) -> str:
    every = sorted(problems, key=lambda p: not p.is_error)
    if not every:
        return ""
    shown = every[: max(limit, 1)]
    lines = [_received(p) if isinstance(p, ReceivedError) else _finding(p, trace_id) for p in shown]
    if len(every) > len(shown):
        lines.append(_rest(every[len(shown):], trace_id))
    highest = Severity.ERROR if every[0].is_error else Severity.WARNING
    return f'<rs:RegistryErrorList highestSeverity="{highest}">{"".join(lines)}</rs:RegistryErrorList>'


def _finding(f: Finding, trace_id: str) -> str:
    return _line(f.code, f.context(trace_id), f.severity, f.where)


def _received(e: ReceivedError) -> str:
    return _line(e.code, e.context, e.severity, e.location)


def _rest(problems: Sequence[Problem], trace_id: str) -> str:
    """One line for what is not listed, under the code and severity of the first of them."""
    first = problems[0]
    text = f"{len(problems)} more problems are not listed"
    return _line(first.code, f"{text} trace {trace_id}" if trace_id else text, first.severity, "")


def _line(code: ErrorCode | str, context: str, severity: str, location: str) -> str:
    place = f' location="{escape(_bounded(location))}"' if location else ""
    return (
        f'<rs:RegistryError errorCode="{escape(code)}" codeContext="{escape(_bounded(context))}"'
        f' severity="{escape(severity)}"{place}/>'
    )


def _bounded(text: str) -> str:
    if len(text) <= _CONTEXT_LENGTH:
        return text
    return f"{text[: _CONTEXT_LENGTH // 2]} … {text[-_CONTEXT_LENGTH // 2 :]}"
