"""Each rule of the stored query syntax that needs no stored state."""

from __future__ import annotations

import metadata_messages as w
import pytest

from xds import namespaces as ns
from xds.check.query_params import Kind, Param, parse_params
from xds.ebxml.read import read_adhoc_query
from xds.errors import ErrorCode
from xds.model.messages import AdhocQuery

FIND = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
MISSING, NUMBER, OTHER = (
    ErrorCode.XDSStoredQueryMissingParam, ErrorCode.XDSStoredQueryParamNumber, ErrorCode.XDSRegistryError
)
P = "$P"
SINGLE = Param(P)
REQUIRED = Param(P, required=True)
SEVERAL = Param(P, multiple=True)
CODES = Param(P, Kind.CODE, multiple=True)
EVENTS = Param(P, Kind.CODE, multiple=True, and_slots=True)
TIME = Param(P, Kind.TIME)
STATUS = Param(P, Kind.STATUS, required=True, multiple=True)
TYPES = Param(P, Kind.OBJECT_TYPE, multiple=True)
LEVEL = Param(P, Kind.NUMBER)
IDS = Param(P, Kind.ID, multiple=True)


def ask(*slots: tuple[str, list[str]]) -> AdhocQuery:
    return AdhocQuery(FIND, "LeafClass", list(slots))


