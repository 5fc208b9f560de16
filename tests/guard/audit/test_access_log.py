"""Lines of the access log: what they hold, what they never hold, and the sentences a patient reads."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.audit import access_log
from guard.audit.store import AccessLine
from guard.audit.words import CATALOGUES, ENGLISH, FRENCH
from guard.credentials.caller import Caller, Mode
from guard.policy.clauses import MATRIX_CLAUSES
from xds.errors import ErrorCode, Finding
from xds.model import Code

AT = "2026-03-12T13:03:07.120Z"
PARIS = timezone(timedelta(hours=1))
PATIENT = "279035121518989^^^&1.2.250.1.213.1.4.10&ISO^NH"
ANNE = Caller(
    identifier="899900063480", mode=Mode.DIRECT, name="MARTIN Anne", specialty=Code("SM26", "1.2.250.1.71.4.2.5"),
    profession=Code("10", "1.2.250.1.71.1.2.7", "Médecin"), structure_id="10B0127189", structure_name="Hôpital X",
    sector="SA01", patient_id=PATIENT, issuer="CN=899900063480", assertion_id="_a1", assertion=b"<secret/>",
)
NURSE = replace(ANNE, name="DURAND Paul", profession=Code("60", "1.2.250.1.71.1.2.7"), specialty=None)
REFUSAL = Finding(
    code=ErrorCode.XDSUnknownPatientId, subject="SubmissionSet", field="patientId", found=PATIENT,
    expected="the identifier of a patient whose record is open", clause="ITI TF-2 3.42.4.1.3.3.1",
)
WHERE = {"trace_id": "t-1", "patient_key": 7, "patient_id": PATIENT, "peer": "10.0.0.9", "at": AT}


def deposited(
    refused_by: Finding | None = None, caller: Caller = ANNE, documents: tuple[str, ...] = ("1.2.3", "1.2.4")
) -> AccessLine:
    return access_log.deposit(
        caller, event="ITI-41", documents=documents, submission_unique_id="1.9", refused_by=refused_by, **WHERE
    )


def searched(results: int = 3, refused_by: Finding | None = None) -> AccessLine:
    return access_log.query(
        NURSE, event="ITI-18", query="FindDocuments", results=results, refused_by=refused_by, **WHERE
    )


def read(allowed: bool = True, clause: str = "granted", caller: Caller = ANNE) -> AccessLine:
    return access_log.retrieve(
        caller, event="ITI-43", document="1.2.3", allowed=allowed, reason="in words", clause=clause, **WHERE
    )


def test_line_of_a_deposit_holds_who_what_where_and_when() -> None:
    """Every field of an accepted deposit; the assertion's bytes are not among them."""
    assert deposited() == AccessLine(
        at=AT, trace_id="t-1", event="ITI-41", action="deposit", outcome="success", patient_key=7, patient_id=PATIENT,
        caller_id="899900063480", caller_name="MARTIN Anne", role="10^^1.2.250.1.71.1.2.7~SM26^^1.2.250.1.71.4.2.5",
        structure_id="10B0127189", structure_name="Hôpital X", mode="DIRECTE", purpose="normal",
        documents=("1.2.3", "1.2.4"), detail="submission set 1.9", peer="10.0.0.9", assertion_id="_a1",
    )


def test_refusal_says_why_without_echoing_the_value_found() -> None:
    """The offending value may be a patient's identifier or anything else: it stays out of the reason."""
    line = deposited(REFUSAL)
    assert (line.outcome, line.clause) == ("refused", "ITI TF-2 3.42.4.1.3.3.1")
    assert line.reason == "XDSUnknownPatientId: patientId: expected the identifier of a patient whose record is open"
    assert "279035121518989" not in line.reason


