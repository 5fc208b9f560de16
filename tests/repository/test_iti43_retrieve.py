"""ITI-43: what is asked of the wrong repository, or too much at once.

Clause: ITI TF-2 3.43.4.1.3
"""

from __future__ import annotations

from conformance import frames
from tests.world import Memory, World, codes
from xds.ebxml.read import read_retrieve_response
from xds.model.messages import DocumentRequest
from xds.namespaces import RESPONSE_FAILURE, RESPONSE_PARTIAL, RESPONSE_SUCCESS, XDS


def test_another_repository_is_named_for_each_document(here: World) -> None:
    """What is ours comes all the same; the refusal is in the log of the repository.

    Rule: R-121
    """
    patient_id = here.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id)
    assert here.deposit(made).is_success
    ours, name = here.settings.repository.unique_id, made.entries[0].unique_id
    client = here.client()
    outcome, items = client.retrieve([(ours, name), ("1.2.3", "9.8.7")], Memory, patient_id=patient_id)
    assert outcome.status == RESPONSE_PARTIAL and [i.received for i in items] == [frames.content(1)]
    assert [(e.code, e.location) for e in outcome.errors] == [("XDSUnknownRepositoryId", "9.8.7")]
    assert any(line.documents == ("9.8.7",) and line.outcome == "refused" for line in here.last_lines(4))
    outcome, items = client.retrieve([("1.2.3", name)], Memory, patient_id=patient_id)
    assert outcome.status == RESPONSE_FAILURE and not items and codes(outcome) == {"XDSUnknownRepositoryId"}


def test_a_home_is_repeated_and_otherwise_ignored(here: World) -> None:
    """Of each request its own: a repository is no gateway, and knows no community from another.

    Rule: R-124
    """
    patient_id = here.patient()
    made = frames.valid_submission("dmp", patient_id=patient_id, documents=3)
    assert here.deposit(made).is_success
    homes = ("urn:oid:1.2.3.4", "", "urn:oid:1.2.3.5")
    ours = here.settings.repository.unique_id
    asked = [DocumentRequest(ours, e.unique_id, home) for e, home in zip(made.entries, homes, strict=True)]
    body = "".join(
        f"<x:DocumentRequest>{f'<x:HomeCommunityId>{one.home_community_id}</x:HomeCommunityId>' * bool(home)}"
        f"<x:RepositoryUniqueId>{ours}</x:RepositoryUniqueId>"
        f"<x:DocumentUniqueId>{one.document_unique_id}</x:DocumentUniqueId></x:DocumentRequest>"
        for one, home in zip(asked, homes, strict=True)
    )
    body = f'<x:RetrieveDocumentSetRequest xmlns:x="{XDS}">{body}</x:RetrieveDocumentSetRequest>'
    answer = here.ask("physician", "repository", "RetrieveDocumentSet", body.encode(), patient_id)
    response = read_retrieve_response(answer.body)
    assert response.status == RESPONSE_SUCCESS and not response.errors
    came = [(d.document_unique_id, d.home_community_id) for d in response.documents]
    assert came == [(one.document_unique_id, one.home_community_id) for one in asked]


def test_too_many_documents_at_once_are_refused(here: World) -> None:
    """The bound is the operator's.

    Rule: R-125
    """
    ours, bound = here.settings.repository.unique_id, here.settings.repository.max_documents
    wanted = [(ours, f"1.2.{n}") for n in range(bound + 1)]
    outcome, items = here.client().retrieve(wanted, Memory, patient_id=here.patient())
    assert not items and codes(outcome) == {"XDSTooManyResults"}