READ = [
    ("Q-01-name-is-case-sensitive", SINGLE, [("$p", ["'x'"])], None),
    ("Q-02-number", LEVEL, [(P, ["2"])], "2"),
    ("Q-02-quoted-number-tolerated", LEVEL, [(P, ["'2'"])], "2"),
    ("Q-03-string", SINGLE, [(P, ["'abc'"])], "abc"),
    ("Q-03-doubled-quote", SINGLE, [(P, ["'l''hôpital'"])], "l'hôpital"),
    ("Q-03-only-a-quote", SINGLE, [(P, ["''''"])], "'"),
    ("Q-04-list", SEVERAL, [(P, ["('a','b')"])], ["a", "b"]),
    ("Q-04-space-around-items", SEVERAL, [(P, [" ( 'a' ,\n 'b' ) "])], ["a", "b"]),
    ("Q-05-list-over-several-values", SEVERAL, [(P, ["('a')", "('b','c')"])], ["a", "b", "c"]),
    ("Q-05-same-value-once", SEVERAL, [(P, ["('a')", "('a')"])], ["a"]),
    ("Q-06-two-slots-mean-and", EVENTS, [(P, ["('a^^1','b^^1')"]), (P, ["('c^^1')"])], [["a^^1", "b^^1"], ["c^^1"]]),
    ("Q-06-one-slot-of-such", EVENTS, [(P, ["('a^^1')"])], [["a^^1"]]),
    ("Q-07-long-value", SINGLE, [(P, ["'" + "x" * 300 + "'"])], "x" * 300),
    ("Q-08-code", CODES, [(P, ["('10^^1.2.3')"])], ["10^^1.2.3"]),
    ("Q-09-time-unquoted-and-padded", TIME, [(P, ["200412"])], "20041201000000"),
    ("Q-09-time-quoted", TIME, [(P, ["'20041224'"])], "20041224000000"),
    ("Q-12-empty-slot-is-absent", SINGLE, [(P, [])], None),
    ("Q-12-empty-string-is-absent", SINGLE, [(P, ["''"])], None),
    ("Q-12-empty-list-is-absent", SEVERAL, [(P, ["()"])], None),
    ("Q-12-blank-is-absent", SEVERAL, [(P, [" "])], None),
    ("Q-13-composed-form", SINGLE, [(P, ["'e\u0301'"])], "\u00e9"),
    ("Q-14-one-value-as-a-list", SINGLE, [(P, ["('x')"])], "x"),
    ("Q-15-list-without-parentheses", SEVERAL, [(P, ["'x'"])], ["x"]),
    ("Q-16-comma-in-a-string", SEVERAL, [(P, ["('a,b','c'',''d')"])], ["a,b", "c','d"]),
    ("Q-16-parentheses-in-a-string", SEVERAL, [(P, ["('f(x)')"])], ["f(x)"]),
    ("status-unknown-value-ignored", STATUS, [(P, [f"('urn:x:Submitted','{ns.APPROVED}')"])], [ns.APPROVED]),
    ("type-unknown-value-ignored", TYPES, [(P, ["('urn:uuid:x')"])], None),
    ("type-in-upper-case", TYPES, [(P, [f"('{ns.STABLE.upper()}')"])], [ns.STABLE]),
    ("id-in-upper-case", IDS, [(P, ["('URN:UUID:AB','Doc')"])], ["urn:uuid:ab", "Doc"]),
]
REFUSED = [
    ("Q-02-no-number", LEVEL, [(P, ["'two'"])], OTHER),
    ("Q-04-no-comma", SEVERAL, [(P, ["('a' 'b')"])], OTHER),
    ("Q-04-trailing-comma", SEVERAL, [(P, ["('a',)"])], OTHER),
    ("Q-04-not-closed", SEVERAL, [(P, ["('a'"])], OTHER),
    ("Q-04-text-after", SEVERAL, [(P, ["('a') 'b'"])], OTHER),
    ("Q-06-repeated-slot", SEVERAL, [(P, ["('a')"]), (P, ["('b')"])], NUMBER),
    ("Q-06-too-many-slots", EVENTS, [(P, [f"('a{n}^^1')"]) for n in range(51)], NUMBER),
    ("Q-08-no-scheme", CODES, [(P, ["('Dialysis')"])], OTHER),
    ("Q-08-empty-scheme", CODES, [(P, ["('a^^')"])], OTHER),
    ("Q-08-empty-code", CODES, [(P, ["('^^1.2')"])], OTHER),
    ("Q-08-text-between", CODES, [(P, ["('a^x^1.2')"])], OTHER),
    ("Q-08-three-carets", CODES, [(P, ["('a^^^1.2')"])], OTHER),
    ("Q-09-not-a-time", TIME, [(P, ["2004122"])], OTHER),
    ("Q-09-zone", TIME, [(P, ["'20041224+0100'"])], OTHER),
    ("Q-12-required-absent", REQUIRED, [], MISSING),
    ("Q-12-required-empty", REQUIRED, [(P, ["''"])], MISSING),
    ("Q-12-no-known-status", STATUS, [(P, ["('urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Approved')"])],
     MISSING),
    ("Q-14-two-in-a-list", SINGLE, [(P, ["('a','b')"])], NUMBER),
    ("Q-14-two-values", SINGLE, [(P, ["'a'", "'b'"])], NUMBER),
    ("Q-14-same-value-twice", SINGLE, [(P, ["'a'", "'a'"])], NUMBER),
    ("Q-14-two-slots", SINGLE, [(P, ["'a'"]), (P, ["'b'"])], NUMBER),
    ("Q-17-bare-text", SINGLE, [(P, ["abc"])], OTHER),
    ("Q-17-bare-number-for-a-string", SINGLE, [(P, ["123"])], OTHER),
    ("Q-17-double-quotes", SINGLE, [(P, ['"abc"'])], OTHER),
    ("Q-17-unbalanced", SINGLE, [(P, ["'abc"])], OTHER),
    ("Q-17-one-quote-too-many", SINGLE, [(P, ["'l'hôpital'"])], OTHER),
]


@pytest.mark.parametrize(("spec", "slots", "value"), [c[1:] for c in READ], ids=[c[0] for c in READ])
def test_values_that_are_read(spec: Param, slots: list[tuple[str, list[str]]], value: object) -> None:
    """What a parameter value means.

    Rule: Q-01, Q-02, Q-03, Q-04, Q-05, Q-06, Q-07, Q-08, Q-09, Q-12, Q-13, Q-14, Q-15, Q-16
    """
    found, findings = parse_params(ask(*slots), [spec])
    assert findings == []
    assert found == ({} if value is None else {P: value})


