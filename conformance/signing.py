"""Signing a submission set as a source does: the document, its entry, its place in the set.

Clause: DMP TD2.1 signature document; ITI TF-3 5.5.3, 5.5.4
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from guard.credentials import xades
from guard.credentials.cards import Card
from guard.credentials.identity import Kind
from xds import namespaces as ns
from xds.check.signature_document import LANGUAGE, MEDIA
from xds.domain import AffinityDomain
from xds.model import Association, Author, DocumentEntry, LocalizedString, Submission
from xds.model import datatypes as dt
from xds.model.hl7 import escape

PROFESSIONALS, STRUCTURES = "1.2.250.1.71.4.2.1", "1.2.250.1.71.4.2.2"
ENTRY = "Signature01"
CHUNK = 1 << 20


def sign(
    submission: Submission,
    card: Card,
    domain: AffinityDomain,
    sha256: Mapping[str, str],
    *,
    now: datetime | None = None,
) -> bytes:
    """Sign the set with the card's signature key; the bytes of the signature document, whose entry joins the set.

    ``sha256`` of each document by the id of its entry, hexadecimal. The signer becomes the author of the set when no
    author of it is he. Raises NoSignatureKey.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    one, documents = submission.submission_set, list(submission.entries)
    data = xades.write(
        card.signature, xades.FRENCH if domain.signatures.form == "french" else xades.IHE,
        submission_unique_id=one.unique_id,
        documents=[xades.Signable(entry.unique_id, sha256[entry.entry_uuid]) for entry in documents], now=moment,
    )
    author = signer_as_author(card)
    number = card.identity.common_name if card.kind is Kind.PERSON else card.identity.unit
    if not xades.is_author(card.kind, number, one.authors):
        one.authors = [author]
    submission.entries.append(_entry(documents[0], author, domain, data, moment))
    submission.associations.append(Association(
        entry_uuid="MembershipOfSignature", type=ns.HAS_MEMBER, source=one.entry_uuid, target=ENTRY,
        slots={"SubmissionSetStatus": ["Original"]},
    ))
    submission.associations += [
        Association(entry_uuid=f"Signs{n:02d}", type=ns.SIGNS, source=ENTRY, target=entry.entry_uuid)
        for n, entry in enumerate(documents, 1)
    ]
    return data


def signer_as_author(card: Card) -> Author:
    """The holder of a card as XDS names him, the structure of one as it does."""
    who = card.identity
    if card.kind is Kind.PERSON:
        names = f"{escape(who.common_name)}^{escape(who.surname)}^{escape(who.given_name)}"
        return Author(person=[f"{names}^^^^^^&{PROFESSIONALS}&ISO^D^^^IDNPS"])
    name = escape(who.organisation or who.unit)
    return Author(institutions=[f"{name}^^^^^&{STRUCTURES}&ISO^IDNST^^^{escape(who.unit)}"])


def sha256_of(path: Path) -> str:
    """Of a file, hexadecimal; read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _entry(
    first: DocumentEntry, author: Author, domain: AffinityDomain, data: bytes, moment: datetime
) -> DocumentEntry:
    """What the signature document shares with the documents it signs it takes from the first of them."""
    rules, time = domain.signatures, dt.dtm_text(moment)
    purpose = rules.purpose or f"{xades.SOURCE}^^{xades.PURPOSES}"
    return DocumentEntry(
        entry_uuid=ENTRY,
        mime_type=MEDIA,
        unique_id=f"2.25.{uuid.uuid4().int}",
        patient_id=first.patient_id,
        source_patient_id=first.source_patient_id,
        source_patient_info=list(first.source_patient_info),
        title=[LocalizedString("Source", "fr-FR")],
        authors=[author],
        class_code=domain.code("class_code", rules.class_code) if rules.class_code else first.class_code,
        type_code=domain.code("type_code", rules.type_code) if rules.type_code else first.type_code,
        format_code=domain.code("format_code", rules.format_code),
        practice_setting_code=first.practice_setting_code,
        healthcare_facility_type_code=first.healthcare_facility_type_code,
        confidentiality_codes=[domain.code("confidentiality_codes", key) for key in rules.confidentiality]
        or list(first.confidentiality_codes),
        event_codes=[domain.code("event_codes", purpose)],
        creation_time=time,
        service_start_time=time,
        service_stop_time=time,
        language_code=LANGUAGE,
        legal_authenticator=author.person[0] if author.person else first.legal_authenticator,
        hash=hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        size=len(data),
    )
