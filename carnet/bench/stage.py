"""Installations to measure: authorities, a card, filled registries, running services. All in one folder."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import storage
from carnet import settings as settings_module
from carnet.bench.messages import DOMAIN
from carnet.commands import init
from carnet.commands.serve import admin_addresses
from carnet.settings import Settings
from carnet.supervisor import Supervisor, free_ports
from conformance import frames
from guard.credentials.pki import Pki
from record import acts
from record.actor import system
from record.store import Kind
from storage.bulk import bulk_load
from xds.model import Association, DocumentEntry, Submission, SubmissionSet
from xds.namespaces import APPROVED

PIN = "0000"
AUTHOR = "899900000017"
"""Who sends: the author the shipped report names."""
STRUCTURE = "10B0000001"
AUTHORITY = "1.2.250.1.213.1.4.10"
QUERIED, DEPOSITED = (f"{number}^^^&{AUTHORITY}&ISO^NH" for number in ("279059999900134", "279035121518989"))
"""The patient that is asked for, and the one that receives deposits."""
DOCUMENTS = 100
"""Documents of the patient that is asked for, in a registry of any size."""
PER_PATIENT = 30
PER_SUBMISSION = 5

Progress = Callable[[int], None]
"""Told how many entries have been added since the last time."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One installation; its services run while ``running`` is entered."""

    folder: Path
    entries: int
    settings: Settings

    @property
    def card(self) -> Path:
        return self.folder / "card.p12"

    @property
    def anchors(self) -> Path:
        return self.settings.pki / "trust" / "ca.pem"


def prepare(folder: Path, entries: int, progress: Progress) -> Stage:
    """An installation whose registry holds ``entries`` DocumentEntries; one already made is used again."""
    done = folder / "filled"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        init.create(folder)
        card = Pki.open(folder / "pki").issue_person(AUTHOR, "BIOLOGISTE-FICTIF", "Alix", specialties=("SM03",))
        card.save(folder / "card.p12", PIN)
        fill(settings_module.load(folder).registry_database, entries, progress)
        done.write_text(f"{entries}\n", "ascii")
    init.upgrade(folder)
    _authorise(settings_module.load(folder).registry_database)
    ports = free_ports(4)
    (folder / settings_module.FILE_NAME).write_text(
        f"[registry]\nport = {ports[0]}\nadmin_port = {ports[1]}\n"
        f"[repository]\nport = {ports[2]}\nadmin_port = {ports[3]}\n",
        "utf-8",
    )
    return Stage(folder, entries, settings_module.load(folder))


@contextmanager
def running(stage: Stage, names: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """The services, ready; process numbers by name. They are stopped at the end, whatever happens."""
    supervisor = Supervisor(stage.folder, names)
    supervisor.start()
    try:
        addresses = admin_addresses(stage.settings)
        supervisor.wait_ready({name: addresses[name] for name in names})
        yield supervisor.pids()
    finally:
        supervisor.stop()


# -- content of a registry --------------------------------------------------------------------------------------


def fill(url: str, entries: int, progress: Progress) -> None:
    """``entries`` documents of patients who have about thirty each, a hundred of them of the queried patient.

    Patients come in random order, as in life, and the loader sorts 5 000 submissions at a time: the rows of one
    patient lie together within a batch, and in as many places of a large file as there were batches.
    """
    storage.upgrade_registry(url)
    bulk_load(url, _submissions(entries, random.Random(entries), progress))  # noqa: S311 - test data


def _authorise(url: str) -> None:
    """The structure of the bench may open the records it works with."""
    database = storage.open_registry(url)
    try:
        with database.write() as unit:
            for patient_id in (QUERIED, DEPOSITED):
                if unit.record.find(patient_id) is not None:
                    acts.allow(unit, patient_id, STRUCTURE, by=system("bench"), kind=Kind.STRUCTURE, days=0)
    finally:
        database.close()


def _submissions(entries: int, rng: random.Random, progress: Progress) -> Iterator[tuple[str, Submission]]:
    pattern = frames.valid_submission(DOMAIN)
    others = max(1, entries // PER_PATIENT)
    queried = 0
    made = 0
    yield DEPOSITED, submission_like(pattern, DEPOSITED, 1, rng)
    made += 1
    while made < entries:
        if queried < DOCUMENTS and made >= queried * (entries // DOCUMENTS):
            patient_id, size = QUERIED, 1
            queried += 1
        else:
            patient_id = f"{1_000_000_000 + rng.randrange(others)}^^^&{AUTHORITY}&ISO^NH"
            size = min(PER_SUBMISSION, entries - made - (DOCUMENTS - queried))
            if size <= 0:
                patient_id, size = QUERIED, 1
                queried += 1
        yield patient_id, submission_like(pattern, patient_id, size, rng)
        made += size
        progress(size)


def submission_like(pattern: Submission, patient_id: str, size: int, rng: random.Random) -> Submission:
    """A submission like the pattern, with ``size`` documents and identifiers of its own."""
    day = f"20{rng.randrange(10, 26)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"
    submission_set: SubmissionSet = replace(
        pattern.submission_set, entry_uuid=_urn(rng), unique_id=_oid(rng), patient_id=patient_id, status=APPROVED,
        submission_time=f"{day}110000",
    )
    entries: list[DocumentEntry] = []
    associations: list[Association] = []
    for _ in range(size):
        entry = replace(
            pattern.entries[0], entry_uuid=_urn(rng), unique_id=_oid(rng), patient_id=patient_id, status=APPROVED,
            creation_time=f"{day}1{rng.randrange(10)}3000", repository_unique_id="1.2.250.1.999.1.1",
        )
        entry.logical_id, entry.version = entry.entry_uuid, 1
        entries.append(entry)
        associations.append(
            replace(
                pattern.associations[0], entry_uuid=_urn(rng), source=submission_set.entry_uuid,
                target=entry.entry_uuid, status=APPROVED,
            )
        )
    return Submission(submission_set, entries, [], associations)


def _urn(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _oid(rng: random.Random) -> str:
    return f"2.25.{rng.getrandbits(125)}"
