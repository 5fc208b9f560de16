"""``carnet verify --wire``: the evidence as the services show it to a card.

Less than the operator sees. The national profile shows signature documents to no person, so that in ``dmp`` there is
nothing to verify here; a domain without that rule has them like any other. What was known of the signer at deposit
stays in the repository: certificates that have run out since need the proof of the operator (``--save-proof``,
``--proof``).

Clause: ITI TF-3 5.5.6; ITI TF-2 3.18.4.1.2.3.7, 3.43
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from carnet.commands.query import call
from carnet.console import Refused
from carnet.verification import Bytes, Evidence
from conformance.client import Client, Found
from conformance.files import FileSink, Saved
from conformance.source import GET_DOCUMENTS
from guard.credentials.certificates import TrustStore
from guard.credentials.xades_read import LARGEST
from registry.queries import get_submission_set_and_contents, get_submission_sets
from repository.store import KeptProof
from xds.check.query_params import quote, quote_list
from xds.domain import AffinityDomain
from xds.model import Association, DocumentEntry, Submission, SubmissionSet
from xds.namespaces import HAS_MEMBER


def evidence(
    client: Client, domain: AffinityDomain, folder: Path, trust: TrustStore, kept: KeptProof | None, *,
    submission_id: str, document_id: str, patient: str,
) -> Evidence:
    """Ask for the set and what it brought, retrieve all of it into ``folder``. Raises Refused, Unreachable.

    What is not shown to this card counts as what cannot be read.
    """
    submission = _submission(client, submission_id or _set_of(client, document_id, patient), patient)
    found = [entry for entry in submission.entries if domain.signatures.is_signature(entry)]
    if len(found) != 1:
        raise Refused(f"{len(found)} signature documents of submission set {submission.submission_set.unique_id} are "
                      "shown to this card; where they are shown to no person, ask the operator to verify")
    entry = found[0]
    held = _retrieved(client, submission.entries, folder, patient)
    own = held.pop(entry.unique_id, None)
    if own is None or own.size > LARGEST:
        raise Refused(f"the signature document {entry.unique_id} cannot be retrieved")
    documents = {e.unique_id: held.get(e.unique_id) for e in submission.entries if e is not entry}
    return Evidence(signature=b"".join(own.chunks()), trust=trust, kept=kept, submission=submission, entry=entry,
                    documents=documents)


def _asked(client: Client, query_id: str, name: str, values: str, patient: str) -> Found:
    found: Found = call(lambda: client.query(query_id, [(name, [values])], patient_id=patient))
    if not found.outcome.is_success:
        raise Refused("\n".join(f"{e.code}: {e.context}" for e in found.outcome.errors))
    return found


def _set_of(client: Client, document_id: str, patient: str) -> str:
    """uniqueId of the set that brought a document."""
    entries = _asked(client, GET_DOCUMENTS, "$XDSDocumentEntryUniqueId", quote_list([document_id]), patient).objects
    ids = [entry.entry_uuid for entry in entries if isinstance(entry, DocumentEntry)]
    found = _asked(client, get_submission_sets.QUERY_ID, "$uuid", quote_list(ids), patient).objects if ids else []
    sets = {one.entry_uuid: one.unique_id for one in found if isinstance(one, SubmissionSet)}
    brought = [one.source for one in found if isinstance(one, Association) and _is_original(one) and one.source in sets]
    if not brought:
        raise Refused(f"no submission set of document {document_id} is shown to this card")
    return sets[brought[0]]


def _submission(client: Client, submission_id: str, patient: str) -> Submission:
    found = _asked(
        client, get_submission_set_and_contents.QUERY_ID, "$XDSSubmissionSetUniqueId", quote(submission_id), patient
    ).objects
    one = next((item for item in found if isinstance(item, SubmissionSet)), None)
    if one is None:
        raise Refused(f"submission set {submission_id} is not shown to this card")
    original = {
        item.target for item in found
        if isinstance(item, Association) and item.source == one.entry_uuid and _is_original(item)
    }
    return Submission(one, [e for e in found if isinstance(e, DocumentEntry) and e.entry_uuid in original])


def _is_original(association: Association) -> bool:
    return association.type == HAS_MEMBER and association.slot("SubmissionSetStatus") == "Original"


def _retrieved(client: Client, entries: Sequence[DocumentEntry], folder: Path, patient: str) -> dict[str, Bytes]:
    """What came of these documents, by uniqueId."""
    wanted = [(entry.repository_unique_id, entry.unique_id) for entry in entries]
    _, items = call(lambda: client.retrieve(wanted, lambda: FileSink(folder), patient_id=patient))
    came = {}
    for item in items:
        assert isinstance(item.received, Saved)
        came[item.unique_id] = Bytes.of_file(item.received.path)
    return came
