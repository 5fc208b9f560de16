"""A metadata update taken apart: which operations it asks for, and what is wrong with each before the store is asked.

The operations are told by the associations of the SubmissionSet. ITI-92 knows one of them only, and has codes of its
own for some refusals.

Clause: ITI TF-2 3.57.4.1.3, 3.92.4.1.3
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from xds import namespaces as ns
from xds.check.context import Context, Domain, Stage
from xds.check.fields import check_documentation
from xds.check.submission import check_objects
from xds.errors import Actor, ErrorCode, Finding
from xds.model import Association, DocumentEntry, Folder, Submission
from xds.model import datatypes as dt
from xds.rules import problem

_NUMBER = re.compile(r"[1-9][0-9]{0,8}").fullmatch
_ADDABLE = ns.RELATIONSHIPS | {ns.HAS_MEMBER}

OPERATION = ErrorCode.XDSMetadataUpdateOperationError


@dataclass(frozen=True, slots=True)
class NewVersion:
    """One object with a new version. ``previous`` is the version number it builds on, 0 when unreadable."""

    item: DocumentEntry | Folder
    member: Association
    previous: int
    propagates: bool


@dataclass(frozen=True, slots=True)
class StatusChange:
    """``target`` is the id of an object of the request or the entryUUID of a stored one."""

    trigger: Association
    target: str
    original: str
    new: str


@dataclass(frozen=True, slots=True)
class Addition:
    """An association between objects that are stored, or become so with this request."""

    trigger: Association
    added: Association


@dataclass(slots=True)
class Plan:
    """Everything one update asks for. ``restricted`` is ITI-92."""

    submission: Submission
    restricted: bool = False
    versions: list[NewVersion] = field(default_factory=list)
    statuses: list[StatusChange] = field(default_factory=list)
    additions: list[Addition] = field(default_factory=list)


def plan_update(
    submission: Submission, domain: Domain, *, restricted: bool = False, repositories: frozenset[str] = frozenset()
) -> tuple[Plan, list[Finding]]:
    """The operations of one request and every problem that can be seen without the store."""
    context = Context(domain, Actor.REGISTRY, Stage.UPDATE, repositories)
    check_objects(submission, context)
    reader = _Reader(Plan(submission, restricted), context)
    reader.read()
    return reader.plan, context.findings


class _Reader:
    """The associations of one request, sorted into operations."""

    def __init__(self, plan: Plan, context: Context):
        self.plan, self.context = plan, context
        self.set_id = plan.submission.submission_set.entry_uuid
        items: list[DocumentEntry | Folder] = [*plan.submission.entries, *plan.submission.folders]
        self.items = {item.entry_uuid: item for item in items}
        self.associations = {a.entry_uuid: a for a in plan.submission.associations}

    def read(self) -> None:
        for association in self.plan.submission.associations:
            if association.source == self.set_id:
                self._operation(association)
        self._check_items()
        self._check_associations()
        if not (self.plan.versions or self.plan.statuses or self.plan.additions) and not self.context.findings:
            self._add("R-140", f"SubmissionSet {self.set_id}", "content", "no operation",
                      "an object with its new version, a change of status, or a new association",
                      ErrorCode.XDSMetadataUpdateError)

    def _add(self, rule: str, subject: str, name: str, found: str, expected: str, code: ErrorCode) -> None:
        self.context.findings.append(problem(
            rule, code, subject, name, found=found, expected=expected,
            clause="ITI TF-2 3.92.4.1.3" if self.plan.restricted else "",
        ))

    def _code(self, update: ErrorCode, restricted: ErrorCode) -> ErrorCode:
        return restricted if self.plan.restricted else update

    def _operation(self, a: Association) -> None:
        subject = f"Association {a.entry_uuid}"
        item = self.items.get(a.target)
        if a.type == ns.HAS_MEMBER and item is not None:
            self._new_version(a, item)
        elif a.type not in ns.METADATA_UPDATE_ASSOCIATIONS:
            self._add("R-148", subject, "associationType", f"{a.type} from the SubmissionSet to {a.target}",
                      "HasMember to an updated object of the request, UpdateAvailabilityStatus or SubmitAssociation",
                      ErrorCode.XDSRegistryMetadataError)
        elif self.plan.restricted:
            self._add("R-150", subject, "associationType", a.type, "new versions of DocumentEntries only",
                      ErrorCode.XDSInvalidRequestException)
        elif a.type == ns.UPDATE_AVAILABILITY_STATUS:
            self._status_change(a)
        elif (added := self.associations.get(a.target)) is not None:
            self.plan.additions.append(Addition(a, added))
        else:
            self._add("R-147", subject, "targetObject", a.target, "an Association of this request", OPERATION)

    def _new_version(self, a: Association, item: DocumentEntry | Folder) -> None:
        subject = f"{item.kind} {item.entry_uuid}"
        given = a.slots.get("PreviousVersion", [])
        number = given[0].strip() if len(given) == 1 else ""
        if not _NUMBER(number):
            self._add("R-140", subject, "PreviousVersion", ", ".join(given), "the number of the current version, once",
                      ErrorCode.XDSMetadataVersionError)
        status = [value.strip() for value in a.slots.get("SubmissionSetStatus", [])]
        if item.kind == "DocumentEntry" and status != ["Original"]:
            self.context.add("R-064", f"Association {a.entry_uuid}", "SubmissionSetStatus", found=", ".join(status),
                             expected="one value, Original")
        propagation = [value.strip() for value in a.slots.get("AssociationPropagation", ["yes"])]
        if propagation not in (["yes"], ["no"]) or (self.plan.restricted and propagation == ["no"]):
            self._add("R-140", subject, "AssociationPropagation", ", ".join(propagation),
                      "yes, or nothing" if self.plan.restricted else "yes or no, once",
                      self._code(ErrorCode.XDSMetadataUpdateError, ErrorCode.XDSMetadataAnnotationError))
        self.plan.versions.append(
            NewVersion(item, a, int(number) if _NUMBER(number) else 0, propagation != ["no"])
        )

    def _status_change(self, a: Association) -> None:
        subject = f"Association {a.entry_uuid}"
        allowed = {ns.APPROVED, ns.DEPRECATED} | self.context.domain.statuses
        values = {}
        for name in ("OriginalStatus", "NewStatus"):
            given = [value.strip() for value in a.slots.get(name, [])]
            if len(given) == 1 and given[0] in allowed:
                values[name] = given[0]
            else:
                self._add("R-146", subject, name, ", ".join(given), f"one of {', '.join(sorted(allowed))}", OPERATION)
        if len(values) == 2 and values["OriginalStatus"] == values["NewStatus"]:
            self._add("R-146", subject, "NewStatus", values["NewStatus"], "another status than OriginalStatus",
                      OPERATION)
        elif len(values) == 2:
            self.plan.statuses.append(StatusChange(a, a.target, values["OriginalStatus"], values["NewStatus"]))

    def _check_items(self) -> None:
        """Each object is told to be a new version of a stored one, once, by the set and by its lid."""
        members = Counter(version.item.entry_uuid for version in self.plan.versions)
        lids: dict[str, str] = {}
        for item in self.items.values():
            subject = f"{item.kind} {item.entry_uuid}"
            if self.plan.restricted and isinstance(item, Folder):
                self._add("R-150", subject, "object", "a Folder", "DocumentEntries only", ErrorCode.XDSObjectTypeError)
            if members[item.entry_uuid] != 1:
                self._add("R-140", subject, "HasMember", f"{members[item.entry_uuid]} from the SubmissionSet",
                          "exactly one", self._code(ErrorCode.XDSMetadataUpdateError,
                                                    ErrorCode.XDSMetadataAnnotationError))
            if not dt.is_uuid_urn(item.logical_id) or item.logical_id == item.entry_uuid:
                self._add("R-140", subject, "lid", item.logical_id,
                          "the lid of the stored object, different from the id of its new version",
                          self._code(ErrorCode.XDSMetadataUpdateError, ErrorCode.XDSMetadataVersionError))
            elif item.logical_id in lids:
                self._add("R-145", subject, "lid", item.logical_id,
                          f"one new version of an object in a request; {lids[item.logical_id]} is another", OPERATION)
            lids.setdefault(item.logical_id, subject)

    def _check_associations(self) -> None:
        """Types and ends; whatever does not start at the set must be added by a SubmitAssociation, once."""
        submitted = Counter(addition.added.entry_uuid for addition in self.plan.additions)
        for a in self.plan.submission.associations:
            subject = f"Association {a.entry_uuid}"
            for name, end in (("sourceObject", a.source), ("targetObject", a.target)):
                if end == self.set_id or end in self.items or end in self.associations or dt.is_uuid_urn(end):
                    continue
                self._add("R-061", subject, name, end, "an object of the request, or the entryUUID of a stored one",
                          ErrorCode.UnresolvedReferenceException)
            if a.source == self.set_id:
                continue
            if a.type in ns.METADATA_UPDATE_ASSOCIATIONS:
                rule = "R-146" if a.type == ns.UPDATE_AVAILABILITY_STATUS else "R-147"
                self._add(rule, subject, "sourceObject", a.source, "the SubmissionSet of the request", OPERATION)
            elif a.type not in _ADDABLE:
                self._add("R-148", subject, "associationType", a.type,
                          "HasMember, or a relationship between documents", ErrorCode.XDSRegistryMetadataError)
            elif self.plan.restricted:
                self._add("R-150", subject, "associationType", a.type, "new versions of DocumentEntries only",
                          ErrorCode.XDSInvalidRequestException)
            elif submitted[a.entry_uuid] != 1:
                self._add("R-147", subject, "SubmitAssociation", f"{submitted[a.entry_uuid]} to this Association",
                          "exactly one", OPERATION)
            if a.documentation is not None and a.type in ns.RELATIONSHIPS:
                check_documentation(a, self.context)
            elif a.documentation is not None:
                self.context.add("R-075", subject, "documentation", found=a.documentation.key,
                                 expected="no documentation code on HasMember")
