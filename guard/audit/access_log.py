"""Lines of the access log: built from the facts of an exchange, told in plain words, or as JSON.

A line names professionals, structures, documents by uniqueId and the record's own identifier. It never
carries traits of the patient, a title or content, and never echoes a value the caller sent with an error.

Clause: CSP R1111-46; arrêté du 26/10/2023 (the holder reads every access); ITI TF-2 3.40.4.2
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from guard.audit.particulars import NONE, Particulars, process_id
from guard.audit.store import KEPT, AccessLine
from guard.audit.words import CATALOGUES, Words
from guard.credentials.caller import Caller, Mode
from guard.professions import Professions, shipped_professions
from xds.errors import Finding
from xds.model.codes import Code

SUCCESS, REFUSED = "success", "refused"
DEPOSIT, SEARCH, READ, LOGIN = "deposit", "search", "read", "refused login"
MASK, UNMASK, REVEAL, SHOW, HIDE, ARCHIVE, DELETE, UPDATE, REMOVE = (
    "mask", "unmask", "reveal", "show", "hide", "archive", "delete", "update", "remove"
)
RECORD_OPENED, RECORD_CLOSED, RECORD_REOPENED = "record opened", "record closed", "record reopened"
REVOCATION_UNSAID, REVOCATION_GRACE = "revocation source silent", "revocation answer outdated"
LOG_READ, TRACES_DESTROYED = "log read", "traces destroyed"
STARTED, STOPPED = "service started", "service stopped"
TOKEN_ISSUED, TOKEN_EXAMINED, TOKEN_CANCELLED = "token issued", "token examined", "token cancelled"
IDENTITY_ADDED, IDENTITY_REVISED = "identity added", "identity revised"
IDENTITY_SUBSUMED, IDENTITY_SURVIVES = "identity subsumed", "identity survives a merge"
IDENTITY_MERGE = "identity merge"
"""Only in a line that says it was refused."""

CLAIMED = "the credential says so, and the registry verifies it"
"""Reason in the line of a deposit that was written before somebody had verified who deposits."""
SIGNATURE, SIGNED = "signature verified", "signature made"

MAX_TEXT = 500
"""Characters of one free text (reason, detail, name) in a line."""
MAX_DOCUMENTS = 1000
SHOWN_DOCUMENTS = 5
"""uniqueIds in a sentence."""


def now() -> str:
    """The present, UTC, milliseconds: the form of ``AccessLine.at``."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """``YYYY-MM-DDThh:mm:ss.mmmZ`` of an aware time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def deposit(
    caller: Caller | None, *, trace_id: str, event: str, patient_key: int | None, patient_id: str,
    documents: Iterable[str], submission_unique_id: str, peer: str, refused_by: Finding | None = None, at: str = "",
    is_claim: bool = False, particulars: Particulars = NONE,
) -> AccessLine:
    """A submission, accepted or refused. ``documents`` are uniqueIds; ``is_claim`` while nobody has verified him."""
    return _line(
        caller, at=at, trace_id=trace_id, event=event, action=DEPOSIT, patient_key=patient_key,
        patient_id=patient_id, documents=documents, peer=peer, detail=f"submission set {submission_unique_id}",
        refusal=_reason(refused_by), granted=(CLAIMED, "ITI TF-2 3.40.4.1.3") if is_claim else ("", ""),
        particulars=replace(particulars, submission_set=clean(submission_unique_id)),
    )


def never_registered(line: AccessLine) -> AccessLine:
    """What is told in place of the line of a deposit that nobody has verified and that never came to be: no name."""
    said = replace(line.particulars, user="", purpose=())
    return replace(
        line, outcome=REFUSED, reason="never registered", particulars=said, caller_id="", caller_name="", role="",
        structure_id="", structure_name="", mode="", purpose="", purpose_reason="", assertion_id="",
    )


def signature(
    caller: Caller | None, *, trace_id: str, event: str, patient_id: str, document: str, submission_unique_id: str,
    signer: str, peer: str, patient_key: int | None = None, refused_by: Finding | None = None, detail: str = "",
    at: str = "", particulars: Particulars = NONE,
) -> AccessLine:
    """The signature of a submission set verified. ``document`` is the uniqueId of the signature document, ``signer``
    the number its certificate carries, ``detail`` what only the log says of a refusal. Clause: ITI TF-3 5.5.7"""
    refusal = _reason(refused_by)
    if refusal is not None and detail:
        refusal = (f"{refusal[0]}; {detail}", refusal[1])
    told = f"submission set {submission_unique_id}" + (f", signed by {signer}" if signer else "")
    return _line(
        caller, at=at, trace_id=trace_id, event=event, action=SIGNATURE, patient_key=patient_key,
        patient_id=patient_id, documents=(document,), peer=peer, detail=told, refusal=refusal,
        particulars=replace(particulars, submission_set=clean(submission_unique_id)),
    )


