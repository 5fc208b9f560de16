"""The sentences of the access log, in French and in English."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language. ``done`` and ``refused`` are keyed by ``AccessLine.action``, ``because`` by the policy's clause."""

    language: str
    months: tuple[str, ...]
    first: str
    when: str
    number: str
    service: str
    someone: str
    quote: str
    documents: Callable[[int, str], str]
    results: Callable[[int], str]
    done: Mapping[str, str]
    refused: Mapping[str, str]
    purposes: Mapping[str, str]
    because: Mapping[str, str]


def _french_documents(count: int, names: str) -> str:
    return f"{count} document{'s' if count > 1 else ''}" + (f" ({names})" if names else "")


def _english_documents(count: int, names: str) -> str:
    return f"{count} document{'' if count == 1 else 's'}" + (f" ({names})" if names else "")


FRENCH = Words(
    language="fr",
    months=(
        "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
        "décembre",
    ),
    first="1er",
    when="{day} {month} {year} à {hour:02d}:{minute:02d}",
    number="le professionnel n°",
    service="le service",
    someone="une personne non identifiée",
    quote="« {} »",
    documents=_french_documents,
    results=lambda count: f"{count} résultat{'s' if count > 1 else ''}" if count else "aucun résultat",
    done={
        "deposit": "a déposé {documents}",
        "signature verified": "a déposé une signature, qui a été vérifiée {detail}",
        "signature made": "a signé des documents {detail}",
        "search": "a recherché dans le dossier ({results})",
        "read": "a lu {documents}",
        "mask": "a masqué {documents} aux professionnels",
        "unmask": "a démasqué {documents}",
        "reveal": "a rendu visible {documents}",
        "show": "a rendu visible aux représentants légaux {documents}",
        "hide": "a rendu invisible aux représentants légaux {documents}",
        "archive": "a archivé ou désarchivé {documents}",
        "delete": "a supprimé du dossier {documents}",
        "update": "a modifié les informations sur {documents}",
        "remove": "a effacé définitivement {documents}",
        "record opened": "a ouvert le dossier",
        "record closed": "a fermé le dossier {detail}",
        "record reopened": "a rouvert le dossier",
        "log read": "a consulté le journal des accès",
        "traces destroyed": "a détruit des traces au terme de leur conservation {detail}",
        "emergency alert": "a fait un accès en urgence inhabituel {detail}",
        "token issued": "a obtenu une assertion {detail}",
        "token examined": "a fait vérifier une assertion {detail}",
        "token cancelled": "a annulé une assertion",
        "service started": "a démarré",
        "service stopped": "s'est arrêté",
        "identity added": "a fait connaître l'identifiant",
        "identity revised": "a signalé une mise à jour de l'identité",
        "identity subsumed": "a fusionné cet identifiant dans un autre {detail}",
        "identity survives a merge": "a fusionné un autre identifiant dans celui-ci {detail}",
        "existence tested": "a vérifié l'existence du dossier",
        "record announced": "a annoncé l'ouverture du dossier {detail}",
        "record declined": "a refusé l'ouverture du dossier",
        "administrative data read": "a consulté les données administratives",
        "administrative data changed": "a modifié les données administratives {detail}",
        "identifier added": "a ajouté un identifiant au dossier",
        "patient searched": "a trouvé le dossier en le cherchant par l'identité",
        "authorisation given": "a donné l'autorisation d'accès {detail}",
        "authorisation withdrawn": "a retiré l'autorisation d'accès {detail}",
        "attending physician": "est devenu médecin traitant",
        "no more attending physician": "n'est plus médecin traitant",
        "circle listed": "a consulté la liste des personnes autorisées ou bloquées",
        "records listed": "a consulté la liste des dossiers qui lui sont ouverts, dont celui-ci",
        "professional blocked": "a bloqué {detail}",
        "professional unblocked": "a débloqué {detail}",
        "objection made": "s'est opposé à un type d'accès {detail}",
        "objection lifted": "a levé une opposition {detail}",
        "masked documents shown in emergency": "a rendu les documents masqués lisibles en urgence",
        "masked documents kept in emergency": "a gardé les documents masqués illisibles en urgence",
        "destruction asked": "a demandé la destruction du dossier",
        "record destroyed": "a détruit le dossier {detail}",
        "destruction complete": "a achevé la destruction du dossier {detail}",
        "": "a fait une action : {action}",
    },
    refused={
        "deposit": "a voulu déposer {documents} : refusé",
        "signature verified": "a déposé une signature qui n'est pas valable : refusé",
        "search": "a voulu rechercher dans le dossier : refusé",
        "read": "a voulu lire {documents} : refusé",
        "mask": "a voulu masquer {documents} : refusé",
        "unmask": "a voulu démasquer {documents} : refusé",
        "reveal": "a voulu rendre visible {documents} : refusé",
        "show": "a voulu rendre visible aux représentants légaux {documents} : refusé",
        "hide": "a voulu rendre invisible aux représentants légaux {documents} : refusé",
        "archive": "a voulu archiver ou désarchiver {documents} : refusé",
        "delete": "a voulu supprimer du dossier {documents} : refusé",
        "update": "a voulu modifier les informations sur {documents} : refusé",
        "remove": "a voulu effacer définitivement {documents} : refusé",
        "token issued": "a demandé une assertion : refusé",
        "token examined": "a voulu faire vérifier une assertion : refusé",
        "token cancelled": "a voulu annuler une assertion : refusé",
        "identity added": "a voulu faire connaître l'identifiant : refusé",
        "identity merge": "a voulu fusionner deux identifiants : refusé",
        "refused login": "a tenté de se connecter : refusé, l'identification n'était pas valable",
        "": "a tenté une action ({action}) : refusé",
    },
    purposes={
        "bris_de_glace": "en urgence (bris de glace) {reason}",
        "centre_15": "pour un centre de régulation (SAMU - Centre 15) {reason}",
    },
    because={
        "record-open": "car le dossier n'est pas ouvert",
        "assertion-patient": "car sa demande concernait un autre patient",
        "functional-right": "car son rôle ne le permet pas",
        "patient-block": "car vous l'avez bloqué",
        "emergency-objection": "car vous vous êtes opposé à ce type d'accès en urgence",
        "authorisation": "car vous ne l'avez pas autorisé",
        "unlisted-type": "car ce document n'est montré à personne",
        "patient-document": "car vous avez déposé ce document",
        "owner": "car il n'en est pas l'auteur",
        "document-type": "car sa profession n'a pas accès à ce type de document",
        "masked": "car le document est masqué aux professionnels",
        "representative": "car le dossier ne le nomme pas comme représentant légal",
        "attached-record": "car le dossier est rattaché à Mon espace santé",
        "secret-connection": "car la connexion est secrète",
        "invisible": "car ce document n'est pas encore visible",
        "document-status": "car le document est archivé, remplacé ou supprimé",
        "": "car la demande n'était pas recevable",
    },
)

