"""The whole story on one machine, told step by step: ``make demo``.

Two services with mutual TLS, cards, a record with consent, deposits, a search, a retrieve proved byte for
byte, a replacement, and four refusals with the answer the client gets and the line the patient can read.
Everything is real: the commands' own code, the servers' own processes, the databases.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import storage
from carnet import settings as settings_module
from carnet.affinity import domain_of
from carnet.commands import init
from carnet.commands.log import latest
from carnet.commands.patient import operator
from carnet.commands.retrieve import fetch
from carnet.commands.serve import admin_addresses
from carnet.settings import Settings
from carnet.supervisor import Supervisor, free_ports
from conformance.cda import CdaError, Overrides
from conformance.client import Client, Found, Outcome
from conformance.source import Deposit, Source, files_of
from guard.audit.access_log import in_words
from guard.credentials import vihf
from guard.credentials.cards import Card
from guard.credentials.pki import Pki
from record import acts, lifecycle
from record.actor import RecordProblem, RecordRefused
from record.store import Kind
from xds.check.query_params import quote, quote_list
from xds.model import DocumentEntry
from xds.namespaces import APPROVED, DEPRECATED
from xds.wire import tls
from xds.wire.client import FaultReceived

FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
SOURCE_ID = "1.2.250.1.999.1.2"
STRUCTURE = "10B0000001"


class DemoFailed(Exception):
    """A step did not end as it must."""


@dataclass
class Story:
    """Runs the steps and tells each in one line with its time in milliseconds."""

    folder: Path
    tell: Callable[[dict[str, Any]], None]
    steps: int = 0
    settings: Settings = field(init=False)
    clients: dict[str, Client] = field(default_factory=dict)

    def step(self, name: str, act: Callable[[], Any], words: Callable[[Any], str] = str) -> Any:
        """Run one step, tell it, return its result."""
        began = time.perf_counter()
        result = act()
        self.steps += 1
        self.tell(
            {
                "step": self.steps,
                "name": name,
                "ms": round((time.perf_counter() - began) * 1000),
                "result": words(result),
            }
        )
        return result


def run(given: Path | None, tell: Callable[[dict[str, Any]], None]) -> int:
    """The demonstration in a folder of its own, removed at the end. Returns the number of steps.

    ``given`` is a CDA file or a folder of them to carry in place of the two shipped reports.
    Raises DemoFailed; whatever happens, nothing is left running.
    """
    with (
        tempfile.TemporaryDirectory(prefix="carnet-demo-") as name,
        as_file(files("fixtures").joinpath("cda")) as shipped,
    ):
        story = Story(Path(name), tell)
        _prepare(story)
        supervisor = Supervisor(story.folder, ("registry", "repository"), ("--log-level", "error"))
        try:
            story.step(
                "start registry and repository, two processes, mutual TLS",
                lambda: _start(story, supervisor),
                lambda pids: ", ".join(f"{n} pid {p}" for n, p in pids.items()),
            )
            _documents(story, files_of([given]) if given else [shipped / "cr-bio-v1.xml", shipped / "cr-bio-pdf.xml"])
            _replacement(story, shipped)
            _refusals(story, shipped)
            story.step("stop both services", supervisor.stop, lambda _: "nothing left running")
        finally:
            supervisor.stop()
        return story.steps


# -- the stage --------------------------------------------------------------------------------------------


def _prepare(story: Story) -> None:
    story.step(
        "initialise an empty data folder",
        lambda: init.create(story.folder),
        lambda _: "authorities, certificates, databases",
    )
    ports = free_ports(4)
    (story.folder / settings_module.FILE_NAME).write_text(
        f"[registry]\nport = {ports[0]}\nadmin_port = {ports[1]}\n"
        f"[repository]\nport = {ports[2]}\nadmin_port = {ports[3]}\n",
        "utf-8",
    )
    story.settings = settings_module.load(story.folder)
    cards = story.step(
        "issue cards: a physician, a nurse, a second physician, a laboratory",
        lambda: _cards(story),
        lambda made: ", ".join(c.identity.name or c.identity.organisation for c in made.values()),
    )
    for name, card in cards.items():
        story.clients[name] = Client(
            card=card,
            repository_url=story.settings.repository_url,
            registry_url=story.settings.registry_url,
            ca_file=story.settings.pki / "trust" / "ca.pem",
            structure_id=STRUCTURE,
            roles=(vihf.Code("AUTOMATE", "1.2.250.1.213.1.1.4.6", "Automate"),) if name == "laboratory" else (),
        )



def _cards(story: Story) -> dict[str, Card]:
    pki = Pki.open(story.settings.pki)
    return {
        "physician": pki.issue_person("899700000018", "ESSAI", "Anne", specialties=("SM26",)),
        "nurse": pki.issue_person("899700000026", "FICTIF", "Paul", profession=60, label="Infirmier"),
        "colleague": pki.issue_person("899700000034", "EXEMPLE", "Luc", specialties=("SM26",)),
        "laboratory": pki.issue_structure(STRUCTURE, "LABORATOIRE FICTIF", "Automate de dépôt"),
    }


def _start(story: Story, supervisor: Supervisor) -> dict[str, int]:
    supervisor.start()
    supervisor.wait_ready(admin_addresses(story.settings))
    return supervisor.pids()


def _open_record(story: Story, patient_id: str) -> str:
    """Open the record of a (fictive) patient with consent, through the record's own rules; our structure may read it.

    The key of the number is not checked: fictive numbers seldom have the right one.
    """
    database = storage.open_registry(story.settings.registry_database)
    try:
        with database.write() as unit:
            record = lifecycle.open_record(
                unit,
                patient_id,
                by=operator(),
                consent="CONSENTEMENT_OUVERTURE_DMP",
                authorities=domain_of(story.settings).assigning_authorities,
                check_key=False,
            )
            acts.allow(unit, patient_id, STRUCTURE, by=operator(), kind=Kind.STRUCTURE)
        return f"{record.patient_id} {record.status.value}"
    except RecordRefused as refused:
        if refused.problem is RecordProblem.ALREADY_OPEN:
            return f"{patient_id} already open"
        raise
    finally:
        database.close()


def _source(story: Story, who: str, **overrides: Any) -> Source:
    return Source(
        client=story.clients[who],
        domain=domain_of(story.settings),
        source_id=SOURCE_ID,
        overrides=Overrides(**overrides),
    )


def _patient_of(story: Story, file: Path) -> str:
    try:
        return _source(story, "physician").prepare(file)[1].submission_set.patient_id
    except CdaError as error:
        raise DemoFailed(str(error)) from error


# -- the acts ----------------------------------------------------------------------------------------------


def _documents(story: Story, documents: list[Path]) -> None:
    """Open the records, deposit, find, retrieve and prove."""
    if not documents:
        raise DemoFailed("no *.xml file found to carry")
    patients: dict[str, list[Path]] = {}
    for file in documents:
        patients.setdefault(_patient_of(story, file), []).append(file)
    for patient_id in patients:
        story.step("open the patient's record with consent", partial(_open_record, story, patient_id))
    source = _source(story, "laboratory")
    for file in documents:
        story.step(
            f"deposit {file.name}", partial(_deposited, source, file), lambda d: f"{d.status.value} {d.unique_id}"
        )
    for patient_id, files_sent in patients.items():
        found = story.step(
            "find by stored query",
            partial(_find, story, "physician", patient_id),
            lambda f: f"{len(f.objects)} documents",
        )
        names = [o.unique_id for o in found.objects if isinstance(o, DocumentEntry)]
        if len(names) != len(files_sent):
            raise DemoFailed(f"{len(files_sent)} documents deposited, {len(names)} found")
        story.step(
            "retrieve and prove byte-identical",
            partial(_proved, story, patient_id, names, files_sent),
            lambda n: f"{n} documents: hash and size as registered, bytes as sent",
        )


def _deposited(source: Source, file: Path) -> Deposit:
    deposit = source.deposit(file)
    if not deposit.is_done:
        raise DemoFailed(f"{file.name}: {deposit.status.value}: {'; '.join(deposit.messages)}")
    return deposit


def _find(story: Story, who: str, patient_id: str, statuses: tuple[str, ...] = (APPROVED, DEPRECATED)) -> Found:
    found = story.clients[who].query(
        FIND_DOCUMENTS,
        [("$XDSDocumentEntryPatientId", [quote(patient_id)]), ("$XDSDocumentEntryStatus", [quote_list(statuses)])],
        patient_id=patient_id,
    )
    if not found.outcome.is_success:
        raise DemoFailed("; ".join(e.context for e in found.outcome.errors))
    return found


def _proved(story: Story, patient_id: str, unique_ids: list[str], sent: list[Path]) -> int:
    """Retrieve all, in requests of fifty; each must equal the registry's word and a file that was sent."""
    out = story.folder / "retrieved"
    out.mkdir(exist_ok=True)
    originals = {file.read_bytes() for file in sent}
    for start in range(0, len(unique_ids), 50):
        reports, errors = fetch(story.clients["physician"], patient_id, tuple(unique_ids[start : start + 50]), out)
        if errors or not all(r["identical"] for r in reports):
            raise DemoFailed("; ".join(errors) or "a document came back changed")
        if not all(Path(r["file"]).read_bytes() in originals for r in reports):
            raise DemoFailed("a document came back with bytes that were not sent")
    return len(unique_ids)


