"""``carnet send``"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import click

from carnet.affinity import domain_of
from carnet.console import DATA, JSON, Misuse, Place, card_options, client_of, is_secret, settings_of
from conformance.cda import CdaError, OverrideError, Overrides, read_overrides
from conformance.source import Deposit, NotKept, Source, Status, files_of
from guard.credentials.cards import write_private
from xds import domain as domains
from xds.model import DocumentEntry, Submission

SOURCE_ID = "1.2.250.1.999.1.2"


@click.command("send")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@card_options
@click.option("--source-id", default=SOURCE_ID, show_default=True, help="OID of the sending system.")
@click.option(
    "--override",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file with metadata that win over the CDA header.",
)
@click.option("--patient", default="", help="CX in place of the patient identifier of the CDA header.")
@click.option(
    "--sign", is_flag=True, help="Sign the submission set with the card's signature key, also where it is optional."
)
@click.option(
    "--save-signature", type=click.Path(path_type=Path),
    help="Keep the signature document too: a new file, or a folder that gets one for each file. Goes with a signature.",
)
@click.option("--dry-run", is_flag=True, help="Show the metadata derived from the header; send nothing.")
@DATA
@JSON
def command(
    paths: tuple[Path, ...],
    card_file: Place | None,
    pin_file: Path | None,
    structure_id: str,
    purpose: str,
    repository_url: str,
    registry_url: str,
    ca: Path | None,
    source_id: str,
    override: Path | None,
    patient: str,
    sign: bool,
    save_signature: Path | None,
    dry_run: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Deposit CDA files, or folders of them, as a laboratory does. Safe to repeat.

    \b
    Examples:
      carnet send report.xml --card card.p12 --structure 10B0000001
      carnet send report.xml --card card.p12 --structure 10B0000001 --sign --save-signature signature.xml
      carnet send report.xml --card card.p12 --structure 10B0000001 --secret
      carnet send outbox/ --card lab.p12 --pin-file pin.txt --json
      carnet send report.xml --card card.p12 --dry-run
    """
    domain = _domain(data, repository_url)
    files = files_of(list(paths))
    try:
        overrides = read_overrides(override, domain) if override else Overrides()
    except OverrideError as error:
        raise Misuse(str(error)) from error
    if patient:
        overrides = replace(overrides, patient_id=patient)
    if is_secret():
        overrides = replace(overrides, invisible_to_representatives=True)
    client = client_of(data, card_file, pin_file, structure_id, purpose, repository_url, registry_url, ca)
    source = Source(client=client, domain=domain, source_id=source_id, overrides=overrides, signs=sign)
    if save_signature is not None:
        if client.card is None or not (sign or domain.signatures.deposit == "required"):
            raise Misuse("--save-signature goes with --sign and a card")
        source.keep = _keeper(save_signature, len(files))
    if dry_run:
        raise SystemExit(_dry_run(source, files, as_json))
    raise SystemExit(_send(source, files, as_json))


def _keeper(place: Path, files: int) -> Callable[[DocumentEntry, bytes], Path]:
    """Writes signature documents to a new file, or to a folder by their uniqueId, with rights for their owner alone."""
    if place.is_dir():
        return lambda entry, data: _kept(place / f"{entry.unique_id}.xml", data)
    if files > 1:
        raise Misuse(f"{place} is no folder, and there are {files} files to sign")
    if place.exists():
        raise Misuse(f"{place} already exists")
    if not place.absolute().parent.is_dir():
        raise Misuse(f"there is no folder {place.absolute().parent}")
    return lambda _, data: _kept(place, data)


def _kept(file: Path, data: bytes) -> Path:
    """Whole or not at all: under another name until all of it is on the disk. Raises NotKept."""
    partial = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        write_private(partial, data)
        try:
            os.link(partial, file)
        finally:
            partial.unlink()
    except OSError as error:
        raise NotKept(f"nothing was sent: the signature cannot be kept in {file}: {error.strerror}") from error
    return file


def _domain(data: Path, repository_url: str) -> domains.AffinityDomain:
    """The domain of the installation; a sender without one speaks the default domain."""
    return (
        domains.load("dmp") if repository_url and not (data / "carnet.toml").exists() else domain_of(settings_of(data))
    )


def _send(source: Source, files: list[Path], as_json: bool) -> int:
    """Deposit each; a line each, a bar for many, a report at the end. Returns the exit status."""
    reports: list[Deposit] = []
    quiet = as_json or len(files) == 1
    with click.progressbar(
        length=len(files), label="depositing", hidden=quiet, file=sys.stderr
    ) as bar:
        for file in files:
            report = source.deposit(file)
            reports.append(report)
            bar.update(1)
            if as_json:
                click.echo(json.dumps({**asdict(report), "status": report.status.value}, ensure_ascii=False))
    if not as_json:
        for report in reports:
            click.echo(in_words(report))
        if len(reports) > 1:
            counts = Counter(r.status.value for r in reports)
            click.echo(f"{len(reports)} files: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    if any(r.status is Status.UNREACHABLE for r in reports):
        return 3
    return 0 if all(r.is_done for r in reports) else 1


def in_words(report: Deposit) -> str:
    """One line, and one for each message."""
    head = f"{report.status.value:<13} {Path(report.file).name}" + (f"  {report.unique_id}" if report.unique_id else "")
    kept = [f"its signature is in {report.signature}"] if report.signature else []
    return "\n".join([head, *(f"    {message}" for message in [*report.messages, *kept])])


def _dry_run(source: Source, files: list[Path], as_json: bool) -> int:
    status = 0
    for file in files:
        try:
            _, submission = source.prepare(file)
        except CdaError as error:
            click.echo(str(error), err=True)
            status = 1
            continue
        facts = metadata_of(submission)
        if as_json:
            click.echo(json.dumps({"file": str(file), **facts}, ensure_ascii=False))
        else:
            click.echo(f"{file.name}")
            for name, value in facts.items():
                click.echo(f"  {name:<30} {value}")
    return status


def metadata_of(submission: Submission) -> dict[str, str]:
    """The metadata a person wants to see before sending, as text."""
    entry, one = submission.entries[0], submission.submission_set
    shown = {
        "uniqueId": entry.unique_id,
        "patientId": entry.patient_id,
        "sourcePatientId": entry.source_patient_id,
        "title": entry.title[0].value if entry.title else "",
        "mimeType": entry.mime_type,
        "creationTime": entry.creation_time,
        "serviceStartTime": entry.service_start_time,
        "serviceStopTime": entry.service_stop_time,
        "languageCode": entry.language_code,
        "legalAuthenticator": entry.legal_authenticator,
        "hash": entry.hash,
        "size": str(entry.size or ""),
        "author": " | ".join(v for a in entry.authors for v in (*a.person, *a.institutions, *a.specialties)),
        "submissionSet.uniqueId": one.unique_id,
        "submissionSet.submissionTime": one.submission_time,
    }
    codes = {
        "classCode": entry.class_code,
        "typeCode": entry.type_code,
        "formatCode": entry.format_code,
        "practiceSettingCode": entry.practice_setting_code,
        "healthcareFacilityTypeCode": entry.healthcare_facility_type_code,
        "contentTypeCode": one.content_type_code,
    }
    shown |= {name: f"{code.key} {code.display}".strip() for name, code in codes.items() if code}
    shown["confidentialityCode"] = ", ".join(c.key for c in entry.confidentiality_codes)
    shown["eventCodeList"] = ", ".join(c.key for c in entry.event_codes)
    return {name: value for name, value in shown.items() if value}
