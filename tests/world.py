"""A whole installation for tests: authorities, cards, both services, in this process or as real processes.

``World`` is one installation; ``World.client`` gives a caller with a card. Every test takes patients of its
own, so one installation serves a whole session.
"""

from __future__ import annotations

import atexit
import itertools
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

import storage
from carnet import settings as settings_module
from carnet import wiring
from carnet.assertions import Desk
from carnet.commands import init
from carnet.commands.serve import admin_addresses
from carnet.gate import names
from carnet.settings import Settings
from carnet.supervisor import Supervisor, free_ports
from conformance import frames
from conformance.client import Client, Found, Outcome, Retrieved, bytes_part
from guard.audit.store import AccessLine
from guard.credentials.caller import Caller, Mode
from guard.credentials.cards import Card
from guard.credentials.pki import KeyKind, Pki
from guard.credentials.profiles import Products
from guard.credentials.vihf import Code
from record import lifecycle
from record.store import Kind, Place
from xds.check.query_params import quote, quote_list
from xds.model import DocumentEntry, Submission
from xds.namespaces import APPROVED
from xds.wire.client import Answer, LocalTransport
from xds.wire.exchange import Peer

STRUCTURE = "10B0000001"
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
PHYSICIAN, COLLEAGUE, NURSE = "899700000018", "899700000034", "899700000026"
OPERATOR = Caller(identifier="operator", mode=Mode.NODE)
ROLES = {
    "laboratory": (Code("AUTOMATE", "1.2.250.1.213.1.1.4.6", "Automate"),),
    "staff": (Code("SECRETARIAT_MEDICAL", "1.2.250.1.213.1.1.4.6", "Secrétariat médical"),),
}
REASONED = ("bris_de_glace", "centre_15")
"""Purposes that need a reason; clients give one unless told otherwise."""
_numbers = itertools.count(1)


