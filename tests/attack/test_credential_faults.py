"""Every fault of a credential at every endpoint: the fault, the status, a line in the log, and nothing changed.

The endpoints are those the services have, so that a new one is in the table by itself. Requests go through the whole
WSGI application, HTTP head and body included; only the handshake is left out, which ``test_assertions_on_the_wire``
has.
"""

from __future__ import annotations

import base64
import io
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from lxml import etree

import record.td.app
import registry.app
import repository.app
from carnet import gate
from carnet import settings as settings_module
from carnet.token_service import signer_of, token_service
from conformance import frames
from conformance.client import bytes_part
from conformance.negative_assertions import CASES
from conformance.negative_kit import Kit, put
from conformance.spoiled_assertions import add_code
from guard.credentials import identity, vihf
from guard.credentials.caller import Mode
from guard.credentials.cards import Card, KeyPair
from guard.credentials.pki import Pki
from guard.credentials.vouched import BROWSER_LOGIN, listed
from tests.attack.test_assertions import STEPS
from tests.world import World, contents
from xds.ebxml import write
from xds.namespaces import SOAP12, WSA_ANONYMOUS
from xds.wire import pace
from xds.wire.addressing import new_message_id, request_headers
from xds.wire.exchange import Peer, Transaction
from xds.wire.http import PEER_KEY
from xds.wire.mime import multipart_response
from xds.wire.soap12 import write_envelope
from xds.wire.xml import parse

MALFORMED = {"instructioninnameid"}
"""Refused by the hardened parser before anybody looks for an assertion: no security fault, no refused login."""
AT_THE_DOOR = {"revokedconnection", "foreignauthority", "noclientcertificate"}
"""Refused by the certificate of the connection."""
NOBODY = "The caller could not be authenticated"
UNTOLD = {
    "revoked", "revokedconnection", "expiredcertificate", "foreignauthority", "attackercertificate",
    "invalidx509certificate", "authenticationkeysigns", "connectionofanother", "noclientcertificate",
    "signed by a production product", "connected by a production product", "signed by a product of no category",
    "signed by a certificate of tomorrow", "connected by a certificate of tomorrow",
    "connected by a certificate of the past", "the same ID again", "token service in direct mode",
    "token service in indirect mode", "token by an unknown proof", "token of another card",
    "token of a card, by a structure", "token of a login, by a card", "token of a login at another structure",
    "token that was cancelled",
}
"""Wrong card, expired, revoked, unknown issuer, wrong product: one answer."""
NODE_ONLY = ("/internal/registry",)
SHARED = ("/services/registry", "/services/repository")
BY_NODES = ("ITI-42", "ITI-61")
WITHOUT_ASSERTION = ("ITI-44", "reconcile", "erasures")
"""The certificate alone tells who asks."""
REGISTER = """id,name,versions,profiles,from,until
CARNET-TEST,Carnet,0.1..,creation alimentation consultation,2020-01-01,
OLD-1,Ancien,,creation alimentation consultation,2020-01-01,2021-01-01
NEW-1,Futur,,creation alimentation consultation,2999-01-01,
RANGE-1,Plage,2.0..2.4,creation alimentation consultation,,
NONE-1,Sans profil,,,,
"""


@dataclass(frozen=True)
class Endpoint:
    service: str
    path: str
    transaction: Transaction
    by_node: bool = False
    """The request comes from our repository, and speaks for the peer of the case."""

    def __str__(self) -> str:
        return f"{self.path} {self.transaction.name}{' by a node' if self.by_node else ''}"


@dataclass(frozen=True)
class Fault:
    """A spoiled credential of this table's own. ``says`` changes a good VIHF; ``make`` gives assertion and peer."""

    step: str
    subcode: str
    make: Callable[[Kit, Pki], tuple[bytes, bytes]]


# -- the table's own faults --------------------------------------------------------------------------------------------


def said(step: str, subcode: str, **changes: Any) -> Fault:
    """A card says something it may not."""
    return Fault(step, subcode, lambda kit, _: (kit.sign(kit.build(replace(kit.says(), **changes))), _der(kit.card)))


