"""What the services leave in their outboxes, transaction by transaction, over both forms of the link."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from lxml import etree

import storage
from carnet.cli import main
from carnet.commands.log import messages
from carnet.own_calls import log_to
from carnet.wiring import audit_node, domain_of
from conformance import frames
from conformance.cda import Overrides
from conformance.source import Source
from guard.audit import atna
from tests.feed import Feed, adt, cx, v3
from tests.on_demand_kit import offer, take
from tests.world import FIND_DOCUMENTS, STRUCTURE, World, codes
from xds.namespaces import QUERY
from xds.wire.client import FaultReceived

ANONYMOUS = "http://www.w3.org/2005/08/addressing/anonymous"


class Told:
    """One audit message, read."""

    def __init__(self, xml: str) -> None:
        self.root = etree.fromstring(xml)
        event = self.root.find("EventIdentification")
        assert event is not None
        self.kind = event.find("EventTypeCode").get("csd-code")  # type: ignore[union-attr]
        self.act, self.outcome = event.get("EventActionCode"), event.get("EventOutcomeIndicator")
        self.event = event.find("EventID").get("originalText")  # type: ignore[union-attr]
        self.source = self.root.find("AuditSourceIdentification").get("AuditSourceID")  # type: ignore[union-attr]
        self.who = [p.get("UserID") for p in self.root.iterfind("ActiveParticipant")]
        self.network = [p.get("NetworkAccessPointID") for p in self.root.iterfind("ActiveParticipant")]
        self.what = [o.get("ParticipantObjectID") for o in self.root.iterfind("ParticipantObjectIdentification")]

    @property
    def head(self) -> tuple[Any, ...]:
        return self.kind, self.event, self.act, self.outcome, self.source


def told(world: World, since: dict[str, int], *kinds: str) -> list[Told]:
    """Messages of both services that came after ``since`` (see ``depths``), the registry's first."""
    found = []
    for name, number in since.items():
        for _, rows in outboxes(world, name):
            fresh = [line for key, line in rows if key.number > number]
            for group in atna.grouped(fresh):
                found += [Told(m.xml) for m in atna.messages(group, audit_node(world.settings), name)]
    return [one for one in found if not kinds or one.kind in kinds]


def outboxes(world: World, name: str) -> Any:
    opener = storage.open_registry if name == "registry" else storage.open_repository
    url = world.settings.registry_database if name == "registry" else world.settings.repository_database
    with closing(opener(url)) as database, database.read() as unit:
        yield name, unit.outbox.latest(50)


def last(world: World) -> dict[str, int]:
    """The newest row of each outbox."""
    return {
        name: max((key.number for _, rows in outboxes(world, name) for key, _ in rows), default=0)
        for name in ("registry", "repository")
    }


def test_a_deposit_is_told_by_both_services(world: World, oracles: Path) -> None:
    """ITI-41 and ITI-42 as the repository saw them, ITI-42 as the registry did. Rule: A-20, A-21, A-23"""
    schema = etree.XMLSchema(etree.parse(str(oracles / "audit-xsd" / "dicom2017c.xsd")))
    patient, since = world.patient(), last(world)
    submission = frames.valid_submission("dmp", documents=2, patient_id=patient)
    assert world.deposit(submission).is_success
    registered, provided, sent = told(world, since)
    assert registered.head == ("ITI-42", "Import", "C", "0", "carnet-registry")
    assert provided.head == ("ITI-41", "Import", "C", "0", "carnet-repository")
    assert sent.head == ("ITI-42", "Export", "R", "0", "carnet-repository")
    at_registry = f"{world.settings.registry_url}/services/registry"
    at_repository = f"{world.settings.repository_url}/services/repository"
    person = provided.who[2] or ""
    assert person.startswith("<899700000018@") and person.endswith(">")
    assert provided.who == [ANONYMOUS, at_repository, person]
    assert sent.who == [ANONYMOUS, at_registry]
    assert registered.who == [ANONYMOUS, at_registry, person]
    for one in (registered, provided, sent):
        schema.assertValid(one.root)
        assert one.what == [patient, submission.submission_set.unique_id]


def test_a_refused_deposit_is_told_once_for_each_side(world: World) -> None:
    """By its end: what the repository had already stored is not called a success. Rule: A-22"""
    patient = world.patient()
    submission = frames.valid_submission("dmp", patient_id=patient)
    assert world.deposit(submission).is_success
    since = last(world)
    assert codes(world.deposit(submission)) == {"XDSDuplicateUniqueIdInRegistry"}
    assert [(one.kind, one.event, one.outcome) for one in told(world, since)] == [
        ("ITI-42", "Import", "8"), ("ITI-41", "Import", "8"), ("ITI-42", "Export", "8"),
    ]


