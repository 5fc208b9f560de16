"""Every spoiled credential of the kit over TLS, against the registry and the repository as they are served."""

from __future__ import annotations

import http.client

import pytest

from conformance.negative_assertions import CASES, Case
from conformance.negative_kit import Kit
from guard.credentials.pki import Pki
from tests.attack.attack import FAULTS, Attack
from tests.attack.test_corpus import ATTACKS
from tests.world import FIND_DOCUMENTS, World
from xds.ebxml import write
from xds.namespaces import SOAP12
from xds.wire.addressing import new_message_id, request_headers
from xds.wire.mime import multipart_response
from xds.wire.soap12 import write_envelope
from xds.wire.xml import parse

STORED_QUERY, RETRIEVE = "urn:ihe:iti:2007:RegistryStoredQuery", "urn:ihe:iti:2007:RetrieveDocumentSet"
MALFORMED = {"instructioninnameid"}
"""Refused by the hardened parser before anybody looks for an assertion: a plain Sender fault."""
UNREACHABLE = {"revokedconnection", "foreignauthority"}
"""Their TLS certificate is refused, in the handshake or by the fault of the connection; the rest is never read."""


@pytest.fixture(scope="module")
def kit(live: World, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Cards of the authorities the live services trust."""
    return Kit.make(Pki.open(live.folder / "pki"), tmp_path_factory.mktemp("foreign"))


def envelope(action: str, body: bytes) -> bytes:
    return b"".join(write_envelope(request_headers(action, new_message_id(), "https://localhost/"), [body]))


def fault_of(live: World, kit: Kit, case: Case | Attack, service: str) -> str:
    """Local name of the fault's subcode, or that there is none; "" when the answer is no fault."""
    registry = service == "registry"
    action = STORED_QUERY if registry else RETRIEVE
    body = (
        write.adhoc_query_request(FIND_DOCUMENTS, "LeafClass", []) if registry
        else write.retrieve_request([("1.2.250.1.999.1.1", "1.2.3")])
    )
    message = case.spoil(envelope(action, body), kit)
    headers = {"Content-Type": f'application/soap+xml; charset=UTF-8; action="{action}"'}
    if not registry:
        listed, _, blocks = multipart_response([message], (), action)
        headers, message = dict(listed), b"".join(blocks)
    peer = case.peer(kit)
    context = live.bare_tls() if peer is None else peer.tls_context(live.folder / "pki" / "trust" / "ca.pem")
    settings = live.settings.registry if registry else live.settings.repository
    connection = http.client.HTTPSConnection("127.0.0.1", settings.port, timeout=20, context=context)
    try:
        connection.request("POST", f"/services/{service}", message, headers)
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.getheader("Content-Type", "").startswith("multipart"):
        return ""
    fault = parse(data)
    subcode = fault.find(f".//{{{SOAP12}}}Subcode/{{{SOAP12}}}Value")
    code = fault.findtext(f".//{{{SOAP12}}}Code/{{{SOAP12}}}Value")
    assert code is None or code.endswith(":Sender"), "a failure of ours is no refusal"
    is_fault = answer.status in (400, 500)
    return (subcode.text or "").partition(":")[2] if subcode is not None else "no subcode" if is_fault else ""


@pytest.mark.parametrize("service", ["registry", "repository"])
@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.fault is not None and n not in UNREACHABLE])
def test_spoiled_credential_is_refused_by_the_service(live: World, kit: Kit, name: str, service: str) -> None:
    """The same fault as the verifier alone gives, on either service.

    Step: a, b, c, d, e, f, g, i, j, k, l, m, o
    Attack: forged-before-signed, original-in-other-header, original-in-signature-object
    Attack: same-id-original-in-body, two-identical-copies
    """
    fault = CASES[name].fault
    assert fault is not None
    assert fault_of(live, kit, CASES[name], service) == ("no subcode" if name in MALFORMED else fault[1])


@pytest.mark.parametrize("service", ["registry", "repository"])
@pytest.mark.parametrize("name", sorted(UNREACHABLE))
def test_a_connection_not_believed_goes_no_further(live: World, kit: Kit, name: str, service: str) -> None:
    """A revoked certificate gets the fault, one of a foreign authority fails its handshake. Step: g"""
    try:
        assert fault_of(live, kit, CASES[name], service) == "FailedAuthentication"
    except OSError as error:
        assert name == "foreignauthority", error


def test_a_good_credential_passes_both(live: World, kit: Kit) -> None:
    """Otherwise the table would prove nothing."""
    assert [fault_of(live, kit, CASES["good"], service) for service in ("registry", "repository")] == ["", ""]


SAMPLE = (
    "xsw1", "xsw4", "xsw7", "xsw8", "xsw9", "ancestry_header_block", "security_for_nobody", "nested_envelope",
    "second_header", "decoy_wsu_Id", "polluted_prefixed", "endorsing_signature", "reference_xpointer_id",
    "reference_http",
    "transform_xslt", "transforms_swapped", "second_reference", "method_none", "method_rsa_md5", "hmac_public_key_pem",
    "hmac_short", "signed_info_c14n11", "fake_info_first", "manifest", "signature_moved", "ecdsa_zeros", "ecdsa_der",
    "digest_of_nothing", "two_x509_data_reversed", "attacker_first", "attackers_key_value",
    "der_key_of_another_kind",
    "unknown_curve", "retrieval_method", "comment_in_DigestValue", "comment_with_assertion", "cdata_part",
    "numbered_id",
    "prefixes_around", "invisible_character", "relative_namespace", "void_digest", "entity", "default_attribute",
    "utf_16", "utf_7", "overlong", "unbound_prefix_excused", "attribute_twice_excused", "header_block_excused",
    "prefixes_of_envelope", "assertion_in_value", "ecdsa_malleable",
)
"""Of each class of the corpus some."""


@pytest.mark.parametrize("name", SAMPLE)
def test_attacks_of_the_corpus_get_their_fault_from_the_service(live: World, kit: Kit, name: str) -> None:
    """As from the verifier alone: a fault of its step, or the answer the signer is due; never a failure of ours.

    Step: a, b, c, d, e, f, g, h
    """
    attack = ATTACKS[name]
    said = fault_of(live, kit, attack, "registry")
    if attack.step == "":
        assert said == ""
    elif attack.step == "a":
        assert said == "no subcode"
    else:
        assert said in {local for _, local in FAULTS[attack.step]}
