"""The record services over real TLS: zeep from the served description, and the page's messages by `carnet call`.

Clause: DMP TD0.2 to TD1.6
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zeep
from click.testing import CliRunner
from lxml import etree

import schemas
from carnet.cli import main
from conformance.zeep_transport import MtomTransport
from record.td.services import SERVICES
from tests.record_messages import PASTED, PATIENT, stranger
from tests.world import PHYSICIAN, STRUCTURE, World
from xds.namespaces import HL7

CX = f"{PATIENT}^^^&1.2.250.1.213.1.4.10&ISO^NH"
PIN = "0000"


class Service:
    """One typed service, known by nothing but its description."""

    def __init__(self, world: World, path: str, who: str = "physician", **changes: Any) -> None:
        self.source = world.client(who, **changes)
        transport = MtomTransport(
            world.settings.registry_url, world.cards[who], world.folder / "pki" / "trust" / "ca.pem"
        )
        self.client = zeep.Client(f"{world.settings.registry_url}{path}?wsdl", transport=transport)

    def call(self, operation: str, patient_id: str, **arguments: Any) -> Any:
        security = etree.fromstring(self.source.security(patient_id))
        return getattr(self.client.service, operation)(_soapheaders=[security], **arguments)


@pytest.fixture(scope="module")
def pasted(live: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, etree._Element]:
    """Every message of the page, in its order, and its answer."""
    folder = tmp_path_factory.mktemp("pasted")
    live.cards["physician"].save(folder / "anne.p12", PIN)
    said = {}
    for name, text in PASTED.items():
        (folder / "message.xml").write_text(text, "utf-8")
        arguments = ["call", str(folder / "message.xml"), "--patient", "" if name == "TD0.5" else CX]
        if name == "TD0.5":
            arguments += ["--purpose", "centre_15", "--reason", "appel essai, patient sans carte"]
        environment = {
            "CARNET_CARD": str(folder / "anne.p12"), "CARNET_PIN": PIN, "CARNET_STRUCTURE": STRUCTURE,
            "CARNET_DATA": str(live.folder),
        }
        done = CliRunner().invoke(main, arguments, env=environment)
        assert done.exit_code == 0, f"{name}: {done.output}"
        said[name] = etree.fromstring(done.stdout)
    return said


def test_the_messages_of_the_page_work_by_paste(pasted: dict[str, etree._Element]) -> None:
    """Each is accepted, in the order of the page. Rule: D-41"""
    assert list(pasted) == [
        "TD1.1", "TD0.2", "TD0.3", "TD1.6", "TD0.4", "TD1.3a", "TD1.3b", "TD0.5", "TD1.4", "TD1.2",
    ]
    for name, answer in pasted.items():
        codes = answer.xpath(".//h:acknowledgement/h:typeCode/@code", namespaces={"h": HL7})
        statuses = answer.xpath(".//*[local-name()='output']/*[local-name()='status']/text()")
        assert (codes or statuses) in (["AA"], ["DMPOk"]), f"{name}: {etree.tostring(answer).decode()}"


def test_what_was_pasted_is_there(pasted: dict[str, etree._Element]) -> None:
    """The circle names who declared himself, the list names the patient, the search finds her."""
    assert PHYSICIAN in pasted["TD1.6"].xpath(".//*[local-name()='nationalId']/text()")
    assert PATIENT in pasted["TD0.4"].xpath(".//*[local-name()='nationalId']/text()")
    for name in ("TD0.2", "TD1.3a", "TD0.5"):
        assert PATIENT in pasted[name].xpath(".//h:patient/h:id/@extension", namespaces={"h": HL7}), name


def test_zeep_calls_the_typed_services(live: World) -> None:
    """Actions, types and enumerations come from the description alone; a refusal is an answer, not a fault."""
    patient_id = stranger(live)
    habilitations, patients = Service(live, "/services/habilitations"), Service(live, "/services/patients")
    unknown = habilitations.call("setAuthorization", patient_id, action="AJOUT")
    assert unknown.status == "DMPRecordUnknown" and " trace " in unknown.context
    opened = PASTED["TD1.1"].replace(PATIENT, patient_id.split("^", 1)[0])
    live.client().ask("/services/record", f"{HL7}:PRPA_IN201311UV02", opened.encode(), patient_id=patient_id)
    assert habilitations.call("setAuthorization", patient_id, action="AJOUT", role="MEDECIN_TRAITANT").status == "DMPOk"
    circle = habilitations.call("listAuthorizationByPatient", patient_id, mode="TOUTE")
    (place,) = circle.listOfAuthorizationByPatient
    assert (place.nationalId, place.mode, place.specificRight) == (PHYSICIAN, "ACTIVE", ["MEDECIN_TRAITANT"])
    found = patients.call("patientList", "", startDate="01012026", dateType="LASTAUTORIZATION")
    mine = [one for one in found.patientlistData if one.patientIdentifier[0].nationalId == patient_id.split("^", 1)[0]]
    assert [(one.patronymicalName, one.MT, one.message) for one in mine] == [("ESSAI", True, False)]


def test_the_hl7_description_loads_in_zeep(live: World) -> None:
    """Every schema it names is served beside it."""
    made = Service(live, "/services/record").client
    (service,) = made.wsdl.services.values()
    (port,) = service.ports.values()
    actions = {name: one.abstract.wsa_action for name, one in port.binding.all().items()}
    assert set(actions.values()) == {f"{HL7}:PRPA_IN2013{n}UV02" for n in ("05", "07", 11, 14)}


@pytest.mark.parametrize("path", [*SERVICES, "/services/record"])
def test_descriptions_load_without_network(live: World, path: str, tmp_path: Path) -> None:
    """A typed description is whole in one document; that of HL7 v3 needs its schemas, which lie in the tree."""
    class Nowhere(zeep.transports.Transport):
        def load(self, url: str) -> bytes:
            assert not url.startswith("http"), url
            loaded: bytes = super().load(url)
            return loaded

    file = Path(schemas.__file__).parent / "wsdl" / "record.wsdl"
    if path in SERVICES:
        file = tmp_path / "service.wsdl"
        file.write_bytes(SERVICES[path].wsdl("https://carnet.invalid"))
    assert zeep.Client(str(file), transport=Nowhere()).wsdl.services