def test_a_deposit_the_registry_never_saw_is_no_register(world: World) -> None:
    """A wrong size ends at the repository: no ITI-42 was sent. Rule: A-20"""
    since = last(world)
    submission = frames.valid_submission("dmp", patient_id=world.patient(), size=1)
    assert not world.deposit(submission).is_success
    assert [one.head for one in told(world, since)] == [("ITI-41", "Import", "C", "8", "carnet-repository")]


def test_a_query_is_told_with_its_request(world: World) -> None:
    """The query's id, and the whole AdhocQueryRequest. Rule: A-20, A-24"""
    patient, since = world.patient(), last(world)
    assert world.find(patient).outcome.is_success
    (one,) = told(world, since)
    assert one.head == ("ITI-18", "Query", "E", "0", "carnet-registry")
    assert one.what == [patient, FIND_DOCUMENTS]
    request = etree.fromstring(b64decode(one.root.findtext(".//ParticipantObjectQuery") or ""))
    assert request.tag == f"{{{QUERY}}}AdhocQueryRequest"
    assert patient in "".join(request.itertext())


def test_a_retrieve_is_told_of_the_repository_and_its_caller(world: World) -> None:
    """Who asked the repository, not who asked the registry; what was refused apart. Rule: A-20, A-22, E-18"""
    patient = world.patient()
    submission = frames.valid_submission("dmp", documents=2, patient_id=patient)
    assert world.deposit(submission).is_success
    since = last(world)
    wanted = [entry.unique_id for entry in submission.entries]
    world.read(patient, [*wanted, "1.2.3.4"])
    served, refused = told(world, since)
    assert served.head == ("ITI-43", "Export", "R", "0", "carnet-repository")
    assert refused.head == ("ITI-43", "Export", "R", "8", "carnet-repository")
    assert served.what == [patient, *wanted]
    assert refused.what == ["1.2.3.4"]
    for one in (served, refused):
        assert one.who[:2] == [f"{world.settings.repository_url}/services/repository", ANONYMOUS]
        assert one.network[:2] == ["127.0.0.1", "127.0.0.1"]
        details = {b64decode(d.get("value", "")) for d in one.root.iter("ParticipantObjectDetail")}
        assert details == {world.settings.repository.unique_id.encode()}


def test_a_retrieve_from_another_repository_is_told(here: World) -> None:
    """Its documents never reach the registry; the repository tells."""
    since = last(here)
    here.client().retrieve([("1.2.3", "1.2.3.4")], lambda: None, patient_id=here.patient())  # type: ignore[arg-type,return-value]
    (one,) = told(here, since)
    assert (*one.head, one.what) == ("ITI-43", "Export", "R", "8", "carnet-repository", ["1.2.3.4"])


def test_a_caller_who_is_not_believed_is_told(here: World) -> None:
    """A request without an assertion is a failed login. Rule: A-29"""
    since = last(here)
    client = here.client()
    with pytest.raises(FaultReceived):
        assert client.registry is not None
        client.registry.call(
            "urn:ihe:iti:2007:RegistryStoredQuery",
            [b'<q:AdhocQueryRequest xmlns:q="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"/>'],
        )
    (one,) = told(here, since)
    assert one.head == ("110122", "User Authentication", "E", "8", "carnet-registry")
    assert one.who[1] == f"{here.settings.registry_url}/services/registry"
    assert "899700000018" in (one.who[0] or "")


