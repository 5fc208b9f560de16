"""``carnet on-demand``"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import Encoding

from carnet import wiring
from carnet.affinity import domain_of
from carnet.console import (
    DATA,
    JSON,
    Misuse,
    Place,
    Refused,
    Unreachable,
    card_options,
    client_of,
    emit,
    settings_of,
)
from carnet.providers import providers_of
from conformance.client import Client, Exchanged
from repository.on_demand import Enrolment
from repository.on_demand_entries import author, registration
from repository.registry_link import Asked, Asker, Registered, RegistryLink, RegistryUnavailable
from xds.check.query_params import quote, quote_list
from xds.model import Author, DocumentEntry, Submission
from xds.model.datatypes import dtm_text
from xds.namespaces import APPROVED, ON_DEMAND, PROVIDER_SLOT
from xds.wire.client import BadAnswer, FaultReceived, PeerUnreachable

UNKNOWN_PERSON = ("PID-8|U",)
"""What is said of a patient of whom the record says nothing yet."""


@click.group("on-demand")
def command() -> None:
    """Documents made when they are retrieved. PATIENT is a CX: number^^^&OID&ISO^NH."""


@command.command("register")
@click.argument("patient")
@card_options
@click.option("--provider", "name", default="summary", show_default=True, help="Who makes the document.")
@click.option("--language", default="fr-FR", show_default=True, help="Language of the document.")
@DATA
@JSON
def register(
    patient: str,
    card_file: Place | None,
    pin_file: Path | None,
    structure_id: str,
    purpose: str,
    repository_url: str,
    registry_url: str,
    ca: Path | None,
    name: str,
    language: str,
    data: Path,
    as_json: bool,
) -> None:
    """Offer an on-demand document of this patient (ITI-61), in the name of the repository of --data.

    The card answers for it. Safe to repeat with a person's card: what is offered already is not offered twice.

    \b
    Example:
      carnet on-demand register "279...^^^&1.2.250.1.213.1.4.10&ISO^NH" --card anne.p12 --structure 10B0000001
    """
    settings = settings_of(data)
    domain = domain_of(settings)
    try:
        provider = providers_of(settings, domain).get(name)
    except ValueError as error:
        raise Misuse(str(error)) from error
    if provider is None:
        raise Misuse(f"no provider {name!r} in repository.on_demand")
    client = client_of(
        data, card_file, pin_file, structure_id, purpose, repository_url, registry_url, ca, wiring.REPOSITORY_NODE
    )
    link = wiring.link_of(settings)
    try:
        unique_id = "" if client.is_structure else offered(client, patient, name)
        if unique_id:
            emit(as_json, {"uniqueId": unique_id, "status": "already there"}, f"already there  {unique_id}")
            return
        now = dtm_text(datetime.now(UTC))
        entry = provider.describe(enrolment(client, link, patient, holder(client, structure_id), language, now))
        made = registration(entry, provider, domain, settings.repository.unique_id, now)
        answer = offer(client, link, made)
    except FaultReceived as fault:
        raise Refused(str(fault)) from fault
    except (PeerUnreachable, BadAnswer, RegistryUnavailable) as error:
        raise Unreachable(str(error)) from error
    if not answer.is_success:
        raise Refused("\n".join(f"{e.code}: {e.context}" for e in answer.errors))
    unique_id = made.entries[0].unique_id
    emit(as_json, {"uniqueId": unique_id, "status": "registered"}, f"registered  {unique_id}")


def offer(client: Client, link: RegistryLink, made: Submission) -> Registered:
    """ITI-61, and the source's side of it in the log. Clause: ITI TF-2 3.61.5.1.1"""
    one = made.submission_set
    sent = Exchanged(
        transaction="ITI-61", endpoint="", patient_id=one.patient_id, submission_set=one.unique_id,
        documents=tuple(("", entry.unique_id) for entry in made.entries),
    )
    try:
        answer = link.register_on_demand(made, asker(client, one.patient_id))
    except RegistryUnavailable:
        _told(client, replace(sent, failure="no answer"))
        raise
    _told(client, replace(sent, failure=next((e.code for e in answer.errors if e.is_error), "")))
    return answer


def _told(client: Client, exchanged: Exchanged) -> None:
    if client.tell is not None:
        client.tell(exchanged)


def offered(client: Client, patient: str, name: str) -> str:
    """uniqueId of the Approved on-demand entry of this provider that the card finds, "" when there is none."""
    found = client.query(
        "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
        [
            ("$XDSDocumentEntryPatientId", [quote(patient)]),
            ("$XDSDocumentEntryStatus", [quote_list((APPROVED,))]),
            ("$XDSDocumentEntryType", [quote_list((ON_DEMAND,))]),
        ],
        patient_id=patient,
    )
    entries = (o for o in found.objects if isinstance(o, DocumentEntry))
    return next((e.unique_id for e in entries if e.extra_slots.get(PROVIDER_SLOT) == [name]), "")


def enrolment(
    client: Client, link: RegistryLink, patient: str, responsible: Author, language: str, now: str
) -> Enrolment:
    """The patient as the latest document that the card finds names him."""

    def tell(asked: Asked) -> None:
        _told(client, Exchanged(
            transaction="ITI-18", endpoint="", patient_id=patient, query_id=asked.query_id, request=asked.request,
            results=asked.results, failure=asked.failure,
        ))

    latest = link.latest(patient, 1, asker(client, patient), tell) if not client.is_structure else []
    return Enrolment(
        patient_id=patient,
        source_patient_id=latest[0].source_patient_id if latest else patient,
        source_patient_info=tuple(latest[0].source_patient_info) if latest else UNKNOWN_PERSON,
        responsible=responsible,
        since=now,
        language=language,
    )


def asker(client: Client, patient: str) -> Asker:
    """The card's holder, for whom the repository speaks."""
    certificate = client.card.authentication.certificate.public_bytes(Encoding.DER) if client.card else None
    return Asker(client.assertion(patient), certificate, "")


def holder(client: Client, structure_id: str) -> Author:
    """Who the card is issued to, as an author; nobody where credentials are off and there is no card."""
    if client.card is None:
        return Author()
    who = client.card.identity
    if not client.is_structure:
        return author(who.common_name, who.name, structure_id, structure_id)
    return author(f"{who.unit}/{who.common_name}", who.common_name, who.unit, who.organisation)
