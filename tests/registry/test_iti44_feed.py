"""ITI-44: the three interactions, their wrapper, and the acknowledgement.

Clause: ITI TF-2 3.44
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from carnet import wiring
from tests.direct import Desk
from tests.feed import FOREIGN, Feed, v3
from tests.world import World, codes
from xds.ebxml import schema
from xds.errors import Actor
from xds.namespaces import HL7
from xds.wire.client import Answer, FaultReceived, LocalTransport
from xds.wire.exchange import Peer

ADD, REVISE, RESOLVE = "PRPA_IN201301UV02", "PRPA_IN201302UV02", "PRPA_IN201304UV02"
NS = {"h": HL7}


@pytest.fixture(scope="module")
def feed(plain: World) -> Feed:
    return Feed(plain)


def certificate(world: World, who: str = "laboratory") -> bytes:
    """DER of a card's TLS certificate."""
    return world.cards[who].authentication.certificate.public_bytes(Encoding.DER)


def call(
    world: World, message: etree._Element, *, app: Any = None, path: str = "/services/registry/iti44",
    peer: Peer | None = None, action: str = "",
) -> Answer:
    """Over the wire layer of the registry, with the laboratory's certificate unless told otherwise."""
    assert world.registry is not None
    peer = peer or Peer("127.0.0.1", certificate(world))
    transport = LocalTransport(app or world.registry.app, peer, f"https://localhost{path}")
    name = etree.QName(message).localname
    return transport.call(action or f"{HL7}:{name}", [etree.tostring(message)], security=b"")


def acknowledged(answer: Answer) -> tuple[str, str, str]:
    """Type code, target message, detail texts; the answer has the fixed parts of its wrapper."""
    body = answer.body
    assert body.tag == f"{{{HL7}}}MCCI_IN000002UV01" and body.get("ITSVersion") == "XML_1.0"
    assert schema.validate(body) == []
    for path, value in (("interactionId/@extension", "MCCI_IN000002UV01"), ("processingModeCode/@code", "T"),
                        ("acceptAckCode/@code", "NE"), ("receiver/h:device/h:id/@root", "2.25.1"),
                        ("sender/h:device/h:id/@root", "1.2.250.1.999.1.2")):
        assert body.xpath(f"h:{path}", namespaces=NS) == [value]
    (code,) = body.xpath("h:acknowledgement/h:typeCode/@code", namespaces=NS)
    (target,) = body.xpath("h:acknowledgement/h:targetMessage/h:id/@extension", namespaces=NS)
    return code, target, " ".join(body.xpath("h:acknowledgement/h:acknowledgementDetail/h:text/text()", namespaces=NS))


def sent(world: World, message: etree._Element, **more: Any) -> tuple[str, str]:
    """(type code, detail); the acknowledgement names the message."""
    code, target, text = acknowledged(call(world, message, **more))
    assert target == message.find("h:id", NS).get("extension")
    return code, text


@pytest.mark.parametrize("path", ["/services/registry/iti44", "/services/registry"])
def test_an_added_patient_can_be_submitted(feed: Feed, path: str) -> None:
    """Unknown before, known after. Rule: F-01, F-17"""
    patient = feed.new_id()
    desk = Desk(feed.world, patient)
    assert codes(feed.world.register(desk.submission())) == {"XDSUnknownPatientId"}
    assert sent(feed.world, v3(ADD, patient), path=path) == ("CA", "")
    desk.new()
    line = feed.lines(patient)[0]
    assert (line.event, line.action, line.outcome) == ("ITI-44", "identity added", "success")
    assert line.detail.startswith("message m") and line.detail.endswith("@2.25.77")


def test_a_revision_changes_nothing(feed: Feed) -> None:
    """Acknowledged, and nobody becomes known. Rule: F-04"""
    unknown = feed.new_id()
    assert sent(feed.world, v3(REVISE, unknown)) == ("CA", "")
    assert feed.status(unknown) == ""


