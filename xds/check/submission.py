"""A whole submission: its fields, and the rules between its objects that need no stored state.

Whether a UUID that is not in the request names a stored object, and in which state, is the registry's to find out.

Clause: ITI TF-3 4.1.4, 4.2.2; ITI TF-2 3.41.4.1.3, 3.42.4.1.3
"""

from __future__ import annotations

from collections import Counter, defaultdict

from xds import namespaces as ns
from xds.check.context import Context, Domain, Stage
from xds.check.fields import check_documentation, check_entry, check_folder, check_submission_set
from xds.check.signature_document import check_signatures
from xds.errors import Actor, ErrorCode, Finding, Severity
from xds.model import Association, DocumentEntry, Folder, Submission, SubmissionSet
from xds.model import datatypes as dt

_STATUS = "SubmissionSetStatus"
_KNOWN_TYPES = ns.RELATIONSHIPS | {ns.HAS_MEMBER}
_TRANSFORMATIONS = frozenset({ns.XFRM, ns.XFRM_RPLC})


def check_submission(
    submission: Submission, domain: Domain, actor: Actor, *, stage: Stage, repositories: frozenset[str] = frozenset()
) -> list[Finding]:
    """Every problem of a submission that can be seen without looking into the registry.

    The repository in ITI-41 judges only what it is asked to judge: repeated uniqueIds, and a missing one
    without which it could not store. Everything else it leaves to the registry, whose answer it relays.
    Rules that only the XML shows are reported by ``xds.ebxml.read``. ``repositories`` are the
    repositoryUniqueIds a registry accepts, empty for any.

    Clause: ITI TF-2 3.41.4.1.3, 3.42.4.1.3
    """
    context = Context(domain, actor, Stage(stage), repositories)
    if actor is Actor.REPOSITORY and context.stage is Stage.PROVIDE:
        _check_duplicates(submission, context)
        for entry in submission.entries:
            if not entry.unique_id:
                context.add("R-020", f"DocumentEntry {entry.entry_uuid}", "uniqueId", expected="a uniqueId",
                            clause="ITI TF-3 4.2.3.2.26")
        return context.findings
    check_objects(submission, context)
    _Graph(submission, context).check()
    check_signatures(submission, context)
    return context.findings


def check_objects(submission: Submission, context: Context) -> None:
    """Set, entries and folders each for itself, and their identifiers and patients together."""
    _check_duplicates(submission, context)
    if submission.submission_set.entry_uuid:
        check_submission_set(submission.submission_set, context)
    for entry in submission.entries:
        check_entry(entry, context)
    for folder in submission.folders:
        check_folder(folder, context)
    _check_patient(submission, context)


def _check_duplicates(submission: Submission, context: Context) -> None:
    """No uniqueId twice among entries, folders and the set (R-043, R-080)."""
    registry = context.actor is Actor.REGISTRY
    code = (
        ErrorCode.XDSRegistryDuplicateUniqueIdInMessage if registry
        else ErrorCode.XDSRepositoryDuplicateUniqueIdInMessage
    )
    owners: dict[str, str] = {}
    objects: list[SubmissionSet | DocumentEntry | Folder] = [
        submission.submission_set, *submission.entries, *submission.folders
    ]
    for obj in objects:
        subject = f"{obj.kind} {obj.entry_uuid}"
        if obj.unique_id and obj.unique_id in owners:
            context.add("R-080" if registry else "R-043", subject, "uniqueId", found=obj.unique_id, code=code,
                        expected=f"a uniqueId used once; {owners[obj.unique_id]} has it already")
        owners.setdefault(obj.unique_id, subject)


def _check_patient(submission: Submission, context: Context) -> None:
    """One patient in the whole submission (R-091), of an authority the domain knows (R-092)."""
    expected = submission.submission_set.patient_id
    objects: list[DocumentEntry | Folder] = [*submission.entries, *submission.folders]
    for obj in objects:
        if expected and obj.patient_id and _spelling(obj.patient_id) != _spelling(expected):
            context.add("R-091", f"{obj.kind} {obj.entry_uuid}", "patientId", found=obj.patient_id,
                        expected=f"the patientId of the SubmissionSet, {expected}",
                        code=ErrorCode.XDSPatientIdDoesNotMatch)
    authorities = context.domain.assigning_authorities
    try:
        authority = dt.Cx.parse(expected).authority
    except ValueError:
        return
    if authorities and authority not in authorities:
        context.add("R-092", f"SubmissionSet {submission.submission_set.entry_uuid}", "patientId", found=expected,
                    expected=f"an identifier of an authority of the affinity domain {context.domain.name}",
                    code=ErrorCode.XDSUnknownPatientId)


