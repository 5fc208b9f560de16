"""Audit messages made of lines of the access log: field by field, row by row."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from guard.audit import atna
from guard.audit.atna_rows import RECEIVED, SENT
from guard.audit.particulars import LONGEST_REQUEST, Particulars
from guard.audit.store import AccessLine

NODE = atna.Node(
    source_id="carnet", site="chu", endpoints={"registry": "https://reg.test:8442", "repository": "https://[::1]:8441",
                                               "tokens": "https://tok.test:8443"},
    forwards=dict.fromkeys(("ITI-18", "ITI-42", "ITI-51", "ITI-61", "ITI-62"), "https://reg.test:8442/services/registry")
    | dict.fromkeys(("ITI-41", "ITI-43", "ITI-86"), "https://[::1]:8441/services/repository"),
)
ANONYMOUS = "http://www.w3.org/2005/08/addressing/anonymous"
TOLD = Particulars(
    endpoint="/services/x", client=ANONYMOUS, process="7@host", user="<8997@CN=Éve & Co>",
    purpose=("normal", "1.2.250.1.213.1.1.4.248", "Accès normal"), submission_set="1.2.3", repository="1.9",
    query_id="urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", request="<q>é</q>", message_id="m-1",
)
LINE = AccessLine(
    at="2026-03-12T13:03:07.120Z", trace_id="t", event="ITI-41", action="deposit", outcome="success",
    patient_id="279^^^&1.2&ISO^NH", caller_id="8997", caller_name="ESSAI Anne", role="10^^1.2.250.1.71.1.2.7~X^^9.9",
    documents=("1.5", "1.6"), peer="10.0.0.9", particulars=TOLD,
)


def made(line: AccessLine, actor: str = "registry") -> list[Any]:
    return [etree.fromstring(m.xml) for m in atna.messages([line], NODE, actor)]


def code(element: Any) -> tuple[str, str, str]:
    return element.get("csd-code"), element.get("codeSystemName"), element.get("originalText")


def shape(message: Any) -> dict[str, Any]:
    """Everything of a message but its time and source, in the words of the tables."""
    event = message.find("EventIdentification")
    return {
        "event": (code(event.find("EventID")), event.get("EventActionCode"), code(event.find("EventTypeCode"))),
        "outcome": event.get("EventOutcomeIndicator"),
        "who": [
            (
                p.get("UserID"), p.get("AlternativeUserID"), p.get("UserIsRequestor"),
                ",".join(r.get("csd-code") for r in p.iterfind("RoleIDCode")),
                p.get("NetworkAccessPointID"), p.get("NetworkAccessPointTypeCode"),
            )
            for p in message.iterfind("ActiveParticipant")
        ],
        "what": [
            (
                o.get("ParticipantObjectID"), o.get("ParticipantObjectTypeCode"),
                o.get("ParticipantObjectTypeCodeRole"), o.get("ParticipantObjectDataLifeCycle"),
                code(o.find("ParticipantObjectIDTypeCode"))[:2],
                {d.get("type"): b64decode(d.get("value")).decode() for d in o.iterfind("ParticipantObjectDetail")},
            )
            for o in message.iterfind("ParticipantObjectIdentification")
        ],
    }


REG, REP = "https://reg.test:8442/services/x", "https://[::1]:8441/services/x"
SOURCE = (ANONYMOUS, None, "true", "110153", "10.0.0.9", "2")
TAKER = (ANONYMOUS, None, "true", "110152", "10.0.0.9", "2")
HUMAN = ("<8997@CN=Éve & Co>", None, "true", "10,X", None, None)
AT_REGISTRY = (REG, "7@host", "false", "110152", "reg.test", "1")
AT_REPOSITORY = (REP, "7@host", "false", "110152", "::1", "2")
PATIENT = ("279^^^&1.2&ISO^NH", "1", "1", None, ("2", "RFC-3881"), {})
SET_TYPE = ("urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd", "IHE XDS Metadata")
SET = ("1.2.3", "2", "20", None, SET_TYPE, {})
HELD = {"Repository Unique ID": "1.9"}
DOCUMENTS = [(u, "2", "3", None, ("9", "RFC-3881"), HELD) for u in LINE.documents]
ERASED = [(u, "2", "3", "15", ("9", "RFC-3881"), HELD) for u in LINE.documents]
REMOVED = [(u, "2", "3", "15", ("urn:ihe:iti:2017:ObjectRef", "IHE XDS Metadata"), {}) for u in LINE.documents]
IMPORT, EXPORT = ("110107", "DCM", "Import"), ("110106", "DCM", "Export")
RECORD, QUERY = ("110110", "DCM", "Patient Record"), ("110112", "DCM", "Query")


def asked(name: str) -> list[Any]:
    return [PATIENT, (TOLD.query_id, "2", "24", None, (name, "IHE Transactions"), {"QueryEncoding": "UTF-8"})]


def fed(kind: str) -> list[Any]:
    return [(*PATIENT[:5], {kind: "m-1"})]


TABLE: dict[str, tuple[Any, str, str, list[Any], list[Any]]] = {
    "ITI-8": (RECORD, "C", "Patient Identity Feed", [SOURCE, AT_REGISTRY, HUMAN], fed("MSH-10")),
    "ITI-18": (QUERY, "E", "Registry Stored Query", [SOURCE, AT_REGISTRY, HUMAN], asked("ITI-18")),
    "ITI-41": (IMPORT, "C", "Provide and Register Document Set-b", [SOURCE, AT_REPOSITORY, HUMAN], [PATIENT, SET]),
    "ITI-42": (IMPORT, "C", "Register Document Set-b", [SOURCE, AT_REGISTRY, HUMAN], [PATIENT, SET]),
    "ITI-43": (
        EXPORT, "R", "Retrieve Document Set", [(REP, "7@host", "false", "110153", "::1", "2"), TAKER, HUMAN],
        [PATIENT, *DOCUMENTS],
    ),
    "ITI-44": (RECORD, "C", "Patient Identity Feed", [SOURCE, HUMAN, AT_REGISTRY], fed("II")),
    "ITI-51": (QUERY, "E", "Multi-Patient Stored Query", [SOURCE, AT_REGISTRY, HUMAN], asked("ITI-51")),
    "ITI-57": (IMPORT, "U", "Update Document Set", [SOURCE, HUMAN, AT_REGISTRY], [PATIENT, SET]),
    "ITI-61": (IMPORT, "C", "Register On-Demand Document Entry", [SOURCE, HUMAN, AT_REGISTRY], [PATIENT, SET]),
    "ITI-62": (RECORD, "D", "Remove Metadata", [SOURCE, HUMAN, AT_REGISTRY], [PATIENT, *REMOVED]),
    "ITI-86": (RECORD, "D", "Remove Documents", [SOURCE, HUMAN, AT_REPOSITORY], [PATIENT, *ERASED]),
    "ITI-92": (IMPORT, "U", "Restricted Update Document Set", [SOURCE, HUMAN, AT_REGISTRY], [PATIENT, SET]),
}
"""The tables of the framework, written out a second time."""


@pytest.mark.parametrize("name", sorted(TABLE))
def test_each_transaction_has_the_message_of_its_table(name: str) -> None:
    """Event, action, participants in order, objects in order, and nothing besides. Rule: A-20, A-23"""
    event, act, text, who, what = TABLE[name]
    (message,) = made(replace(LINE, event=name))
    assert shape(message) == {
        "event": (event, act, (name, "IHE Transactions", text)), "outcome": "0", "who": who, "what": what,
    }
    assert [e.tag for e in message.find("EventIdentification")] == ["EventID", "EventTypeCode", "PurposeOfUse"]


def test_a_verified_signature_has_its_message() -> None:
    """Who asked, the patient, the signature document. Clause: ITI TF-3 5.5.7"""
    (message,) = made(replace(LINE, event="DSG", documents=("1.5",)), "repository")
    assert shape(message) == {
        "event": (
            ("110007", "DCM", "Report Verification"), "R",
            ("urn:ihe:iti:dsg", "IHE Transactions", "Document Digital Signature"),
        ),
        "outcome": "0", "who": [SOURCE, AT_REPOSITORY, HUMAN], "what": [PATIENT, DOCUMENTS[0]],
    }


def test_a_signature_made_has_its_message() -> None:
    """The client that signs, whose card it was, the patient, the signature document. Clause: ITI TF-3 5.5.7"""
    (message,) = made(replace(LINE, event="client DSG", documents=("1.5",)), "repository")
    told = shape(message)
    assert told["event"] == (
        ("113031", "DCM", "Signed Manifest"), "C",
        ("urn:ihe:iti:dsg", "IHE Transactions", "Document Digital Signature"),
    )
    assert told["what"] == [PATIENT, DOCUMENTS[0]] and told["who"][1:] == [HUMAN]
    assert told["who"][0][0].endswith("-client") and told["who"][0][3] == "110150"


def test_every_row_is_in_a_table_of_these_tests() -> None:
    """A transaction added to the rows is added here too."""
    others = {"DSG", "client DSG", "application start", "application stop", "login", "node authentication"}
    assert set(RECEIVED) == {*TABLE, *others, "WS-Trust Issue", "WS-Trust Cancel"}
    assert set(SENT) == set(SENT_TABLE)


OURS = (ANONYMOUS, "7@host", "true", "110153", "::1", "2")
AS_TAKER = (ANONYMOUS, "7@host", "true", "110152", "::1", "2")
REGISTRY = ("https://reg.test:8442/services/registry", None, "false", "110152", "reg.test", "1")
REPOSITORY = ("https://[::1]:8441/services/repository", None, "false", "110152", "::1", "2")
REPOSITORY_SENDS = (*REPOSITORY[:3], "110153", *REPOSITORY[4:])
SENT_TABLE: dict[str, tuple[Any, str, str, list[Any], list[Any]]] = {
    "ITI-18": (QUERY, "E", "Registry Stored Query", [OURS, HUMAN, REGISTRY], asked("ITI-18")),
    "ITI-41": (EXPORT, "R", "Provide and Register Document Set-b", [OURS, HUMAN, REPOSITORY], [PATIENT, SET]),
    "ITI-42": (EXPORT, "R", "Register Document Set-b", [OURS, REGISTRY], [PATIENT, SET]),
    "ITI-43": (IMPORT, "C", "Retrieve Document Set", [REPOSITORY_SENDS, AS_TAKER, HUMAN], [PATIENT, *DOCUMENTS]),
    "ITI-51": (QUERY, "E", "Multi-Patient Stored Query", [OURS, HUMAN, REGISTRY], asked("ITI-51")),
    "ITI-61": (EXPORT, "R", "Register On-Demand Document Entry", [OURS, HUMAN, REGISTRY], [PATIENT, SET]),
    "ITI-62": (RECORD, "D", "Remove Metadata", [OURS, HUMAN, REGISTRY], [PATIENT, *REMOVED]),
    "ITI-86": (RECORD, "D", "Remove Documents", [OURS, HUMAN, REPOSITORY], [PATIENT, *ERASED]),
}
"""The side that calls, in the same tables."""


@pytest.mark.parametrize("name", sorted(SENT_TABLE))
def test_each_transaction_we_start_has_the_message_of_its_table(name: str) -> None:
    """In our own record our process is known, and of the other side its address. Rule: A-20, A-23"""
    event, act, text, who, what = SENT_TABLE[name]
    (message,) = made(replace(LINE, event="own call", particulars=replace(TOLD, sent_on=name)), "repository")
    assert shape(message) == {
        "event": (event, act, (name, "IHE Transactions", text)), "outcome": "0", "who": who, "what": what,
    }
    assert message.find("AuditSourceIdentification").get("AuditSourceID") == "carnet-repository"


def test_the_command_line_reports_under_a_name_of_its_own() -> None:
    """Its address is the machine's, and it may have called another installation than this one."""
    told = replace(TOLD, sent_on="ITI-18", reporter="client", client_address="desk.test", endpoint="https://far.test/r")
    (message,) = made(replace(LINE, event="own call", particulars=told), "repository")
    assert message.find("AuditSourceIdentification").get("AuditSourceID") == "carnet-client"
    us, _, them = shape(message)["who"]
    assert us[4:] == ("desk.test", "1") and them[0] == "https://far.test/r" and them[4:] == ("far.test", "1")