def test_duplicates_are_resolved(feed: Feed) -> None:
    """The documents of the prior identifier answer under the surviving one; two lines. Rule: F-05, F-20"""
    old, new = Desk(feed.world), Desk(feed.world)
    made = old.new()
    assert sent(feed.world, v3(RESOLVE, new.patient_id, old.patient_id)) == ("CA", "")
    assert feed.lines(old.patient_id)[-1].action == "identity subsumed"
    assert feed.lines(new.patient_id)[-1].action == "identity survives a merge"
    assert [e.patient_id for e in new.entries(made.entries[0].unique_id)] == [new.patient_id]


def test_the_surviving_identifier_may_be_new(feed: Feed) -> None:
    """Unlike in ITI-8; it is made known by the merge. Rule: F-11"""
    old, new = Desk(feed.world), Desk(feed.world, feed.new_id())
    made = old.new()
    assert sent(feed.world, v3(RESOLVE, new.patient_id, old.patient_id)) == ("CA", "")
    assert new.entries(made.entries[0].unique_id)
    assert [line.action for line in feed.lines(new.patient_id)][:2] == ["identity added", "identity survives a merge"]


def test_every_merge_rule_refuses(feed: Feed) -> None:
    """CE, with what is wrong; nothing changes. Rule: F-06, F-07, F-08, F-09, F-10"""
    one, two, gone = feed.added(), feed.added(), feed.added()
    assert feed.merge(gone, two).code == "AA"
    for old, new, words in (
        (feed.new_id(FOREIGN), one, "priorRegisteredRole/id"),
        (one, feed.new_id(FOREIGN), "patient/id"),
        (one, one, "itself"),
        (gone, one, "the subsumed identifier"),
        (one, gone, "the surviving identifier"),
        (feed.new_id(), one, "subsumed identifier is unknown"),
    ):
        code, text = sent(feed.world, v3(RESOLVE, new, old))
        assert code == "CE" and words in text and "trace " in text and "ITI TF-2 3.44.4.2.4" in text, text
        line = feed.last_line()
        assert (line.event, line.action, line.outcome) == ("ITI-44", "identity merge", "refused")
    assert (feed.status(one), feed.status(two)) == ("active", "active")


def test_identifiers_of_others_are_ignored(feed: Feed) -> None:
    """In an addition; the one of the domain is taken wherever it stands. Rule: F-02"""
    patient = feed.new_id()
    message = v3(ADD, patient)
    (known,) = message.iterfind(".//h:patient/h:id", NS)
    other = etree.fromstring(f'<id xmlns="{HL7}" root="{FOREIGN}" extension="x"/>')
    known.addprevious(other)
    assert sent(feed.world, message) == ("CA", "")
    assert feed.status(patient) == "active"
    assert sent(feed.world, v3(ADD, feed.new_id(FOREIGN))) == ("CA", "")


@pytest.mark.parametrize("extension", ["", "a^b", "a&b", "x" * 300, "a\u0085b"])
def test_an_identifier_that_is_none_is_refused(feed: Feed, extension: str) -> None:
    """Empty, too long, with separators or controls. Rule: F-17"""
    message = v3(ADD, feed.new_id())
    message.find(".//h:patient/h:id", NS).set("extension", extension)
    code, text = sent(feed.world, message)
    assert code == "CE" and "identifier" in text


SPOILS = {
    "ITSVersion": (".", "ITSVersion", "XML_2.0"),
    "interactionId": ("h:interactionId", "extension", "PRPA_IN201302UV02"),
    "processingModeCode": ("h:processingModeCode", "code", "A"),
    "acceptAckCode": ("h:acceptAckCode", "code", "NE"),
    "controlActProcess/code": ("h:controlActProcess/h:code", "code", "PRPA_TE201302UV02"),
    "registrationEvent/statusCode": (".//h:registrationEvent/h:statusCode", "code", "obsolete"),
}


@pytest.mark.parametrize("field", SPOILS)
def test_a_wrapper_that_says_something_else_is_rejected(feed: Feed, field: str) -> None:
    """CR, the field and what is expected; nobody becomes known. Rule: F-18"""
    patient = feed.new_id()
    message = v3(ADD, patient)
    path, attribute, value = SPOILS[field]
    message.find(path, NS).set(attribute, value)
    code, text = sent(feed.world, message)
    assert code == "CR" and field in text and repr(value) in text and "[F-18]" in text
    assert feed.status(patient) == "" and feed.last_line().outcome == "refused"