def test_the_messages_can_be_read_on_the_command_line(here: World) -> None:
    """Of one record, or the newest of both services; as XML or as JSON. Rule: A-20"""
    patient = here.patient()
    assert here.deposit(frames.valid_submission("dmp", patient_id=patient)).is_success
    arguments = ["log", patient, "--atna", "--data", str(here.folder)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert [Told(line).kind for line in done.output.splitlines()] == ["ITI-42"]
    done = CliRunner().invoke(main, ["log", "--all", "--atna", "--last", "3", "--json", "--data", str(here.folder)])
    shown = [json.loads(line)["message"] for line in done.output.splitlines()]
    assert shown == [m.xml for m in messages(here.settings, "", 3)]
    assert CliRunner().invoke(main, ["log", "nobody", "--atna", "--data", str(here.folder)]).exit_code == 2


def test_an_identity_feed_is_told_with_its_message(plain: World) -> None:
    """Added C, revised U; a merge twice: D of the subsumed, U of the surviving identifier; a refused one as failed.

    Rule: F-20. Clause: ITI TF-2 3.8.5
    """
    feed = Feed(plain)
    old, new = feed.new_id(), feed.new_id()
    before = last(plain)
    acks = [feed.send(adt("A01", cx(one))) for one in (old, new)]
    acks += [feed.send(adt("A08", cx(new))), feed.merge(old, new), feed.merge(old, new)]
    found = told(plain, before, "ITI-8")
    assert [(m.act, m.outcome, m.what) for m in found] == [
        ("C", "0", [old]), ("C", "0", [new]), ("U", "0", [new]), ("D", "0", [old]), ("U", "0", [new]),
        ("D", "8", [old]),
    ]
    ids = [acks[n].message_id for n in (0, 1, 2, 3, 3, 4)]
    for message, message_id in zip(found, ids, strict=True):
        assert message.event == "Patient Record"
        assert message.who == ["HOPITAL|SOURCE", "ESSAI|CARNET"]
        (detail,) = message.root.iter("ParticipantObjectDetail")
        assert (detail.get("type"), b64decode(detail.get("value", "")).decode()) == ("MSH-10", message_id)


def test_a_feed_of_hl7_v3_is_told_with_its_message(plain: World) -> None:
    """The same acts; the detail is the II of the message. Rule: F-20. Clause: ITI TF-2 3.44.5"""
    feed = Feed(plain)
    old, new = feed.added(), feed.added()
    before = last(plain)
    message = v3("PRPA_IN201304UV02", new, old)
    answer = plain.client("laboratory").registry.call(  # type: ignore[union-attr]
        "urn:hl7-org:v3:PRPA_IN201304UV02", [etree.tostring(message)], security=b""
    )
    assert answer.body.find(".//{*}typeCode").get("code") == "CA"
    found = told(plain, before, "ITI-44")
    assert [(m.act, m.outcome, m.what) for m in found] == [("D", "0", [old]), ("U", "0", [new])]
    extension = message.find("{*}id").get("extension")
    for one in found:
        (detail,) = one.root.iter("ParticipantObjectDetail")
        assert (detail.get("type"), b64decode(detail.get("value", "")).decode()) == ("II", f"{extension}@2.25.77")
        assert len(one.who) == 2 and one.who[1].endswith("/services/registry")


@pytest.fixture(scope="module")
def audit_schema(oracles: Path) -> etree.XMLSchema:
    """The DICOM audit schema, edition 2017c."""
    return etree.XMLSchema(etree.parse(str(oracles / "audit-xsd" / "dicom2017c.xsd")))


def test_the_queries_of_a_summary_are_told_by_both_sides(world: World, audit_schema: etree.XMLSchema) -> None:
    """The repository asks the registry by ITI-18 for whoever retrieves: consumer and registry tell the same query.

    Rule: A-20, A-23, A-24. Clause: ITI TF-2 3.18.5.1
    """
    patient = world.patient()
    assert world.deposit(frames.valid_submission("dmp", patient_id=patient)).is_success
    entry = offer(world, patient)
    since = last(world)
    take(world, patient, entry)
    found = told(world, since)
    queries = [one for one in found if one.kind == "ITI-18"]
    assert [one.head for one in queries] == [("ITI-18", "Query", "E", "0", f"carnet-{name}")
                                             for name in ("registry",) * 2 + ("repository",) * 2]
    at_registry = f"{world.settings.registry_url}/services/registry"
    for ours, theirs in zip(queries[2:], queries[:2], strict=True):
        audit_schema.assertValid(ours.root)
        assert ours.what[-1] == theirs.what[-1]
        assert ours.what[0] == patient
        asked = [b64decode(one.root.findtext(".//ParticipantObjectQuery") or "").decode() for one in (ours, theirs)]
        assert etree.canonicalize(asked[0]) == etree.canonicalize(asked[1])
        assert (ours.who[0], ours.who[2]) == (ANONYMOUS, at_registry)
        assert (ours.who[1] or "").startswith("<899700000018@")
    sent = [one.head for one in found if one.event == "Export" and one.source == "carnet-repository"]
    assert ("ITI-42", "Export", "R", "0", "carnet-repository") in sent


def test_the_command_line_tells_its_side(live: World, audit_schema: etree.XMLSchema, tmp_path: Path) -> None:
    """Source of ITI-41 and ITI-61, consumer of ITI-18 and ITI-43: each beside what the service tells.

    Rule: A-20, A-23. Clause: ITI TF-2 3.18.5.1, 3.41.5.1, 3.43.5.1, 3.61.5.1
    """
    patient = live.patient()
    environment = {"CARNET_DATA": str(live.folder), "CARNET_PIN": "pin-7391", "CARNET_STRUCTURE": STRUCTURE}
    card = ("--card", str(tmp_path / "anne.p12"))

    def run(*words: str) -> str:
        done = CliRunner().invoke(main, list(words), env=environment)
        assert done.exit_code == 0, f"{words}: {done.output} {done.exception!r}"
        return done.stdout

    run("card", "issue", "person", "899700000018", "--surname", "ESSAI", "--given", "Anne", "--specialty", "SM26",
        "--out", card[1])  # fmt: skip
    since = last(live)
    report = tmp_path / "report.xml"
    shipped = Path("fixtures/cda/cr-bio-v1.xml").read_text("utf-8")
    report.write_text(re.sub(r'<id root="[0-9.]+"', f'<id root="{frames.new_oid()}"', shipped, count=1), "utf-8")
    sent = json.loads(run("send", str(report), "--patient", patient, *card, "--json"))
    run("retrieve", patient, sent["unique_id"], *card, "--out", str(tmp_path))
    run("on-demand", "register", patient, *card)
    own = [one for one in told(live, since) if one.source == "carnet-client"]
    heads = {one.head[:4] for one in own}
    assert heads == {
        ("ITI-41", "Export", "R", "0"), ("ITI-18", "Query", "E", "0"), ("ITI-43", "Import", "C", "0"),
    }
    of_source = [one for one in told(live, since, "ITI-61") if one.source == "carnet-repository"]
    assert [one.head[:4] for one in of_source] == [("ITI-61", "Export", "R", "0")]
    for one in (*own, *of_source):
        audit_schema.assertValid(one.root)
        assert any((who or "").startswith("<899700000018@") for who in one.who)
        assert all(one.network[i] for i, who in enumerate(one.who) if not (who or "").startswith("<"))
    (retrieved,) = [one for one in own if one.kind == "ITI-43"]
    assert retrieved.what == [patient, sent["unique_id"]]
    assert retrieved.who[0] == f"{live.settings.repository_url}/services/repository"


def test_a_signature_made_at_the_command_line_is_told(
    live: World, audit_schema: etree.XMLSchema, tmp_path: Path
) -> None:
    """Once made, whatever becomes of the deposit; and the repository tells that it has verified it.

    Rule: A-20. Clause: ITI TF-3 5.5.7
    """
    patient, client = live.patient(), live.client()
    report = tmp_path / "report.xml"
    shipped = Path("fixtures/cda/cr-bio-v1.xml").read_text("utf-8")
    report.write_text(re.sub(r'<id root="[0-9.]+"', f'<id root="{frames.new_oid()}"', shipped, count=1), "utf-8")
    source = Source(
        client=client, domain=domain_of(live.settings), source_id="1.2.250.1.999.3",
        overrides=Overrides(patient_id=patient), signs=True,
    )
    since = last(live)
    log_to(live.settings, client)
    try:
        deposited = source.deposit(report)
    finally:
        client.tell = None
    assert deposited.is_done, deposited
    verified, signed = sorted(told(live, since, "urn:ihe:iti:dsg"), key=lambda one: one.event)
    assert signed.head[1:] == ("Signed Manifest", "C", "0", "carnet-client")
    assert verified.head[1:] == ("Report Verification", "R", "0", "carnet-repository")
    assert signed.what == verified.what and signed.what[0] == patient
    assert (signed.who[1] or "").startswith("<899700000018@")
    audit_schema.assertValid(signed.root)


def test_a_refused_call_of_the_command_line_is_told_as_one(live: World, tmp_path: Path) -> None:
    """With the code of the answer. Rule: A-22"""
    nobody = live.patient(is_open=False)
    client = live.client()
    told_of = log_to(live.settings, client)
    try:
        since = last(live)
        refused = client.provide(frames.valid_submission("dmp", patient_id=nobody, documents=0), [])
        assert not refused.is_success and told_of is client.tell
        (one,) = [m for m in told(live, since) if m.source == "carnet-client"]
        assert (*one.head[:4], one.what[0]) == ("ITI-41", "Export", "R", "8", nobody)
    finally:
        client.tell = None


def test_a_removal_by_the_operator_is_told_by_both_sides(plain: World, audit_schema: etree.XMLSchema) -> None:
    """The administrator that removes, and the actor removed from; the metadata and then the bytes.

    Rule: A-20. Clause: ITI TF-2 3.62.5, 3.86.5
    """
    patient = plain.patient()
    made = frames.valid_submission(plain.settings.domain.name, patient_id=patient)
    assert plain.deposit(made).is_success
    since = last(plain)
    done = CliRunner().invoke(main, ["remove", made.entries[0].unique_id, "--yes", "--data", str(plain.folder)])
    assert done.exit_code == 0, done.output
    found = told(plain, since)
    assert [one.head for one in found] == [
        (name, "Patient Record", "D", "0", f"carnet-{side}")
        for name, service in (("ITI-62", "registry"), ("ITI-86", "repository"))
        for side in (service, "administrator")
    ]
    for one in found:
        audit_schema.assertValid(one.root)
        assert one.who[0] == ANONYMOUS and (one.who[1] or "").startswith("operator")
    assert found[2].what == found[3].what == [made.entries[0].unique_id]
