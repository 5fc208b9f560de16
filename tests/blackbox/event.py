"""A test event as the manual tells a tester to set one up: an empty folder, `carnet init`, `carnet serve all ...`.

Only commands and sockets: what is served is what a stranger meets. ``CARNET_BLACKBOX`` names another `carnet`
program than the one of this tree.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from tests.blackbox import meta, wire

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
QUERIES = {
    "FindDocuments": "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
    "FindSubmissionSets": "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9",
    "FindFolders": "urn:uuid:958f3006-baad-4929-a4de-ff1114824431",
    "GetAll": "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3",
    "GetDocuments": "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4",
    "GetFolders": "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4",
    "GetAssociations": "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155",
    "GetDocumentsAndAssociations": "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a",
    "GetSubmissionSets": "urn:uuid:51224314-5390-4169-9b91-b1980040715a",
    "GetSubmissionSetAndContents": "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83",
    "GetFolderAndContents": "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7",
    "GetFoldersForDocument": "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578",
    "GetRelatedDocuments": "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6",
    "FindDocumentsByReferenceId": "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492",
    "FindDocumentsForMultiplePatients": "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f",
    "FindFoldersForMultiplePatients": "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df",
}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def mllp(port: int, *messages: str, context: ssl.SSLContext | None = None) -> list[str]:
    """Send framed messages over one connection and return the acknowledgements."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        link = context.wrap_socket(plain, server_hostname="127.0.0.1") if context else plain
        for message in messages:
            link.sendall(b"\x0b" + message.encode() + b"\x1c\x0d")
            data = b""
            while not data.endswith(b"\x1c\x0d"):
                chunk = link.recv(65536)
                assert chunk, f"the connection ended before an acknowledgement: {data!r}"
                data += chunk
            assert data.startswith(b"\x0b")
            answers.append(data[1:-2].decode())
    return answers