@pytest.mark.parametrize(
    ("interaction", "spoil", "words"),
    [
        (ADD, "receiver", "receiver: found '2 times'"),
        (ADD, "registrationEvent", "registrationEvent: found '2 times'"),
        (RESOLVE, "replacementOf", "replacementOf: found '2 times'"),
        (RESOLVE, "priorRegisteredRole/id", "priorRegisteredRole/id: found '2 times'"),
    ],
)
def test_parts_are_there_once(feed: Feed, interaction: str, spoil: str, words: str) -> None:
    """One receiver, one subject, one pair of identifiers. Rule: F-18"""
    message = v3(interaction, feed.added(), feed.added() if interaction == RESOLVE else "")
    element = message.find(".//" + "/".join(f"h:{name}" for name in spoil.split("/")), NS)
    element.addnext(etree.fromstring(etree.tostring(element)))
    code, text = sent(feed.world, message)
    assert code == "CR" and words in text, text


def test_a_merge_has_its_pair_and_nothing_else_has_one(feed: Feed) -> None:
    """replacementOf belongs to 201304 alone, and its registration is obsolete. Rule: F-18"""
    old, new = feed.added(), feed.added()
    for message, words in (
        (v3(ADD, new, old), "replacementOf: found '1 times'; expected no such"),
        (v3(RESOLVE, new), "replacementOf: found '0 times'"),
    ):
        code, text = sent(feed.world, message)
        assert code == "CR" and words in text, text
    message = v3(RESOLVE, new, old)
    message.find(".//h:priorRegistration/h:statusCode", NS).set("code", "active")
    assert "obsolete" in sent(feed.world, message)[1]
    assert feed.status(old) == "active"


def test_a_patient_has_an_identifier_or_a_name(feed: Feed) -> None:
    """One of them in an addition, both in a merge. Rule: F-18"""
    message = v3(ADD, feed.new_id())
    for path in (".//h:patient/h:id", ".//h:patientPerson/h:name"):
        element = message.find(path, NS)
        element.attrib.clear()
        element.set("nullFlavor", "UNK")
    assert sent(feed.world, message)[0] == "CR"
    old, new = feed.added(), feed.added()
    message = v3(RESOLVE, new, old)
    message.find(".//h:patientPerson/h:name", NS).set("nullFlavor", "UNK")
    assert sent(feed.world, message)[0] == "CR" and feed.status(old) == "active"


def test_a_message_without_its_shape_is_rejected(feed: Feed) -> None:
    """The schema speaks first, and the acknowledgement still has its form. Rule: R-001, F-18"""
    message = v3(ADD, feed.new_id())
    message.remove(message.find("h:sender", NS))
    answer = call(feed.world, message).body
    assert answer.xpath("h:acknowledgement/h:typeCode/@code", namespaces=NS) == ["CR"]
    assert "[R-001]" in "".join(answer.itertext())


def test_an_action_of_another_interaction_is_a_fault(feed: Feed) -> None:
    """The body element is the one of the action. Rule: R-002"""
    with pytest.raises(FaultReceived):
        call(feed.world, v3(ADD, feed.new_id()), action=f"{HL7}:{RESOLVE}")


# -- who may --------------------------------------------------------------------------------------------------------


def app_with(world: World, **changes: Any) -> Any:
    """The registry of this world under other settings."""
    section = world.settings.registry.model_copy(update=changes)
    return wiring.registry_service(world.settings.model_copy(update={"registry": section})).app


def test_without_a_certificate_nobody_feeds(feed: Feed) -> None:
    """A fault, before the message is read. Rule: F-19"""
    patient = feed.new_id()
    with pytest.raises(FaultReceived) as caught:
        call(feed.world, v3(ADD, patient), peer=Peer("127.0.0.1"))
    assert caught.value.subcode is not None and caught.value.subcode[1] == "FailedAuthentication"
    assert feed.status(patient) == ""


