"""ITI-8 over MLLP and ITI-44 over SOAP: ITI TF-2 3.8, 3.44."""

# ruff: noqa: E501 - messages are written here as they travel

from __future__ import annotations

import pytest

from tests.blackbox import meta, wire
from tests.blackbox.event import Event, good, refused
from tests.blackbox.meta import AUTHORITY, Entry, Set

AUTH = f"&{AUTHORITY}&ISO"


def new(event: Event) -> str:
    event.last += 1
    return f"FEED-{event.ports[0]}-{event.last}^^^{AUTH}"


def acked(ack: str) -> tuple[str, str]:
    """(MSA-1, MSA-2)"""
    segments = {line[:3]: line.split("|") for line in ack.split("\r") if line}
    assert segments["MSH"][8].split("^")[0] == "ACK"
    return segments["MSA"][1], segments["MSA"][2]


def is_known(event: Event, patient: str) -> bool:
    reply = event.register(Set(patient, [Entry(patient)]))
    if reply.outcome == wire.SUCCESS:
        return True
    refused(reply, "XDSUnknownPatientId")
    return False


@pytest.mark.parametrize("trigger", ["A01", "A04", "A05"])
def test_admissions_make_a_patient_known(event: Event, trigger: str) -> None:
    """ITI TF-2 3.8.4.1: A01, A04, A05 add an identifier; AA with the control id."""
    patient = new(event)
    assert not is_known(event, patient)
    message = event.adt(trigger, patient)
    (ack,) = event.feed(message)
    assert acked(ack) == ("AA", message.split("|")[9])
    assert is_known(event, patient)
    assert acked(event.feed(event.adt(trigger, patient))[0])[0] == "AA", "again is no mistake"


def test_the_third_component_of_the_type_may_be_missing(event: Event) -> None:
    """ITI TF-2 3.8.4.1.2: MSH-9.3 if present."""
    patient = new(event)
    assert acked(event.feed(event.adt("A04", patient, kind="ADT^A04"))[0])[0] == "AA" and is_known(event, patient)


def test_an_update_of_traits_is_acknowledged(event: Event) -> None:
    """ITI TF-2 3.8.4.1.4: A08 changes nothing at a registry."""
    patient = new(event)
    (ack,) = event.feed(event.adt("A08", patient))
    assert acked(ack)[0] == "AA"


def test_identifiers_of_other_domains_are_passed_over(event: Event) -> None:
    """ITI TF-2 3.8.4.1.4: identifiers of other authorities are ignored, no error."""
    patient = new(event)
    assert acked(event.feed(event.adt("A04", f"123^^^&9.9.9&ISO~{patient}"))[0])[0] == "AA"
    assert is_known(event, patient) and not is_known(event, "123^^^&9.9.9&ISO")


def test_a_merge_moves_the_documents(event: Event) -> None:
    """ITI TF-2 3.8.4.2.4: subsumed refused for submissions and empty in queries; the survivor has both, under its id."""
    old, survivor = event.patient(), event.patient()
    one, two = event.stored(old), event.stored(survivor)
    assert acked(event.feed(event.adt("A40", survivor, old))[0])[0] == "AA"
    assert not is_known(event, old)
    reply = event.find(old)
    assert reply.codes == ["XDSUnknownPatientId"] or good(reply).ids == []
    reply = good(event.find(survivor))
    assert set(reply.ids) == {one.id, two.id}
    shown = {
        e.get("value")
        for e in reply.root.iter("{*}ExternalIdentifier")
        if e.get("identificationScheme") == meta.DE_PATIENT
    }
    assert shown == {survivor}


def test_merges_make_chains(event: Event) -> None:
    """ITI TF-2 3.8.4.2.4: A into B, B into C: C has everything."""
    a, b, c = (event.patient() for _ in range(3))
    entry = event.stored(a)
    acks = event.feed(event.adt("A40", b, a), event.adt("A40", c, b))
    assert [acked(ack)[0] for ack in acks] == ["AA", "AA"]
    assert good(event.find(c)).ids == [entry.id]


@pytest.mark.parametrize(
    "case", ["equal", "subsumed twice", "into a subsumed", "unknown old", "unknown survivor", "foreign"]
)
def test_merges_that_are_refused(event: Event, case: str) -> None:
    """ITI TF-2 3.8.4.2.4: no change of state; answered AE."""
    one, two, three = (event.patient() for _ in range(3))
    if case in ("subsumed twice", "into a subsumed"):
        assert acked(event.feed(event.adt("A40", two, one))[0])[0] == "AA"
    survivor, old = {
        "equal": (one, one),
        "subsumed twice": (three, one),
        "into a subsumed": (one, three),
        "unknown old": (one, new(event)),
        "unknown survivor": (new(event), one),
        "foreign": ("77^^^&9.9.9&ISO", one),
    }[case]
    entry = event.stored(three)
    code, _ = acked(event.feed(event.adt("A40", survivor, old))[0])
    assert code in ("AE", "AR")
    assert event.find(three).ids == [entry.id]