def _replacement(story: Story, shipped: Path) -> None:
    first, second = shipped / "cr-bio-v1.xml", shipped / "cr-bio-v2.xml"
    patient_id = _patient_of(story, first)
    _open_record(story, patient_id)
    source = _source(story, "laboratory")
    _deposited(source, first)
    story.step(
        "replace the report by its corrected version",
        lambda: _deposited(source, second),
        lambda d: f"{d.status.value}, {d.messages[0] if d.messages else ''}",
    )
    states = story.step(
        "find both versions",
        lambda: _states(story, patient_id, (first, second)),
        lambda s: ", ".join(f"{k}: {v}" for k, v in s.items()),
    )
    if list(states.values()) != ["Deprecated", "Approved"]:
        raise DemoFailed(f"after the replacement: {states}")


def _states(story: Story, patient_id: str, versions: tuple[Path, Path]) -> dict[str, str]:
    names = [_source(story, "physician").prepare(v)[0].unique_id for v in versions]
    states = {
        o.unique_id: o.status.rpartition(":")[2]
        for o in _find(story, "physician", patient_id).objects
        if isinstance(o, DocumentEntry)
    }
    return {name: states.get(name, "absent") for name in names}


# -- refusals ----------------------------------------------------------------------------------------------


def _refusals(story: Story, shipped: Path) -> None:
    report, psychiatric, letter = (
        shipped / n for n in ("cr-bio-v1.xml", "synthese-psychiatrique.xml", "lettre-sortie.xml")
    )
    patient_id = _patient_of(story, report)
    for file in (psychiatric, letter):
        _open_record(story, _patient_of(story, file))
    psychiatric_id = _deposited(_source(story, "physician"), psychiatric).unique_id
    masked_id = _deposited(_source(story, "physician", masked=True), letter).unique_id
    _refused(story, "no client certificate", lambda: _without_certificate(story, patient_id))
    _refused(story, "an expired assertion", lambda: _expired(story, patient_id))
    _refused(
        story,
        "a nurse may not read a psychiatric synthesis",
        lambda: _retrieve(story, "nurse", _patient_of(story, psychiatric), psychiatric_id),
    )
    _refused(
        story,
        "a masked document, asked for by a colleague",
        lambda: _retrieve(story, "colleague", _patient_of(story, letter), masked_id),
    )
    _refused(
        story,
        "the same question for a document that does not exist, for comparison",
        lambda: _retrieve(story, "colleague", _patient_of(story, letter), "1.2.250.1.999.404"),
    )