def test_only_configured_sources_feed(feed: Feed) -> None:
    """By the fingerprint or the name of the certificate. Rule: F-19"""
    other, mine = app_with(feed.world, identity_sources=["other"]), hashlib.sha256(certificate(feed.world)).hexdigest()
    with pytest.raises(FaultReceived):
        call(feed.world, v3(ADD, feed.new_id()), app=other)
    assert "identity source" in feed.last_line().reason
    assert sent(feed.world, v3(ADD, feed.new_id()), app=app_with(feed.world, identity_sources=[mine])) == ("CA", "")


def test_in_the_dmp_nobody_feeds_unless_configured(here: World) -> None:
    """No professional may merge records by a message; a configured source may. Rule: F-19, F-21"""
    feed = Feed(here)
    old, new = here.patient(), here.patient()
    for who in ("physician", "laboratory", "staff"):
        with pytest.raises(FaultReceived):
            call(here, v3(RESOLVE, new, old), peer=Peer("127.0.0.1", certificate(here, who)))
    assert feed.status(old) == "active"
    mine = hashlib.sha256(certificate(here)).hexdigest()
    assert sent(here, v3(RESOLVE, new, old), app=app_with(here, identity_sources=[mine])) == ("CA", "")
    assert feed.status(old) == "subsumed"


def test_merges_may_be_kept_for_an_operator(feed: Feed) -> None:
    """CE, and the command that does it. Rule: F-19"""
    old, new = feed.added(), feed.added()
    code, text = sent(feed.world, v3(RESOLVE, new, old), app=app_with(feed.world, feed_merges=False))
    assert code == "CE" and "carnet patient merge" in text and feed.status(old) == "active"


# -- held against the published schemas ------------------------------------------------------------------------------


@pytest.mark.parametrize("interaction", [ADD, REVISE, RESOLVE])
def test_messages_and_acknowledgements_satisfy_the_published_schemas(
    feed: Feed, oracles: Path, interaction: str
) -> None:
    """Ours in the tests, and every kind of answer of the registry. Clause: ITI TF-2 3.44.4.1.2"""
    folder = oracles / "hl7v3-xsd" / "multicacheschemas"
    if not folder.is_dir():
        pytest.skip("the published HL7 v3 schemas are not at hand")
    message = v3(interaction, feed.added(), feed.added() if interaction == RESOLVE else "")
    etree.XMLSchema(file=str(folder / f"{interaction}.xsd")).assertValid(message)
    assert schema.validate(message) == []
    answers = etree.XMLSchema(file=str(folder / "MCCI_IN000002UV01.xsd"))
    for one in (message, v3(RESOLVE, feed.new_id(FOREIGN), feed.new_id())):
        body = call(feed.world, one).body
        answers.assertValid(etree.fromstring(etree.tostring(body)))
    spoiled = v3(ADD, feed.new_id())
    spoiled.find("h:interactionId", NS).set("extension", "x")
    spoiled.find("h:id", NS).attrib.pop("extension")
    answers.assertValid(etree.fromstring(etree.tostring(call(feed.world, spoiled).body)))


def test_the_description_offers_the_feed() -> None:
    """Names of the framework, at the address of the transaction. Clause: ITI TF-2 3.44.4.1.2.4"""
    root = etree.fromstring(schema.wsdl(Actor.REGISTRY, "https://carnet.invalid/services/registry/iti44"))
    names = {e.get("name") for e in root.iter("{http://schemas.xmlsoap.org/wsdl/}operation")}
    assert {f"DocumentRegistry_{name}" for name in (ADD, REVISE, RESOLVE)} <= names


def test_a_source_is_named_by_its_organisation_certificate(feed: Feed) -> None:
    """The common name of a person's card names no system, whatever the operator wrote. Rule: F-19"""
    for who, expected in (("laboratory", "CA"), ("physician", "")):
        subject = feed.world.cards[who].authentication.certificate.subject
        (name,) = (a.value for a in subject if a.oid.dotted_string == "2.5.4.3")
        app, peer = app_with(feed.world, identity_sources=[name]), Peer("127.0.0.1", certificate(feed.world, who))
        if expected:
            assert sent(feed.world, v3(ADD, feed.new_id()), app=app, peer=peer) == (expected, "")
            continue
        with pytest.raises(FaultReceived):
            call(feed.world, v3(ADD, feed.new_id()), app=app, peer=peer)