def change(
    caller: Caller | None, *, trace_id: str, event: str, action: str, patient_key: int | None, patient_id: str,
    documents: Iterable[str], detail: str, peer: str, refused_by: Finding | None = None, at: str = "",
    particulars: Particulars = NONE,
) -> AccessLine:
    """Stored metadata changed, or metadata or documents removed. ``documents`` are uniqueIds."""
    return _line(
        caller, at=at, trace_id=trace_id, event=event, action=action, patient_key=patient_key,
        patient_id=patient_id, documents=documents, peer=peer, detail=detail, refusal=_reason(refused_by),
        particulars=particulars,
    )


def query(
    caller: Caller | None, *, trace_id: str, event: str, query: str, patient_key: int | None, patient_id: str,
    results: int, peer: str, refused_by: Finding | None = None, at: str = "", particulars: Particulars = NONE,
) -> AccessLine:
    """A query, and how many objects it gave back."""
    return _line(
        caller, at=at, trace_id=trace_id, event=event, action=SEARCH, patient_key=patient_key,
        patient_id=patient_id, peer=peer, detail=f"{query}, {results} results", refusal=_reason(refused_by),
        particulars=particulars,
    )


def own_call(
    caller: Caller | None, failure: str, *, trace_id: str, event: str, action: str, patient_id: str, detail: str,
    particulars: Particulars, documents: Iterable[str] = (),
) -> AccessLine:
    """What we ourselves have sent to a service; ``failure`` says why it came to nothing, "" when it did not."""
    return _line(
        caller, at="", trace_id=trace_id, event=event, action=action, patient_key=None, patient_id=patient_id,
        peer="", documents=documents, detail=detail, refusal=(failure, "") if failure else None,
        particulars=particulars,
    )


def retrieve(
    caller: Caller | None, *, trace_id: str, event: str, patient_key: int | None, patient_id: str, document: str,
    allowed: bool, reason: str, clause: str, peer: str, at: str = "", particulars: Particulars = NONE,
) -> AccessLine:
    """One document read, or refused with the reason of the decision."""
    return _line(
        caller, at=at, trace_id=trace_id, event=event, action=READ, patient_key=patient_key,
        patient_id=patient_id, documents=(document,), peer=peer, refusal=None if allowed else (reason, clause),
        granted=(reason, clause), particulars=particulars,
    )


def refusal(
    caller: Caller | None, *, trace_id: str, event: str, action: str, patient_key: int | None, patient_id: str,
    reason: str, clause: str, peer: str, documents: Iterable[str] = (), at: str = "", particulars: Particulars = NONE,
) -> AccessLine:
    """Anything else that was refused to a known caller. ``action`` as in ``AccessLine``."""
    return _line(
        caller, at=at, trace_id=trace_id, event=event, action=action, patient_key=patient_key,
        patient_id=patient_id, documents=documents, peer=peer, refusal=(reason, clause),
        particulars=particulars,
    )


def login_refused(
    *, trace_id: str, event: str, reason: str, clause: str, peer: str, claimed_id: str = "", assertion_id: str = "",
    at: str = "", particulars: Particulars = NONE,
) -> AccessLine:
    """A credential that was not accepted. ``claimed_id`` is what it pretended, unproven."""
    return AccessLine(
        at=at or now(), trace_id=trace_id, event=event, action=LOGIN, outcome=REFUSED, caller_id=clean(claimed_id),
        reason=clean(reason), clause=clean(clause), peer=clean(peer), assertion_id=clean(assertion_id),
        particulars=particulars,
    )


def record_act(
    caller: Caller, *, trace_id: str, event: str, action: str, patient_key: int, patient_id: str, detail: str = "",
    documents: Iterable[str] = (), peer: str = "", at: str = "", particulars: Particulars = NONE,
) -> AccessLine:
    """A record opened, closed or reopened; an identity added, revised or merged; a document masked, archived, deleted.
    ``detail`` is the consent, the reason for closing, or the message; ``documents`` are uniqueIds."""
    return _line(
        caller, at=at, trace_id=trace_id, event=event, action=action, patient_key=patient_key,
        patient_id=patient_id, documents=documents, peer=peer, detail=detail, particulars=particulars,
    )


