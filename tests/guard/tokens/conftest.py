"""A token service beside both other services, and a real OpenID provider."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

import storage
from carnet import settings as settings_module
from carnet import token_service, wiring
from carnet.supervisor import free_ports
from conformance.client import Client, Found
from conformance.token_client import TokenClient
from guard.audit.store import AccessLine
from guard.credentials import vihf
from guard.credentials.cards import Card
from guard.credentials.pki import KeyKind, Pki
from tests.openid_provider import PEOPLE, Provider
from tests.world import FIND_DOCUMENTS, PHYSICIAN, STRUCTURE, World
from xds.check.query_params import quote, quote_list
from xds.namespaces import APPROVED
from xds.wire.client import LocalTransport
from xds.wire.exchange import Peer

OTHER_STRUCTURE = "10B0000099"
CLIENT, OTHER_CLIENT = "lps-1", "lps-2"
SECTOR = f"SA01^{vihf.SECTORS}"
ACTIVITY = {
    "codeModeExercice": "S", "codeSecteurDactivite": "SA01", "codeSectionPharmacien": "", "codeRole": "",
    "numeroSiretSite": "", "numeroSirenSite": "", "numeroFinessSite": "0B0000001", "raisonSocialeSite": "FICTIF",
    "ancienIdentifiantDeLaStructure": "", "identifiantTechniqueDeLaStructure": "F0B0000001",
}
"""An activity in the structure of the tests, in the form of Pro Santé Connect."""
EXERCISE = {
    "codeProfession": "10", "codeCategorieProfessionnelle": "C", "nomDexercice": "ESSAI", "prenomDexercice": "Anne",
    "codeTypeSavoirFaire": "S", "codeSavoirFaire": "SM26", "activities": [ACTIVITY],
}
ANNE: dict[str, Any] = {
    "sub": "f:essai:899700000018", "SubjectNameID": PHYSICIAN, "family_name": "ESSAI", "given_name": "Anne",
    "SubjectRole": ["10^1.2.250.1.213.1.1.5.5"], "SubjectRefPro": {"exercices": [EXERCISE]},
}
"""A fictive physician."""


def a_person(name: str, **changes: Any) -> str:
    """Make a fictive person known to the provider; returns who to log in."""
    PEOPLE[name] = copy.deepcopy(ANNE) | changes
    return name


@dataclass
class Desk:
    """One installation with a token service. ``secrets`` are those of the provider's clients."""

    world: World
    provider: Provider
    secrets: dict[str, str]
    cards: dict[str, Card] = field(default_factory=dict)
    service: wiring.Service | None = None

    @classmethod
    def prepare(cls, folder: Path, provider: Provider, secrets: dict[str, str], domain: str, **changes: Any) -> Desk:
        """``changes`` are settings of the token service; ``listed`` False leaves it unlisted."""
        world = World.prepare(folder)
        listed = changes.pop("listed", True)
        ports = free_ports(2)
        chosen: dict[str, Any] = {
            "enabled": True, "port": ports[0], "admin_port": ports[1], "issuer": provider.issuer,
            "keys": provider.keys, "userinfo": provider.userinfo, "provider_ca": str(provider.ca_file),
            "clients": [f"{CLIENT}={STRUCTURE}", f"{OTHER_CLIENT}={OTHER_STRUCTURE}"],
        } | changes
        file = folder / settings_module.FILE_NAME
        text = file.read_text("utf-8") + f'[domain]\nname = "{domain}"\n'
        text += '[credentials]\ntoken_services = ["' + (signer_sha256(folder) if listed else "") + '"]\n'
        if domain == "connectathon":
            text = text.replace('[domain]\n', '[domain]\ncredentials = "assertion"\n')
        text += "[tokens]\n" + "".join(f"{k} = {settings_module._toml(v)}\n" for k, v in chosen.items())
        file.write_text(text, "utf-8")
        world.settings = settings_module.load(folder)
        cards = world.cards | {
            "other": Pki.open(folder / "pki").issue_structure(OTHER_STRUCTURE, "AUTRE", "Logiciel", key=KeyKind.EC),
        }
        return cls(world, provider, secrets, cards)

    def serve_here(self) -> Desk:
        self.world.serve_here()
        self.service = token_service.token_service(self.world.settings)
        self.service.began()
        return self

    def asking(self, who: str) -> TokenClient:
        """A client of the token service that connects with that card."""
        assert self.service is not None
        peer = Peer("127.0.0.1", self.cards[who].authentication.der)
        return TokenClient(LocalTransport(self.service.app, peer, "https://localhost/services/tokens"))

    def login(self, user: str, client: str = CLIENT, **how: Any) -> dict[str, str]:
        return self.provider.login(client, self.secrets[client], user, **how)

    def by_card(self, who: str = "physician", patient_id: str = "", **claims: str) -> bytes:
        given = {vihf.STRUCTURE: STRUCTURE, vihf.SECTOR: SECTOR} | claims
        return self.asking(who).issue(given | ({vihf.RESOURCE_ID: patient_id} if patient_id else {}))

    def using(self, who: str, assertion: bytes) -> Client:
        """A client of registry and repository that connects with that card and sends that assertion."""
        self.world.cards.setdefault(who, self.cards[who])
        return self.world.client(who, sign=lambda _: assertion)

    def find(self, who: str, assertion: bytes, patient_id: str) -> Found:
        slots = [("$XDSDocumentEntryPatientId", [quote(patient_id)]),
                 ("$XDSDocumentEntryStatus", [quote_list([APPROVED])])]  # fmt: skip
        return self.using(who, assertion).query(FIND_DOCUMENTS, slots, patient_id=patient_id)

    def lines(self, count: int = 5) -> list[AccessLine]:
        """The newest lines of the token service's own log, newest first."""
        database = storage.open_tokens(self.world.settings.tokens_database)
        try:
            with database.read() as unit:
                return list(unit.audit.read_latest(count))[::-1]
        finally:
            database.close()


def signer_sha256(folder: Path) -> str:
    data = (folder / "pki" / "servers" / "tokens-sign.pem").read_bytes()
    return x509.load_pem_x509_certificates(data)[0].fingerprint(hashes.SHA256()).hex()


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    running = Provider.start(tmp_path_factory.mktemp("provider"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def secrets(provider: Provider) -> dict[str, str]:
    return {client: provider.register(client) for client in (CLIENT, OTHER_CLIENT)}


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, provider: Provider, secrets: dict[str, str]) -> Desk:
    """In ``dmp``, the token service listed."""
    return Desk.prepare(tmp_path_factory.mktemp("tokens"), provider, secrets, "dmp").serve_here()


@pytest.fixture(scope="session")
def unlisted(tmp_path_factory: pytest.TempPathFactory, provider: Provider, secrets: dict[str, str]) -> Desk:
    """In ``dmp``, where no operator has listed the token service."""
    return Desk.prepare(tmp_path_factory.mktemp("unlisted"), provider, secrets, "dmp", listed=False).serve_here()


@pytest.fixture(scope="session")
def event(tmp_path_factory: pytest.TempPathFactory, provider: Provider, secrets: dict[str, str]) -> Desk:
    """In ``connectathon``: plain XUA."""
    return Desk.prepare(tmp_path_factory.mktemp("event"), provider, secrets, "connectathon").serve_here()
