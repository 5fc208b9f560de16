"""One row for each operation of our service descriptions: how a foreign client calls it, and what is true afterwards.

A new transaction is a new row; ``test_operations`` runs every row through every client stack and fails when an
operation has none. Arguments are plain values in the form zeep takes them: attributes and child elements by name,
``_value_1`` for registry objects (elements) and for the bytes of a document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lxml import etree

from conformance import frames
from tests.world import FIND_DOCUMENTS, World
from xds.check.query_params import quote, quote_list
from xds.ebxml import write
from xds.model import DocumentEntry, LocalizedString, Submission
from xds.namespaces import APPROVED, ON_DEMAND, RESPONSE_SUCCESS, RIM

AWKWARD = [
    b"\r\n",
    b"\r\n\r\nline\rline\n\r\n--boundary--\r\n",
    b"\xef\xbb\xbf<?xml version='1.0'?>\r\n<a>\r</a>\r\n",
    bytes(range(256)) * 40,
]
"""Line ends at both edges, a look-alike of a boundary, every byte."""


@dataclass(slots=True)
class Answer:
    """What a stack made of an answer: ``errors`` as "code: context", ``ids`` of objects, ``documents`` as bytes."""

    status: str
    errors: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    documents: list[bytes] = field(default_factory=list)


@dataclass
class Case:
    """One call by one stack: a world and a patient of its own."""

    world: World
    patient_id: str
    made: Submission
    others: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, world: World) -> Case:
        patient_id = world.patient()
        domain = world.settings.domain.name
        made = frames.valid_submission(domain, documents=len(AWKWARD), patient_id=patient_id, hash="", size=None)
        return cls(world, patient_id, made)

    @property
    def unique_ids(self) -> list[str]:
        return [entry.unique_id for entry in self.made.entries]

    def deposited(self) -> Case:
        """With the documents there, by our own client."""
        outcome = self.world.deposit(self.made, {e.entry_uuid: d for e, d in self.documents()})
        assert outcome.is_success, outcome
        return self

    def documents(self) -> list[tuple[Any, bytes]]:
        return list(zip(self.made.entries, AWKWARD, strict=True))

    def found(self) -> set[str]:
        """entryUUIDs our own client finds."""
        return {found.entry_uuid for found in self.world.find(self.patient_id).objects}


@dataclass(frozen=True, slots=True)
class Row:
    """``operation`` without the prefix of its actor; ``check`` sees the state after a successful call."""

    transaction: str
    actor: str
    operation: str
    arguments: Callable[[Case], dict[str, Any]]
    check: Callable[[Case, Answer], None]
    status: str = RESPONSE_SUCCESS
    domain: str = "dmp"


def objects(submission: Submission) -> list[etree._Element]:
    """The registry objects as elements."""
    return list(etree.fromstring(write.submit_objects_request(submission)).find(f"{{{RIM}}}RegistryObjectList"))


def query(query_id: str, slots: dict[str, str], return_type: str = "LeafClass") -> dict[str, Any]:
    """Arguments of a stored query."""
    named = [{"name": name, "ValueList": {"Value": [value]}} for name, value in slots.items()]
    return {
        "ResponseOption": {"returnType": return_type, "returnComposedObjects": "true"},
        "AdhocQuery": {"id": query_id, "Slot": named},
    }


def _provide(case: Case) -> dict[str, Any]:
    return {
        "SubmitObjectsRequest": {"RegistryObjectList": {"_value_1": objects(case.made)}},
        "Document": [{"id": entry.entry_uuid, "_value_1": data} for entry, data in case.documents()],
    }


def _all_readable(case: Case, _answer: Answer) -> None:
    outcome, items = case.world.read(case.patient_id, case.unique_ids)
    assert outcome.is_success and [item.received for item in items] == AWKWARD


def _register(case: Case) -> dict[str, Any]:
    case.made = frames.valid_submission(
        "dmp", patient_id=case.patient_id, repository_unique_id=case.world.settings.repository.unique_id
    )
    return {"RegistryObjectList": {"_value_1": objects(case.made)}}


def _registered(case: Case, _answer: Answer) -> None:
    assert len(case.found()) == len(case.made.entries)


def _requests(case: Case) -> list[dict[str, str]]:
    mine = case.world.settings.repository.unique_id
    return [{"RepositoryUniqueId": mine, "DocumentUniqueId": name} for name in case.unique_ids]


def _retrieve(case: Case) -> dict[str, Any]:
    return {"DocumentRequest": _requests(case.deposited())}


def _retrieved(_case: Case, answer: Answer) -> None:
    assert answer.documents == AWKWARD


def _find(case: Case) -> dict[str, Any]:
    slots = {
        "$XDSDocumentEntryPatientId": quote(case.deposited().patient_id),
        "$XDSDocumentEntryStatus": quote_list([APPROVED]),
    }
    return query(FIND_DOCUMENTS, slots)


def _same_as_ours(case: Case, answer: Answer) -> None:
    assert set(answer.ids) == case.found() and len(answer.ids) == len(AWKWARD)


def _find_for_several(case: Case) -> dict[str, Any]:
    other = Case.of(case.world).deposited()
    slots = {
        "$XDSDocumentEntryPatientId": quote_list([case.deposited().patient_id, other.patient_id]),
        "$XDSDocumentEntryStatus": quote_list([APPROVED]),
        "$XDSDocumentEntryClassCode": quote_list([
            f"{entry.class_code.code}^^{entry.class_code.scheme}" for entry in case.made.entries[:1]
        ]),
    }
    case.others = other.found()
    return query("urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f", slots)


def _those_of_both(case: Case, answer: Answer) -> None:
    assert set(answer.ids) == case.found() | case.others and len(answer.ids) == 2 * len(AWKWARD)


def _offer(case: Case) -> dict[str, Any]:
    case.made = frames.valid_submission(
        "dmp", patient_id=case.patient_id, repository_unique_id=case.world.settings.repository.unique_id, hash="",
        size=None, creation_time="", object_type=ON_DEMAND,
    )
    return {"RegistryObjectList": {"_value_1": objects(case.made)}}


def _offered(case: Case, _answer: Answer) -> None:
    found = case.world.find(case.patient_id, Type=quote_list([ON_DEMAND]))
    assert [one.unique_id for one in found.objects if isinstance(one, DocumentEntry)] == case.unique_ids


def _corrected(case: Case) -> dict[str, Any]:
    """The second version of a document, with another title."""
    stored = next(o for o in case.world.find(case.deposited().patient_id).objects if isinstance(o, DocumentEntry))
    case.made = Submission(frames.valid_submission_set(case.world.settings.domain.name, patient_id=case.patient_id))
    title = [LocalizedString(f"Corrigé {case.patient_id[:6]}", "fr-FR")]
    case.made.entries.append(replace(stored, entry_uuid="Version02", status="", version=0, title=title))
    slots = {"PreviousVersion": [str(stored.version)], "SubmissionSetStatus": ["Original"]}
    own = case.made.submission_set.entry_uuid
    case.made.associations.append(frames.has_member(own, "Version02", slots=slots))
    return {"RegistryObjectList": {"_value_1": objects(case.made)}}


def _has_its_new_title(case: Case, _answer: Answer) -> None:
    (wanted,) = (entry.title for entry in case.made.entries)
    shown = [o.title for o in case.world.find(case.patient_id).objects if isinstance(o, DocumentEntry)]
    assert wanted in shown and len(shown) == len(AWKWARD)


def _remove_metadata(case: Case) -> dict[str, Any]:
    """A set, its document and the membership between them."""
    made = frames.valid_submission(
        case.world.settings.domain.name, patient_id=case.patient_id,
        repository_unique_id=case.world.settings.repository.unique_id,
    )
    names = {o.entry_uuid: frames.new_uuid() for o in made.objects()}
    for one in made.objects():
        one.entry_uuid = names[one.entry_uuid]
    for link in made.associations:
        link.source, link.target = names.get(link.source, link.source), names.get(link.target, link.target)
    assert case.world.register(made).is_success and len(case.found()) == 1
    return {"ObjectRefList": {"ObjectRef": [{"id": name} for name in names.values()]}}


def _nothing_found(case: Case, _answer: Answer) -> None:
    assert case.found() == set()


def _none_readable(case: Case, _answer: Answer) -> None:
    outcome, items = case.world.read(case.patient_id, case.unique_ids)
    assert not items and {error.code for error in outcome.errors} == {"XDSDocumentUniqueIdError"}


PLAIN = "connectathon"
ROWS = (
    Row("ITI-41", "repository", "ProvideAndRegisterDocumentSet-b", _provide, _all_readable),
    Row("ITI-42", "registry", "RegisterDocumentSet-b", _register, _registered),
    Row("ITI-43", "repository", "RetrieveDocumentSet", _retrieve, _retrieved),
    Row("ITI-18", "registry", "RegistryStoredQuery", _find, _same_as_ours),
    Row("ITI-51", "registry", "MultiPatientStoredQuery", _find_for_several, _those_of_both, domain=PLAIN),
    Row("ITI-61", "registry", "RegisterOnDemandDocumentEntry", _offer, _offered),
    Row("ITI-57", "registry", "UpdateDocumentSet", _corrected, _has_its_new_title, domain=PLAIN),
    Row("ITI-92", "registry", "RestrictedUpdateDocumentSet", _corrected, _has_its_new_title, domain=PLAIN),
    Row("ITI-62", "registry", "DeleteDocumentSet", _remove_metadata, _nothing_found, domain=PLAIN),
    Row("ITI-86", "repository", "RemoveDocuments", _retrieve, _none_readable, domain=PLAIN),
)
