"""zeep registers an on-demand entry and retrieves what is made of it, from nothing but the addresses of the services.

Clause: ITI TF-2 3.43, 3.61, Appendix V
"""

from __future__ import annotations

from conformance import frames
from tests.interop.rows import objects
from tests.interop.stacks import Zeep
from tests.on_demand_kit import offer, offer_of, stable
from tests.world import World
from xds.namespaces import RESPONSE_FAILURE, RESPONSE_SUCCESS


def test_iti61_by_zeep(open_registry: World) -> None:
    """Accepted, and refused with the registry's words.

    Rule: R-130, E-01
    """
    registry, patient_id = Zeep(open_registry, "registry"), open_registry.patient()
    made = offer_of(open_registry, patient_id)
    sent = {"RegistryObjectList": {"_value_1": objects(made)}}
    answer = registry.call("RegisterOnDemandDocumentEntry", patient_id, **sent)
    assert (answer.status, answer.RegistryErrorList) == (RESPONSE_SUCCESS, None)
    plain = frames.valid_submission("dmp", patient_id=patient_id, repository_unique_id="1.2.250.1.999.1.1")
    sent = {"RegistryObjectList": {"_value_1": objects(plain)}}
    answer = registry.call("RegisterOnDemandDocumentEntry", patient_id, **sent)
    assert answer.status == RESPONSE_FAILURE
    assert {e.errorCode for e in answer.RegistryErrorList.RegistryError} == {"XDSRegistryMetadataError"}


def test_iti43_of_an_on_demand_document_by_zeep(live: World) -> None:
    """Both new identifiers arrive in their places, the bytes whole.

    Rule: R-180, R-181
    """
    patient_id = live.patient()
    entry = offer(live, patient_id)
    answer = Zeep(live, "repository").call(
        "RetrieveDocumentSet",
        patient_id,
        DocumentRequest=[
            {"RepositoryUniqueId": entry.repository_unique_id, "DocumentUniqueId": entry.unique_id}
        ],
    )
    (document,) = answer.DocumentResponse
    assert document.NewRepositoryUniqueId == live.settings.repository.unique_id
    kept = stable(live, patient_id, document.NewDocumentUniqueId)
    assert kept is not None and kept.size == len(document.Document)