def token_act(
    caller: Caller, *, trace_id: str, event: str, action: str, detail: str = "", peer: str = "",
    assertion_id: str = "", at: str = "", particulars: Particulars = NONE,
) -> AccessLine:
    """A token issued, judged or taken back. ``caller`` is whom an issued token names, else who asks; ``assertion_id``
    is of the token meant, where it is not the caller's own."""
    line = _line(
        caller, at=at, trace_id=trace_id, event=event, action=action, patient_key=None, patient_id=caller.patient_id,
        peer=peer, detail=detail, particulars=particulars,
    )
    return replace(line, assertion_id=clean(assertion_id)) if assertion_id else line


def system_act(
    caller: Caller, *, trace_id: str, event: str, action: str, detail: str, peer: str, at: str,
    particulars: Particulars,
) -> AccessLine:
    """An act that is about no single record: the retention job run by hand, traces handed out, parameters read."""
    return _line(
        caller, at=at, trace_id=trace_id, event=event, action=action, patient_key=None, patient_id="", peer=peer,
        detail=detail, particulars=particulars,
    )


def retention_act(by: Caller, *, trace_id: str, lines: int, at: datetime | None = None) -> AccessLine:
    """So many lines were destroyed because they are kept no longer. It names no record: the count must fit what is
    left of them in the chain."""
    return AccessLine(
        at=stamp(at) if at else now(), trace_id=trace_id, event="retention", action=TRACES_DESTROYED, outcome=SUCCESS,
        detail=f"{lines} lines", **_caller_fields(by),
    )


def service_act(service: str, *, started: bool, at: str = "") -> AccessLine:
    """Our own service began or ended to serve. ``service`` is its name, ``registry`` or ``repository``."""
    return AccessLine(
        at=at or now(), trace_id="", event=service, action=STARTED if started else STOPPED, outcome=SUCCESS,
        caller_id=service, mode=Mode.NODE.value,
        particulars=Particulars(row="application start" if started else "application stop", process=process_id()),
    )


def revocation_event(service: str, action: str, detail: str, *, at: str = "") -> AccessLine:
    """A source of revocations did not answer, or a certificate was believed on an answer that has ended."""
    return AccessLine(
        at=at or now(), trace_id="", event=service, action=action, outcome=REFUSED if action == REVOCATION_UNSAID
        else SUCCESS, caller_id=service, mode=Mode.NODE.value, detail=clean(detail), clause="RFC 5280 6.3",
    )


def as_json(line: AccessLine) -> str:
    """One line of JSON, ASCII only, keys in a fixed order."""
    told = {name: getattr(line, name) for name in KEPT}
    return json.dumps(told, ensure_ascii=True, separators=(",", ":"))


def in_words(
    line: AccessLine, language: str = "fr", zone: tzinfo = UTC, professions: Professions | None = None
) -> str:
    """One sentence for the patient, in ``fr`` or ``en``.

    ``zone`` is the patient's time zone; in UTC the sentence says so. ``professions`` names the roles; default:
    the shipped table. Control characters of the stored values are shown as escapes. Raises KeyError for another
    language.
    """
    words = CATALOGUES[language]
    who = _who(line, words, professions or shipped_professions())
    parts = [f"{_when(line.at, words, zone)} - {who} {_what(line, words)}"]
    if line.purpose in words.purposes:
        parts.append(words.purposes[line.purpose].format(reason=_quoted(line.purpose_reason, words)).strip())
    if line.reason == CLAIMED:
        parts.append(words.claimed)
    if line.outcome == REFUSED and line.action != LOGIN:
        parts.append(words.because.get(line.clause, words.because[""]))
    return clean(", ".join(filter(None, parts)), limit=4 * MAX_TEXT) + "."