def test_time_is_utc_with_milliseconds() -> None:
    """Lines sort by their text; without a given time the present is taken."""
    assert access_log.stamp(datetime(2026, 3, 12, 14, 3, 7, 120999, PARIS)) == AT
    now = access_log.retrieve(
        ANNE, trace_id="t", event="ITI-43", patient_key=None, patient_id="", document="1", allowed=True, reason="",
        clause="", peer="",
    ).at
    assert abs(datetime.fromisoformat(now.replace("Z", "+00:00")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert len(now) == len(AT)


@pytest.mark.parametrize(
    ("line", "french", "english"),
    [
        (deposited(),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a déposé 2 documents (1.2.3, 1.2.4).",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) deposited 2 documents (1.2.3, 1.2.4)."),
        (deposited(documents=("1.2.3",)),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a déposé 1 document (1.2.3).",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) deposited 1 document (1.2.3)."),
        (deposited(REFUSAL, documents=("1.2.3",)),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a voulu déposer 1 document (1.2.3) : refusé, "
         "car la demande n'était pas recevable.",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) tried to deposit 1 document (1.2.3): refused, "
         "because the request could not be accepted."),
        (searched(),
         "12 mars 2026 à 14:03 - DURAND Paul (infirmier, Hôpital X) a recherché dans le dossier (3 résultats).",
         "12 March 2026 at 14:03 - DURAND Paul (nurse, Hôpital X) searched the record (3 results)."),
        (searched(0),
         "12 mars 2026 à 14:03 - DURAND Paul (infirmier, Hôpital X) a recherché dans le dossier (aucun résultat).",
         "12 March 2026 at 14:03 - DURAND Paul (nurse, Hôpital X) searched the record (no result)."),
        (read(),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a lu 1 document (1.2.3).",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) read 1 document (1.2.3)."),
        (read(False, "masked"),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a voulu lire 1 document (1.2.3) : refusé, "
         "car le document est masqué aux professionnels.",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) tried to read 1 document (1.2.3): refused, "
         "because the document is masked from professionals."),
        (read(caller=replace(ANNE, purpose="bris_de_glace", purpose_reason="patient inconscient")),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a lu 1 document (1.2.3), "
         "en urgence (bris de glace) « patient inconscient ».",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) read 1 document (1.2.3), "
         "in an emergency (break-glass) “patient inconscient”."),
        (read(caller=replace(ANNE, purpose="centre_15", name="", structure_name="")),
         "12 mars 2026 à 14:03 - le professionnel n° 899900063480 (médecin, 10B0127189) a lu 1 document (1.2.3), "
         "pour un centre de régulation (SAMU - Centre 15).",
         "12 March 2026 at 14:03 - professional no. 899900063480 (physician, 10B0127189) read 1 document (1.2.3), "
         "for an emergency call centre (SAMU - Centre 15)."),
        (access_log.login_refused(trace_id="t", event="ITI-40", reason="expired", clause="c", peer="10.0.0.9", at=AT,
                                  claimed_id="899900063480"),
         "12 mars 2026 à 14:03 - une personne non identifiée a tenté de se connecter : refusé, l'identification "
         "n'était pas valable.",
         "12 March 2026 at 14:03 - an unidentified person tried to log in: refused, the credential was not valid."),
        (access_log.record_act(ANNE, event="TD1", action=access_log.RECORD_OPENED, detail="CONSENTEMENT", **WHERE),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a ouvert le dossier.",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) opened the record."),
        (access_log.record_act(ANNE, event="TD1", action=access_log.RECORD_CLOSED, detail="{à sa demande}", **WHERE),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a fermé le dossier « {à sa demande} ».",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) closed the record “{à sa demande}”."),
        (access_log.record_act(ANNE, event="TD1", action=access_log.RECORD_REOPENED, detail="CONSENTEMENT", **WHERE),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a rouvert le dossier.",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) reopened the record."),
        (access_log.refusal(ANNE, event="TD9", action="other", reason="r", clause="patient-block", **WHERE),
         "12 mars 2026 à 14:03 - Dr MARTIN Anne (médecin, Hôpital X) a tenté une action (other) : refusé, "
         "car vous l'avez bloqué.",
         "12 March 2026 at 14:03 - Dr MARTIN Anne (physician, Hôpital X) tried this (other): refused, "
         "because you have barred this professional."),
    ],
)  # fmt: skip
def test_each_kind_of_line_in_plain_words(line: AccessLine, french: str, english: str) -> None:
    """One sentence: when, who as what and where, what, why."""
    assert access_log.in_words(line, "fr", PARIS) == french
    assert access_log.in_words(line, "en", PARIS) == english