@pytest.mark.parametrize(
    "message", ["garbage\r", "MSH|^~\\&|A\r", "MSH|^~\\&|A|B|C|D|20260101||ORU^R01|1|P|2.3.1\rPID|1\r"]
)
def test_nonsense_is_answered_and_the_connection_goes_on(event: Event, message: str) -> None:
    """HL7 v2 original mode: AE or AR; the next message is served."""
    patient = new(event)
    try:
        bad, ack = event.feed(message, event.adt("A04", patient))
        assert "MSA|A" in bad and "MSA|AA" not in bad
    except AssertionError as broken:
        assert message == "garbage\r", broken  # a block without MSH has nobody to answer to
        (ack,) = event.feed(event.adt("A04", patient))
    assert acked(ack)[0] == "AA"


# -- ITI-44 ----------------------------------------


def v3(name: str, patient: str, old: str = "", *, root: str = AUTHORITY) -> str:
    """A PRPA_IN2013nnUV02 message."""
    trigger = name.replace("_IN", "_TE")
    prior = ""
    if old:
        prior = (
            '<replacementOf typeCode="RPLC"><priorRegistration classCode="REG" moodCode="EVN"><statusCode code="obsolete"/>'
            '<subject1 typeCode="SBJ"><priorRegisteredRole classCode="PAT">'
            f'<id root="{root}" extension="{old.split("^")[0]}"/></priorRegisteredRole></subject1></priorRegistration></replacementOf>'
        )
    return (
        f'<{name} xmlns="urn:hl7-org:v3" ITSVersion="XML_1.0"><id root="{meta.oid()}"/><creationTime value="20260314120000"/>'
        f'<interactionId root="2.16.840.1.113883.1.6" extension="{name}"/><processingCode code="P"/><processingModeCode code="T"/>'
        '<acceptAckCode code="AL"/><receiver typeCode="RCV"><device classCode="DEV" determinerCode="INSTANCE"><id root="1.2.250.1.999.1.2"/>'
        '</device></receiver><sender typeCode="SND"><device classCode="DEV" determinerCode="INSTANCE"><id root="1.2.840.114350.1.13.99998.8734"/>'
        f'</device></sender><controlActProcess classCode="CACT" moodCode="EVN"><code code="{trigger}" codeSystem="2.16.840.1.113883.1.6"/>'
        '<subject typeCode="SUBJ"><registrationEvent classCode="REG" moodCode="EVN"><id nullFlavor="NA"/><statusCode code="active"/>'
        f'<subject1 typeCode="SBJ"><patient classCode="PAT"><id root="{root}" extension="{patient.split("^")[0]}"/>'
        '<statusCode code="active"/><patientPerson classCode="PSN" determinerCode="INSTANCE"><name><family>Doe</family></name>'
        '</patientPerson><providerOrganization classCode="ORG" determinerCode="INSTANCE"><id root="1.2.840.114350.1.13.99998.8734"/>'
        '<contactParty classCode="CON"><telecom value="tel:+1"/></contactParty></providerOrganization></patient></subject1>'
        '<custodian typeCode="CST"><assignedEntity classCode="ASSIGNED"><id root="1.2.840.114350.1.13.99998.8734"/></assignedEntity>'
        f"</custodian>{prior}</registrationEvent></subject></controlActProcess></{name}>"
    )


def feed_v3(event: Event, number: str, patient: str, old: str = "", **more: str) -> str:
    """The acknowledgement's type code."""
    name = f"PRPA_IN2013{number}UV02"
    reply = event.registry.call(f"urn:hl7-org:v3:{name}", v3(name, patient, old, **more))
    assert reply.find("soap:Header/wsa:Action").text == "urn:hl7-org:v3:MCCI_IN000002UV01"
    return str(reply.find(".//hl7:acknowledgement/hl7:typeCode").get("code"))


def test_iti44_adds_revises_and_merges(event: Event) -> None:
    """ITI TF-2 3.44.4: record added, revised, duplicates resolved; accept acknowledgements."""
    one, two = new(event), new(event)
    assert feed_v3(event, "01", one) in ("CA", "AA") and feed_v3(event, "01", two) in ("CA", "AA")
    assert feed_v3(event, "02", one) in ("CA", "AA")
    entry = event.stored(one)
    assert feed_v3(event, "04", two, one) in ("CA", "AA")
    assert good(event.find(two)).ids == [entry.id] and not is_known(event, one)


def test_iti44_refuses_what_iti8_refuses(event: Event) -> None:
    """ITI TF-2 3.44.4.2.4: a merge of equal or subsumed identifiers changes nothing."""
    one, two = event.patient(), event.patient()
    assert feed_v3(event, "04", one, one) in ("CE", "CR", "AE", "AR")
    assert feed_v3(event, "04", two, one) in ("CA", "AA")
    assert feed_v3(event, "04", two, one) in ("CE", "CR", "AE", "AR")


def test_iti44_names_its_target(event: Event) -> None:
    """HL7 v3 transmission wrapper: targetMessage/id is that of the request."""
    body = v3("PRPA_IN201301UV02", new(event))
    reply = event.registry.call("urn:hl7-org:v3:PRPA_IN201301UV02", body)
    assert f'id root="{reply.find(".//hl7:targetMessage/hl7:id").get("root")}"' in body
