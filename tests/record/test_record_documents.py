"""Acts on one document, by the patient himself, by his representative, by a professional: in the service layer, over
SOAP and at the terminal; and that no door knows another mask than the others.

Clause: DMP TD3.3a to d, R526
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from carnet import wiring
from conformance import frames, updates
from guard.audit.readers import WITHHELD, Reader, ReaderKind
from record import acts, traces
from record.actor import Actor, RecordProblem, RecordRefused, carried_out, patient
from record.administrative import AdministrativeData, Representative
from record.documents import LOGGED_AS, NOTHING_CHANGED, Act, change
from record.td.patient_acts import DOCUMENT_VERBS
from record.td.services import ACTS
from registry.shelf import Shelf
from tests.carnet.test_rights_commands import run
from tests.record_messages import Said, send
from tests.registry.test_iti57_rights import FLAGS, HIDDEN, MASK, NORMAL, Bedside
from tests.world import COLLEAGUE, OPERATOR, PHYSICIAN, World, unique_ids
from xds.check.update import plan_update
from xds.ebxml.read import read_submission
from xds.ebxml.write import submit_objects_request
from xds.errors import Actor as XdsActor
from xds.model import Code, DocumentEntry
from xds.namespaces import APPROVED, ARCHIVED, DELETED, DEPRECATED, RPLC
from xds.wire.xml import parse

FROM_PARENTS = Code("INVISIBLE_REPRESENTANTS_LEGAUX", FLAGS, "Invisible aux représentants légaux")
OWN_TYPE = {
    "type_code": Code("DOCPAT01", "1.2.250.1.213.1.1.4.12", "Données"),
    "class_code": Code("90", "1.2.250.1.213.1.1.4.1", "Expression personnelle du patient"),
}
MOTHER = "RL-0001"


class Home(Bedside):
    """A record, and its holder who acts on it."""

    def me(self, representative: str = "") -> Actor:
        policy = wiring.policy_of(self.world.settings, wiring.domain_of(self.world.settings))
        return patient(self.patient_id, policy, representative=representative, event="patient")

    def do(self, act: Act, document: str, by: Actor | None = None) -> DocumentEntry:
        actor = by or self.me()
        shelf = Shelf(wiring.domain_source(self.world.settings), "1.2.250.1.999.1.2")
        with self.world._registry_database() as database:
            return carried_out(
                database, actor, LOGGED_AS[act], self.patient_id,
                lambda unit: change(unit, self.patient_id, document, act, by=actor, shelf=shelf), documents=(document,),
            )

    def refused(self, act: Act, document: str, by: Actor | None = None) -> RecordRefused:
        with pytest.raises(RecordRefused) as caught:
            self.do(act, document, by)
        line = self.world.log_of(self.patient_id)[-1]
        assert (line.action, line.outcome, line.documents) == (LOGGED_AS[act], "refused", (document,))
        return caught.value

    def with_mother(self) -> Actor:
        """A legal representative whom the record names."""
        with self.world._registry_database() as database, database.write() as unit:
            record = unit.record.find(self.patient_id)
            assert record is not None
            unit.record.set_traits(record.patient_key, AdministrativeData(
                birth_name="ESSAI", representatives=(Representative(
                    family_name="ESSAI", relation="MTH", identifier=MOTHER),),
            ))
        return self.me(MOTHER)

    def log_of(self, kind: ReaderKind) -> list[Any]:
        with self.world._registry_database() as database, database.write() as unit:
            record = unit.record.find(self.patient_id)
            return traces.read(unit, record, Reader(kind), by=OPERATOR)

    def reads(self, who: str, unique_id: str) -> bool:
        """Finds it and gets its bytes, or neither."""
        found = bool(self.seen(who, unique_id))
        outcome, items = self.world.read(self.patient_id, [unique_id], who)
        assert found == outcome.is_success == bool(items), (found, outcome)
        return found


@pytest.fixture
def home(here: World) -> Home:
    return Home(here)


def flags(entry: DocumentEntry) -> set[str]:
    return {code.code for code in entry.confidentiality_codes} - {"N"}


def test_the_patient_masks_and_unmasks(home: Home) -> None:
    """From then on nobody reads but the author and the attending physician; a new version, the line is his.

    Rule: L-08
    """
    stored = home.deposit(COLLEAGUE)
    assert home.reads("nurse", stored.unique_id) and home.reads("physician", stored.unique_id)
    masked = home.do(Act.MASK, stored.unique_id)
    assert (flags(masked), masked.version, masked.status) == ({"MASQUE_PS"}, 2, APPROVED)
    line = home.world.log_of(home.patient_id)[-1]
    assert (line.action, line.outcome, line.documents, line.mode) == ("mask", "success", (stored.unique_id,), "PATIENT")
    assert not home.reads("nurse", stored.unique_id) and not home.reads("physician", stored.unique_id)
    assert home.reads("colleague", stored.unique_id)
    with home.world._registry_database() as database, database.write() as unit:
        acts.allow(unit, home.patient_id, PHYSICIAN, by=OPERATOR)
        record = unit.record.find(home.patient_id)
        (place,) = unit.record.places_of(record.patient_key, PHYSICIAN, "")
        unit.record.set_place(replace(place, attending_since=place.since))
    assert home.reads("physician", stored.unique_id)
    shown = home.do(Act.UNMASK, stored.unique_id)
    assert (flags(shown), shown.version) == (set(), 3)
    assert home.reads("nurse", stored.unique_id)
    again = home.do(Act.UNMASK, stored.unique_id)
    assert again == shown and home.world.log_of(home.patient_id)[-1].detail == NOTHING_CHANGED


def test_both_doors_know_one_mask(home: Home) -> None:
    """What the patient masks, an author's ITI-57 unmasks from the version the act made, and the reverse."""
    stored = home.deposit()
    masked = home.do(Act.MASK, stored.unique_id)
    (seen,) = (one for one in home.seen("physician", stored.unique_id) if one.version == 2)
    assert seen == masked
    assert home.send(home.coded(seen)) == set()
    assert home.reads("colleague", stored.unique_id)
    newest = home.seen("physician", stored.unique_id)[-1]
    assert home.send(home.coded(newest, MASK), "colleague") == set()
    assert not home.reads("colleague", stored.unique_id)
    assert flags(home.do(Act.UNMASK, stored.unique_id)) == set()
    assert home.reads("colleague", stored.unique_id)
    assert [e.version for e in home.seen("colleague", stored.unique_id)] == [1, 2, 3, 4, 5]