def test_first_day_title_and_zone() -> None:
    """« 1er », no second « Dr », and UTC is named where no zone is given."""
    line = replace(read(caller=replace(ANNE, name="Docteur Anne MARTIN")), at="2026-08-01T09:05:00.000Z")
    assert access_log.in_words(line) == (
        "1er août 2026 à 09:05 UTC - Docteur Anne MARTIN (médecin, Hôpital X) a lu 1 document (1.2.3)."
    )
    assert access_log.in_words(replace(line, at="not a time"), "en").startswith("not a time - ")


def test_unknown_role_and_absent_caller_are_told_as_far_as_known() -> None:
    """No label is invented for an unknown code, and nobody is somebody unidentified."""
    odd = replace(ANNE, profession=Code("77", "9.9"), specialty=None)
    assert "MARTIN Anne (Hôpital X) a lu" in access_log.in_words(read(caller=odd))
    nobody = access_log.query(None, event="ITI-18", query="GetAll", results=0, **WHERE)
    assert "une personne non identifiée a recherché" in access_log.in_words(nobody)
    assert nobody.caller_id == ""
    operator = Caller(identifier="operator root", mode=Mode.NODE)
    line = access_log.record_act(operator, event="TD1", action=access_log.RECORD_OPENED, **WHERE)
    assert "le service (operator root) a ouvert le dossier" in access_log.in_words(line)


def test_long_lists_are_shortened_in_words_and_whole_in_json() -> None:
    """Five identifiers in the sentence, all of them for machines."""
    line = deposited(documents=tuple(f"1.2.{n}" for n in range(8)))
    assert "8 documents (1.2.0, 1.2.1, 1.2.2, 1.2.3, 1.2.4, …)" in access_log.in_words(line)
    assert len(json.loads(access_log.as_json(line))["documents"]) == 8


def test_json_has_every_field_on_one_line() -> None:
    """Machines read the same facts; the form is ASCII and breaks no line."""
    text = access_log.as_json(deposited(caller=replace(ANNE, name="Éve\nX")))
    assert text.isascii() and "\n" not in text
    told = json.loads(text)
    assert told["caller_name"] == "Éve\\u000aX"
    assert set(told) == set(AccessLine.__slots__) - {"particulars", "assertion"}
    assert "<secret" not in text


@given(st.text())
def test_no_value_from_outside_breaks_a_line(text: str) -> None:
    """Control, format, line-separator and surrogate characters appear only as escapes; values are bounded."""
    caller = replace(
        ANNE, name=text, structure_name=text, purpose="bris_de_glace", purpose_reason=text, assertion_id=text
    )
    line = access_log.retrieve(
        caller, event="ITI-43", document=text, allowed=False, reason=text, clause=text, **{**WHERE, "peer": text}
    )
    for written in (access_log.in_words(line, "fr"), access_log.in_words(line, "en"), line.caller_name, line.peer):
        assert not [c for c in written if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert len(written) <= 30_000
    json.loads(access_log.as_json(line))


def test_escaped_forms() -> None:
    """What an escape looks like: four or eight digits; accents and non-breaking spaces stay."""
    assert access_log.clean("a\r\nb\u202ec\U000e0041\u00a0é") == "a\\u000d\\u000ab\\u202ec\\U000e0041\u00a0é"
    assert access_log.clean("x" * 600) == "x" * 499 + "…"


def test_both_languages_say_the_same_things() -> None:
    """Each sentence has its twin, and every clause of the policy that can refuse is told in words."""
    for name in ("done", "refused", "purposes", "because"):
        assert set(getattr(FRENCH, name)) == set(getattr(ENGLISH, name))
    assert set(CATALOGUES) == {"fr", "en"}
    assert {c.name for c in MATRIX_CLAUSES} - set(FRENCH.because) == {"own-document", "own-structure"}
    with pytest.raises(KeyError):
        access_log.in_words(read(), "de")