def clean(text: str, limit: int = MAX_TEXT) -> str:
    r"""Bounded and free of control, format and other unexpected characters: those become ``\uXXXX``.

    So a value from outside can neither break a line of the log, nor move the cursor, nor reorder the text.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_plain(c) else _escape(c) for c in text)


def _is_plain(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] not in "CZ" or character == "\u00a0"


def _escape(character: str) -> str:
    point = ord(character)
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _line(
    caller: Caller | None, *, at: str, trace_id: str, event: str, action: str, patient_key: int | None,
    patient_id: str, peer: str, documents: Iterable[str] = (), detail: str = "",
    refusal: tuple[str, str] | None = None, granted: tuple[str, str] = ("", ""), particulars: Particulars = NONE,
) -> AccessLine:
    reason, clause = refusal or granted
    told = {**_caller_fields(caller), **({"is_secret": True} if action == HIDE else {})}
    return AccessLine(
        at=at or now(), trace_id=trace_id, event=event, action=action, outcome=REFUSED if refusal else SUCCESS,
        patient_key=patient_key, patient_id=clean(patient_id),
        documents=tuple(clean(d) for d in list(documents)[:MAX_DOCUMENTS]),
        detail=clean(detail), reason=clean(reason), clause=clean(clause), peer=clean(peer),
        particulars=particulars, **told,
    )


def _caller_fields(caller: Caller | None) -> Mapping[str, Any]:
    if caller is None:
        return {}
    return {
        "caller_id": clean(caller.identifier),
        "caller_name": clean(caller.name),
        "role": role_of(caller),
        "structure_id": clean(caller.structure_id),
        "structure_name": clean(caller.structure_name),
        "mode": caller.mode.value,
        "purpose": clean(caller.purpose),
        "purpose_reason": clean(caller.purpose_reason),
        "assertion_id": clean(caller.assertion_id),
        "assertion_sha256": caller.assertion_sha256,
        "assertion": caller.assertion if caller.assertion_sha256 else b"",
        "is_secret": caller.secret_connection,
    }


def role_of(caller: Caller) -> str:
    """``code^^scheme`` of the profession, then ``~code^^scheme`` of the specialty when there is one."""
    return clean("~".join(code.key for code in (caller.profession, caller.specialty) if code))


def _reason(finding: Finding | None) -> tuple[str, str] | None:
    """Why a request was refused, without the value found: that one may be a patient's identifier."""
    if finding is None:
        return None
    expected = f": expected {finding.expected}" if finding.expected else ""
    return f"{finding.code}: {finding.field or finding.subject}{expected}", finding.clause


# -- words ------------------------------------------------------------------------------------------------------------


def _when(at: str, words: Words, zone: tzinfo) -> str:
    try:
        moment = datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone(zone)
    except ValueError:
        return at
    return words.when.format(
        day=words.first if moment.day == 1 else str(moment.day), month=words.months[moment.month - 1],
        year=moment.year, hour=moment.hour, minute=moment.minute,
    ) + (" UTC" if zone is UTC else "")


def _who(line: AccessLine, words: Words, professions: Professions) -> str:
    if line.action == LOGIN:
        return words.someone
    roles = [professions.find(_code(key)) for key in line.role.split("~") if key]
    known = [row for row in roles if row is not None]
    title = known[0].title if known else ""
    name = line.caller_name or _nameless(line, words)
    if title and line.caller_name and not re.match(r"(dr|docteur|doctor)\b", name, re.IGNORECASE):
        name = f"{title} {name}"
    label = (known[0].french if words.language == "fr" else known[0].english) if known else ""
    about = ", ".join(filter(None, (label, line.structure_name or line.structure_id)))
    return f"{name} ({about})" if about else name


def _nameless(line: AccessLine, words: Words) -> str:
    if not line.caller_id:
        return words.someone
    if line.mode == Mode.NODE:
        return f"{words.service} ({line.caller_id})"
    return f"{words.number} {line.caller_id}"


def _code(key: str) -> Code:
    code, _, scheme = key.partition("^^")
    return Code(code, scheme)


def _what(line: AccessLine, words: Words) -> str:
    acts = words.refused if line.outcome == REFUSED else words.done
    sentence = acts.get(line.action, acts[""])
    found = re.search(r"(\d+) results", line.detail)
    results = int(found[1]) if found else 0
    return sentence.format(
        action=line.action,
        documents=words.documents(len(line.documents), _some(line.documents)),
        results=words.results(results),
        detail=_quoted(line.detail, words),
        reason=line.reason,
    )


def _some(documents: tuple[str, ...]) -> str:
    """The first identifiers of a list; the JSON form has them all."""
    return ", ".join(documents[:SHOWN_DOCUMENTS]) + (", …" if len(documents) > SHOWN_DOCUMENTS else "")


def _quoted(text: str, words: Words) -> str:
    return words.quote.format(text) if text else ""