def vouched(step: str, subcode: str, **changes: Any) -> Fault:
    """A structure vouches for something it may not."""

    def make(kit: Kit, _: Pki) -> tuple[bytes, bytes]:
        says = vihf.for_card(kit.structure, name_id="899900000055", subject_name="DUPONT Ida",
                             roles=(vihf.Code("60", vihf.PROFESSIONS),))
        root = kit.build(replace(says, **changes), kit.structure)
        return kit.sign(root, kit.structure.signature), _der(kit.structure)

    return Fault(step, subcode, make)


def without(attribute: str) -> Fault:
    """An attribute is missing that the reference makes mandatory."""

    def make(kit: Kit, _: Pki) -> tuple[bytes, bytes]:
        root = kit.build()
        for found in root.iter("{*}Attribute"):
            if found.get("Name") == attribute:
                found.getparent().remove(found)  # type: ignore[union-attr]
        return kit.sign(root), _der(kit.card)

    return Fault("o", "InvalidSecurityToken", make)


def twice(attribute: str) -> Fault:
    """An attribute that says two things."""

    def make(kit: Kit, _: Pki) -> tuple[bytes, bytes]:
        root = kit.build()
        vihf.text_attribute(root.find("{*}AttributeStatement"), attribute, "other")  # type: ignore[arg-type]
        return kit.sign(root), _der(kit.card)

    return Fault("o", "InvalidSecurityToken", make)


def reissued(step: str, *, tls: bool = False, category: int | None = 0x80, days: int = 0) -> Fault:
    """The certificate of the card as its own authority would have issued it otherwise."""

    def make(kit: Kit, pki: Pki) -> tuple[bytes, bytes]:
        pair = kit.card.authentication if tls else kit.card.signature
        changed = KeyPair(key=pair.key, certificate=_reissue(pki, pair.certificate, category, days))
        signing = kit.card.signature if tls else changed
        peer = changed.der if tls else _der(kit.card)
        return kit.sign(kit.build(), signing), peer

    return Fault(step, "FailedAuthentication", make)


def same_id(kit: Kit, _: Pki) -> tuple[bytes, bytes]:
    root = kit.build()
    root.set("ID", SHOWN_BEFORE)
    return kit.sign(root), _der(kit.card)


def tokens(step: str, subcode: str, *, who: str = "card", cancel: bool = False, **changes: Any) -> Fault:
    """The token service, which is listed, says something it may not, or its word is used by somebody else."""

    def make(kit: Kit, pki: Pki) -> tuple[bytes, bytes]:
        says = {"mode": Mode.REINFORCED_INDIRECT, "context_declaration": vihf.SMARTCARD_PKI} | changes
        data = pki.folder.parent
        assertion = vihf.issue(replace(kit.says(), **says), signer_of(settings_module.load(data)))  # type: ignore[arg-type]
        if cancel:
            root = etree.fromstring(assertion)
            key = (root.findtext("{*}Issuer", ""), str(root.get("ID")))
            (data / "tokens" / "cancelled.json").write_bytes(listed([key]))
        return assertion, _der(getattr(kit, who))

    return Fault(step, subcode, make)


def two_purposes(kit: Kit, _: Pki) -> tuple[bytes, bytes]:
    root = kit.build(replace(kit.says(), purpose_reason="essai"))
    add_code(root, vihf.PURPOSE, "PurposeOfUse", vihf.EMERGENCY_CENTRE)
    return kit.sign(root), _der(kit.card)