def test_a_deposit_sent_on_is_told_twice() -> None:
    """As what the repository took in, and as what it sent on. Rule: A-20"""
    first, second = made(replace(LINE, particulars=replace(TOLD, sent_on="ITI-42")), "repository")
    assert [shape(m)["event"][2][0] for m in (first, second)] == ["ITI-41", "ITI-42"]
    assert shape(second)["who"] == SENT_TABLE["ITI-42"][3]
    assert {m.find("AuditSourceIdentification").get("AuditSourceID") for m in (first, second)} == {"carnet-repository"}


def test_the_event_says_when_how_it_ended_and_for_what() -> None:
    """Time as in the log, the reason of a refusal with its clause, the purpose as the token codes it. Rule: A-23"""
    (message,) = made(replace(LINE, outcome="refused", reason="masked <x>", clause="DMP"))
    event = message.find("EventIdentification")
    assert (event.get("EventDateTime"), event.get("EventOutcomeIndicator")) == (LINE.at, "8")
    assert event.findtext("EventOutcomeDescription") == "masked <x> (DMP)"
    assert code(event.find("PurposeOfUse")) == TOLD.purpose
    second = ("TREATMENT", "2.16.840.1.113883.3.18.7.1", "Treatment")
    (message,) = made(replace(LINE, particulars=replace(TOLD, purpose=(*TOLD.purpose, *second))))
    assert [code(one) for one in message.iter("PurposeOfUse")] == [TOLD.purpose, second]
    source = message.find("AuditSourceIdentification")
    assert dict(source.attrib) == {"AuditEnterpriseSiteID": "chu", "AuditSourceID": "carnet-repository"}
    assert source[0].get("csd-code") == "4"
    human = message.findall("ActiveParticipant")[2]
    assert human.get("UserName") == human.get("UserID")
    assert [code(r) for r in human] == [("10", "1.2.250.1.71.1.2.7", "médecin"), ("X", "9.9", "X")]


