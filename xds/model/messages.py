"""What a request or an answer says, freed of XML: the values that pass between reader, checks and writer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AdhocQuery:
    """A stored query as received. ``slots`` keeps order and repetition: a repeated name means AND.

    ``query_id`` is lower case. ``home`` is the homeCommunityId of the request, ignored by a plain registry.

    Clause: ITI TF-2 3.18.4.1.2
    """

    query_id: str
    return_type: str = "LeafClass"
    slots: list[tuple[str, list[str]]] = field(default_factory=list)
    home: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedError:
    """One ``rs:RegistryError`` of another service, kept word for word so that it can be relayed.

    ``severity`` is the URN. Clause: ITI TF-3 4.2.4.1; ITI TF-2 3.41.4.1.3
    """

    code: str
    context: str = ""
    severity: str = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
    location: str = ""

    @property
    def is_error(self) -> bool:
        return self.severity.endswith("Error")


@dataclass(frozen=True, slots=True)
class DocumentRequest:
    """One document asked for. ``home_community_id`` is echoed when it was given. Clause: ITI TF-2 3.43.4.1.2"""

    repository_unique_id: str
    document_unique_id: str
    home_community_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievedDocument:
    """One document of a retrieve answer.

    ``content_id`` is the Content-ID of its part, without angle brackets and percent-decoded; "" when the bytes
    were inline, then ``inline`` holds the base64 text as received.

    Clause: ITI TF-2 3.43.4.2.2
    """

    repository_unique_id: str
    document_unique_id: str
    mime_type: str
    content_id: str = ""
    inline: str = ""
    home_community_id: str = ""
    new_repository_unique_id: str = ""
    new_document_unique_id: str = ""


@dataclass(frozen=True, slots=True)
class RetrieveAnswer:
    """The whole answer to a retrieve. Clause: ITI TF-2 3.43.4.2.2"""

    status: str
    documents: list[RetrievedDocument]
    errors: list[ReceivedError]
