"""Messages of an identity source, HL7 v2 and v3, and what a world answers to them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from lxml import etree

from carnet import wiring
from conformance import frames
from guard.audit.store import AccessLine
from guard.credentials.caller import Caller, Mode
from registry import iti8_patient_feed
from registry.actor import FeedRules
from tests.world import World
from xds.model.hl7 import unescape
from xds.namespaces import HL7
from xds.wire.exchange import Peer

SOURCE = Caller(identifier="SOURCE", mode=Mode.INDIRECT)
PEER = Peer(address="192.0.2.1")
FOREIGN = "9.9.9"
_numbers = itertools.count(1)


def cx(patient_id: str) -> str:
    """A CX as a v2 field holds it, without the type code."""
    return "^".join(patient_id.split("^")[:4])


def adt(event: str, pid3: str, mrg1: str | None = None, **header: str) -> bytes:
    """An ADT message with every segment its structure asks for; ``header`` overrides fields of MSH by name."""
    values = {"kind": f"ADT^{event}", "id": f"M{next(_numbers)}", "mode": "P", "version": "2.3.1", "charset": "",
              "application": "SOURCE", "facility": "HOPITAL", "name": "ESSAI^CAMILLE"} | header
    msh = (
        f"MSH|^~\\&|{values['application']}|{values['facility']}|CARNET|ESSAI|20260314120000||{values['kind']}|"
        f"{values['id']}|{values['mode']}|{values['version']}||||||{values['charset']}"
    )
    lines = [msh, f"EVN|{event}|20260314120000", f"PID|1||{pid3}||{values['name']}||19790514|F"]
    lines.append("PV1|1|O" if mrg1 is None else f"MRG|{mrg1}")
    codec = "utf-8" if "UTF-8" in values["charset"] else "iso8859-1"
    return ("\r".join(lines) + "\r").encode(codec)


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement taken apart."""

    code: str
    message_id: str
    text: str
    error: str
    header: list[str]
    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> Ack:
        segments = {line[:3]: line.split("|") for line in raw.decode("iso8859-1").split("\r") if line}
        msa = [*segments["MSA"], "", "", ""]
        return cls(msa[1], msa[2], unescape(msa[3]), "|".join(segments.get("ERR", ["", ""])[1:]), segments["MSH"], raw)


class Feed:
    """An identity source of one world, beside the world's own services."""

    def __init__(self, world: World, **rules: Any):
        self.world = world
        self.actor = replace(wiring.registry_actor(world.settings), feed=FeedRules(**rules))

    def new_id(self, authority: str = "") -> str:
        """CX of a patient nobody has heard of."""
        number = f"FEED-{next(_numbers):06d}"
        if authority:
            return f"{number}^^^&{authority}&ISO"
        return frames.a_patient_id(self.world.settings.domain.name, number)

    def send(self, message: bytes, caller: Caller = SOURCE) -> Ack:
        return Ack.of(iti8_patient_feed.receive(self.actor, message, caller, PEER))

    def added(self, patient_id: str = "") -> str:
        patient_id = patient_id or self.new_id()
        assert self.send(adt("A04", cx(patient_id))).code == "AA"
        return patient_id

    def merge(self, old: str, into: str) -> Ack:
        return self.send(adt("A40", cx(into), cx(old)))

    def status(self, patient_id: str) -> str:
        """Of the record, "" when there is none."""
        with self.actor.database.read() as unit:
            record = unit.record.find(patient_id)
        return record.status.value if record else ""

    def lines(self, patient_id: str) -> list[AccessLine]:
        with self.actor.database.read() as unit:
            record = unit.record.find(patient_id)
            return list(unit.audit.read_for_patient(record.patient_key)) if record else []

    def last_line(self) -> AccessLine:
        with self.actor.database.read() as unit:
            return next(iter(unit.audit.read_latest(1)))


def v3(interaction: str, patient_id: str, prior: str = "") -> etree._Element:
    """A message of ITI-44 for identifiers given as CX."""
    replaced = (
        '<replacementOf typeCode="RPLC"><priorRegistration classCode="REG" moodCode="EVN">'
        '<statusCode code="obsolete"/><subject1 typeCode="SBJ"><priorRegisteredRole classCode="PAT">'
        f'{_ii(prior)}</priorRegisteredRole></subject1></priorRegistration></replacementOf>' if prior else ""
    )
    return etree.fromstring(
        f'<{interaction} xmlns="{HL7}" ITSVersion="XML_1.0"><id root="2.25.77" extension="m{next(_numbers)}"/>'
        f'<creationTime value="20260314120000"/>'
        f'<interactionId root="2.16.840.1.113883.1.6" extension="{interaction}"/><processingCode code="P"/>'
        '<processingModeCode code="T"/><acceptAckCode code="AL"/>'
        f'<receiver typeCode="RCV">{_device("2.25.2")}</receiver><sender typeCode="SND">{_device("2.25.1")}</sender>'
        f'<controlActProcess classCode="CACT" moodCode="EVN"><code code="{interaction.replace("_IN", "_TE")}" '
        'codeSystem="2.16.840.1.113883.1.18"/><subject typeCode="SUBJ"><registrationEvent classCode="REG" '
        'moodCode="EVN"><statusCode code="active"/><subject1 typeCode="SBJ"><patient classCode="PAT">'
        f'{_ii(patient_id)}<statusCode code="active"/><patientPerson classCode="PSN" determinerCode="INSTANCE">'
        '<name><family>ESSAI</family><given>CAMILLE</given></name></patientPerson>'
        '<providerOrganization classCode="ORG" determinerCode="INSTANCE"><id root="2.25.3"/>'
        '<contactParty classCode="CON"/></providerOrganization></patient></subject1>'
        '<custodian typeCode="CST"><assignedEntity classCode="ASSIGNED"><id root="2.25.3"/></assignedEntity>'
        f'</custodian>{replaced}</registrationEvent></subject></controlActProcess></{interaction}>'
    )


def _ii(patient_id: str) -> str:
    number, authority = patient_id.split("^")[0], patient_id.split("^")[3].split("&")[1]
    return f'<id root="{authority}" extension="{number}"/>'


def _device(oid: str) -> str:
    return f'<device classCode="DEV" determinerCode="INSTANCE"><id root="{oid}"/></device>'
