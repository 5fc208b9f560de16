"""XUA (ITI-40) with `--credentials assertion`: what the manual's own commands make, on the wire. ITI TF-2 3.40.4.1."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

import pytest

from tests.blackbox import meta, wire
from tests.blackbox.event import QUERIES, Event, good, mllp, refused
from tests.blackbox.meta import APPROVED, REPOSITORY, Entry, Set, slot

WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
PATIENT = f"T-1001^^^&{meta.AUTHORITY}&ISO"


@pytest.fixture(scope="module")
def card(guarded: Event) -> Path:
    """A card and a patient, by the commands of the manual; the peers then connect with the card."""
    guarded.carnet(
        "card", "issue", "person", "899700000018", "--surname", "ESSAI", "--given", "Anne", "--out", "anne.p12"
    )
    guarded.carnet("patient", "add", PATIENT)
    card = guarded.folder / "anne.p12"
    for peer in guarded.peers.values():
        peer.context = guarded.tls(card)
    return card


def assertion(guarded: Event, *options: str) -> str:
    text = guarded.carnet("card", "assert", "--card", "anne.p12", "--patient", PATIENT, *options)
    return re.sub(r"^<\?xml[^>]*\?>\s*", "", text).strip()


@pytest.fixture(scope="module")
def valid(guarded: Event, card: Path) -> str:
    return assertion(guarded)


def security(*tokens: str) -> str:
    return f'<wsse:Security xmlns:wsse="{WSSE}" soap:mustUnderstand="true">{"".join(tokens)}</wsse:Security>'


def query(patient: str = PATIENT) -> str:
    return meta.query(
        QUERIES["FindDocuments"],
        slot("$XDSDocumentEntryPatientId", f"'{patient}'"),
        slot("$XDSDocumentEntryStatus", f"('{APPROVED}')"),
    )


def test_a_deposit_a_query_and_a_retrieve(guarded: Event, valid: str) -> None:
    """ITI TF-2 3.40.4.1: one assertion in wsse:Security; it may serve again until it ends."""
    entry = Entry(PATIENT, registered=False, data=b"under assertion")
    body = meta.provide(Set(PATIENT, [entry]), meta.document(entry.id, "cid:d@t"))
    good(guarded.repository.call_mtom(wire.P, body, [("d@t", entry.data)], extra=security(valid)))
    reply = good(guarded.registry.call(wire.SQ, query(), extra=security(valid)))
    assert len(reply.ids) == 1
    reply = good(
        guarded.repository.call_mtom(wire.RS, meta.retrieve((REPOSITORY, entry.unique)), extra=security(valid))
    )
    assert entry.data in reply.parts.values()


def test_a_registration_under_an_assertion(guarded: Event, valid: str) -> None:
    """ITI TF-2 3.42: from a test tool's own repository."""
    good(guarded.registry.call(wire.R, Set(PATIENT, [Entry(PATIENT)]).xml(), extra=security(valid)))


def test_consent_attributes_are_welcome(guarded: Event, card: Path) -> None:
    """ITI TF-2 3.40.4.1.2.2: Authz-Consent option."""
    good(guarded.registry.call(wire.SQ, query(), extra=security(assertion(guarded, "--with-authz-consent"))))


SPOILS = {
    "expired": f"{{{WSU}}}MessageExpired",
    "unsigned": f"{{{WSSE}}}FailedCheck",
    "unknownaudience": f"{{{WSSE}}}FailedAuthentication",
    "invalidauthnstatement": f"{{{WSSE}}}FailedAuthentication",
    "notyetvalid": f"{{{WSSE}}}InvalidSecurityToken",
    "secondauthncontext": f"{{{WSSE}}}InvalidSecurityToken",
    "secondrole": f"{{{WSSE}}}InvalidSecurityToken",
    "secondpurposeofuse": f"{{{WSSE}}}InvalidSecurityToken",
}


@pytest.mark.parametrize("spoil", list(SPOILS))
def test_a_bad_assertion_is_a_fault_at_both_doors(guarded: Event, card: Path, spoil: str) -> None:
    """WS-Security 1.1 section 12, ITI TF-2 3.40.4.1.3: Sender fault with the subcode; nothing is done."""
    bad = security(assertion(guarded, "--spoil", spoil))
    for reply in (
        guarded.registry.call(wire.SQ, query(), extra=bad),
        guarded.registry.call(wire.R, Set(PATIENT, [Entry(PATIENT)]).xml(), extra=bad),
        guarded.repository.call_mtom(wire.RS, meta.retrieve((REPOSITORY, "1.2.3")), extra=bad),
    ):
        code, sub, reason = reply.fault
        assert (code, sub, reply.status) == ("Sender", SPOILS[spoil], 400)
        assert reason.strip() and "Traceback" not in reason