ENGLISH = Words(
    language="en",
    months=(
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ),
    first="1",
    when="{day} {month} {year} at {hour:02d}:{minute:02d}",
    number="professional no.",
    service="the service",
    someone="an unidentified person",
    quote="“{}”",
    documents=_english_documents,
    results=lambda count: f"{count} result{'' if count == 1 else 's'}" if count else "no result",
    done={
        "deposit": "deposited {documents}",
        "signature verified": "deposited a signature, which was verified {detail}",
        "signature made": "signed documents {detail}",
        "search": "searched the record ({results})",
        "read": "read {documents}",
        "mask": "masked {documents} from professionals",
        "unmask": "unmasked {documents}",
        "reveal": "made visible {documents}",
        "show": "made visible to the legal representatives {documents}",
        "hide": "made invisible to the legal representatives {documents}",
        "archive": "archived or unarchived {documents}",
        "delete": "deleted {documents} from the record",
        "update": "changed what is known about {documents}",
        "remove": "removed {documents} for good",
        "record opened": "opened the record",
        "record closed": "closed the record {detail}",
        "record reopened": "reopened the record",
        "log read": "read the access log",
        "traces destroyed": "destroyed traces at the end of their keeping {detail}",
        "emergency alert": "made an unusual access by emergency {detail}",
        "token issued": "was given an assertion {detail}",
        "token examined": "had an assertion verified {detail}",
        "token cancelled": "cancelled an assertion",
        "service started": "started",
        "service stopped": "stopped",
        "identity added": "made the identifier known",
        "identity revised": "announced an update of the identity",
        "identity subsumed": "merged this identifier into another {detail}",
        "identity survives a merge": "merged another identifier into this one {detail}",
        "existence tested": "tested whether the record exists",
        "record announced": "announced the opening of the record {detail}",
        "record declined": "declined the record",
        "administrative data read": "read the administrative data",
        "administrative data changed": "changed the administrative data {detail}",
        "identifier added": "added an identifier to the record",
        "patient searched": "found the record in a search by identity",
        "authorisation given": "gave authorisation {detail}",
        "authorisation withdrawn": "withdrew authorisation {detail}",
        "attending physician": "became the attending physician",
        "no more attending physician": "is no longer the attending physician",
        "circle listed": "read the list of those authorised or barred",
        "records listed": "read the list of records open to them, this one among them",
        "professional blocked": "barred {detail}",
        "professional unblocked": "lifted the bar on {detail}",
        "objection made": "objected to a kind of access {detail}",
        "objection lifted": "lifted an objection {detail}",
        "masked documents shown in emergency": "let emergency accesses read masked documents",
        "masked documents kept in emergency": "kept masked documents from emergency accesses",
        "destruction asked": "asked for the destruction of the record",
        "record destroyed": "destroyed the record {detail}",
        "destruction complete": "completed the destruction of the record {detail}",
        "": "did this: {action}",
    },
    refused={
        "deposit": "tried to deposit {documents}: refused",
        "signature verified": "deposited a signature that is not valid: refused",
        "search": "tried to search the record: refused",
        "read": "tried to read {documents}: refused",
        "mask": "tried to mask {documents}: refused",
        "unmask": "tried to unmask {documents}: refused",
        "reveal": "tried to make visible {documents}: refused",
        "show": "tried to make visible to the legal representatives {documents}: refused",
        "hide": "tried to make invisible to the legal representatives {documents}: refused",
        "archive": "tried to archive or unarchive {documents}: refused",
        "delete": "tried to delete {documents} from the record: refused",
        "update": "tried to change what is known about {documents}: refused",
        "remove": "tried to remove {documents} for good: refused",
        "token issued": "asked for an assertion: refused",
        "token examined": "tried to have an assertion verified: refused",
        "token cancelled": "tried to cancel an assertion: refused",
        "identity added": "tried to make the identifier known: refused",
        "identity merge": "tried to merge two identifiers: refused",
        "refused login": "tried to log in: refused, the credential was not valid",
        "": "tried this ({action}): refused",
    },
    purposes={
        "bris_de_glace": "in an emergency (break-glass) {reason}",
        "centre_15": "for an emergency call centre (SAMU - Centre 15) {reason}",
    },
    because={
        "record-open": "because the record is not open",
        "assertion-patient": "because the request was made out for another patient",
        "functional-right": "because this role has no such right",
        "patient-block": "because you have barred this professional",
        "emergency-objection": "because you have objected to this kind of emergency access",
        "authorisation": "because you have not authorised this professional",
        "unlisted-type": "because this document is shown to nobody",
        "patient-document": "because you have deposited this document",
        "owner": "because this person is not its author",
        "document-type": "because this profession has no access to this type of document",
        "masked": "because the document is masked from professionals",
        "representative": "because the record does not name this person as legal representative",
        "attached-record": "because the record is attached to Mon espace santé",
        "secret-connection": "because the connection is secret",
        "invisible": "because this document is not visible yet",
        "document-status": "because the document is archived, replaced or deleted",
        "": "because the request could not be accepted",
    },
)

CATALOGUES: Mapping[str, Words] = {"fr": FRENCH, "en": ENGLISH}