SHOWN_BEFORE = "_shown-before"
TEXTS = (
    vihf.VIHF_VERSION, vihf.AUTHENTICATION_MODE, vihf.STRUCTURE, vihf.SECTOR, vihf.ROLE, vihf.RESOURCE, vihf.PURPOSE,
    vihf.SOFTWARE_NAME, vihf.SOFTWARE_VERSION, vihf.HOMOLOGATION,
)
TOKEN, WHO = "InvalidSecurityToken", "FailedAuthentication"
PHYSICIAN = vihf.Code("10", vihf.PROFESSIONS)
BY_ROLE = vihf.Code("99", "1.2.250.1.213.1.6.1.140")
OWN: dict[str, Fault] = {
    **{f"missing {name}": without(name) for name in TEXTS},
    **{f"twice {name}": twice(name) for name in TEXTS if name not in (vihf.ROLE, vihf.PURPOSE)},
    "version 5": said("o", TOKEN, version="5.0"),
    "name too long": said("o", TOKEN, software_name="x" * 257),
    "profile too long": said("o", TOKEN, software_id="x" * 257),
    "structure of no form": said("o", TOKEN, structure_id="10B"),
    "sector without system": said("o", TOKEN, sector="SA01"),
    "unknown sector": said("o", TOKEN, sector=f"SA99^{vihf.SECTORS}"),
    "specialty first": vouched("o", TOKEN, roles=(vihf.Code("SM26", vihf.SPECIALTIES), PHYSICIAN)),
    "physician without specialty": said("o", TOKEN, roles=(PHYSICIAN,)),
    "break glass without reason": said("o", TOKEN, purpose=vihf.BREAK_GLASS),
    "emergency centre without reason": said("o", TOKEN, purpose=vihf.EMERGENCY_CENTRE, purpose_reason=" "),
    "two modes of access": Fault("o", TOKEN, two_purposes),
    "two professions": vouched("o", TOKEN, roles=(vihf.Code("60", vihf.PROFESSIONS), PHYSICIAN)),
    "patient of no form": said("o", TOKEN, patient_id="279035121518989"),
    "another person": said("g", WHO, name_id="899900000022"),
    "person of no form": vouched("l", TOKEN, name_id="nobody"),
    "another profession": said("g", WHO, roles=(vihf.Code("60", vihf.PROFESSIONS),)),
    "another specialty": said("g", WHO, roles=(PHYSICIAN, vihf.Code("SM54", vihf.SPECIALTIES))),
    "direct by password": said("m", WHO, context_class=vihf.CLASSES + "Password"),
    "indirect by a card": said("g", WHO, mode=Mode.INDIRECT),
    "reinforced by a card": said("g", WHO, mode=Mode.REINFORCED_INDIRECT, context_declaration="urn:x"),
    "reinforced without declaration": vouched("o", TOKEN, mode=Mode.REINFORCED_INDIRECT),
    "direct by a structure": vouched("g", WHO, mode=Mode.DIRECT),
    "another structure": vouched("g", WHO, structure_id="10B0999999"),
    "internal to another": vouched("g", WHO, name_id="10B0999999/7"),
    "indirect without a name": vouched("o", TOKEN, subject_name=""),
    "role without its second": vouched("o", TOKEN, roles=(BY_ROLE,)),
    "signed by a production product": reissued("g", category=0x00),
    "connected by a production product": reissued("tls", tls=True, category=0x03),
    "signed by a product of no category": reissued("g", category=None),
    "signed by a certificate of tomorrow": reissued("g", days=1),
    "connected by a certificate of tomorrow": reissued("tls", tls=True, days=1),
    "connected by a certificate of the past": reissued("tls", tls=True, days=-4000),
    "the same ID again": Fault("n", WHO, same_id),
    "token service in direct mode": tokens("g", WHO, mode=Mode.DIRECT),
    "token service in indirect mode": tokens("g", WHO, mode=Mode.INDIRECT),
    "token without a proof": tokens("o", TOKEN, context_declaration=""),
    "token by an unknown proof": tokens("g", WHO, context_declaration="SOMETHING"),
    "token of another card": tokens("tls", WHO, who="other"),
    "token of a card, by a structure": tokens("tls", WHO, who="structure"),
    "token of a login, by a card": tokens("tls", WHO, context_declaration=BROWSER_LOGIN),
    "token of a login at another structure": tokens(
        "tls", WHO, who="structure", context_declaration=BROWSER_LOGIN, structure_id="10B0999999"
    ),
    "token that was cancelled": tokens("g", WHO, cancel=True),
    "unknown software": said("software", WHO, homologation="NOBODY-1"),
    "software of the past": said("software", WHO, homologation="OLD-1"),
    "software of the future": said("software", WHO, homologation="NEW-1"),
    "software too old": said("software", WHO, homologation="RANGE-1", software_version="1.9"),
    "software too new": said("software", WHO, homologation="RANGE-1", software_version="2.10"),
    "software without version": said("software", WHO, software_version="beta"),
}


def _der(card: Card) -> bytes:
    return card.authentication.der