def test_no_assertion_is_a_fault(guarded: Event, card: Path) -> None:
    """ITI TF-2 3.40.4.1.3: no header, an empty one."""
    for extra in ("", security()):
        code, sub, _ = guarded.registry.call(wire.SQ, query(), extra=extra).fault
        assert code == "Sender" and sub.startswith(f"{{{WSSE}}}")


@pytest.mark.parametrize(
    "case", ["changed name", "changed attribute", "comment", "two", "two headers", "nested", "username", "empty"]
)
def test_tampered_assertions(guarded: Event, valid: str, case: str) -> None:
    """SAML 2.0 core 5.4, XML signature wrapping: only what was signed, once, and whole."""
    name = re.search(r"<(\w+:)?NameID[^>]*>([^<]+)<", valid)
    assert name is not None
    forged = valid.replace(name.group(2) + "<", "evil" + name.group(2) + "<", 1)
    unsigned = re.sub(r"<(ds:)?Signature.*</(ds:)?Signature>", "", forged, flags=re.S)
    extra = {
        "changed name": security(forged),
        "changed attribute": security(valid.replace("T-1001", "T-1002")),
        "comment": security(valid.replace(name.group(2), name.group(2) + "x<!-- -->", 1)),
        "two": security(valid, unsigned),
        "two headers": security(valid) + security(unsigned),
        "nested": security(unsigned.replace("</", f"{valid}</", 1)),
        "username": security("<wsse:UsernameToken><wsse:Username>anne</wsse:Username></wsse:UsernameToken>"),
        "empty": security("<Assertion/>"),
    }[case]
    code, sub, _ = guarded.registry.call(wire.SQ, query(), extra=extra).fault
    assert code == "Sender" and sub.startswith(f"{{{WSSE}}}")


def test_an_assertion_that_names_another_patient(guarded: Event, valid: str) -> None:
    """ITI TF-2 3.40.4.1.2.2: resource-id is the patient of the message, in a query and in a submission.

    What names no patient is served, and so is an assertion that names none.
    """
    other = f"T-1003^^^&{meta.AUTHORITY}&ISO"
    guarded.carnet("patient", "add", other)
    submission = Set(other, [Entry(other, id=meta.new_uuid())])
    refused(guarded.registry.call(wire.R, submission.xml(), extra=security(valid)), "XDSRegistryError")
    refused(guarded.registry.call(wire.SQ, query(other), extra=security(valid)), "XDSRegistryError")
    entry = submission.entries[0]
    unnamed = assertion_of_nobody(guarded)
    good(guarded.registry.call(wire.R, submission.xml(), extra=security(unnamed)))
    assert len(good(guarded.registry.call(wire.SQ, query(other), extra=security(unnamed))).ids) == 1
    by_id = meta.query(QUERIES["GetDocuments"], slot("$XDSDocumentEntryEntryUUID", f"('{entry.id}')"))
    assert good(guarded.registry.call(wire.SQ, by_id, extra=security(valid))).ids == [entry.id]


def assertion_of_nobody(guarded: Event) -> str:
    return re.sub(r"^<\?xml[^>]*\?>\s*", "", guarded.carnet("card", "assert", "--card", "anne.p12")).strip()


def test_no_client_certificate_no_service(guarded: Event, valid: str) -> None:
    """ITI TF-2 3.19, 3.40: mutual TLS beside the assertion; a fault or a broken handshake, never an answer."""
    bare = wire.Peer("127.0.0.1", guarded.ports[0], "/services/registry", guarded.tls())
    try:
        reply = bare.call(wire.SQ, query(), extra=security(valid))
    except (ssl.SSLError, ConnectionError):
        return
    assert reply.fault[0] == "Sender" and reply.status in (400, 403)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_protocols_are_refused(guarded: Event, card: Path) -> None:
    """RFC 8996: TLS 1.2 at least."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection(("127.0.0.1", guarded.ports[0]), 10) as link,
    ):
        context.wrap_socket(link)


def test_the_feed_asks_for_a_certificate(guarded: Event, card: Path) -> None:
    """ITI TF-2 3.19: the identity feed over mutual TLS."""
    message = guarded.adt("A04", f"T-2001^^^&{meta.AUTHORITY}&ISO")
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        mllp(guarded.ports[4], message, context=guarded.tls())
    (ack,) = mllp(guarded.ports[4], message, context=guarded.tls(card))
    assert "MSA|AA|" in ack


def test_the_log_tells_who_was_refused_and_why(guarded: Event, card: Path) -> None:
    """ITI TF-2 3.40.4.1.3: the failure is recorded, with its reason."""
    guarded.registry.call(wire.SQ, query(), extra=security(assertion(guarded, "--spoil", "unknownaudience")))
    assert "audience" in guarded.carnet("log", "--all", "--last", "5").lower()