def _spelling(patient_id: str) -> str:
    try:
        return dt.normalise_cx(patient_id)
    except ValueError:
        return patient_id.strip()


class _Graph:
    """The associations of one submission against its objects."""

    def __init__(self, submission: Submission, context: Context):
        self.submission, self.context = submission, context
        self.set_id = submission.submission_set.entry_uuid
        self.objects: dict[str, DocumentEntry | SubmissionSet | Folder | Association] = {
            obj.entry_uuid: obj for obj in submission.objects() if obj.entry_uuid
        }

    def check(self) -> None:
        for a in self.submission.associations:
            if self._check_ends(a):
                if a.type == ns.HAS_MEMBER:
                    self._check_member(a)
                elif a.type in ns.RELATIONSHIPS:
                    self._check_relationship(a)
            self._check_type(a)
        self._check_content()
        self._check_membership()
        self._check_replacements()
        self._check_appended()

    def _add(self, rule: str, a: Association, field: str, found: str, expected: str, *,
             code: ErrorCode | None = None, severity: Severity = Severity.ERROR) -> None:
        self.context.add(rule, f"Association {a.entry_uuid}", field, found=found, expected=expected, code=code,
                         severity=severity)

    def _is_folder_member(self, a: Association) -> bool:
        """A HasMember that does not start at the submission set puts a document into a folder."""
        return a.type == ns.HAS_MEMBER and a.source != self.set_id

    def _check_content(self) -> None:
        """A submission brings a document, a folder or a folder membership (R-005)."""
        brings = self.submission.entries or self.submission.folders
        if not brings and not any(self._is_folder_member(a) for a in self.submission.associations):
            self.context.add("R-005", f"SubmissionSet {self.set_id}".strip(), "content", found="an empty submission",
                             expected="a DocumentEntry, a Folder or a document put into a Folder")

    def _check_type(self, a: Association) -> None:
        """The type is known (R-060), not one of metadata update (R-076); a code explains relationships only (R-075)."""
        if a.type in ns.METADATA_UPDATE_ASSOCIATIONS:
            self._add("R-076", a, "associationType", a.type, "no metadata update in a registration")
        elif a.type not in _KNOWN_TYPES:
            self._add("R-060", a, "associationType", a.type, "HasMember or one of RPLC, APND, XFRM, XFRM_RPLC, "
                      "signs, IsSnapshotOf")
        elif a.documentation is not None:
            if a.type == ns.HAS_MEMBER:
                self._add("R-075", a, "documentation", a.documentation.key, "no documentation code on HasMember")
            else:
                check_documentation(a, self.context)

    def _check_ends(self, a: Association) -> bool:
        """Both ends are given and differ (R-061, R-062); a symbolic one is in the request; none is a set (R-066)."""
        sound = True
        for field, end in (("sourceObject", a.source), ("targetObject", a.target)):
            if not end or (end not in self.objects and not dt.is_uuid_urn(end)):
                self._add("R-061", a, field, end, "the id of an object of the request, or the UUID of a stored one",
                          code=ErrorCode.UnresolvedReferenceException)
                sound = False
        if a.source and a.source == a.target:
            self._add("R-062", a, "targetObject", a.target, "another object than the source")
            sound = False
        elif isinstance(self.objects.get(a.target), SubmissionSet) and not self._signs_set(a):
            rule = "R-068" if isinstance(self.objects.get(a.source), Folder) else "R-066"
            self._add(rule, a, "targetObject", a.target, "not a SubmissionSet")
            sound = False
        return sound

    def _signs_set(self, a: Association) -> bool:
        """Tolerated where the domain says so: French software points the signature at the set it signs."""
        rules, source = self.context.domain.signatures, self.objects.get(a.source)
        is_signature = isinstance(source, DocumentEntry) and rules.is_signature(source)
        return a.type == ns.SIGNS and rules.names_set and is_signature and a.target == self.set_id

    def _check_member(self, a: Association) -> None:
        source, target = self.objects.get(a.source), self.objects.get(a.target)
        if isinstance(source, SubmissionSet):
            self._check_set_member(a, target)
            return
        if a.slots.get(_STATUS):
            self._add("R-065", a, _STATUS, ", ".join(a.slots[_STATUS]),
                      "this slot only from the SubmissionSet to a DocumentEntry", severity=Severity.WARNING)
        if source is not None and not isinstance(source, Folder):
            self._add("R-067", a, "sourceObject", f"{source.kind} {a.source}", "a Folder or the SubmissionSet")
        elif isinstance(target, Folder):
            self._add("R-068", a, "targetObject", f"Folder {a.target}", "a DocumentEntry; folders do not nest")
        elif target is not None and not isinstance(target, DocumentEntry):
            self._add("R-067", a, "targetObject", f"{target.kind} {a.target}", "a DocumentEntry")

    def _check_set_member(self, a: Association, target: object) -> None:
        """Original for what is submitted, Reference for what is stored (R-064, R-065).

        Tolerated: the slot towards a Folder, which some sources write; it means nothing there.
        """
        values = a.slots.get(_STATUS, [])
        if isinstance(target, Association):
            if values:
                self._add("R-065", a, _STATUS, ", ".join(values), "this slot only towards a DocumentEntry",
                          severity=Severity.WARNING)
            return
        if isinstance(target, Folder):
            return
        if len(values) != 1 or values[0].strip() not in ("Original", "Reference"):
            self._add("R-064", a, _STATUS, ", ".join(values), "one value, Original or Reference")
        elif (values[0].strip() == "Original") != isinstance(target, DocumentEntry):
            self._add("R-065", a, _STATUS, values[0], "Original for a DocumentEntry of this request, Reference for "
                      "a stored one")

    def _check_relationship(self, a: Association) -> None:
        """A snapshot is a stable entry of an on-demand one (R-074)."""
        if a.type != ns.IS_SNAPSHOT_OF:
            return
        source, target = self.objects.get(a.source), self.objects.get(a.target)
        if isinstance(source, DocumentEntry) and source.object_type != ns.STABLE:
            self._add("R-074", a, "sourceObject", source.object_type, "a stable DocumentEntry")
        if isinstance(target, DocumentEntry) and target.object_type != ns.ON_DEMAND:
            self._add("R-074", a, "targetObject", target.object_type, "a stored on-demand DocumentEntry")

    def _check_membership(self) -> None:
        """Each entry, folder and folder membership belongs to the set by exactly one HasMember (R-063, R-067)."""
        members = Counter(
            a.target for a in self.submission.associations if a.type == ns.HAS_MEMBER and a.source == self.set_id
        )
        needing: list[DocumentEntry | Folder | Association] = [
            *self.submission.entries, *self.submission.folders,
            *(a for a in self.submission.associations if self._is_folder_member(a)),
        ]
        for obj in needing:
            count = members[obj.entry_uuid]
            if obj.entry_uuid and count != 1:
                self.context.add("R-063", f"{obj.kind} {obj.entry_uuid}", "HasMember",
                                 found=f"{count} HasMember associations from the SubmissionSet", expected="exactly one")

    def _check_replacements(self) -> None:
        """Of two replacements of one document the second would find it deprecated (R-106)."""
        replaced: dict[str, list[Association]] = defaultdict(list)
        for a in self.submission.associations:
            if a.type in ns.REPLACEMENTS:
                replaced[a.target].append(a)
        for target, associations in replaced.items():
            for a in associations[1:]:
                self._add("R-106", a, "targetObject", target, "a document replaced once in a request",
                          code=ErrorCode.XDSRegistryDeprecatedDocumentError)

    def _check_appended(self) -> None:
        """Nothing is appended to a transformation (R-073)."""
        transformed = {a.source for a in self.submission.associations if a.type in _TRANSFORMATIONS}
        for a in self.submission.associations:
            if a.type == ns.APND and a.target in transformed:
                self._add("R-073", a, "targetObject", a.target, "a document that is not itself a transformation")