def _reissue(pki: Pki, old: x509.Certificate, category: int | None, days: int) -> x509.Certificate:
    key = load_pem_private_key((pki.folder / "private" / "persons.key").read_bytes(), None)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(old.subject).issuer_name(old.issuer).public_key(old.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now + timedelta(days=days, hours=-1))
        .not_valid_after(now + timedelta(days=days + 30))
    )
    for extension in old.extensions:
        if extension.oid != identity.PRODUCT_CATEGORY:
            builder = builder.add_extension(extension.value, extension.critical)
        elif category is not None:
            (value,) = identity.extensions(
                card_type=None, card_number="", category=category, profession=None, specialties=()
            )
            builder = builder.add_extension(value, extension.critical)
    return builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]


# -- the world, and one request ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "register").mkdir()
    (folder / "register" / "software.csv").write_text(REGISTER, "utf-8")
    toml = (
        f'[credentials]\nsoftware_folder = "{folder / "register"}"\n'
        '[replies]\nallowed = ["https://localhost/elsewhere"]'
    )
    world = World.prepare(folder / "data", toml)
    service = signer_of(world.settings).certificate.fingerprint(hashes.SHA256()).hex()
    file = world.folder / settings_module.FILE_NAME
    text = file.read_text("utf-8").replace("[credentials]\n", f'[credentials]\ntoken_services = ["{service}"]\n')
    file.write_text(text + "\n[tokens]\nenabled = true\n", "utf-8")
    world.settings = settings_module.load(world.folder)
    return world


@pytest.fixture(scope="module")
def world(prepared: World, kit: Kit) -> Iterator[World]:
    """Served once every card is made and revoked: a change of the lists takes two seconds to be noticed."""
    kept, pace.STEP = pace.STEP, 1e-6
    yield prepared.serve_here()
    pace.STEP = kept


@pytest.fixture(scope="module")
def pki(prepared: World) -> Pki:
    return Pki.open(prepared.folder / "pki")


