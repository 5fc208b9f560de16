"""What is accepted although it looks odd, who judges what, and rules that need more than one spoiled value."""

from __future__ import annotations

import copy
import dataclasses

import metadata_messages as w
import pytest
from lxml import etree
from metadata_spoils import DE, DEPOSIT, FO, FOLDER, OTHER, SS, again, version_info

from xds import namespaces as ns
from xds.check import Stage
from xds.ebxml.read import read_submission
from xds.errors import Actor, ErrorCode


def test_traits_of_the_patient_are_not_repeated() -> None:
    """A malformed sourcePatientInfo is named by its field only.

    Rule: R-034
    """
    root = w.message(DEPOSIT)
    w.set_slot(root, DE, "sourcePatientInfo", "PID-05|FICTIF^Anne", "FICTIF-SANS-BARRE")
    assert [f.found for f in w.findings(root)] == ["PID-05", ""]


def test_a_folder_does_not_contain_a_folder() -> None:
    """A folder in a folder is refused.

    Rule: R-068
    """
    root = w.message(FOLDER)
    twin = copy.deepcopy(w.by_id(root, FO))
    for element in twin.iter("{*}*"):
        for name in ("id", "classifiedObject", "registryObject"):
            if element.get(name):
                element.set(name, element.get(name) + "-b")
    twin[-1].set("value", "1.2.250.1.999.7.20240313.9")
    w.object_list(root).append(twin)
    w.associate(root, "second-folder", ns.HAS_MEMBER, SS, "Folder01-b")
    assert w.findings(root) == []
    w.by_id(root, "in-folder").set("targetObject", "Folder01-b")
    assert {f.rule for f in w.findings(root)} == {"R-068"}


def test_status_sent_by_the_source_is_ignored() -> None:
    """Any availabilityStatus on the way in is accepted.

    Rule: R-035
    """
    root = w.message(DEPOSIT)
    w.by_id(root, DE).set("status", ns.DEPRECATED)
    w.by_id(root, SS).set("status", "urn:x:Submitted")
    assert w.findings(root) == []


def test_repository_must_be_known_to_the_registry() -> None:
    """A repositoryUniqueId outside the given set is refused; an empty set takes any.

    Rule: R-036
    """
    root = w.message(DEPOSIT)
    assert w.findings(root, repositories=frozenset({"1.2.250.1.999.1.1"})) == []
    assert [f.rule for f in w.findings(root, repositories=frozenset({"1.2.3"}))] == ["R-036"]


def test_repository_judges_only_what_is_its_own() -> None:
    """In ITI-41 the repository lets faults of content pass: the registry reports them.

    Rule: R-050
    """
    root = w.message("iti41/deposit")
    w.by_id(root, "document01-code-2").set("nodeRepresentation", "00000-0")
    w.drop(w.slot(root, DE, "languageCode"))
    assert w.findings(root, Actor.REPOSITORY, Stage.PROVIDE) == []
    assert {f.rule for f in w.findings(root, Actor.REGISTRY, Stage.PROVIDE)} == {"R-020", "R-024"}


def test_repository_reports_repeated_ids_under_its_own_code() -> None:
    """Two equal uniqueIds: the repository's code names the repository.

    Rule: R-043
    """
    root = w.message("iti41/deposit")
    w.part(root, DE, ns.DE_UNIQUE_ID).set("value", "1.2.250.1.999.7.20240312.0")
    found = w.findings(root, Actor.REPOSITORY, Stage.PROVIDE)
    assert [(f.rule, f.code) for f in found] == [("R-043", ErrorCode.XDSRepositoryDuplicateUniqueIdInMessage)]


def test_source_may_leave_out_what_the_repository_adds() -> None:
    """hash, size and repositoryUniqueId are optional in ITI-41 and required in ITI-42.

    Rule: R-020
    """
    root = w.message("iti41/deposit")
    assert w.findings(root, stage=Stage.PROVIDE) == []
    assert {f.field for f in w.findings(root, stage=Stage.REGISTER)} == {"hash", "size", "repositoryUniqueId"}


def test_empty_hash_of_a_source_is_the_repository_s_to_fill() -> None:
    """An empty hash or size slot is tolerated on its way to the repository, not to the registry.

    Rule: R-012
    """
    root = w.message("iti41/deposit")
    w.set_slot(root, DE, "hash", "")
    w.set_slot(root, DE, "size", "")
    assert w.findings(root, Actor.REPOSITORY, Stage.PROVIDE) == []
    assert {f.rule for f in w.findings(root, Actor.REGISTRY, Stage.PROVIDE)} == {"R-012"}
    w.set_slot(root, DE, "languageCode", "")
    assert [f.field for f in w.findings(root, Actor.REPOSITORY, Stage.PROVIDE)] == ["languageCode"]