@dataclass
class Event:
    """A served installation of the `connectathon` domain."""

    folder: Path
    credentials: str
    ports: list[int] = field(default_factory=lambda: free_ports(7))
    process: subprocess.Popen[bytes] | None = None
    last: int = 0
    peers: dict[str, wire.Peer] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        names = (
            "REGISTRY__PORT",
            "REPOSITORY__PORT",
            "REGISTRY__ADMIN_PORT",
            "REPOSITORY__ADMIN_PORT",
            "REGISTRY__MLLP_PORT",
        )
        found = dict(os.environ) | {
            "CARNET_DATA": str(self.folder / "data"),
            "CARNET_PIN": "0000",
            "PYTHONPATH": str(ROOT),
        }
        found |= {f"CARNET__{name}": str(port) for name, port in zip(names, self.ports, strict=False)}
        if self.credentials == "off":
            found |= {"CARNET__REGISTRY__MLLP_TLS": "false"}
            found |= {
                "CARNET__REGISTRY__HTTP_PORT": str(self.ports[5]),
                "CARNET__REPOSITORY__HTTP_PORT": str(self.ports[6]),
            }
        return found

    def carnet(self, *words: str, expect: int | None = 0) -> str:
        """Run a command as the manual prints it; its output. ``expect`` None: any refusal, with what it says."""
        program = os.environ.get("CARNET_BLACKBOX")
        start = [program] if program else [sys.executable, "-m", "carnet"]
        done = subprocess.run(
            [*start, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        wanted = (1, 2) if expect is None else (expect,)
        assert done.returncode in wanted, f"carnet {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if expect != 0 else "")

    def start(self, extra_settings: str = "") -> Event:
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "codes.xml", self.folder / "codes.xml")
        self.carnet("init")
        if extra_settings:
            settings = self.folder / "data" / "carnet.toml"
            settings.write_text(
                settings.read_text("utf-8").replace("[replies]", "[replies]\n" + extra_settings), "utf-8"
            )
        program = os.environ.get("CARNET_BLACKBOX")
        start = [program] if program else [sys.executable, "-m", "carnet"]
        self.process = subprocess.Popen(
            [
                *start,
                "serve",
                "all",
                "--domain",
                "connectathon",
                "--codes",
                "codes.xml",
                "--credentials",
                self.credentials,
            ],
            cwd=self.folder,
            env=self.environment,
            stdout=(self.folder / "out.txt").open("wb"),
            stderr=subprocess.STDOUT,
        )
        for port in self.ports[2:4]:
            self._wait_ready(port)
        context = self.tls()
        self.peers = {
            "registry": wire.Peer("127.0.0.1", self.ports[0], "/services/registry", context),
            "repository": wire.Peer("127.0.0.1", self.ports[1], "/services/repository", context),
        }
        return self

    def _wait_ready(self, port: int) -> None:
        for _ in range(300):
            try:
                if urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200:
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert self.process is not None and self.process.poll() is None, (self.folder / "out.txt").read_text()
                time.sleep(0.1)
        raise AssertionError("the services did not become ready")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)

    def tls(self, card: Path | None = None) -> ssl.SSLContext:
        """A client context that trusts the installation; with the certificate of ``card``."""
        context = ssl.create_default_context(cafile=self.folder / "data" / "pki" / "trust" / "ca.pem")
        if card is not None:
            pem = card.with_suffix(".pem")
            if not pem.exists():
                key, certificate, others = pkcs12.load_key_and_certificates(card.read_bytes(), b"0000")
                assert key is not None and certificate is not None
                pem.write_bytes(
                    key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                    + b"".join(c.public_bytes(Encoding.PEM) for c in [certificate, *others])
                )
            context.load_cert_chain(pem)
        return context

    @property
    def registry(self) -> wire.Peer:
        return self.peers["registry"]

    @property
    def repository(self) -> wire.Peer:
        return self.peers["repository"]

    # -- patients
    def adt(self, event: str, pid3: str, mrg1: str = "", *, kind: str = "") -> str:
        self.last += 1
        structure = kind or {"A40": "ADT^A40^ADT_A39"}.get(event, f"ADT^{event}^ADT_A01")
        lines = [
            f"MSH|^~\\&|SOURCE|EVENT|CARNET|EVENT|20260314120000||{structure}|TM{self.last}|P|2.3.1||||||UNICODE UTF-8",
            f"EVN|{event}|20260314120000",
            f"PID|||{pid3}||Doe^Jane||19790514|F",
            f"MRG|{mrg1}" if mrg1 else "PV1||O",
        ]
        return "\r".join(lines) + "\r"

    def feed(self, *messages: str) -> list[str]:
        return mllp(self.ports[4], *messages)

    def patient(self) -> str:
        """A new patient, made known by ITI-8."""
        self.last += 1
        number = f"BB-{os.getpid()}-{self.last}"
        (ack,) = self.feed(self.adt("A04", f"{number}^^^&{meta.AUTHORITY}&ISO"))
        assert "|AA|" in ack.replace("\r", "|").replace("MSA|", "|MSA|"), ack
        return f"{number}^^^&{meta.AUTHORITY}&ISO"

    # -- transactions
    def register(self, submission: meta.Set | str) -> wire.Reply:
        return self.registry.call(wire.R, submission if isinstance(submission, str) else submission.xml())

    def provide(self, submission: meta.Set) -> wire.Reply:
        """ITI-41 with each entry's bytes as a part."""
        documents = "".join(meta.document(e.id, f"cid:{e.id}@tester") for e in submission.entries)
        parts = [(f"{e.id}@tester", e.data) for e in submission.entries]
        return self.repository.call_mtom(wire.P, meta.provide(submission, documents), parts)

    def stored(self, patient: str, **changes: Any) -> meta.Entry:
        """A registered document with a UUID of its own."""
        entry = meta.Entry(patient, **({"id": meta.new_uuid()} | changes))
        good(self.register(meta.Set(patient, [entry])))
        return entry

    def ask(self, name: str, *, return_type: str = "LeafClass", **values: Any) -> wire.Reply:
        """A stored query; each keyword is a parameter without its dollar, a list gives several Values."""
        slots = [meta.slot("$" + k, *([v] if isinstance(v, str) else v)) for k, v in values.items()]
        return self.ask_slots(name, *slots, return_type=return_type)

    def ask_slots(self, name: str, *slots: str, **rest: Any) -> wire.Reply:
        action = wire.MPQ if name.endswith("MultiplePatients") else wire.SQ
        return self.registry.call(action, meta.query(QUERIES.get(name, name), *slots, **rest))

    def find(self, patient: str, *, status: str = f"('{meta.APPROVED}')", **values: Any) -> wire.Reply:
        return self.ask(
            "FindDocuments", XDSDocumentEntryPatientId=f"'{patient}'", XDSDocumentEntryStatus=status, **values
        )

    def status_of(self, entry_id: str) -> str:
        reply = self.ask("GetDocuments", XDSDocumentEntryEntryUUID=f"('{entry_id}')", MetadataLevel="2")
        (found,) = reply.objects("ExtrinsicObject")
        return str(found.get("status")).rpartition(":")[2]


def good(reply: wire.Reply) -> wire.Reply:
    """The answer, which must be Success without errors."""
    assert reply.outcome == wire.SUCCESS, reply.errors
    assert not [e for e in reply.errors if e[1] != wire.WARNING]
    return reply


def refused(reply: wire.Reply, *codes: str) -> wire.Reply:
    """The answer, which must be a Failure with one of ``codes`` (any, when none is given) in the shape clients read."""
    assert reply.status == 200
    assert reply.outcome == wire.FAILURE, reply.raw[-1500:]
    assert reply.errors, "a Failure has errors"
    errors = [e for e in reply.errors if e[1] == wire.ERROR]
    assert errors and all(e[1] in (wire.ERROR, wire.WARNING) for e in reply.errors)
    assert all(e[2].strip() for e in reply.errors), "codeContext is not empty"
    assert all("\n" not in e[2] for e in reply.errors), "codeContext is one line"
    highest = reply.find(".//rs:RegistryErrorList").get("highestSeverity")
    assert highest in (None, wire.ERROR)
    if codes:
        assert {e[0] for e in errors} & set(codes), f"expected one of {codes}, found {reply.errors}"
    return reply


def pair(value: str, scheme: str) -> str:
    """A code as a list parameter."""
    return "('{}^^{}')".format(value.replace("'", "''"), scheme)