@pytest.fixture(scope="module")
def kit(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(pki, tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def credentials(kit: Kit, pki: Pki) -> dict[str, tuple[bytes, bytes]]:
    """The table's own faults, made once: a fault does not depend on where it is shown."""
    return {name: fault.make(kit, pki) for name, fault in OWN.items()}


CERTIFICATE_ALONE = [
    ("registry", path, name) for path, names in registry.app.PATHS.items() for name in sorted(names)
    if name in WITHOUT_ASSERTION
]
"""Every address of every transaction that a certificate alone opens."""
PLACES = [
    (service, path, name, False)
    for service, paths in (
        ("registry", registry.app.PATHS | record.td.app.PATHS), ("repository", repository.app.PATHS),
    )
    for path, names in paths.items() for name in sorted(names) if name not in WITHOUT_ASSERTION
]
"""Every address of every transaction that an assertion opens; True: the answer is wanted elsewhere."""
ELSEWHERE = [
    ("registry", "/services/registry/iti18", "ITI-18", True),
    ("repository", "/services/repository/iti41", "ITI-41", True),
    ("repository", "/services/repository/iti43", "ITI-43", True),
]


TOKENS: dict[Path, Any] = {}


def application_of(world: World, service: str) -> Any:
    """Registry, repository, or the token service of that installation."""
    if service != "tokens":
        return getattr(world, service)
    if world.folder not in TOKENS:
        TOKENS[world.folder] = token_service(world.settings)
    return TOKENS[world.folder]


def endpoint_of(world: World, service: str, path: str, name: str) -> Endpoint:
    application = application_of(world, service)
    (transaction,) = (one for one in application.app._by_path[path].values() if one.name == name)
    return Endpoint(service, path, transaction, by_node=path in NODE_ONLY or name in BY_NODES)


@dataclass(frozen=True)
class Answer:
    status: int
    trace_id: str
    subcode: str
    reason: str


def request(
    world: World, endpoint: Endpoint, message: bytes, peer: bytes | None, parts: tuple[Any, ...] = ()
) -> Answer:
    action = endpoint.transaction.action
    content_type = f'application/soap+xml; charset=UTF-8; action="{action}"'
    if endpoint.transaction.mtom:
        listed, _, blocks = multipart_response([message], parts, action)
        content_type, message = dict(listed)["Content-Type"], b"".join(blocks)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": endpoint.path, "QUERY_STRING": "",
        "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(message)), "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "localhost", "SERVER_PORT": "0", "SERVER_PROTOCOL": "HTTP/1.1",
        PEER_KEY: Peer("127.0.0.1", peer), "wsgi.input": io.BytesIO(message), "wsgi.url_scheme": "https",
    }
    if endpoint.by_node and peer is not None:
        environ[PEER_KEY] = Peer("127.0.0.1", node(world))
        environ["HTTP_X_ON_BEHALF"] = base64.b64encode(peer).decode()
    told: list[Any] = []
    application = application_of(world, endpoint.service)
    data = b"".join(application.app(environ, lambda status, headers: told.append((status, dict(headers)))))
    status, headers = told[0]
    is_fault = headers.get("Content-Type", "").startswith("application/soap+xml") and data
    root = parse(data) if is_fault else None
    value = None if root is None else root.find(f".//{{{SOAP12}}}Subcode/{{{SOAP12}}}Value")
    reason = None if root is None else root.find(f".//{{{SOAP12}}}Reason/{{{SOAP12}}}Text")
    return Answer(
        int(status.split()[0]), headers["X-Trace-Id"], "" if value is None else str(value.text).partition(":")[2],
        "" if reason is None else str(reason.text),
    )


def node(world: World) -> bytes:
    certificate = Pki.open(world.folder / "pki").server(gate.REPOSITORY_NODE).certificate
    return certificate.public_bytes(Encoding.DER)


def body_of(world: World, endpoint: Endpoint, patient: str) -> tuple[list[bytes], tuple[Any, ...]]:
    """A request that would change or show something, where that is easily written; else the empty element."""
    name = endpoint.transaction.name
    if name in ("ITI-41", "ITI-42"):
        submission = frames.valid_submission("dmp", patient_id=patient)
        if name == "ITI-42":
            for entry in submission.entries:
                entry.repository_unique_id = world.settings.repository.unique_id
            return [write.submit_objects_request(submission)], ()
        parts = [bytes_part(data, f"{one}@test", "text/xml") for one, data in contents(submission).items()]
        documents = zip(contents(submission), (part.content_id for part in parts), strict=True)
        return write.provide_and_register_request(submission, documents), tuple(parts)
    if name == "ITI-43":
        return [write.retrieve_request([(world.settings.repository.unique_id, "1.2.3")])], ()
    return [empty(endpoint)], ()


def empty(endpoint: Endpoint) -> bytes:
    return etree.tostring(etree.Element(endpoint.transaction.body))


def envelope(endpoint: Endpoint, body: list[bytes]) -> bytes:
    head = request_headers(endpoint.transaction.action, new_message_id(), "https://localhost/")
    return b"".join(write_envelope(head, body))


def state(world: World) -> dict[str, int]:
    """Rows of every table but the logs, and the documents."""
    found: dict[str, int] = {}
    for url in (world.settings.registry_database, world.settings.repository_database):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                if "access_log" not in table and "outbox" not in table:
                    found[table] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    documents = Path(world.settings.documents)
    found["files"] = sum(1 for one in documents.rglob("*") if one.is_file())
    return found


def lines(world: World) -> dict[str, list[tuple[str, str]]]:
    """Trace to (clause, reason) of the refused logins of both services."""
    found: dict[str, list[tuple[str, str]]] = {}
    for url, table in (
        (world.settings.registry_database, "access_log"), (world.settings.repository_database, "repository_access_log"),
        (world.settings.tokens_database, "tokens_access_log"),
    ):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            query = f"SELECT trace_id, clause, reason FROM {table} WHERE action = 'refused login'"
            for trace, clause, reason in connection.execute(query):
                found.setdefault(trace, []).append((clause, reason))
    return found


def is_told(endpoint: Endpoint, found: list[str], clause: str) -> bool:
    """One line; two where the registry, asked for the answer, has refused before the repository that was asked."""
    return found == [clause] or (endpoint.transaction.asks_another and len(found) == 2 and found[1] == clause)


def clause_of(step: str) -> str:
    return {"software": "DMP homologation", "tls": "ITI TF-2 3.19", "node": "ITI TF-2 3.19"}.get(
        step, f"ITI TF-2 3.40.4.1.3, step {step}"
    )


# -- the table ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patient(world: World) -> str:
    return world.patient()


def test_the_table_has_every_endpoint_of_the_reference() -> None:
    """Otherwise it would prove less than it says."""
    names = {name for _, _, name, _ in PLACES}
    assert names >= {f"ITI-{number}" for number in (18, 41, 42, 43, 51, 57, 61, 62, 86, 92)}
    assert names >= {"setAuthorization", "patientList", "listAuthorizationByPatient", "PRPA_IN201311UV02", "readLog",
                     "retrieve decision"}


@pytest.mark.parametrize(("service", "path", "name", "elsewhere"), PLACES + ELSEWHERE)
def test_every_fault_at_every_endpoint(
    world: World, kit: Kit, credentials: dict[str, tuple[bytes, bytes]], patient: str, service: str, path: str,
    name: str, elsewhere: bool,
) -> None:
    """The fault of the table, HTTP 400, one line in the log with its step, and nothing is stored.

    At an address that serves many transactions one fault of each step and kind, at a transaction's own all of them.
    Where the answer is wanted elsewhere, the refusal comes back on the connection all the same. Where nobody is
    proved to have said anything, the words are the same for every cause.

    Step: a, b, c, d, e, f, g, i, j, k, l, m, n, o
    """
    endpoint = endpoint_of(world, service, path, name)
    body, parts = body_of(world, endpoint, patient)
    message = envelope(endpoint, body)
    if elsewhere:
        message = message.replace(WSA_ANONYMOUS.encode(), b"https://localhost/elsewhere")
    is_short = elsewhere or path in SHARED
    shown = kit.build(replace(kit.says(), purpose_reason="first"))
    shown.set("ID", SHOWN_BEFORE)
    first = put(envelope(endpoint, [empty(endpoint)]), vihf.security_header(kit.sign(shown)))
    request(world, endpoint, first, _der(kit.card))
    before = state(world)
    expected: dict[str, tuple[str, str]] = {}
    problems = []
    met: set[tuple[str, str]] = set()
    for fault, spoiled, peer, step, subcode in faults(kit, credentials, message):
        if (endpoint.by_node and peer is None) or (is_short and (step, subcode) in met):
            continue
        met.add((step, subcode))
        answer = request(world, endpoint, spoiled, peer, parts)
        if (answer.status, answer.subcode) != (400, subcode):
            problems.append((fault, answer, subcode))
        if (fault in UNTOLD) and answer.reason != NOBODY:
            problems.append((fault, answer, NOBODY))
        if subcode:
            expected[answer.trace_id] = (fault, step)
    assert not problems
    assert len(expected) > (15 if is_short else 140)
    assert state(world) == before
    log = lines(world)
    wrong = [
        (fault, step, log.get(trace)) for trace, (fault, step) in expected.items()
        if not is_told(endpoint, [clause for clause, _ in log.get(trace, [])], clause_of(step))
    ]
    assert not wrong


def faults(
    kit: Kit, credentials: dict[str, tuple[bytes, bytes]], message: bytes
) -> Iterator[tuple[str, bytes, bytes | None, str, str]]:
    """(name, message, certificate of the peer, step, subcode)"""
    for name, case in CASES.items():
        if case.fault is None:
            continue
        card = case.peer(kit)
        step = "tls" if name in AT_THE_DOOR else STEPS[name]
        yield name, case.spoil(message, kit), None if card is None else _der(card), step, (
            "" if name in MALFORMED else case.fault[1]
        )
    for name, (assertion, peer) in credentials.items():
        fault = OWN[name]
        yield name, put(message, vihf.security_header(assertion)), peer, fault.step, fault.subcode


def test_a_good_credential_passes_everywhere(world: World, kit: Kit) -> None:
    """The same requests with a good credential meet no security fault, and a deposit is stored."""
    patient, before = world.patient(), state(world)
    for place in PLACES:
        endpoint = endpoint_of(world, *place[:3])
        body, parts = body_of(world, endpoint, patient)
        says = replace(kit.says(), patient_id="")
        good = put(envelope(endpoint, body), vihf.security_header(kit.sign(kit.build(says))))
        answer = request(world, endpoint, good, _der(kit.card), parts)
        assert answer.subcode not in (TOKEN, WHO, "FailedCheck", "InvalidSecurity"), (str(endpoint), answer)
    assert state(world)["document_entry"] > before["document_entry"]
    assert state(world)["files"] > before["files"]