def test_a_query_is_told_whole_or_said_to_be_cut() -> None:
    """Rule: A-24"""
    (message,) = made(replace(LINE, event="ITI-18"))
    assert b64decode(message.findtext(".//ParticipantObjectQuery")).decode() == "<q>é</q>"
    cut = replace(TOLD, request="x" * LONGEST_REQUEST, request_size=LONGEST_REQUEST + 9)
    (message,) = made(replace(LINE, event="ITI-18", particulars=cut))
    details = shape(message)["what"][1][5]
    assert details["Characters of the whole request"] == str(LONGEST_REQUEST + 9)


def test_what_is_not_known_is_left_out() -> None:
    """No patient, no token, no submission set: no object and no person, and the peer by its address. Rule: A-20"""
    bare = replace(LINE, patient_id="", role="", particulars=Particulars(endpoint="/services/x"))
    (message,) = made(bare)
    told = shape(message)
    assert told["what"] == []
    assert [who[0] for who in told["who"]] == ["10.0.0.9", REP]
    assert message.find(".//PurposeOfUse") is None


def test_a_feed_chooses_its_action() -> None:
    """An update is U, a merge is D and U: the line says so, the row has the rest."""
    for act in "UD":
        (message,) = made(replace(LINE, event="ITI-8", particulars=replace(TOLD, act=act)))
        assert shape(message)["event"][:2] == (RECORD, act)