def test_a_mask_is_laid_on_what_is_archived_or_replaced(home: Home) -> None:
    """The status stays; the owner finds and unmasks it whatever has happened to it."""
    stored = home.deposit()
    made = frames.valid_submission("dmp", patient_id=home.patient_id)
    made.associations.append(frames.relationship(RPLC, made.entries[0].entry_uuid, stored.entry_uuid))
    assert home.world.deposit(made).is_success
    masked = home.do(Act.MASK, stored.unique_id)
    assert (masked.status, flags(masked)) == (DEPRECATED, {"MASQUE_PS"})
    assert not home.reads("colleague", stored.unique_id) and home.reads("physician", stored.unique_id)
    assert home.reads("colleague", made.entries[0].unique_id)
    assert home.do(Act.UNMASK, stored.unique_id).status == DEPRECATED
    assert home.reads("colleague", stored.unique_id)


def test_the_patient_knows_nothing_of_what_is_not_announced(home: Home) -> None:
    """Every act answers as for a document that is not there; once a professional announces it, it is his to mask.

    Rule: H-11
    """
    stored = home.deposit(confidentiality_codes=[NORMAL, HIDDEN])
    nowhere = frames.new_oid()
    for act in Act:
        there, absent = home.refused(act, stored.unique_id), home.refused(act, nowhere)
        assert (there.problem, str(there), there.clause) == (absent.problem, str(absent), absent.clause)
        assert there.problem is (
            RecordProblem.NO_RIGHT if act is Act.ANNOUNCE else RecordProblem.UNKNOWN_DOCUMENT
        ), act
    assert over_soap(home, "ANNONCER", stored.unique_id, "nurse").status == "DMPOk"
    assert flags(home.do(Act.MASK, stored.unique_id)) == {"MASQUE_PS"}


