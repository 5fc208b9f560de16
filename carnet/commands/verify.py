"""``carnet verify``"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from carnet import wiring
from carnet.acceptance import trust_of
from carnet.affinity import domain_of
from carnet.commands import verify_wire
from carnet.commands.patient import operator
from carnet.console import DATA, JSON, Misuse, Place, Refused, card_options, client_of, emit, settings_of
from carnet.settings import FILE_NAME, Settings
from carnet.verification import Bytes, Evidence, Report, verify
from guard.audit import access_log
from guard.credentials.certificates import TrustError, TrustStore
from guard.credentials.past import SignerProof
from guard.credentials.xades_read import LARGEST
from guard.policy.facts import EVERYTHING
from registry.store import EntryCriteria, RegistryUnit, SetCriteria
from repository.actor import RepositoryActor
from repository.signed_set import EVENT
from repository.store import KeptProof
from xds import namespaces as ns
from xds.model import DocumentEntry, Submission


@click.command("verify")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--submission", default="", help="uniqueId of the submission set.")
@click.option("--document", default="", help="uniqueId of a document of the set, or of its signature document.")
@click.option("--patient", default="", help="CX of the patient the set must be of.")
@click.option(
    "--signature", "signature_file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A signature document in a file; FILES are the documents it signs.",
)
@click.option(
    "--trust", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of authorities and revocation lists, with --signature or --wire; default: of --data.",
)
@click.option(
    "--proof", "proof_file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What was known of the signer at deposit, as --save-proof wrote it; with --signature or --wire.",
)
@click.option("--save-proof", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a new file.")
@click.option("--partial", "partly", is_flag=True, help="Documents that cannot be read any more do not count.")
@click.option("--wire", is_flag=True, help="Ask the services, with a card, for what they show it of the set.")
@card_options
@DATA
@JSON
def command(
    files: tuple[Path, ...], submission: str, document: str, patient: str, signature_file: Path | None,
    trust: Path | None, proof_file: Path | None, save_proof: Path | None, partly: bool, wire: bool,
    card_file: Place | None, pin_file: Path | None, structure_id: str, purpose: str, repository_url: str,
    registry_url: str, ca: Path | None, data: Path, as_json: bool,
) -> None:
    """Verify the signature of a submission set again: signature block, signer, documents.

    Of a set that is stored here, by its operator; the look is written into the access log. Of files, without an
    installation. Or with --wire of a set that the services show to a card; in dmp they show signature documents to no
    person. Certificates count as they were when the set was signed: that they have expired since is no matter.
    Exit status 0 when all three are valid.

    \b
    Examples:
      carnet verify --submission 2.25.1234 --patient "279059999900134^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet verify --document 2.25.5678 --json
      carnet verify --wire --card anne.p12 --structure 10B0000001 --submission 2.25.1234 --patient "279...^NH"
      carnet verify --signature signature.xml report.xml --trust authorities --proof proof.json
    """
    if (signature_file is None) == (not submission and not document):
        raise Misuse("give --submission or --document, or --signature with the files it signs")
    if wire and (signature_file is not None or files or not patient):
        raise Misuse("--wire goes with --patient, and with --submission or --document")
    if not wire and signature_file is None and (files or trust or proof_file):
        raise Misuse("files, --trust and --proof go with --signature, --trust and --proof with --wire too")
    with TemporaryDirectory(prefix="carnet-verify-") as folder:
        if signature_file is not None:
            evidence = _of_files(signature_file, files, trust, proof_file, data)
        elif wire:
            client = client_of(data, card_file, pin_file, structure_id, purpose, repository_url, registry_url, ca)
            settings = settings_of(data) if (data / FILE_NAME).is_file() else Settings(data=data)
            evidence = verify_wire.evidence(
                client, domain_of(settings), Path(folder), _trusted(trust, data),
                None if proof_file is None else _load(proof_file),
                submission_id=submission, document_id=document, patient=patient,
            )
        else:
            evidence = _of_installation(settings_of(data), submission, document, patient)
        report = verify(evidence)
    if signature_file is None and not wire:
        _log(settings_of(data), evidence, report)
    if save_proof is not None:
        _save(evidence.kept, save_proof)
    good = report.is_good(partial=partly)
    emit(as_json, {**asdict(report), "good": good}, _in_words(report))
    if not good:
        raise SystemExit(1)


def _of_files(
    signature: Path, files: tuple[Path, ...], trust: Path | None, proof: Path | None, data: Path
) -> Evidence:
    return Evidence(
        signature=_bounded(signature), trust=_trusted(trust, data), kept=None if proof is None else _load(proof),
        files={str(file): Bytes.of_file(file) for file in files},
    )


def _trusted(trust: Path | None, data: Path) -> TrustStore:
    """Of that folder, or of the installation. Raises Misuse."""
    try:
        if trust is not None:
            return TrustStore.load(trust)
        settings = settings_of(data)
        return trust_of(settings, domain_of(settings))
    except TrustError as error:
        raise Misuse(str(error)) from error


def _bounded(file: Path) -> bytes:
    if file.stat().st_size > LARGEST:
        raise Refused(f"{file} is larger than a signature document may be, {LARGEST} bytes")
    return file.read_bytes()


def _of_installation(settings: Settings, submission_id: str, document_id: str, patient: str) -> Evidence:
    registry, repository = wiring.registry_actor(settings), wiring.repository_actor(settings)
    with registry.database.read() as unit:
        submission = _submission(unit, submission_id, document_id, patient)
    rules = registry.domain.signatures
    found = [entry for entry in submission.entries if rules.is_signature(entry)]
    if len(found) != 1:
        raise Refused(f"{len(found)} signature documents in submission set {submission.submission_set.unique_id}")
    entry = found[0]
    documents = {e.unique_id: _held(repository, e) for e in submission.entries if e is not entry}
    own, kept = _signature(repository, entry)
    if own is None or own.size > LARGEST:
        raise Refused(f"the signature document {entry.unique_id} is not held here any more")
    return Evidence(
        signature=b"".join(own.chunks()), trust=trust_of(settings, registry.domain), kept=kept, submission=submission,
        entry=entry, documents=documents,
    )


def _submission(unit: RegistryUnit, submission_id: str, document_id: str, patient: str) -> Submission:
    """The set with the documents it brought, as they are registered now; their status does not matter."""
    objects = unit.registry.by_unique_id([submission_id or document_id])
    sets = [o for o in objects if o.kind == "SubmissionSet"]
    if not submission_id:
        sets = [
            known for o in objects if o.kind == "DocumentEntry"
            for a in unit.registry.associations_of(o.patient_key, [o.entry_uuid], frozenset({ns.HAS_MEMBER}))
            if a.target == o.entry_uuid and _is_original(a.slots)
            for known in unit.registry.known([a.source]).values() if known.kind == "SubmissionSet"
        ]
    if not sets:
        raise Refused(f"no submission set of {submission_id or document_id} is registered here")
    one = sets[0]
    found = next(unit.registry.submission_sets(one.patient_key, SetCriteria(entry_uuids=frozenset({one.entry_uuid})),
                                               EVERYTHING))
    if patient:
        record = unit.record.find(patient)
        if record is None or record.patient_key != one.patient_key:
            raise Refused(f"submission set {found.unique_id} is not of this patient")
    members = unit.registry.associations_of(one.patient_key, [one.entry_uuid], frozenset({ns.HAS_MEMBER}))
    original = frozenset(a.target for a in members if a.source == one.entry_uuid and _is_original(a.slots))
    entries = list(unit.registry.entries(one.patient_key, EntryCriteria(entry_uuids=original), EVERYTHING))
    return Submission(found, entries)


def _is_original(slots: dict[str, list[str]]) -> bool:
    return [value.strip() for value in slots.get("SubmissionSetStatus", [])] == ["Original"]


def _held(repository: RepositoryActor, entry: DocumentEntry) -> Bytes | None:
    return _signature(repository, entry)[0]


def _signature(repository: RepositoryActor, entry: DocumentEntry) -> tuple[Bytes | None, KeptProof | None]:
    """The bytes registered, when they are held here, and the proof that was kept beside them."""
    with repository.database.read() as unit:
        for row in unit.documents.find(entry.unique_id):
            if row.sha1.lower() == entry.hash.lower():
                kept = unit.documents.proof(row.key)
                try:
                    repository.documents.open(row.key).close()
                except OSError:
                    continue
                return Bytes(row.size, partial(repository.documents.open, row.key)), kept
    return None, None


def _log(settings: Settings, evidence: Evidence, report: Report) -> None:
    """Clause: ITI TF-3 5.5.7"""
    assert evidence.submission is not None and evidence.entry is not None
    one, repository = evidence.submission.submission_set, wiring.repository_actor(settings)
    told = ", ".join(f"{name} {result.verdict}" for name, result in report.results.items())
    with repository.database.write() as unit:
        unit.audit.append(access_log.signature(
            operator(), trace_id=uuid.uuid4().hex, event=EVENT, patient_id=one.patient_id,
            document=evidence.entry.unique_id, submission_unique_id=one.unique_id,
            signer=f"{report.signed_by} ({told})", peer="",
        ))


def _save(kept: KeptProof | None, file: Path) -> None:
    if kept is None:
        raise Refused("no proof of the signer is kept for this signature")
    content = {
        "accepted_at": kept.accepted_at,
        "chain": [base64.b64encode(each).decode() for each in kept.signer.chain],
        "lists": [base64.b64encode(each).decode() for each in kept.signer.lists],
        "answers": [base64.b64encode(each).decode() for each in kept.signer.answers],
    }
    try:
        with file.open("x", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
    except FileExistsError as error:
        raise Misuse(f"{file} already exists") from error


def _load(file: Path) -> KeptProof:
    try:
        content: dict[str, Any] = json.loads(file.read_text("utf-8"))
        content.setdefault("answers", [])  # of before there were any
        parts = (tuple(base64.b64decode(each, validate=True) for each in content[name])
                 for name in ("chain", "lists", "answers"))
        return KeptProof(SignerProof(*parts), float(content["accepted_at"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Misuse(f"{file} is no proof that --save-proof wrote") from error


def _in_words(report: Report) -> str:
    lines = []
    for name, result in report.results.items():
        lines.append(f"{name:<10} {result.verdict}")
        lines += [f"           {reason}" for reason in result.reasons]
    facts = {"signed by": report.signed_by, "signed at": report.signed_at, "accepted": report.accepted_at,
             "signed": ", ".join(report.signed)}
    return "\n".join([*lines, *(f"{name:<10} {value}" for name, value in facts.items() if value)])
