"""The annotated messages give what their expectation files say."""

from __future__ import annotations

import metadata_messages as w
import pytest

from xds.check import Stage
from xds.check.query_params import Kind, Param, parse_params
from xds.ebxml.read import read_adhoc_query, read_retrieve_request
from xds.errors import Actor, Finding, has_errors

NAMES = sorted(
    str(p.relative_to(w.FOLDER).with_suffix(""))
    for folder in ("iti18", "iti41", "iti42", "iti43") for p in (w.FOLDER / folder).glob("*.xml")
)
FIND_DOCUMENTS = [
    Param("$XDSDocumentEntryPatientId", required=True),
    Param("$XDSDocumentEntryStatus", Kind.STATUS, required=True, multiple=True),
    Param("$XDSDocumentEntryTypeCode", Kind.CODE, multiple=True),
    Param("$XDSDocumentEntryClassCode", Kind.CODE, multiple=True),
    Param("$XDSDocumentEntryConfidentialityCode", Kind.CODE, multiple=True, and_slots=True),
    Param("$XDSDocumentEntryCreationTimeFrom", Kind.TIME),
    Param("$XDSDocumentEntryCreationTimeTo", Kind.TIME),
    Param("$XDSDocumentEntryAuthorPerson", Kind.LIKE, multiple=True),
]
GET_DOCUMENTS = [Param("$XDSDocumentEntryUniqueId", multiple=True)]


def judge(name: str) -> list[Finding]:
    root = w.message(name)
    transaction = name.split("/", maxsplit=1)[0]
    if transaction == "iti43":
        assert len(read_retrieve_request(root)) == 2
        return []
    if transaction == "iti18":
        query, findings = read_adhoc_query(root)
        specs = GET_DOCUMENTS if name.endswith("get-documents") else FIND_DOCUMENTS
        return findings + parse_params(query, specs)[1]
    if transaction == "iti41":
        return w.findings(root, Actor.REPOSITORY, Stage.PROVIDE) + w.findings(root, Actor.REGISTRY, Stage.PROVIDE)
    return w.findings(root)


@pytest.mark.parametrize("name", NAMES)
def test_message_gives_its_expected_answer(name: str) -> None:
    """Status, codes and rules are those of the expectation file, no more and no less."""
    found, expected = judge(name), w.expected(name)
    assert ("Failure" if has_errors(found) else "Success") == expected["status"][0]
    assert sorted({f.code.value for f in found}) == sorted(expected.get("code", []))
    assert {f.rule for f in found} >= set(expected.get("rule", []))


def test_the_query_example_is_read_as_its_comments_say() -> None:
    """Every form of parameter in one query. Clause: ITI TF-2 3.18.4.1.2.3"""
    values, findings = parse_params(read_adhoc_query(w.message("iti18/find-documents"))[0], FIND_DOCUMENTS)
    assert findings == []
    assert values == {
        "$XDSDocumentEntryPatientId": "999000000000012^^^&1.2.250.1.213.1.4.10&ISO^NH",
        "$XDSDocumentEntryStatus": ["urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"],
        "$XDSDocumentEntryTypeCode": ["11488-4^^2.16.840.1.113883.6.1", "34120-6^^2.16.840.1.113883.6.1"],
        "$XDSDocumentEntryClassCode": ["10^^1.2.250.1.213.1.1.4.1", "11^^1.2.250.1.213.1.1.4.1"],
        "$XDSDocumentEntryConfidentialityCode": [
            ["N^^2.16.840.1.113883.5.25", "R^^2.16.840.1.113883.5.25"], ["MASQUE_PS^^1.2.250.1.213.1.1.4.13"],
        ],
        "$XDSDocumentEntryCreationTimeFrom": "20240301000000",
        "$XDSDocumentEntryCreationTimeTo": "20240401000000",
        "$XDSDocumentEntryAuthorPerson": ["%DOCTEUR-TEST%", "%L'HAY, Jo%"],
    }
