"""ITI-41: what cannot be read, what fails inside, and answers in their exact form.

Clause: ITI TF-2 3.41.4.2
"""

from __future__ import annotations

import base64

import pytest

from conformance import frames
from tests.world import World, codes
from xds.ebxml import write
from xds.namespaces import RESPONSE_PARTIAL, XDS
from xds.wire.client import FaultReceived

PROVIDE = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"


def provide(world: World, patient_id: str, document: bytes) -> str:
    """Send one submission whose Document element is ``document``; the codes of the answer, in one text."""
    sent = frames.valid_submission("dmp", patient_id=patient_id)
    sent.entries[0].hash, sent.entries[0].size = "", None
    body = b"".join((
        f'<xds:ProvideAndRegisterDocumentSetRequest xmlns:xds="{XDS}">'.encode(), write.submit_objects_request(sent),
        document, b"</xds:ProvideAndRegisterDocumentSetRequest>",
    ))
    client = world.client()
    answer = client._repository.call(PROVIDE, [body], mtom=True, security=client.security(patient_id))
    return " ".join(e.get("errorCode", "") for e in answer.body.iter("{*}RegistryError"))


def test_an_include_that_names_no_part_is_a_missing_document(here: World) -> None:
    """The bytes of a Document must be there.

    Rule: R-042, M-11
    """
    document = (
        b'<xds:Document id="Document01"><xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" '
        b'href="cid:nobody@test"/></xds:Document>'
    )
    assert provide(here, here.patient(), document) == "XDSMissingDocument"


def test_base64_in_place_is_taken_and_spoiled_base64_refused(here: World) -> None:
    """A sender need not optimise; what is no base64 is refused.

    Rule: R-042, M-06, M-09
    """
    text = base64.encodebytes(b"a document in place\r\n")
    patient_id = here.patient()
    assert provide(here, patient_id, b'<xds:Document id="Document01">' + text + b"</xds:Document>") == ""
    (entry,) = here.find(patient_id).objects
    assert entry.size == len(b"a document in place\r\n")
    spoiled = b'<xds:Document id="Document01">' + text[:-4] + b"*===</xds:Document>"
    assert provide(here, here.patient(), spoiled) == "XDSRepositoryMetadataError"


def test_a_failure_of_ours_is_a_repository_error_without_its_cause(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller learns that we failed and the trace id, nothing of why; nothing is stored.

    Rule: R-056
    """
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail of ours")

    monkeypatch.setattr("repository.iti41_provide_and_register._match", broken)
    patient_id = here.patient()
    outcome = here.deposit(frames.valid_submission("dmp", patient_id=patient_id))
    monkeypatch.undo()
    assert codes(outcome) == {"XDSRepositoryError"}
    assert "secret" not in outcome.errors[0].context and "trace " in outcome.errors[0].context
    assert here.find(patient_id).objects == []
    assert here.last_lines(2)[0].outcome == "refused"


def test_some_documents_refused_is_partial_success_with_the_prefix_of_ihe(here: World) -> None:
    """What is there is served, what is not is named.

    Rule: I-02
    """
    patient_id = here.patient()
    sent = frames.valid_submission("dmp", patient_id=patient_id)
    assert here.deposit(sent).is_success
    outcome, items = here.read(patient_id, [sent.entries[0].unique_id, "1.2.250.1.999.404"])
    assert outcome.status == RESPONSE_PARTIAL and len(items) == 1
    assert codes(outcome) == {"XDSDocumentUniqueIdError"} and outcome.errors[0].location == "1.2.250.1.999.404"


def test_a_set_may_hold_relationships_and_its_folder_membership_may_carry_a_status(here: World) -> None:
    """Membership of a relationship is accepted, SubmissionSetStatus on the membership of a folder ignored.

    Rule: E-20, E-22
    """
    patient_id = here.patient()
    first = frames.valid_submission("dmp", patient_id=patient_id)
    assert here.deposit(first).is_success
    (old,) = here.find(patient_id).objects
    sent = frames.valid_submission("dmp", patient_id=patient_id, folder=True)
    link = frames.relationship("urn:ihe:iti:2007:AssociationType:APND", "Document01", old.entry_uuid)
    sent.associations += [link, frames.has_member("SubmissionSet01", link.entry_uuid)]
    for association in sent.associations:
        if association.target == "Folder01":
            association.slots = {"SubmissionSetStatus": ["Original"]}
    outcome = here.deposit(sent)
    assert outcome.is_success, [e.context for e in outcome.errors]


def test_a_request_without_mtom_is_a_fault(here: World) -> None:
    """ITI-41 comes as MTOM or not at all.

    Rule: M-14, C-01
    """
    client, patient_id = here.client(), here.patient()
    sent = frames.valid_submission("dmp", patient_id=patient_id)
    body = write.provide_and_register_request(sent, [("Document01", "d@test")])
    with pytest.raises(FaultReceived, match="MTOM"):
        client._repository.call(PROVIDE, body, security=client.security(patient_id))


def test_one_trace_id_goes_through_both_services_and_strangers_do_not_choose_it(here: World) -> None:
    """The registry logs a deposit under the id its repository answered with; a caller's own proposal is not taken."""
    client, patient_id = here.client(), here.patient()
    sent = frames.valid_submission("dmp", patient_id=patient_id)
    sent.entries[0].class_code = None
    error = here.deposit(sent).errors[0]
    (line,) = here.log_of(patient_id)[1:]
    assert line.event == "ITI-42" and error.context.endswith(f"trace {line.trace_id}")
    both = {one.trace_id for one in here.last_lines(3) if one.patient_id == patient_id and one.event != "TD1"}
    assert both == {line.trace_id}
    chosen = "0" * 31 + "1"
    body = write.adhoc_query_request("urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", "ObjectRef", [])
    answer = client._registry.call(
        "urn:ihe:iti:2007:RegistryStoredQuery", [body], security=client.security(patient_id), trace_id=chosen
    )
    assert answer.trace_id and answer.trace_id != chosen