def test_marks_that_exclude_each_other(home: Home) -> None:
    """Masked and not announced go together in no document. Rule: L-08, R-024"""
    stored = home.deposit(confidentiality_codes=[NORMAL, HIDDEN])
    said = over_soap(home, "MASQUER", stored.unique_id)
    assert said.status == "DMPExcluded" and "excludes" in said.text
    assert over_soap(home, "ANNONCER", stored.unique_id).status == "DMPOk"
    assert over_soap(home, "MASQUER", stored.unique_id).status == "DMPOk"


def test_what_is_kept_from_representatives(home: Home) -> None:
    """The patient hides and shows; his representative finds neither the document nor a trace of its hiding.

    Rule: H-07, H-11
    """
    mother = home.with_mother()
    stored = home.deposit()
    assert flags(home.do(Act.MASK, stored.unique_id, mother)) == {"MASQUE_PS"}
    home.do(Act.UNMASK, stored.unique_id, mother)
    assert home.refused(Act.HIDE, stored.unique_id, mother).problem is RecordProblem.NO_RIGHT
    assert flags(home.do(Act.HIDE, stored.unique_id)) == {"INVISIBLE_REPRESENTANTS_LEGAUX"}
    for act in (Act.MASK, Act.UNMASK, Act.ARCHIVE, Act.DELETE):
        there, absent = (home.refused(act, one, mother) for one in (stored.unique_id, frames.new_oid()))
        assert str(there) == str(absent) and there.problem is RecordProblem.UNKNOWN_DOCUMENT
    home.do(Act.MASK, stored.unique_id)
    seen_by_mother = [one for one in home.log_of(ReaderKind.REPRESENTATIVE) if one.outcome == "success"]
    assert [one for one in seen_by_mother if one.action == "hide" or stored.unique_id in one.documents] == []
    assert [one.action for one in home.log_of(ReaderKind.PATIENT) if stored.unique_id in one.documents].count("hide")
    assert flags(home.do(Act.SHOW, stored.unique_id)) == {"MASQUE_PS"}
    assert flags(home.do(Act.UNMASK, stored.unique_id, mother)) == set()


def test_the_log_names_no_document_that_is_not_announced(home: Home) -> None:
    """To its holder the access is told without its name until then, at the terminal too; to his representative not at
    all. Rule: J-07"""
    mother = home.with_mother()
    stored = home.deposit(confidentiality_codes=[NORMAL, HIDDEN])
    shelf = Shelf(wiring.domain_source(home.world.settings), "1.2.250.1.999.1.2")

    def named(by: Actor) -> list[tuple[str, ...]]:
        with home.world._registry_database() as database, database.write() as unit:
            lines = acts.read_log(unit, home.patient_id, by=by, shelf=shelf)
        return [line.documents for line in lines if line.action == "deposit"]

    assert named(home.me()) == [(WITHHELD,)] and named(mother) == []
    for reader in ("patient", "representative"):
        assert stored.unique_id not in run(home.world, "log", home.patient_id, "--as", reader)
    assert over_soap(home, "ANNONCER", stored.unique_id).status == "DMPOk"
    assert named(home.me()) == [(stored.unique_id,)] == named(mother)


def test_the_author_hides_by_update_and_any_professional_shows(home: Home) -> None:
    """ITI-57 asks for the same rights."""
    stored = home.deposit()
    assert home.send(home.coded(stored, FROM_PARENTS), "colleague") == {"XDSRegistryError"}
    assert home.send(home.coded(stored, FROM_PARENTS)) == set() and home.latest_act()[0] == "hide"
    newest = home.seen("physician", stored.unique_id)[-1]
    assert home.send(home.coded(newest), "colleague") == set() and home.latest_act()[0] == "show"