def test_start_stop_login_and_nodes() -> None:
    """The events that are no transactions. Rule: A-29"""
    for row, number, text in (("application start", "110120", "Application Start"),
                              ("application stop", "110121", "Application Stop")):
        (message,) = made(replace(LINE, event="registry", particulars=Particulars(row=row, process="7@host")))
        assert shape(message) == {
            "event": (("110100", "DCM", "Application Activity"), "E", (number, "DCM", text)), "outcome": "0",
            "who": [("carnet-registry", "7@host", "false", "110150", "reg.test", "1")], "what": [],
        }
    refused = replace(LINE, event="registry", outcome="refused", reason="expired", caller_id="")
    told = Particulars(row="login", process="7@host", client="CN=x")
    (message,) = made(replace(refused, particulars=told))
    node = ("https://reg.test:8442", "7@host", "false", "", "reg.test", "1")
    assert shape(message) == {
        "event": (("110114", "DCM", "User Authentication"), "E", ("110122", "DCM", "Login")), "outcome": "8",
        "who": [("CN=x", None, "true", "", "10.0.0.9", "2"), node], "what": [],
    }
    (message,) = made(replace(refused, particulars=replace(told, row="node authentication")))
    assert shape(message) == {
        "event": (("110113", "DCM", "Security Alert"), "E", ("110126", "DCM", "Node Authentication")), "outcome": "4",
        "who": [(node[0], "7@host", "true", "", "reg.test", "1"), ("CN=x", None, "false", "", "10.0.0.9", "2")],
        "what": [("10.0.0.9", "2", None, None, ("110182", "DCM"), {"Alert Description": "expired"})],
    }


