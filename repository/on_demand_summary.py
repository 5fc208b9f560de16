"""The provider that comes with the repository: a summary of the latest documents of a record.

It lists what the caller finds in a query, newest first: date, title, type, author, structure and identifier of each.
It reads no document, so it tells nothing that the registry has not told this caller.

Clause: ITI TF-2 3.43.4.1.3; HL7 CDA R2
"""

from __future__ import annotations

from collections.abc import Sequence

from repository.on_demand import Assembled, Enrolment, OnDemandRequest
from repository.on_demand_cda import summary, words_of
from xds.domain import DEFAULT, AffinityDomain
from xds.model import Author, Code, DocumentEntry, LocalizedString
from xds.model.hl7 import escape
from xds.namespaces import ON_DEMAND, PROVIDER_SLOT

MOST = 100
"""Documents in one summary."""
TYPES = ("SYNTH^^1.2.250.1.213.1.1.4.12", "60591-5^^2.16.840.1.113883.6.1")
FORMATS = (
    "urn:asipSante:modelesHorsProfils:2011^^1.2.250.1.213.1.1.4.2.282",
    "urn:ihe:iti:xds:2017:mimeTypeSufficient^^1.3.6.1.4.1.19376.1.2.3",
)
FACILITIES = ("SNR^^1.2.250.1.213.1.1.4.6",)
SETTINGS = ("AMBULATOIRE^^1.2.250.1.213.1.1.4.9",)
NORMAL = "N^^2.16.840.1.113883.5.25"


class RecordSummary:
    """``repository.on_demand.OnDemandProvider``. Holds nothing of a request."""

    name = "summary"

    def __init__(self, domain: AffinityDomain, repository_unique_id: str) -> None:
        self._domain = domain
        self._repository = repository_unique_id

    def describe(self, enrolment: Enrolment) -> DocumentEntry:
        """A synthesis without clinical model; the codes are the first of ours that the affinity domain lists."""
        type_code = self._code("type_code", TYPES)
        class_key = self._domain.class_of_type.get(type_code.key) or self._domain.class_of_type.get(DEFAULT)
        device = f"{self._repository}^Carnet^{self.name}^^^^^^^U^^^RI"
        return DocumentEntry(
            entry_uuid="OnDemand",
            object_type=ON_DEMAND,
            mime_type="text/xml",
            patient_id=enrolment.patient_id,
            source_patient_id=enrolment.source_patient_id,
            source_patient_info=list(enrolment.source_patient_info),
            title=[LocalizedString(words_of(enrolment.language).title, enrolment.language)],
            authors=[Author(person=[device], institutions=enrolment.responsible.institutions or [escape("Carnet")])],
            class_code=self._domain.code("class_code", class_key) if class_key else self._code("class_code", ()),
            type_code=type_code,
            format_code=self._code("format_code", FORMATS),
            practice_setting_code=self._code("practice_setting_code", SETTINGS),
            healthcare_facility_type_code=self._code("healthcare_facility_type_code", FACILITIES),
            confidentiality_codes=[self._code("confidentiality_codes", (NORMAL,))],
            service_start_time=enrolment.since,
            language_code=enrolment.language,
            legal_authenticator=next(iter(enrolment.responsible.person), ""),
        )

    def assemble(self, request: OnDemandRequest) -> Assembled:
        """Other on-demand documents and snapshots are left out: they only tell what stands beside them.

        CDA where the entry promises XML, a list of lines where it promises text. Raises ValueError for other types.
        """
        kind, _, form = request.entry.mime_type.lower().partition("/")
        if kind != "text" and not form.endswith("xml"):
            raise ValueError(f"a summary is no {kind}/{form}")
        listed = [e for e in request.documents(MOST) if PROVIDER_SLOT not in e.extra_slots]
        told = frozenset(code.key for entry in listed for code in entry.confidentiality_codes)
        made = summary(request, listed, self._repository) if form.endswith("xml") else _lines(request, listed)
        return Assembled(chunks=iter((made,)), confidentiality=told)

    def _code(self, attribute: str, preferred: tuple[str, ...]) -> Code:
        """The first preferred code that the domain lists, else the first it lists, else the first preferred."""
        listed = self._domain.codes.get(attribute) or dict.fromkeys(preferred)
        return self._domain.code(attribute, next((key for key in preferred if key in listed), next(iter(listed))))


def _lines(request: OnDemandRequest, listed: Sequence[DocumentEntry]) -> bytes:
    """Date, title, type and identifier of each document, a line each; UTF-8."""
    words = words_of(request.entry.language_code)
    rows = ((e.creation_time, e.title[0].value if e.title else "", e.type_code.display if e.type_code else "",
             e.unique_id) for e in listed)
    lines = [words.title, request.unique_id, *(("\t".join(row)) for row in rows)]
    return ("\n".join(lines if listed else [*lines, words.empty]) + "\n").encode()