class Memory:
    """A sink that keeps the bytes."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, chunk: bytes | memoryview) -> None:
        self.data += bytes(chunk)

    def finish(self) -> bytes:
        return self.data

    def abort(self) -> None:
        return


@dataclass
class World:
    """One installation, of the ``dmp`` domain unless its settings name another."""

    folder: Path
    settings: Settings
    cards: dict[str, Card]
    registry: wiring.Service | None = None
    repository: wiring.Service | None = None
    supervisor: Supervisor | None = None
    _clients: dict[str, Client] = field(default_factory=dict)
    _database: storage.SqlRegistryDatabase | None = None

    @classmethod
    def prepare(
        cls, folder: Path, toml: str = "", *, registry: str = "", products: Products = Products.TEST, pki_url: str = "",
        workers: int = 1,
    ) -> World:
        """Make the installation; nothing is served yet. ``registry`` are more lines of that section; ``workers`` is
        the same on every machine, and one where a test is about something else: it starts sooner.
        """
        copy_databases(folder)
        init.create(folder, products=products, pki_url=pki_url)
        ports = free_ports(4)
        (folder / settings_module.FILE_NAME).write_text(
            f"[registry]\nport = {ports[0]}\nadmin_port = {ports[1]}\nworkers = {workers}\n{registry}\n"
            f"[repository]\nport = {ports[2]}\nadmin_port = {ports[3]}\nworkers = {workers}\n{toml}",
            "utf-8",
        )
        pki = Pki.open(folder / "pki")
        cards = {
            "physician": pki.issue_person(PHYSICIAN, "ESSAI", "Anne", specialties=("SM26",), key=KeyKind.EC),
            "colleague": pki.issue_person(COLLEAGUE, "EXEMPLE", "Luc", specialties=("SM26",), key=KeyKind.EC),
            "nurse": pki.issue_person(NURSE, "FICTIF", "Paul", profession=60, label="Infirmier", key=KeyKind.EC),
            "staff": pki.issue_person("3100000017/77", "ACCUEIL", "Ana", profession=None, label="", key=KeyKind.EC),
            "laboratory": pki.issue_structure(STRUCTURE, "LABORATOIRE FICTIF", "Automate", key=KeyKind.EC),
        }
        return cls(folder, settings_module.load(folder), cards)

    def serve_here(self) -> World:
        """Both services in this process, the repository linked straight into the registry."""
        actor = wiring.registry_actor(self.settings)
        self.registry = wiring.registry_service(self.settings, actor)
        link = wiring.link_of(self.settings, self.registry.app)
        self.repository = wiring.repository_service(self.settings, wiring.repository_actor(self.settings, link))
        return self

    def serve_processes(self) -> World:
        """The services as processes under a supervisor, over TLS."""
        self.supervisor = Supervisor(self.folder, names(self.settings), ("--log-level", "warning"))
        self.supervisor.start()
        self.supervisor.wait_ready(admin_addresses(self.settings))
        return self

    def stop(self) -> None:
        if self.supervisor is not None:
            self.supervisor.stop()
        if self._database is not None:
            self._database.close()

    @cached_property
    def desk(self) -> Desk:
        """What these services ask of an assertion."""
        return Desk.of(self.settings)

    def client(self, who: str = "physician", **changes: Any) -> Client:
        """A client with that card; the same one each time unless changed."""
        if not changes and who in self._clients:
            return self._clients[who]
        card = self.cards[who]
        if getattr(changes.get("purpose"), "code", "") in REASONED:
            changes = {"purpose_reason": "essai"} | changes
        values: dict[str, Any] = {"card": card, "structure_id": STRUCTURE, "roles": ROLES.get(who, ())}
        if not self.desk.is_vihf:
            values["sign"] = self.desk.signing(card)
        if self.registry is not None and self.repository is not None:
            peer = Peer("127.0.0.1", card.authentication.certificate.public_bytes(Encoding.DER))
            values["repository"] = LocalTransport(self.repository.app, peer, "https://localhost/services/repository")
            values["registry"] = LocalTransport(self.registry.app, peer, "https://localhost/services/registry")
        else:
            values |= {
                "repository_url": self.settings.repository_url,
                "registry_url": self.settings.registry_url,
                "ca_file": self.folder / "pki" / "trust" / "ca.pem",
            }
        client = Client(**values | changes)
        if not changes:
            self._clients[who] = client
        return client

    def bare_tls(self) -> ssl.SSLContext:
        """A client context without a certificate."""
        return ssl.create_default_context(cafile=self.folder / "pki" / "trust" / "ca.pem")

    # -- patients ---------------------------------------------------------------------------------------
    def patient(self, *, is_open: bool = True, objected_purposes: frozenset[str] = frozenset()) -> str:
        """CX of a new fictive patient, with an open record unless told otherwise; our structure may open it."""
        patient_id = frames.a_patient_id(self.settings.domain.name, f"2790599{next(_numbers):08d}")
        if is_open:
            with self._registry_database() as database, database.write() as unit:
                lifecycle.open_record(
                    unit, patient_id, by=OPERATOR, consent="essai", check_key=False, objected_purposes=objected_purposes
                )
                record = unit.record.find(patient_id)
                assert record is not None
                unit.record.set_place(Place(  # without a line: tests count those of what they do
                    patient_key=record.patient_key, kind=Kind.STRUCTURE, subject=STRUCTURE, basis="consent",
                    since=record.opened_at,
                ))
        return patient_id

    def close(self, patient_id: str) -> None:
        with self._registry_database() as database, database.write() as unit:
            lifecycle.close_record(unit, patient_id, by=OPERATOR, reason="essai")

    def log_of(self, patient_id: str) -> list[AccessLine]:
        with self._registry_database() as database, database.read() as unit:
            record = unit.record.find(patient_id)
            return list(unit.audit.read_for_patient(record.patient_key)) if record else []

    def last_lines(self, count: int = 10) -> list[AccessLine]:
        """Newest lines of both services."""
        lines = self.registry_lines(count)
        with closing(storage.open_repository(self.settings.repository_database)) as database, database.read() as unit:
            lines += unit.audit.read_latest(count)
        return sorted(lines, key=lambda line: line.at)

    def registry_lines(self, count: int) -> list[AccessLine]:
        """Newest lines of the registry, oldest of them first."""
        with self._registry_database() as database, database.read() as unit:
            return sorted(unit.audit.read_latest(count), key=lambda line: line.at)

    @contextmanager
    def _registry_database(self) -> Iterator[storage.SqlRegistryDatabase]:
        """Opened once: every test takes patients, and asks what was logged of them."""
        if self._database is None:
            self._database = storage.open_registry(self.settings.registry_database)
        yield self._database

    # -- exchanges --------------------------------------------------------------------------------------
    def deposit(
        self, submission: Submission, documents: dict[str, bytes] | None = None, who: str = "physician"
    ) -> Outcome:
        """ITI-41 of a submission of ``conformance.frames``; ``documents`` by entry id, default the frames' own."""
        given = documents if documents is not None else contents(submission)
        parts = [(name, bytes_part(data, f"{name}@test", "text/xml")) for name, data in given.items()]
        return self.client(who).provide(submission, parts)

    def register(self, submission: Submission, who: str = "physician") -> Outcome:
        """ITI-42 straight to the registry, where ``direct_registration`` allows it."""
        return self.client(who).register(submission)

    def ask(self, who: str, actor: str, action: str, body: bytes, patient_id: str = "") -> Answer:
        """Any message to the ``registry`` or the ``repository`` of this process, and its answer unread."""
        client = self.client(who)
        transport = client.registry if actor == "registry" else client.repository
        assert transport is not None
        return transport.call(
            f"urn:ihe:iti:2007:{action}",
            [body],
            security=client.security(patient_id),
            mtom=actor == "repository",
            begin_part=Memory,
        )

    def find(
        self, patient_id: str, who: str = "physician", *, statuses: tuple[str, ...] = (APPROVED,), **slots: str
    ) -> Found:
        """FindDocuments; further parameters as ``ClassCode="('10^^1.2')"``."""
        extra = [(f"$XDSDocumentEntry{name}", [value]) for name, value in slots.items()]
        return self.client(who).query(
            FIND_DOCUMENTS,
            [
                ("$XDSDocumentEntryPatientId", [quote(patient_id)]),
                ("$XDSDocumentEntryStatus", [quote_list(statuses)]),
                *extra,
            ],
            patient_id=patient_id,
        )

    def get(
        self, patient_id: str, unique_ids: list[str], who: str = "physician", return_type: str = "LeafClass"
    ) -> Found:
        """GetDocuments by uniqueId."""
        slots = [("$XDSDocumentEntryUniqueId", [quote_list([u]) for u in unique_ids])]
        return self.client(who).query(GET_DOCUMENTS, slots, patient_id=patient_id, return_type=return_type)

    def read(self, patient_id: str, unique_ids: list[str], who: str = "physician") -> tuple[Outcome, list[Retrieved]]:
        """ITI-43 from our repository."""
        wanted = [(self.settings.repository.unique_id, u) for u in unique_ids]
        return self.client(who).retrieve(wanted, Memory, patient_id=patient_id)


def plain_world(folder: Path) -> World:
    """Both services in this process, in the ``connectathon`` domain, for documents of our own repository only."""
    domain = '[domain]\nname = "connectathon"\n'
    return World.prepare(folder, domain, registry='repositories = ["1.2.250.1.999.1.1"]').serve_here()


@cache
def empty_databases() -> Path:
    """Folder of an installation's databases, migrated once in this process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / settings_module.FILE_NAME).touch()
    init.upgrade(folder)
    return folder


def copy_databases(folder: Path) -> None:
    """Databases as ``carnet init`` would make them, which takes them for its own."""
    for name in ("registry", "repository", "tokens"):
        shutil.copytree(empty_databases() / name, folder / name)


def contents(submission: Submission) -> dict[str, bytes]:
    """The bytes that ``frames.valid_entry`` describes, by entry id."""
    return {entry.entry_uuid: frames.content(n) for n, entry in enumerate(submission.entries, 1)}


def codes(outcome: Outcome) -> set[str]:
    """The error codes of an answer."""
    return {error.code for error in outcome.errors}


def unique_ids(found: Found) -> list[str]:
    """uniqueIds of the entries found."""
    return [o.unique_id for o in found.objects if isinstance(o, DocumentEntry)]