def test_every_problem_is_reported_in_one_pass() -> None:
    """Independent faults are all listed.

    Rule: A-8
    """
    root = w.message(DEPOSIT)
    w.by_id(root, "document01-code-2").set("nodeRepresentation", "00000-0")
    w.set_slot(root, DE, "creationTime", "yesterday")
    w.drop(w.part(root, SS, ns.SS_SOURCE_ID))
    w.drop(w.slot(root, "member-document", "SubmissionSetStatus"))
    assert {f.rule for f in w.findings(root)} == {"R-021", "R-024", "R-026", "R-064"}


def test_unknown_classification_schemes_are_ignored() -> None:
    """A Classification of a scheme nobody knows neither refuses nor disturbs.

    Rule: R-015
    """
    root = w.message(DEPOSIT)
    w.by_id(root, "document01-code-1").addnext(etree.Element(
        w.rim("Classification"), id="other", classifiedObject=DE, classificationScheme=OTHER, nodeRepresentation="x"
    ))
    assert w.findings(root) == []


def test_display_names_are_never_compared() -> None:
    """Another display name for a known code is accepted.

    Rule: R-024
    """
    root = w.message(DEPOSIT)
    w.part(root, DE, ns.DE_TYPE_CODE).find(f"{w.rim('Name')}/{w.rim('LocalizedString')}").set("value", "Consultation")
    assert w.findings(root) == []


def test_extra_slots_with_urn_names_are_kept() -> None:
    """An extra slot is neither an error nor a warning, and its values are kept.

    Rule: R-013
    """
    root = w.message(DEPOSIT)
    w.set_slot(root, DE, "urn:fr:essai:couleur", "bleu", " vert ")
    submission, found = read_submission(root, Actor.REGISTRY)
    assert found == []
    assert submission.entries[0].extra_slots == {"urn:fr:essai:couleur": ["bleu", " vert "]}


def test_initial_version_is_no_metadata_update() -> None:
    """lid equal to id with version 1 is what a registry writes itself; it is accepted.

    Rule: R-017
    """
    root = w.message(DEPOSIT)
    w.by_id(root, DE).set("lid", DE)
    version_info(DE, "1")(root)
    assert w.findings(root) == []


def test_domain_without_identifier_types_refuses_component_five() -> None:
    """Where the domain names no CX.5, a patient identifier ends with CX.4.

    Rule: R-026
    """
    plain = dataclasses.replace(w.dmp(), patient_id_type_codes=frozenset())  # type: ignore[type-var]
    found = w.findings(w.message(DEPOSIT), rules=plain)
    assert {(f.rule, f.field) for f in found} == {("R-026", "patientId"), ("R-026", "sourcePatientId")}


def test_old_relationship_names_become_todays() -> None:
    """RPLC under the ebXML prefix is read as the IHE type.

    Rule: R-060
    """
    root = w.message(FOLDER)
    w.by_id(root, "replaces").set("associationType", "urn:oasis:names:tc:ebxml-regrep:AssociationType:RPLC")
    submission, found = read_submission(root, Actor.REGISTRY)
    assert found == []
    assert submission.associations[-1].type == ns.RPLC


@pytest.mark.parametrize(("start", "stop", "accepted"), [
    ("20240312", "2024", True), ("2024", "20240101", True), ("20240312", "20240312", True),
    ("2024031209", "2024031208", False), ("2025", "2024", False),
], ids=lambda v: f"R-027-{v}")
def test_short_service_times_are_periods(start: str, stop: str, accepted: bool) -> None:
    """A start counts from its first second, a stop to its last.

    Rule: R-027
    """
    root = w.message(DEPOSIT)
    w.set_slot(root, DE, "serviceStartTime", start)
    w.set_slot(root, DE, "serviceStopTime", stop)
    assert [f.rule for f in w.findings(root)] == ([] if accepted else ["R-027"])


def test_conflicting_confidentiality_is_refused_but_not_on_signatures() -> None:
    """Masked and invisible at once is refused, except on a type that no person is shown.

    Rule: R-024
    """
    root = w.message(DEPOSIT)
    for n, flag in enumerate(("MASQUE_PS", "INVISIBLE_PATIENT")):
        again(DE, ns.DE_CONFIDENTIALITY_CODE)(root)
        w.by_id(root, "twin").set("nodeRepresentation", flag)
        w.by_id(root, "twin").set("id", f"flag-{n}")
        w.set_slot(root, f"flag-{n}", "codingScheme", "1.2.250.1.213.1.1.4.13")
    assert [(f.rule, f.field) for f in w.findings(root)] == [("R-024", "confidentialityCode")]
    w.by_id(root, "document01-code-2").set("nodeRepresentation", "E1762")
    w.set_slot(root, "document01-code-2", "codingScheme", "ASTM")
    assert w.findings(root) == []