def test_only_his_own_documents_are_archived_and_deleted_by_the_patient(home: Home) -> None:
    """Rule: H-13"""
    theirs, own = home.deposit(), home.deposit(**OWN_TYPE)
    for act in (Act.ARCHIVE, Act.DELETE):
        refusal = home.refused(act, theirs.unique_id)
        assert (refusal.problem, refusal.clause) == (RecordProblem.NO_RIGHT, "owner")
    assert home.do(Act.ARCHIVE, own.unique_id).status == ARCHIVED
    assert home.world.find(home.patient_id, statuses=(ARCHIVED,)).objects
    assert home.refused(Act.UNARCHIVE, theirs.unique_id).problem is RecordProblem.NO_RIGHT
    assert home.do(Act.UNARCHIVE, own.unique_id).status == APPROVED
    assert home.refused(Act.UNARCHIVE, frames.new_oid()).problem is RecordProblem.UNKNOWN_DOCUMENT
    assert home.do(Act.DELETE, own.unique_id).status == DELETED
    assert unique_ids(home.world.find(home.patient_id)) == [theirs.unique_id]
    assert home.refused(Act.ARCHIVE, own.unique_id).problem is RecordProblem.WRONG_STATE


def test_nothing_is_done_in_a_closed_or_a_strange_record(home: Home) -> None:
    """Neither by the holder nor by somebody else's."""
    stored = home.deposit()
    stranger = Home(home.world)
    with pytest.raises(RecordRefused) as caught:
        stranger.do(Act.MASK, stored.unique_id)
    assert caught.value.problem is RecordProblem.UNKNOWN_DOCUMENT
    with pytest.raises(RecordRefused) as caught:
        home.do(Act.MASK, stored.unique_id, stranger.me())
    assert caught.value.problem is RecordProblem.NO_RIGHT
    home.world.close(home.patient_id)
    assert home.refused(Act.MASK, stored.unique_id).problem is RecordProblem.CLOSED
    assert flags(home_entry(home, stored.unique_id)) == set()


def home_entry(home: Home, unique_id: str) -> DocumentEntry:
    with home.world._registry_database() as database, database.read() as unit:
        record = unit.record.find(home.patient_id)
        found = Shelf(wiring.domain_source(home.world.settings), "1.2").newest(unit, record.patient_key, unique_id)
        assert found is not None
        return found


def test_what_an_act_writes_is_what_a_message_could_have_brought(home: Home) -> None:
    """The submission set of an act passes the checks of ITI-57: readers of the registry find nothing strange."""
    stored = home.deposit()
    home.do(Act.MASK, stored.unique_id)
    with home.world._registry_database() as database, database.read() as unit:
        record = unit.record.find(home.patient_id)
        newest = home_entry(home, stored.unique_id)
        links = unit.registry.associations_of(record.patient_key, [newest.entry_uuid])
        own = [a for a in links if a.slot("SubmissionSetStatus")]
        from guard.policy.facts import EVERYTHING
        from registry.store import SetCriteria
        (made,) = unit.registry.submission_sets(
            record.patient_key, SetCriteria(entry_uuids=frozenset({own[0].source})), EVERYTHING)
    again = updates.update_of("dmp", newest, confidentiality_codes=[NORMAL])
    again.submission_set = replace(made, entry_uuid="SubmissionSet01")
    submission, findings = read_submission(
        parse(submit_objects_request(again)), XdsActor.REGISTRY, updating=True
    )
    _, found = plan_update(submission, wiring.domain_of(home.world.settings))
    assert [str(one) for one in [*findings, *found] if one.is_error] == []
    number = home.patient_id.split("^")[0]
    assert made.authors[0].person[0].startswith(f"{number}^") and made.content_type_code.code == "EXP_PATIENT"


# -- over SOAP --------------------------------------------------------------------------------------------------------