@pytest.mark.parametrize(("event", "kind"), [("WS-Trust Issue", "110122 Login"), ("WS-Trust Cancel", "110123 Logout")])
def test_a_token_is_a_login_and_its_end(event: str, kind: str) -> None:
    """Whom the token names, and the token service; a refusal likewise, with its reason. Rule: W-13"""
    number, text = kind.split()
    (message,) = made(replace(LINE, event=event), "tokens")
    who = [("8997", None, "true", "", "10.0.0.9", "2"), ("https://tok.test:8443/services/x", "7@host", "false", "",
           "tok.test", "1")]  # fmt: skip
    expected = {
        "event": (("110114", "DCM", "User Authentication"), "E", (number, "DCM", text)), "outcome": "0", "who": who,
        "what": [],
    }
    assert shape(message) == expected
    assert message.find("AuditSourceIdentification").get("AuditSourceID") == "carnet-tokens"
    (message,) = made(replace(LINE, event=event, outcome="refused", reason="login: exp is past"), "tokens")
    assert shape(message) == expected | {"outcome": "8"}
    assert "exp is past" in message.findtext("EventIdentification/EventOutcomeDescription")


def test_an_event_without_a_row_gives_no_message() -> None:
    """It stays in the access log."""
    assert made(replace(LINE, event="TD1")) == []


def test_documents_of_one_retrieve_are_told_together() -> None:
    """One message for each patient and outcome; other transactions are never merged. Rule: A-22, E-18"""
    read = replace(LINE, event="ITI-43", documents=("1",))
    lines = [
        read, replace(read, documents=("2",)), replace(read, outcome="refused", reason="a"),
        replace(read, outcome="refused", reason="b"), replace(read, patient_id="other"),
        replace(read, patient_id="other", trace_id="u"), LINE, LINE,
    ]
    groups = list(atna.grouped(lines))
    assert [len(group) for group in groups] == [2, 2, 1, 1, 1, 1]
    assert [line for group in groups for line in group] == lines
    (message,) = (etree.fromstring(m.xml) for m in atna.messages(groups[1], NODE, "registry"))
    assert message.findtext(".//EventOutcomeDescription") == "a; b"
    assert shape(message)["outcome"] == "8"


def test_a_message_is_the_same_however_often_it_is_made() -> None:
    """So that what is sent twice can be recognised."""
    assert list(atna.messages([LINE], NODE, "registry")) == list(atna.messages([LINE], NODE, "registry"))


@pytest.fixture(scope="session")
def audit_schema(oracles: Path) -> etree.XMLSchema:
    """The DICOM audit schema, edition 2017c."""
    return etree.XMLSchema(etree.parse(str(oracles / "audit-xsd" / "dicom2017c.xsd")))


ROWS = [*({"row": name} for name in RECEIVED), *({"row": "own call", "sent_on": name} for name in SENT)]


@pytest.mark.parametrize("outcome", ["success", "refused"])
@pytest.mark.parametrize("told", ROWS, ids=lambda told: "".join(told.values()))
def test_every_message_satisfies_the_schema(audit_schema: etree.XMLSchema, told: Any, outcome: str) -> None:
    """With all there is to tell, and with next to nothing. Rule: A-21"""
    for line in (LINE, replace(LINE, patient_id="", role="", documents=(), peer="", particulars=Particulars())):
        full = replace(line, outcome=outcome, reason="r", particulars=replace(line.particulars, **told))
        messages = made(full)
        assert len(messages) == 1
        for message in messages:
            audit_schema.assertValid(message)


NASTY = st.text(max_size=40)


@given(NASTY, NASTY, NASTY, st.sampled_from(sorted(RECEIVED)))
def test_no_text_breaks_a_message(one: str, two: str, three: str, row: str) -> None:
    """Whatever is in a field stays in its field; what XML cannot carry is replaced. Rule: A-20"""
    told = replace(TOLD, row=row, client=one, user=two, submission_set=three, query_id=two, endpoint=one, request=three)
    line = replace(LINE, patient_id=two, peer=three, documents=(one,), reason=two, outcome="refused", role=one,
                   particulars=told)
    plain = made(replace(LINE, event=row, outcome="refused", reason="r"))[0]
    (message,) = made(line)
    assert {e.tag for e in message.iter()} <= {e.tag for e in plain.iter()} | {"EventOutcomeDescription", "RoleIDCode"}
    assert Particulars.from_json(told.as_json()) == told


def test_particulars_of_another_version_are_read() -> None:
    """What this version does not know is left out, what is not there is blank."""
    assert Particulars.from_json('{"client":"x","later":1}') == Particulars(client="x")
    assert Particulars.from_json("") == Particulars()