def _refused(story: Story, name: str, act: Callable[[], str]) -> None:
    answer = story.step(f"refused: {name}", act)
    line = next((found for found in reversed(latest(story.settings, 5)) if found.outcome == "refused"), None)
    if line is None:
        raise DemoFailed(f"{name}: no line in the access log")
    story.tell({"log": f"{in_words(line, 'en')} [{line.reason}; {line.clause}]", "answer": answer})


def _without_certificate(story: Story, patient_id: str) -> str:
    known = story.clients["physician"]
    bare = Client(
        card=known.card,
        repository_url=known.repository_url,
        registry_url=known.registry_url,
        ca_file=known.ca_file,
        structure_id=STRUCTURE,
        tls=tls.calling(story.settings.pki / "trust" / "ca.pem"),
    )
    return _fault(lambda: bare.query(FIND_DOCUMENTS, [], patient_id=patient_id))


def _expired(story: Story, patient_id: str) -> str:
    client = story.clients["physician"]
    assert client.card is not None
    content = vihf.for_card(client.card, structure_id=STRUCTURE, patient_id=patient_id)
    old = vihf.issue(
        content, client.card.signature, now=datetime.now(UTC) - timedelta(hours=2), lifetime=timedelta(hours=1)
    )
    return _fault(lambda: client.query(FIND_DOCUMENTS, [], security=vihf.security_header(old)))


def _fault(act: Callable[[], object]) -> str:
    try:
        act()
    except FaultReceived as fault:
        return f"SOAP fault {fault}"
    raise DemoFailed("the request was accepted")


def _retrieve(story: Story, who: str, patient_id: str, unique_id: str) -> str:
    client = story.clients[who]
    outcome, items = client.retrieve(
        [(story.settings.repository.unique_id, unique_id)], _NoSink, patient_id=patient_id
    )
    if items or outcome.is_success:
        raise DemoFailed(f"{who} was given {unique_id}")
    return _first_error(outcome)


def _first_error(outcome: Outcome) -> str:
    error = outcome.errors[0]
    return f"{error.code}: {error.context}"


class _NoSink:
    """A sink for documents that must not come."""

    def write(self, chunk: bytes | memoryview) -> None:
        raise DemoFailed("a refused document was sent")

    def finish(self) -> None:
        raise DemoFailed("a refused document was sent")

    def abort(self) -> None:
        return
