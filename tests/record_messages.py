"""The messages of docs/dmp.md, sent as they stand there or for another patient, and their answers."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from carnet.commands.call import ADDRESSES
from conformance import frames
from tests.world import World
from xds import ins
from xds.ebxml import schema
from xds.namespaces import HL7
from xds.wire.client import LocalTransport
from xds.wire.exchange import Peer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dmp.md"
PATIENT = "279059999900530"
"""Of the page."""
NS = {"h": HL7, "a": "urn:si-dmp-habilitations", "p": "urn:si-dmp-patients"}
PASTED: dict[str, str] = dict(
    re.findall(r"^### (TD[\d.]+[ab]?) [^\n]*\n.*?```xml\n(.*?)\n```", PAGE.read_text("utf-8"), re.M | re.S)
)
"""Transaction to message, in the order of the page."""
_numbers = itertools.count(500_000)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer of either kind."""

    body: etree._Element

    def all(self, path: str) -> list[str]:
        return [str(one) for one in self.body.xpath(path, namespaces=NS)]

    def one(self, path: str) -> str:
        (found,) = self.all(path)
        return found

    @property
    def name(self) -> str:
        """Of the message, inside the element of the service where there is one."""
        inner = self.body if self.body.tag.startswith(f"{{{HL7}}}") else self.body[0]
        return etree.QName(inner).localname

    @property
    def ack(self) -> str:
        return self.one(".//h:acknowledgement/h:typeCode/@code")

    @property
    def error(self) -> str:
        """Name of the error, "" when there is none."""
        return "".join(self.all(".//h:acknowledgementDetail/h:code/@code"))

    @property
    def text(self) -> str:
        return "".join(self.all(".//h:acknowledgementDetail/h:text/text() | .//*[local-name()='context']/text()"))

    @property
    def status(self) -> str:
        """Of a typed answer."""
        return self.one("*[local-name()='output']/*[local-name()='status']/text()")

    def attention(self, keyword: str) -> str:
        value = f".//h:attentionLine[h:keyWordText/@code='{keyword}']/h:value"
        return self.one(f"{value}/@*[name()='code' or name()='value']")

    def observed(self, code: str) -> str:
        return self.one(f".//h:administrativeObservation[h:code/@code='{code}']/h:value/@value")


def stranger(world: World) -> str:
    """CX of a fictive patient nobody has heard of, with a key that fits."""
    body = f"2790599{next(_numbers):06d}"
    return frames.a_patient_id(world.settings.domain.name, body + ins.control_key(body))


def message(name: str, patient_id: str = "", **changes: str) -> etree._Element:
    """A message of the page for this CX; ``changes`` replace text of it, every one must be there."""
    text = PASTED[name]
    if patient_id:
        text = text.replace(PATIENT, patient_id.split("^")[0])
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return etree.fromstring(text)


def send(
    world: World, body: etree._Element, patient_id: str = "", who: str = "physician", *, path: str = "", **client: Any
) -> Said:
    """Over the wire layer of the registry in this process; ``client`` changes the caller."""
    assert world.registry is not None
    peer = Peer("127.0.0.1", world.cards[who].authentication.certificate.public_bytes(Encoding.DER))
    name = etree.QName(body)
    address, action = ADDRESSES[name.namespace or ""]
    transport = LocalTransport(world.registry.app, peer, f"https://localhost{path or address}")
    security = world.client(who, **client).security(patient_id)
    said = Said(transport.call(action.format(name.localname), [etree.tostring(body)], security=security).body)
    assert not said.body.tag.startswith(f"{{{HL7}}}") or schema.validate(said.body) == []
    return said


def ask(world: World, name: str, patient_id: str, who: str = "physician", **client: Any) -> Said:
    """A message of the page, for this patient."""
    return send(world, message(name, patient_id), patient_id, who, **client)
