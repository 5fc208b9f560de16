"""Every read path asked by everybody who may not: nothing comes, and it comes as it does for what is not there.

Each wrong person has two records in the same state towards him: one full, one empty. Every stored query with both
return types and at both metadata levels, retrieve, on-demand, the lists, the acts and the reading of the log are asked
of both, and the answers are compared to the byte.

Clause: CSP R1111-46, L1111-17, L1111-18; DMP R526; arrêté du 26/10/2023
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from lxml import etree

from carnet import wiring
from conformance import frames
from conformance.client import MULTI_PATIENT_QUERY, Client
from guard.credentials import vihf
from guard.credentials.pki import KeyKind, Pki
from record import acts, destruction, identity
from record.actor import patient
from record.administrative import AdministrativeData, Representative
from record.store import Kind, Place
from record.td.services import ACTS, HABILITATIONS, PATIENTS
from tests.on_demand_kit import offer_of, register
from tests.portal import at_portal, with_portal
from tests.record_messages import send
from tests.registry.test_policy_on_the_wire import LOINC, MASKED, normal
from tests.registry.test_query_leaks import QUERIES, STATUSES, Names, filled, questions
from tests.world import COLLEAGUE, OPERATOR, PHYSICIAN, STRUCTURE, World
from xds.check.query_params import quote, quote_list
from xds.ebxml import write
from xds.model import Code
from xds.namespaces import ON_DEMAND

FLAGS = "1.2.250.1.213.1.1.4.13"
NORMAL = Code("N", "2.16.840.1.113883.5.25", "Normal")
FROM_PATIENT = [NORMAL, Code("INVISIBLE_PATIENT", FLAGS, "Non visible par le patient")]
FROM_PARENTS = [NORMAL, Code("INVISIBLE_REPRESENTANTS_LEGAUX", FLAGS, "Non visible par les représentants")]
MOTHER = "RL-7001"
HOLDING = ("holder", "mother", "stranger")
"""Clients who come as a patient, or for one."""
ELSEWHERE = ("stranger", "for_another")
"""Clients whose assertion names another patient, whose record they read."""
TIMES = re.compile(rb"\d{1,2}(er)? \S+ \d{4} \S+ \d\d:\d\d UTC|\d{4}-\d\d-\d\dT[\d:.]+Z")
LINE = re.compile(rb"<(?:\w+:)?line>.*?</(?:\w+:)?line>")
"""Of a log."""
OWN = re.compile(rb">WHEN - (?:Patient|Representative) \(")
"""In a line about what the holder, or who represents him, did."""
LEVELS = (("LeafClass", "1"), ("LeafClass", "2"), ("ObjectRef", "1"), ("ObjectRef", "2"))


# -- what is wrong with them ------------------------------------------------------------------------------------------


def place(world: World, patient_id: str, kind: Kind, subject: str, **changes: Any) -> None:
    """Put somebody into a circle, or change his place there."""
    with world._registry_database() as database, database.write() as unit:
        record = unit.record.find(patient_id)
        person, structure = (subject, "") if kind is Kind.PERSON else ("", subject)
        known = unit.record.places_of(record.patient_key, person, structure)
        found = known[0] if known else Place(patient_key=record.patient_key, kind=kind, subject=subject)
        unit.record.set_place(replace(found, **changes))


def nobody_allowed(world: World, patient_id: str) -> None:
    place(world, patient_id, Kind.STRUCTURE, STRUCTURE, basis="", since="", until="")


def expired(world: World, patient_id: str) -> None:
    nobody_allowed(world, patient_id)
    place(world, patient_id, Kind.PERSON, COLLEAGUE, basis="consent", since="2020-01-01T00:00:00.000Z",
          until="2021-01-01T00:00:00.000Z")


def withdrawn(world: World, patient_id: str) -> None:
    with world._registry_database() as database, database.write() as unit:
        acts.disallow(unit, patient_id, STRUCTURE, by=OPERATOR, kind=Kind.STRUCTURE)


def team_objected(world: World, patient_id: str) -> None:
    nobody_allowed(world, patient_id)
    place(world, patient_id, Kind.PERSON, COLLEAGUE, basis="care team", since="2020-01-01T00:00:00.000Z")
    objected("OPPOSITION_EQUIPE_DE_SOINS")(world, patient_id)


def objected(name: str) -> Callable[[World, str], None]:
    def setup(world: World, patient_id: str) -> None:
        nobody_allowed(world, patient_id)
        with world._registry_database() as database, database.write() as unit:
            acts.object_to(unit, patient_id, name, by=OPERATOR)

    return setup


def blocked(subject: str = COLLEAGUE, kind: Kind = Kind.PERSON) -> Callable[[World, str], None]:
    def setup(world: World, patient_id: str) -> None:
        with world._registry_database() as database, database.write() as unit:
            acts.allow(unit, patient_id, subject, by=OPERATOR, kind=kind)
            acts.block(unit, patient_id, subject, by=OPERATOR, kind=kind)

    return setup


def closed(world: World, patient_id: str) -> None:
    world.close(patient_id)


def destroyed(world: World, patient_id: str) -> None:
    me = patient(patient_id, wiring.policy_of(world.settings, wiring.domain_of(world.settings)))
    with world._registry_database() as database, database.write() as unit:
        token = destruction.ask_destruction(unit, patient_id, by=me)
        destruction.confirm_destruction(unit, patient_id, token, by=me)


def allowed_for_what_was_merged(world: World, patient_id: str) -> None:
    """An authorisation for another record, which was then merged into this one, opens it not."""
    other = world.patient()
    nobody_allowed(world, patient_id)
    with world._registry_database() as database, database.write() as unit:
        acts.allow(unit, other, COLLEAGUE, by=OPERATOR)
        identity.merge_identities(
            unit, wiring.domain_of(world.settings), other, patient_id, identity.Act(by=OPERATOR, event="operator")
        )


def named_a_mother(world: World, patient_id: str) -> None:
    with world._registry_database() as database, database.write() as unit:
        record = unit.record.find(patient_id)
        unit.record.set_traits(record.patient_key, AdministrativeData(birth_name="ESSAI", representatives=(
            Representative(family_name="ESSAI", relation="MTH", identifier=MOTHER),)))


def nothing(_world: World, _patient_id: str) -> None:
    return


@dataclass(frozen=True)
class Wrong:
    """Somebody, and the state of the record towards him. ``searches``: metadata are his right, contents are not."""

    who: str = "colleague"
    setup: Callable[[World, str], None] = nothing
    client: str = ""
    """How his client differs; a method of ``Persons``"""
    contents: Any = None
    """Metadata of the documents"""
    masked: bool = False
    searches: bool = False
    finds_id: bool = False
    """The technical id of a document that he can name is his right (R526, TD3.1), masked ones apart: who feeds must
    replace and delete his own without an authorisation. Nothing else of it is."""
    lists: bool = False
    """The record itself is in his list: he has a place, what he may not is the document"""


PSYCHIATRIC = {
    "type_code": Code("68599-0", LOINC, "Synthèse psychiatrique"),
    "class_code": Code("11", "1.2.250.1.213.1.1.4.1", "Synthèses"),
}
WRONG: dict[str, Wrong] = {
    "blocked": Wrong(setup=blocked()),
    "blocked, by break-glass": Wrong(setup=blocked(), client="break_glass"),
    "blocked, by centre 15": Wrong(setup=blocked(), client="regulation"),
    "of a blocked structure": Wrong(setup=blocked(STRUCTURE, Kind.STRUCTURE)),
    "a blocked author": Wrong("physician", setup=blocked(PHYSICIAN)),
    "not authorised": Wrong(setup=nobody_allowed),
    "an author not authorised": Wrong("physician", setup=nobody_allowed, finds_id=True),
    "expired": Wrong(setup=expired),
    "withdrawn": Wrong(setup=withdrawn),
    "care team, objected to": Wrong(setup=team_objected),
    "authorised for what was merged": Wrong(setup=allowed_for_what_was_merged),
    "objection to break-glass": Wrong(setup=objected("OPPOSITION_BRIS_DE_GLACE"), client="break_glass"),
    "objection to centre 15": Wrong(setup=objected("OPPOSITION_ACCES_URGENCE"), client="regulation"),
    "an insurer's doctor": Wrong(client="insurer"),
    "a company doctor": Wrong("company", searches=True, lists=True),
    "staff card": Wrong("staff", finds_id=True, lists=True),
    "structure certificate": Wrong("laboratory", finds_id=True),
    "with another patient's assertion": Wrong(client="for_another", lists=True),
    "a nurse, of a psychiatric synthesis": Wrong("nurse", contents=PSYCHIATRIC, lists=True),
    "anybody, of a masked document": Wrong(masked=True, lists=True),
    "break-glass, of a masked document": Wrong(masked=True, client="break_glass", lists=True),
    "centre 15, of a masked document": Wrong(masked=True, client="regulation", lists=True),
    "of a closed record": Wrong("physician", setup=closed),
    "of a closed record, by break-glass": Wrong("physician", setup=closed, client="break_glass"),
    "of a destroyed record": Wrong("physician", setup=destroyed),
    "the patient, before the announcement": Wrong(
        client="holder", contents={"confidentiality_codes": FROM_PATIENT}),
    "a representative, of what is kept from him": Wrong(
        client="mother", setup=named_a_mother, contents={"confidentiality_codes": FROM_PARENTS}),
    "a representative, before the announcement": Wrong(
        client="mother", setup=named_a_mother, contents={"confidentiality_codes": FROM_PATIENT}),
    "a representative no record names": Wrong(client="mother"),
    "the patient of another record": Wrong(client="stranger"),
}


# -- who asks ---------------------------------------------------------------------------------------------------------


class Persons:
    """Clients of one installation; patients and representatives come through the portal it lists."""

    def __init__(self, world: World):
        self.world, self.other = world, world.patient()
        pki = Pki.open(world.folder / "pki")
        if "company" not in world.cards:
            world.cards["company"] = pki.issue_person(
                "899700000042", "TRAVAIL", "Max", specialties=("SM25",), key=KeyKind.EC)
        self.home = with_portal(world)

    def client(self, wrong: Wrong) -> tuple[World, str, Client]:
        """The installation he comes to, whose card connects, and his client there."""
        if wrong.client in HOLDING:
            account = MOTHER if wrong.client == "mother" else ""
            record = self.other if wrong.client == "stranger" else ""
            return self.home, "portal", at_portal(self.home, account, record)
        changes = {
            "": {}, "break_glass": {"purpose": vihf.BREAK_GLASS}, "regulation": {"purpose": vihf.EMERGENCY_CENTRE},
            "insurer": {"sign": self._signing(wrong.who, sector=f"SA23^{vihf.SECTORS}")},
            "for_another": {"sign": self._signing(wrong.who, patient_id=self.other)},
        }[wrong.client]
        return self.world, wrong.who, self.world.client(wrong.who, **changes)

    def _signing(self, who: str, **fixed: str) -> Callable[[str], bytes]:
        card = self.world.cards[who]

        def sign(patient_id: str) -> bytes:
            content = vihf.for_card(card, structure_id=STRUCTURE, **({"patient_id": patient_id} | fixed))
            return vihf.issue(content, card.signature)

        return sign


@pytest.fixture(scope="module")
def persons(here: World) -> Persons:
    return Persons(here)


# -- what is asked ----------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """One record as one person sees it."""

    world: World
    client: Client
    wrong: Wrong
    names: Names
    on_demand: str
    who: str

    def soap(self, actor: str, action: str, body: bytes) -> bytes:
        transport = self.client.registry if actor == "registry" else self.client.repository
        assert transport is not None
        answer = transport.call(
            action, [body], security=self.client.security(self.names.patient_id), mtom=actor == "repository",
        )
        assert not answer.parts
        return etree.tostring(answer.body)

    def queries(self) -> Iterator[tuple[str, bytes]]:
        for return_type, level in LEVELS:
            for name, slots in [*questions(self.names), *self._of_on_demand()]:
                if self.wrong.finds_id and return_type == "ObjectRef" and hasattr(QUERIES[name], "ACTION"):
                    continue
                given = [(n, [v]) for n, v in [*slots, ("$MetadataLevel", level)]]
                body = write.adhoc_query_request(QUERIES[name].QUERY_ID, return_type, given)
                action = "urn:ihe:iti:2007:RegistryStoredQuery"
                if name.endswith("ForMultiplePatients"):
                    action = MULTI_PATIENT_QUERY
                yield f"{name} {return_type} {level} {[s for s, _ in slots]}", self.soap("registry", action, body)

    def _of_on_demand(self) -> list[tuple[str, list[tuple[str, str]]]]:
        patient_id = ("$XDSDocumentEntryPatientId", quote(self.names.patient_id))
        return [
            ("FindDocuments", [patient_id, ("$XDSDocumentEntryStatus", STATUSES),
                               ("$XDSDocumentEntryType", quote_list([ON_DEMAND]))]),
            ("GetDocuments", [("$XDSDocumentEntryUniqueId", quote_list([self.on_demand]))]),
        ]

    def retrieves(self) -> Iterator[tuple[str, bytes]]:
        for unique_id in (self.names.entry_name, self.on_demand):
            body = write.retrieve_request([(self.world.settings.repository.unique_id, unique_id)])
            yield "retrieve", self.soap("repository", "urn:ihe:iti:2007:RetrieveDocumentSet", body)

    def typed(self, namespace: str, operation: str, **arguments: str) -> bytes:
        """The answer without its times."""
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
        body = etree.fromstring(f'<{operation} xmlns="{namespace}">{inner}</{operation}>')
        sent = {"sign": lambda _patient: self.client.assertion(self.names.patient_id)}
        return TIMES.sub(b"WHEN", etree.tostring(send(self.world, body, self.names.patient_id, self.who, **sent).body))

    def lists(self) -> Iterator[tuple[str, bytes]]:
        """The circle and the acts; the list of records is asked apart, it names no patient."""
        yield "TD1.6", self.typed(HABILITATIONS, "listAuthorizationByPatient", mode="TOUTE")
        deletes = () if self.wrong.finds_id else ("SUPPRIMER",)
        for verb in ("MASQUER", "DEMASQUER", "CACHER", "ARCHIVER", *deletes):
            yield verb, self.typed(ACTS, "setDocument", action=verb, uniqueId=self.names.entry_name)

    def log(self) -> bytes:
        return self.typed(ACTS, "readLog")

    def tokens(self) -> set[bytes]:
        """What must be in no answer, but where it was in the question."""
        names = self.names
        found = [names.entry, names.entry_name, *names.sets, names.set_name, *names.folders, names.folder_name,
                 *names.links, self.on_demand]  # fmt: skip
        return {one.removeprefix("urn:uuid:").encode() for one in found}

    def plain(self, said: bytes) -> bytes:
        """Without what differs from one record to the other because it was in the question."""
        for token in self.tokens() | {self.names.patient_id.encode(), self.names.patient_id.split("^")[0].encode()}:
            said = said.replace(token, b"ID")
        escaped = self.names.patient_id.replace("&", "&amp;").encode()
        return normal(said.replace(escaped, b"ID"))


def prepared(persons: Persons, wrong: Wrong) -> tuple[Asked, Asked]:
    """The full record and the empty one, in the same state."""
    world = persons.world
    full, empty = world.patient(), world.patient()
    names = filled(world, full, masked=wrong.masked, **(wrong.contents or {}))
    offered = offer_of(world, full, **_on_demand(wrong))
    assert register(world, offered).is_success
    summary = offered.entries[0].unique_id
    nobody = Names(empty)
    nobody.links = [frames.new_uuid() for _ in names.links]
    made = []
    for one, on_demand in ((names, summary), (nobody, frames.new_oid())):
        wrong.setup(world, one.patient_id)
        installation, who, client = persons.client(wrong)
        made.append(Asked(installation, client, wrong, one, on_demand, who))
    return made[0], made[1]


def _on_demand(wrong: Wrong) -> dict[str, Any]:
    changes: dict[str, Any] = dict(wrong.contents or {})
    if wrong.masked:
        changes["confidentiality_codes"] = [NORMAL, MASKED]
    return changes


def pairs(one: Asked, two: Asked, of: str) -> Iterator[tuple[str, bytes, bytes]]:
    """The same question to both."""
    answers = [list(getattr(asked, of)()) for asked in (one, two)]
    for (name, there), (_, absent) in zip(*answers, strict=True):
        yield name, there, absent


@pytest.mark.parametrize("kind", WRONG)
def test_no_read_path_tells_a_wrong_person_anything(persons: Persons, kind: str) -> None:
    """Rule: H-01, H-02, H-04, H-05, H-10, H-12, R-122, R-123"""
    wrong = WRONG[kind]
    full, empty = prepared(persons, wrong)
    asked = ["retrieves"] if wrong.searches else ["queries", "retrieves"]
    for of in asked + ([] if wrong.searches else ["lists"]):
        for name, there, absent in pairs(full, empty, of):
            assert full.plain(there) == empty.plain(absent), (kind, name)
            if not _names_what_was_asked(there, full):
                assert not [t for t in full.tokens() if t in there], (kind, name)
    listed = full.typed(PATIENTS, "patientList")
    assert (full.names.patient_id.split("^")[0].encode() in listed) is wrong.lists, kind
    assert not [t for t in full.tokens() if t in listed]
    _logs_read_the_same(kind, full, empty)


def _logs_read_the_same(kind: str, full: Asked, empty: Asked) -> None:
    """Newest lines first."""
    wrong, said = WRONG[kind], [one.log() for one in (full, empty)]
    if wrong.client in ELSEWHERE:  # twice the log of his own record, the second time with the line of the first
        first, second = map(LINE.findall, said)
        assert len(second) > 1 and second[1:] == first[: len(second) - 1], kind
        return
    there, absent = (LINE.findall(one.plain(log)) for one, log in zip((full, empty), said, strict=True))
    if wrong.client in HOLDING:
        others = [line for line in LINE.findall(said[0]) if not OWN.search(line)]
        assert not [t for t in full.tokens() if t in b"".join(others)], "that somebody deposited he may know, not what"
        there, absent = ([line for line in lines if OWN.search(line)] for lines in (there, absent))
        assert bool(there) is (kind != "a representative no record names"), "what he asked for is in his log"
    if kind == "an author not authorised":  # before all this he deposited it, and may know what he did
        assert 0 < len(absent) < len(there)
        there = there[: len(absent)]
    assert there == absent, kind


def _names_what_was_asked(said: bytes, asked: Asked) -> bool:
    """A refusal repeats the identifier it was asked for."""
    return b"RegistryError" in said and b"ExtrinsicObject" not in said and b"ObjectRef id" not in said


def test_the_right_person_gets_all_of_it(persons: Persons) -> None:
    """So that the silence above is about the person: author and attending physician find everything, and every token is
    in some answer."""
    full, empty = prepared(persons, Wrong("physician"))
    said = b"".join(there for _, there, _ in pairs(full, empty, "queries"))
    assert {t for t in full.tokens() if t not in said} == set()
    names = [full.names.entry_name, full.on_demand]
    outcome, items = persons.world.read(full.names.patient_id, names)
    assert outcome.is_success and {item.unique_id for item in items} == set(names)


def test_the_holder_gets_what_is_his(persons: Persons) -> None:
    """Masked from professionals, he reads it; and a representative whom the record names, too."""
    for client, setup in (("holder", nothing), ("mother", named_a_mother)):
        full, empty = prepared(persons, Wrong(client=client, setup=setup, masked=True))
        said = b"".join(there for _, there, _ in pairs(full, empty, "queries"))
        assert {t for t in full.tokens() if t not in said} == set(), client
