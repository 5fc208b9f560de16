"""What must be taken although it looks odd, in plain IHE, and comes back as it was sent.

Each shape goes over ITI-42 to the full services and is read back with a query.
"""

from __future__ import annotations

from dataclasses import replace

import metadata_messages as w
import pytest
from lxml import etree
from metadata_spoils import Spoil, attribute, both, value, version_info

from conformance import frames
from tests import raw_submissions as raw
from tests.direct import Desk
from tests.raw_submissions import DE, FO, INSIDE, MEMBER, SS
from tests.world import World
from xds import namespaces as ns
from xds.model import Author, Code, LocalizedString

REFERENCES = "urn:ihe:iti:xds:2013:referenceIdList"
EXTRA = "urn:example:department"


@pytest.fixture
def desk(plain: World) -> Desk:
    return Desk(plain)


CHANGES: dict[str, dict[str, object]] = {
    "no author": {"authors": []},
    "institution alone": {"authors": [Author(institutions=["Hospital"])]},
    "telecommunication alone": {"authors": [Author(telecommunications=["^^Internet^anne@example.org"])]},
    "several authors": {"authors": [
        Author(person=["^Fictif^Anne^^^Dr"], institutions=["Hospital^^^^^&1.2.3&ISO^^^^45", "Ward^^^^^^^^^1.2.3.4"],
               roles=["Attending", "221^^^&1.2.3&ISO"], specialties=["Cardiology"],
               telecommunications=["^PRN^PH^^33^1^23456789", "^NET^Internet^a@example.org"]),
        Author(person=["7^Fictif^Luc^^^^^^&1.2.3&ISO"]),
    ]},
    "no optional attribute": {"title": [], "service_start_time": "", "service_stop_time": "", "authors": [],
                              "legal_authenticator": "", "source_patient_info": []},
    "title of 128 characters": {"title": [LocalizedString("é" * 128, "fr-FR")]},
    "texts in two languages": {"title": [LocalizedString("Report", "en-US"), LocalizedString("Bericht", "de-DE")],
                               "comments": [LocalizedString("x" * 1024, "en-US")]},
    **{f"time of {len(text)} digits": {"creation_time": text, "service_start_time": text, "service_stop_time": text}
       for text in ("2026", "202601", "20260105", "2026010509", "202601050930", "20260105093015")},
    "unique id with extension": {"unique_id": f"{frames.new_oid()}^EXT-1"},
    "unique id as UUID": {"unique_id": frames.new_uuid()},
    "unique id as URI": {"unique_id": f"https://example.org/{frames.new_oid()}"},
    "references of every kind": {"reference_ids": [
        "1.2.3^^^^urn:ihe:iti:xds:2013:uniqueId", "ACC7^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession",
        "REF7^^^NS&1.2.3&ISO^urn:ihe:iti:xds:2013:referral", "ORD7^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:order",
        "1.2.3.4^^^^urn:ihe:iti:xdw:2013:workflowInstanceId", "1.2.9^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
        "ENC7^^^&1.2.3&ISO^urn:ihe:iti:xds:2015:encounterId^urn:oid:1.2.3", "X^^^&1.2.3&ISO^urn:example:own",
    ]},
    "URI": {"uri": ["http://example.org/doc.xml"]},
    "URI in parts": {"uri": ["2|second", "1|http://example.org/first-"]},
    "several codes": {
        "confidentiality_codes": [Code(c, "2.16.840.1.113883.5.25", c) for c in "NRV"],
        "event_codes": [Code("anything", "2.25.7", "Anything"), Code("else", "2.25.8", "Else")],
    },
    "another display name": {"type_code": Code("11502-2", "2.16.840.1.113883.6.1", "Compte <d'analyse> & \"co\"")},
    "patient info of many fields": {"source_patient_info": [
        "PID-3|1^^^&1.2.3&ISO~2^^^&1.2.4&ISO", "PID-3|3^^^&1.2.5&ISO", "PID-5|Fictif^Anne^^^", "PID-7|19790301",
        "PID-8|F", "PID-11|1 rue de l'Essai^^Paris^^75001^FR", "PID-22|", "PID-5|with|bars|inside"]},
    "another source patient": {"source_patient_id": "IPP-42^^^&1.2.250.1.999&ISO"},
    "upper-case hash": {"hash": frames.valid_entry().hash.upper()},
    "size nought": {"hash": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "size": 0},
    "offline": {"document_availability": "urn:ihe:iti:2010:DocumentAvailability:Offline"},
    "home community": {"home_community_id": "urn:oid:1.3.6.1.4.1.21367.13.70"},
    "languages": {"language_code": "zh-Hant-TW"},
    "authenticator without identifier": {"legal_authenticator": "^Fictif^Anne"},
    "extra slots": {"extra_slots": {EXTRA: ["surgery", " second "], "urn:x-vendor:flag": [""]}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_entry_comes_back_as_it_was_sent(desk: Desk, name: str) -> None:
    """Every optional attribute in every allowed form; only what the registry sets differs.

    Rule: R-020, R-024, R-025, R-026, R-029, R-030, R-013, E-05, E-09, E-23, I-11
    """
    made = desk.submission(**CHANGES[name])
    desk.register(made)
    sent = made.entries[0]
    (found,) = desk.entries(sent.unique_id, level=2)
    assert found == replace(sent, status=ns.APPROVED, logical_id=sent.entry_uuid, version=1)


def test_sets_folders_and_associations_keep_their_extra_slots(desk: Desk) -> None:
    """Names that are URNs are stored and returned on every kind of object; no warning is said.

    Rule: R-013, I-03, I-11
    """
    made = desk.submission(folder=True)
    own, folder = made.submission_set, made.folders[0]
    own.extra_slots = folder.extra_slots = {EXTRA: ["surgery"]}
    own.intended_recipients = [
        "Org^^^^^&1.2.3&ISO^^^^45|7^Fictif^Anne|^^Internet^a@example.org", "|^Fictif", "||^^PH^^^^1",
    ]
    own.comments, own.home_community_id = [LocalizedString("why", "en-US")], "urn:oid:1.2.3"
    relation = desk.link(ns.XFRM, made.entries[0].entry_uuid, desk.new().entries[0].entry_uuid)
    relation.slots, relation.documentation = {EXTRA: ["surgery"]}, Code("C1", "2.25.1", "Why")
    made.associations.append(relation)
    desk.register(made)
    assert replace(own, status=ns.APPROVED) in desk.sets()
    stored = desk.folder(folder.entry_uuid)
    assert stored == replace(folder, status=ns.APPROVED, logical_id=folder.entry_uuid, version=1,
                             last_update_time=stored.last_update_time)
    assert replace(relation, status=ns.APPROVED) in desk.associations(relation.source)


def marker_beside(owner: str, node: str) -> Spoil:
    """Move the marker of a package out into the list."""
    def spoil(root: raw.Element) -> None:
        one = w.part(root, owner, node)
        w.drop(one)
        w.object_list(root).insert(0, one)
    return spoil


def no_object_types(root: raw.Element) -> None:
    for element in root.iter("{*}*"):
        if element.get("id") != DE and "objectType" in element.attrib:
            del element.attrib["objectType"]


def typed_values(root: raw.Element) -> None:
    """xsi:type on everything, of types our schema knows and of types it does not."""
    for n, element in enumerate(root.iter("{*}Value", "{*}LocalizedString", "{*}Slot", "{*}ExtrinsicObject")):
        element.set(f"{{{ns.XSI}}}type", ("xs:string", "rim:ExtrinsicObjectType", "vendor:Thing")[n % 3])


def request_slots(root: raw.Element) -> None:
    root.insert(0, etree.fromstring(
        f'<rs:RequestSlotList xmlns:rs="{ns.RS}" xmlns:r="{ns.RIM}"><r:Slot name="homeCommunityId"><r:ValueList>'
        "<r:Value>x</r:Value></r:ValueList></r:Slot></rs:RequestSlotList>"
    ))


def upper_case(root: raw.Element) -> None:
    """UUIDs of the sender in upper case."""
    for element in root.iter("{*}*"):
        for name in ("id", "classifiedObject", "registryObject", "sourceObject", "targetObject"):
            if element.get(name) == DE:
                element.set(name, "urn:uuid:1F0E6B2A-54A3-4C0E-9A37-0F6B1C2D3E4F")


def reversed_slots(root: raw.Element) -> None:
    slots = [s for s in w.by_id(root, DE) if s.tag == w.rim("Slot")]
    for one in slots:
        w.by_id(root, DE).remove(one)
    for one in slots:
        one.set("slotType", "urn:example:type")
        w.by_id(root, DE).insert(0, one)


def unknown_parts(root: raw.Element) -> None:
    """A Classification and an ExternalIdentifier of schemes nobody knows."""
    entry = w.by_id(root, DE)
    first = next(entry.iterchildren(w.rim("Classification")))
    first.addprevious(etree.Element(
        w.rim("Classification"), id="odd-class", classifiedObject=DE, nodeRepresentation="x",
        classificationScheme="urn:uuid:0a0b0c0d-54a3-4c0e-9a37-0f6b1c2d3e4f",
    ))
    entry.append(etree.Element(
        w.rim("ExternalIdentifier"), id="odd-identifier", registryObject=DE, value="x",
        identificationScheme="urn:uuid:0a0b0c0d-54a3-4c0e-9a37-0f6b1c2d3e50",
    ))


def old_types(root: raw.Element) -> None:
    """An ObjectRef to what is referred to, as old sources write it."""
    w.add(root, "ObjectRef", id="urn:uuid:0a0b0c0d-54a3-4c0e-9a37-0f6b1c2d3e4f")


SHAPES: dict[str, Spoil] = {
    "E-21 marker of the set beside it": marker_beside(SS, ns.SUBMISSION_SET_NODE),
    "E-21 marker of the folder beside it": marker_beside(FO, ns.FOLDER_NODE),
    "no objectType but the entry's": no_object_types,
    "C-17 xsi:type on values": typed_values,
    "C-11 no value of sourcePatientInfo": value(DE, "sourcePatientInfo"),
    "C-11 empty value of sourcePatientInfo": value(DE, "sourcePatientInfo", "", " "),
    "empty list of references": value(DE, REFERENCES),
    "unknown slots of the request": request_slots,
    "C-15 upper-case UUID": upper_case,
    "slots in another order": reversed_slots,
    "R-015 unknown schemes": unknown_parts,
    "R-008 ObjectRef": old_types,
    "R-035 status of the sender": both(
        attribute(DE, "status", ns.DEPRECATED), attribute(SS, "status", "urn:x:Submitted")),
    "R-017 initial version": both(attribute(DE, "lid", DE), version_info(DE, "1.1")),
    "E-20 status towards the folder": value(f"HasMember-{SS}-{FO}", "SubmissionSetStatus", "Original"),
    "R-028 a time of the folder": value(FO, "lastUpdateTime", "20010101000000"),
    "status of an association": attribute(MEMBER, "status", ns.APPROVED),
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_odd_shape_is_accepted_without_a_word(desk: Desk, name: str) -> None:
    """Over ITI-42, and over ITI-41 with hash, size and repository left to the repository.

    Rule: R-008, R-015, R-017, R-028, R-035, C-11, C-15, C-17, E-20, E-21
    """
    for to_repository in (False, True):
        made = raw.valid(desk, folder=True)
        root = raw.tree(made)
        for slot in ("hash", "size", "repositoryUniqueId") if to_repository else ():
            w.drop(w.slot(root, DE, slot))
        SHAPES[name](root)
        if "upper-case" in name:
            fresh = frames.new_uuid()[9:17].upper().encode()
            root = etree.fromstring(etree.tostring(root).replace(b"1F0E6B2A", fresh))
        if to_repository:
            sent_id = next(e.get("id") for e in root.iter(w.rim("ExtrinsicObject")))
            success, errors = raw.provide(desk, root, {sent_id: next(iter(raw.bytes_of(made).values()))})
        else:
            success, errors = raw.register(desk, root)
        assert success and not errors, errors
        (found,) = desk.entries(made.entries[0].unique_id)
        assert (found.status, found.version, found.logical_id) == (ns.APPROVED, 1, found.entry_uuid)
        assert found.entry_uuid == found.entry_uuid.lower()


@pytest.mark.parametrize(("slot", "values", "words"), [
    ("colour", ["x"], "R-013"), ("sourcePatientInfo", ["PID-19|179", "PID-8|F"], "R-034"),
    ("sourcePatientInfo", ["PID-3|4711~1^^^&1.2.3&ISO", "PID-7|19790514"], "R-034"),
    ("sourcePatientInfo", ["PID-7|14.05.1979"], "R-034"), ("sourcePatientInfo", ["PID-8|female"], "R-034"),
], ids=["R-013 a name that is no URN", "R-034 a field that should not be there", "R-034 no CX", "R-034 no date",
        "R-034 no sex"])
def test_a_warning_leaves_a_success(desk: Desk, slot: str, values: list[str], words: str) -> None:
    """Said once, with severity Warning; everything else is stored.

    Rule: R-013, R-034, A-9, I-12
    """
    for to_repository in (False, True):
        made = raw.valid(desk)
        root = raw.tree(made)
        w.set_slot(root, DE, slot, *values)
        success, errors = (
            raw.provide(desk, root, raw.bytes_of(made)) if to_repository else raw.register(desk, root)
        )
        assert success and [e.is_error for e in errors] == [False], errors
        assert words in errors[0].context and errors[0].severity.endswith(":Warning")
        assert not any(trait in errors[0].context for trait in ("4711", "14.05", "female", "|179"))
        assert len(desk.entries(made.entries[0].unique_id)) == 1


def test_a_slot_on_a_folder_membership_only_warns(desk: Desk) -> None:
    """SubmissionSetStatus means nothing there.

    Rule: R-065, E-20
    """
    root = raw.tree(raw.valid(desk, folder=True))
    w.set_slot(root, INSIDE, "SubmissionSetStatus", "Original")
    success, errors = raw.register(desk, root)
    assert success and [e.is_error for e in errors] == [False]


def test_what_only_the_french_domain_asks_is_not_asked_here(desk: Desk, here: World) -> None:
    """No author, no title, two base confidentialities, an identifier without a type: taken in plain IHE, refused there.

    Rule: R-020, R-021, R-024, R-026
    """
    made = desk.submission(authors=[], title=[], legal_authenticator="",
                           confidentiality_codes=[Code(c, "2.16.840.1.113883.5.25", c) for c in "NR"])
    made.submission_set.authors, made.submission_set.title = [], []
    desk.register(made)
    patient_id = here.patient()
    french = frames.valid_submission("dmp", patient_id=patient_id, authors=[], title=[], legal_authenticator="")
    french.submission_set.authors = []
    french.entries[0].confidentiality_codes *= 2
    outcome = here.deposit(french)
    fields = {e.location.rpartition("/")[2] for e in outcome.errors}
    assert not outcome.is_success and {"author", "legalAuthenticator", "confidentialityCode"} <= fields, fields


def test_what_only_plain_ihe_forbids_is_accepted_in_the_french_domain(desk: Desk, here: World) -> None:
    """The type of a patient identifier (CX.5) is forbidden in one domain and usual in the other.

    Rule: R-026
    """
    french = frames.valid_submission("dmp", patient_id=here.patient())
    assert french.submission_set.patient_id.endswith("^NH") and here.deposit(french).is_success
    typed = Desk(desk.world, f"{desk.patient_id}^NH")
    errors = typed.refused(typed.submission())
    assert any("[R-026]" in e.context and e.code == "XDSRegistryMetadataError" for e in errors)
