"""``carnet explain``"""

from __future__ import annotations

from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import Encoding

import storage
from carnet.affinity import domain_of, domain_source, policy_of
from carnet.assertions import Desk
from carnet.console import (
    CARD_HELP,
    CARD_PLACE,
    DATA,
    JSON,
    PIN_FILE,
    PURPOSE,
    SECRET,
    Misuse,
    Place,
    Refused,
    emit,
    is_secret,
    open_card,
    settings_of,
    table,
)
from carnet.gate import verifier_of
from carnet.settings import Settings
from guard.credentials import vihf
from guard.credentials.caller import Caller
from guard.credentials.cards import Card
from guard.policy.decision import Policy
from guard.policy.facts import Action, EntryFacts, RecordFacts
from record.facts import entry_facts, facts_for
from registry.shelf import Shelf
from xds.wire.faults import SoapFault
from xds.wire.soap12 import write_envelope
from xds.wire.xml import parse

ACTIONS = {action.name.lower().replace("_", "-"): action for action in Action}


@click.command("explain")
@click.option("--card", "card_file", type=CARD_PLACE, required=True, envvar="CARNET_CARD", help=CARD_HELP)
@PIN_FILE
@click.option("--structure", "structure_id", default="", envvar="CARNET_STRUCTURE",
              help="Struct_IdNat of the structure a person works in.")
@click.option("--patient", required=True, help="CX of the patient.")
@click.option("--document", default="", help="uniqueId or entryUUID; without it, the record as a whole.")
@click.option("--purpose", default="", help=PURPOSE)
@SECRET
@click.option("--action", "name", type=click.Choice(list(ACTIONS)), default="read", show_default=True)
@DATA
@JSON
def command(
    card_file: Place, pin_file: Path | None, structure_id: str, patient: str, document: str, purpose: str, name: str,
    data: Path, as_json: bool,
) -> None:
    """Tell why this card may or may not do this: each clause of the decision and what it says.

    The card signs an assertion, the installation's own rules verify it, and the decision is taken on the record and
    the document as they are stored now. Nothing is asked of the services and nothing is changed.

    \b
    Examples:
      carnet explain --card anne.p12 --patient "279059999900134^^^&1.2.250.1.213.1.4.10&ISO^NH"
      carnet explain --card anne.p12 --patient PATIENT --document 2.25.1234 --purpose bris_de_glace
      carnet explain --card anne.p12 --patient PATIENT --document 2.25.1234 --action unmask --json
    """
    settings = settings_of(data)
    caller = caller_of(settings, open_card(card_file, pin_file), patient, structure_id, purpose)
    policy = policy_of(settings, domain_of(settings))
    shelf = Shelf(domain_source(settings), settings.registry.device_id)
    database = storage.open_registry(settings.registry_database)
    try:
        with database.read() as unit:
            record = unit.record.find(patient)
            facts = facts_for(unit.record, record, caller)
            entry = None
            if document:
                found = None if record is None else shelf.newest(unit, record.patient_key, document)
                entry = None if found is None else entry_facts(found)
                if entry is None:
                    raise Refused(f"no document {document} in the record of this patient")
    finally:
        database.close()
    report = explanation(policy, caller, ACTIONS[name], facts, entry)
    emit(as_json, report, _text(report))


def caller_of(settings: Settings, card: Card, patient: str, structure_id: str, purpose: str) -> Caller:
    """Whom the services would see: an assertion of this card, verified as they verify it. Raises Refused."""
    try:
        sign = Desk.of(settings).signing(
            card, structure_id=structure_id, purpose=purpose, reason="carnet explain", is_secret=is_secret()
        )
    except ValueError as error:
        raise Misuse(str(error)) from error
    signed = sign(patient)
    envelope = parse(b"".join(write_envelope(vihf.security_header(signed) if signed else b"", [b"<explain/>"])))
    certificate = card.authentication.certificate.public_bytes(Encoding.DER)
    try:
        return verifier_of(settings, domain_of(settings)).authenticate(
            envelope=envelope, security=None, peer_certificate=certificate
        )
    except SoapFault as fault:
        raise Refused(f"the card is refused before any right is asked for: {fault.detail or fault.reason}") from fault


def explanation(
    policy: Policy, caller: Caller, action: Action, facts: RecordFacts, entry: EntryFacts | None
) -> dict[str, object]:
    """The decision, whom it is about, and every clause in order."""
    decision = policy.decide(caller, action, facts, entry)
    standing = policy.standing(caller, facts)
    return {
        "allowed": decision.allowed,
        "clause": decision.clause,
        "reason": decision.reason,
        "action": action.value,
        "extent": policy.extent(caller, action, facts),
        "caller": {
            "identifier": caller.identifier, "mode": caller.mode.value, "purpose": caller.purpose,
            "actor": standing.actor, "column": standing.column, "profession": standing.profession,
        },
        "record": {
            "status": facts.status.value, "blocked": facts.is_blocked, "authorised": facts.is_authorised,
            "attending": facts.is_attending, "objected": sorted(facts.objected_purposes),
            "shows_masked_in_emergency": facts.shows_masked_in_emergency,
        },
        "clauses": [
            {"clause": one.clause, "verdict": one.verdict, "reason": one.reason}
            for one in policy.explain(caller, action, facts, entry)
        ],
    }


def _text(report: dict) -> str:
    caller = report["caller"]
    rows = [
        ("=>" if one["clause"] == report["clause"] else "", one["clause"], one["verdict"], one["reason"])
        for one in report["clauses"]
    ]
    return "\n".join([
        f"{'ALLOWED' if report['allowed'] else 'REFUSED'}: {report['action']}",
        f"by {report['clause']}: {report['reason']}",
        f"caller {caller['identifier']}, {caller['mode']}, {caller['purpose']}: "
        f"column {caller['column'] or '(none)'}, profession {caller['profession'] or '(none)'}",
        "",
        table(rows, ("", "clause", "verdict", "why")),
    ])