def over_soap(home: Home, verb: str, unique_id: str, who: str = "physician") -> Said:
    inner = f"<action>{verb}</action><uniqueId>{unique_id}</uniqueId>"
    return send(
        home.world, etree.fromstring(f'<setDocument xmlns="{ACTS}">{inner}</setDocument>'), home.patient_id, who
    )


def test_every_verb_is_served(home: Home) -> None:
    """By the author, one after the other; the log has each. Rule: D-57"""
    stored = home.deposit()
    for verb in ("MASQUER", "DEMASQUER", "CACHER", "MONTRER", "ARCHIVER", "DESARCHIVER", "SUPPRIMER"):
        assert over_soap(home, verb, stored.unique_id).status == "DMPOk", verb
        line = home.world.log_of(home.patient_id)[-1]
        assert (line.action, line.event) == (LOGGED_AS[DOCUMENT_VERBS[verb]], "patient act")
    assert home_entry(home, stored.unique_id).status == DELETED


def test_a_professional_without_the_right_is_refused(home: Home) -> None:
    """In words where the record as a whole decides; as absent where the document is hidden from him. Rule: D-57"""
    masked = home.deposit(confidentiality_codes=[NORMAL, MASK])
    denied = "DMPAccessDeniedByRightsService"
    assert over_soap(home, "DEMASQUER", masked.unique_id, "laboratory").status == denied
    there, absent = (over_soap(home, "DEMASQUER", one, "colleague") for one in (masked.unique_id, frames.new_oid()))
    assert (there.status, there.text.partition(" trace ")[0]) == (absent.status, absent.text.partition(" trace ")[0])
    assert there.status == "DMPUnknownDocument"
    plain = home.deposit()
    assert over_soap(home, "SUPPRIMER", plain.unique_id, "colleague").status == denied
    for said in (over_soap(home, "EFFACER", plain.unique_id), over_soap(home, "", plain.unique_id)):
        assert said.status == "DMPInvalidMessage"
    assert "[D-57]" in over_soap(home, "MASQUER", " ").text


def test_a_destruction_is_asked_for_at_the_patients_request(home: Home) -> None:
    """The professional hands over the token; only the patient confirms. Clause: R527 2.3"""
    said = send(home.world, etree.fromstring(f'<askDestruction xmlns="{ACTS}"/>'), home.patient_id)
    assert said.status == "DMPOk" and len(said.text) >= 12
    refused = send(home.world, etree.fromstring(f'<askDestruction xmlns="{ACTS}"/>'), home.patient_id, "staff")
    assert refused.status == "DMPAccessDeniedByRightsService"


# -- at the terminal --------------------------------------------------------------------------------------------------


def test_commands(home: Home, tmp_path: Path) -> None:
    """As the patient, as his representative; a refusal is status 1, a CX that is none 2."""
    stored = home.deposit()
    told = json.loads(run(home.world, "document", "mask", home.patient_id, stored.unique_id, "--as", "patient",
                          "--json"))
    assert told == {"document": stored.unique_id, "act": "mask", "by": "patient"}
    assert not home.reads("colleague", stored.unique_id)
    home.with_mother()
    run(home.world, "document", "unmask", home.patient_id, stored.unique_id, "--as", MOTHER)
    assert home.reads("colleague", stored.unique_id)
    refused = run(home.world, "document", "hide", home.patient_id, stored.unique_id, "--as", MOTHER, expect=1)
    assert "DMPAccessDeniedByRightsService" in refused
    refused = run(home.world, "document", "unmask", home.patient_id, stored.unique_id, "--as", "nobody", expect=1)
    assert "representative" in refused
    run(home.world, "document", "mask", "nobody", stored.unique_id, expect=2)
    run(home.world, "document", "mask", home.patient_id, stored.unique_id, "--as", "card", expect=2)


@pytest.mark.parametrize("act", list(Act))
def test_every_command_has_an_example(home: Home, act: Act) -> None:
    assert "Example:" in run(home.world, "document", act.value, "--help")