@pytest.mark.parametrize(("spec", "slots", "code"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_values_that_are_refused(spec: Param, slots: list[tuple[str, list[str]]], code: ErrorCode) -> None:
    """A malformed parameter has one finding that names the slot, with the precise code.

    Rule: Q-02, Q-04, Q-06, Q-08, Q-09, Q-12, Q-14, Q-17
    """
    found, findings = parse_params(ask(*slots), [spec])
    assert found == {}
    assert [(f.code, f.field) for f in findings] == [(code, P)]
    assert findings[0].expected


@pytest.mark.parametrize(("value", "found", "expected"), [
    ("", "", "a value: the parameter is required"),
    ("''", "", "a value: the parameter is required"),
    ("('Approved')", "('Approved')", "a value that is known: the parameter is required"),
    ("urn:x", "urn:x", "single quotes around the string at character 1"),
    ("('a'", "('a'", "a comma or ) at character 5"),
    ("('a',)", "('a',)", "a value at character 6"),
    ("'a' 'b'", "'a' 'b'", "nothing more at character 4"),
    ("('a", "('a", "a second quote for that at character 2"),
])
def test_a_malformed_value_is_shown_with_what_was_expected(value: str, found: str, expected: str) -> None:
    """Words that stand after "expected".

    Rule: Q-12, Q-17, A-8
    """
    (finding,) = parse_params(ask((P, [value])), [STATUS])[1]
    assert (finding.found, finding.expected) == (found, expected)


@pytest.mark.parametrize("name", ["$XDSDocumentEntryClassCodeScheme", "$Unheard", "NoDollar"],
                         ids=lambda n: f"Q-10-Q-11-{n}")
def test_unknown_parameters_are_ignored(name: str) -> None:
    """An unknown name, the legacy code schemes too, is no error, however malformed or repeated.

    Rule: Q-10, Q-11
    """
    assert parse_params(ask((name, ["('x"]), (name, ["x"]), (P, ["'y'"])), [SINGLE]) == ({P: "y"}, [])


def test_every_parameter_is_judged_in_one_pass() -> None:
    """One bad parameter does not hide another.

    Rule: A-8
    """
    _, findings = parse_params(ask(("$A", ["x"])), [Param("$A"), Param("$B", required=True)])
    assert [(f.field, f.code) for f in findings] == [("$A", OTHER), ("$B", MISSING)]


def test_home_is_read_and_not_refused() -> None:
    """home on the query is accepted.

    Rule: Q-18
    """
    root = w.message("iti18/get-documents")
    next(root.iter(w.rim("AdhocQuery"))).set("home", "urn:oid:1.2.250.1.999")
    query, findings = read_adhoc_query(root)
    assert findings == []
    assert query.home == "urn:oid:1.2.250.1.999"


@pytest.mark.parametrize("return_type", ["", "RegistryObject", "LeafClassWithRepositoryItem"],
                         ids=lambda t: f"Q-19-{t or 'absent'}")
def test_other_return_types_are_refused(return_type: str) -> None:
    """Only ObjectRef and LeafClass are return types.

    Rule: Q-19
    """
    root = w.message("iti18/get-documents")
    next(root.iter(f"{{{ns.QUERY}}}ResponseOption")).set("returnType", return_type)
    _, findings = read_adhoc_query(root)
    assert [(f.rule, f.code) for f in findings] == [("Q-19", OTHER)]


def test_paging_is_ignored() -> None:
    """startIndex, maxResults, federated and returnComposedObjects change nothing.

    Rule: Q-19, Q-20
    """
    root = w.message("iti18/get-documents")
    plain = read_adhoc_query(root)
    for name, value in (("startIndex", "5"), ("maxResults", "1"), ("federated", "true")):
        root.set(name, value)
    next(root.iter(f"{{{ns.QUERY}}}ResponseOption")).set("returnComposedObjects", "false")
    assert read_adhoc_query(root) == plain


def test_query_id_is_compared_without_case_and_space() -> None:
    """The query id is trimmed and lower case. Clause: ITI TF-2 3.18.4.1.2.4"""
    root = w.message("iti18/find-documents")
    next(root.iter(w.rim("AdhocQuery"))).set("id", f" {FIND.upper()} ")
    assert read_adhoc_query(root)[0].query_id == FIND


def test_a_query_without_id_is_unknown() -> None:
    """Without an id there is no stored query to run. Clause: ITI TF-2 3.18.4.1.2.4"""
    root = w.message("iti18/find-documents")
    next(root.iter(w.rim("AdhocQuery"))).set("id", "")
    assert [f.code for f in read_adhoc_query(root)[1]] == [ErrorCode.XDSUnknownStoredQuery]
