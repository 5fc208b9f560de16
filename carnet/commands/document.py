"""``carnet document``"""

from __future__ import annotations

from pathlib import Path

import click

import storage
from carnet.affinity import domain_source
from carnet.commands.call import typed
from carnet.commands.patient_acts import patient_of
from carnet.console import DATA, JSON, Misuse, Place, Refused, a_cx, card_options, client_of, emit, settings_of
from record.actor import RecordRefused, carried_out
from record.documents import LOGGED_AS, Act, change
from record.td.patient_acts import DOCUMENT_VERBS
from record.td.services import ACTS
from registry.shelf import Shelf

CARD, PATIENT = "card", "patient"
TOLD = {
    Act.MASK: ("Mask a document from professionals: its author, the attending physician and the patient still read it.",
               "masked"),
    Act.UNMASK: ("Take the mask off a document.", "not masked"),
    Act.ANNOUNCE: ("Make a document visible to the patient that was not announced yet.", "visible to the patient"),
    Act.HIDE: ("Make a document invisible to the patient's legal representatives.", "invisible to representatives"),
    Act.SHOW: ("Make it visible to the legal representatives again.", "visible to representatives"),
    Act.ARCHIVE: ("Archive a document: searches show it only when asked for archived ones.", "archived"),
    Act.UNARCHIVE: ("Take a document out of the archive.", "approved"),
    Act.DELETE: ("Delete a document from the record. It stays stored; searches leave it out.", "deleted"),
}
"""What each verb does, and what the document is afterwards."""


@click.group("document")
def command() -> None:
    """One document of a record: masked, announced, hidden, archived, deleted. By a professional with --card, through
    the service; or --as patient (or the identifier of a legal representative), for whom the operator vouches.

    \b
    Examples:
      carnet document mask "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" 1.2.250.1.999.7.1 --as patient
      carnet document announce "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" 1.2.250.1.999.7.1 --card anne.p12
    """


def _by_holder(data: Path, patient: str, document: str, act: Act, representative: str) -> None:
    """In the database, as ``carnet patient`` does."""
    settings = settings_of(data)
    actor = patient_of(settings, patient, representative)
    database = storage.open_registry(settings.registry_database)
    try:
        shelf = Shelf(domain_source(settings), settings.registry.device_id)
        carried_out(
            database, actor, LOGGED_AS[act], patient,
            lambda unit: change(unit, patient, document, act, by=actor, shelf=shelf), documents=(document,),
        )
    except RecordRefused as error:
        raise Refused(f"{error} ({error.problem.dmp_error})") from error
    finally:
        database.close()


def _verb(act: Act) -> click.Command:
    told, afterwards = TOLD[act]

    @click.argument("patient", callback=a_cx)
    @click.argument("document", metavar="UNIQUE_ID")
    @click.option(
        "--as", "who", default="", metavar="WHO",
        help="patient, card, or the identifier of a legal representative. Default: card if one is given, else patient.",
    )
    @card_options
    @DATA
    @JSON
    def verb(
        patient: str, document: str, who: str, card_file: Place | None, pin_file: Path | None, structure_id: str,
        purpose: str, repository_url: str, registry_url: str, ca: Path | None, data: Path, as_json: bool,
    ) -> None:
        who = who or (CARD if card_file else PATIENT)
        if who == CARD:
            if card_file is None:
                raise Misuse("no card: use --card, or set CARNET_CARD")
            client = client_of(data, card_file, pin_file, structure_id, purpose, repository_url, registry_url, ca)
            verb_of = next(name for name, one in DOCUMENT_VERBS.items() if one is act)
            typed(client, ACTS, "setDocument", patient, action=verb_of, uniqueId=document)
        else:
            _by_holder(data, patient, document, act, "" if who == PATIENT else who)
        emit(as_json, {"document": document, "act": act.value, "by": who}, f"{document}: {afterwards}")

    verb.__doc__ = f"""{told}

    \b
    Example:
      carnet document {act.value} "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH" 1.2.250.1.999.7.1
    """
    return click.command(act.value)(verb)


for _act in Act:
    command.add_command(_verb(_act))
