"""What ``schema.validate`` says, and what it withstands."""

from __future__ import annotations

import base64
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.growth import costs_at_most, is_in_proportion
from xds import namespaces as ns
from xds.ebxml import schema
from xds.ebxml.schema_message import SENTENCE

CORPUS = Path(__file__).resolve().parent / "corpus"
SCHEMAS = sorted(p.name for p in files("schemas").joinpath("xsd").iterdir())
SECRET = "PATSIXHUIT^DOMINIQUE"


def parse(name: str) -> etree._Element:
    """A message of the corpus."""
    return etree.parse(str(CORPUS / name)).getroot()


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_compiles_alone(name: str) -> None:
    """Every file compiles by itself, with its imports found beside it."""
    path = files("schemas").joinpath("xsd", name)
    assert isinstance(etree.XMLSchema(file=str(path)), etree.XMLSchema)


def test_one_schema_file_per_namespace_and_relative_imports() -> None:
    """libxml2 reads one document per namespace; every import names a neighbour."""
    namespaces = []
    for name in SCHEMAS:
        root = etree.fromstring(files("schemas").joinpath("xsd", name).read_bytes())
        namespaces.append(root.get("targetNamespace"))
        for reference in root.iter("{http://www.w3.org/2001/XMLSchema}import"):
            assert reference.get("schemaLocation") in SCHEMAS
    assert len(set(namespaces)) == len(namespaces)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '<RegistryPackage id="a">\n<Slot/></RegistryPackage>',
            ["line 2: Slot: attribute name is missing", "line 2: Slot: a child element is missing, expected ValueList"],
        ),
        (
            '<RegistryPackage id="a"><Name/><Slot name="b"><ValueList/></Slot></RegistryPackage>',
            [
                "line 1: Slot is not expected here, expected Description or VersionInfo or Classification or "
                "ExternalIdentifier or RegistryObjectList"
            ],
        ),
        (
            '<ExtrinsicObject id="a" isOpaque="SECRET" other="SECRET"></ExtrinsicObject>',
            [
                "line 1: ExtrinsicObject, attribute isOpaque: expected true or false",
                "line 1: ExtrinsicObject, attribute other: not allowed",
            ],
        ),
        (
            '<ExtrinsicObject id="SECRET %%"><VersionInfo versionName="SECRETSECRET"/></ExtrinsicObject>',
            [
                "line 1: ExtrinsicObject, attribute id: expected a URI",
                "line 1: VersionInfo, attribute versionName: 40 characters long, at most 16 are allowed",
            ],
        ),
        (
            '<ObjectRef id="a"><Slot name="b"><ValueList><Value>SECRET<b/></Value>SECRET'
            "</ValueList></Slot></ObjectRef>",
            [
                "line 1: Value: only text is allowed inside",
                "line 1: ValueList: text is not allowed between its children",
            ],
        ),
        (
            '<RegistryPackage id="a"><VersionInfo>SECRET</VersionInfo></RegistryPackage>',
            ["line 1: VersionInfo: must be empty"],
        ),
        (
            '<ObjectRef id="a"><Slot name="b"><ValueList xmlns="urn:else"/></Slot></ObjectRef>',
            ["line 1: ValueList of namespace urn:else is not expected here, expected ValueList"],
        ),
    ],
)
def test_problems_are_said_in_plain_words(text: str, said: list[str]) -> None:
    """Line, local names and what is expected; no braces, no rule numbers, no value."""
    text = text.replace("SECRET", SECRET)
    message = etree.fromstring(f'<RegistryObjectList xmlns="{ns.RIM}">{text}</RegistryObjectList>')
    problems = schema.validate(message)
    assert problems == said
    assert not any(SECRET in problem or "SCHEMAV" in problem or "{" in problem for problem in problems)


def test_unknown_message_names_its_namespace() -> None:
    """A right name in a wrong namespace is the usual mistake, so the namespace is told."""
    assert schema.validate(etree.fromstring('<SubmitObjectsRequest xmlns="urn:wrong"/>')) == [
        "line 1: SubmitObjectsRequest of namespace urn:wrong is not the beginning of a known message"
    ]


def test_enumeration_lists_what_is_allowed() -> None:
    """A wrong returnType is answered with the right ones."""
    message = parse("iti18-request.xml")
    message[0].set("returnType", SECRET)
    (problem,) = schema.validate(message)
    assert "'LeafClass'" in problem and SECRET not in problem


def test_lines_are_those_of_the_received_text() -> None:
    """A body validated inside its envelope reports lines of the envelope."""
    text = f'<s:Envelope xmlns:s="{ns.SOAP12}">\n<s:Body>\n\n<Slot xmlns="{ns.RIM}" name="a"/>\n</s:Body></s:Envelope>'
    assert schema.validate(etree.fromstring(text)[0][0])[0].startswith("line 4: ")


def test_a_type_named_by_a_prefix_of_the_envelope_is_understood() -> None:
    """``xsi:type`` may use a prefix that only an ancestor declares."""
    text = (
        f'<s:Envelope xmlns:s="{ns.SOAP12}" xmlns:r="{ns.RIM}" xmlns:xsi="{ns.XSI}"><s:Body>'
        '<r:Identifiable id="a" xsi:type="r:ObjectRefType" createReplica="true"/></s:Body></s:Envelope>'
    )
    assert schema.validate(etree.fromstring(text)[0][0]) == []


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        ('<i:Include href="cid:a"/>', True),
        (' \r\n\t<i:Include href="cid:a"/>\n ', True),
        ("", True),
        ("QQ==", True),
        ("QU I=\n", True),
        ('x<i:Include href="cid:a"/>', False),
        ('<i:Include href="cid:a"/>QQ==', False),
        ('<i:Include href="cid:a"/><i:Include href="cid:b"/>', False),
        ("<i:Include/>", False),
        ('<Include href="cid:a"/>', False),
        ("QQ", False),
        ("QQ=", False),
        ("QR==", False),
        ("Q-_=", False),
        ("====", False),
        ("\u00a0QQ==", False),
    ],
)
def test_document_is_base64_or_one_include(content: str, accepted: bool) -> None:
    """Base64 text or a single Include, with XML white space only around it.

    Rule: M-08
    """
    answer = (
        f'<RetrieveDocumentSetResponse xmlns="{ns.XDS}" xmlns:i="{ns.XOP}"><RegistryResponse xmlns="{ns.RS}" '
        f'status="{ns.RESPONSE_SUCCESS}"/><DocumentResponse><RepositoryUniqueId>1</RepositoryUniqueId>'
        f"<DocumentUniqueId>2</DocumentUniqueId><mimeType>text/xml</mimeType><Document>{content}</Document>"
        "</DocumentResponse></RetrieveDocumentSetResponse>"
    )
    assert (schema.validate(etree.fromstring(answer)) == []) is accepted


@given(st.binary(max_size=200), st.integers(0, 199), st.sampled_from(" \n\t-_.é=A"))
def test_inline_documents_agree_with_the_codec(content: bytes, position: int, character: str) -> None:
    """Whatever the encoder writes is valid; one more character is valid only if the strict decoder takes it."""
    request = parse("iti41-request.xml")
    text = base64.b64encode(content).decode()
    request[-1].text = text
    assert schema.validate(request) == []
    spoilt = text[:position] + character + text[position:]
    request[-1].text = spoilt
    bare = "".join(spoilt.split())
    try:
        again = base64.b64encode(base64.b64decode(bare.encode("ascii"), validate=True)).decode()
    except ValueError:
        again = ""
    assert (schema.validate(request) == []) is (bare == again)


def test_internal_messages() -> None:
    """The two transactions between our own services: what they carry, and that a repository comes first."""
    head = 'xmlns="urn:carnet:internal:2026"'
    sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d"
    for good in (
        f"<RetrieveDecisionRequest {head}><RepositoryUniqueId>1</RepositoryUniqueId><DocumentUniqueId>2"
        "</DocumentUniqueId><DocumentUniqueId>3</DocumentUniqueId></RetrieveDecisionRequest>",
        f'<RetrieveDecisionResponse {head}><Decision uniqueId="2" permitted="false"/><Decision uniqueId="3" '
        f'permitted="true" hash="{sha1}" size="0" mimeType="text/xml" entryUUID="urn:uuid:1"/>'
        "</RetrieveDecisionResponse>",
        f'<ReconcileRequest {head}><Document uniqueId="2" hash="{sha1.upper()}"/></ReconcileRequest>',
        f'<ReconcileResponse {head}><Known uniqueId="2" hash="{sha1}"/></ReconcileResponse>',
        f"<ReconcileResponse {head}/>",
    ):
        assert schema.validate(etree.fromstring(good)) == [], good
    for bad in (
        f"<RetrieveDecisionRequest {head}><RepositoryUniqueId>1</RepositoryUniqueId></RetrieveDecisionRequest>",
        f"<RetrieveDecisionRequest {head}><DocumentUniqueId>2</DocumentUniqueId></RetrieveDecisionRequest>",
        f'<RetrieveDecisionResponse {head}><Decision uniqueId="2"/></RetrieveDecisionResponse>',
        f'<RetrieveDecisionResponse {head}><Decision uniqueId="2" permitted="maybe"/></RetrieveDecisionResponse>',
        f'<RetrieveDecisionResponse {head}><Decision uniqueId="2" permitted="true" size="-1"/>'
        "</RetrieveDecisionResponse>",
        f'<ReconcileRequest {head}><Document uniqueId="2" hash="{sha1[1:]}"/></ReconcileRequest>',
        f'<ReconcileRequest {head}><Document uniqueId="" hash="{sha1}"/></ReconcileRequest>',
        f'<ReconcileResponse {head}><Document uniqueId="2" hash="{sha1}"/></ReconcileResponse>',
    ):
        assert schema.validate(etree.fromstring(bad)), bad


# -- hostile messages -----------------------------------------------------------------------------


def wide(count: int, child: str) -> etree._Element:
    """A registry package with many equal children."""
    return etree.fromstring(f'<RegistryPackage xmlns="{ns.RIM}" id="a">{child * count}</RegistryPackage>')


def test_answer_is_bounded() -> None:
    """However many and long the problems, the verdict is short; the rest is counted."""
    long = "n" * 5_000
    problems = schema.validate(wide(500, f'<Slot name="{long}" {long}="{long}"/>'))
    assert len(problems) == schema.MESSAGES + 1
    assert problems[-1] == f"and {500 * 3 - schema.MESSAGES} more"
    assert all(len(problem) <= SENTENCE for problem in problems)
    assert not any("n" * 70 in problem for problem in problems)


def test_very_long_value_is_not_echoed() -> None:
    """The processor cuts its own text off in the middle of a long value."""
    message = wide(1, f'<Slot name="{"v" * 200_000}"><ValueList/></Slot>')
    assert schema.validate(message) == ["line 1: Slot, attribute name: longer than allowed"]
    message[0].set("name", "v" * 257)
    assert schema.validate(message) == ["line 1: Slot, attribute name: 257 characters long, at most 256 are allowed"]


def test_names_are_made_printable() -> None:
    """A name may hold characters without a width; they do not reach the answer."""
    (problem,) = schema.validate(etree.fromstring("<a\u200d\u200cb/>"))
    assert problem == "line 1: a??b without namespace is not the beginning of a known message"


@pytest.mark.parametrize("child", ["<Slot/>", "<Nothing/>", '<Slot name="a" b="c"><ValueList/></Slot>'])
def test_many_wrong_siblings_do_not_hold_the_thread(child: str) -> None:
    """A hundred thousand wrong siblings are refused with a few messages, in time that grows no faster than they do.

    Attack: error-flood
    """
    problems = schema.validate(wide(100_000, child))
    assert problems and len(problems) <= schema.MESSAGES + 1
    assert is_in_proportion(lambda count: wide(count, child), schema.validate, 10_000)


def test_many_wrong_attributes_do_not_hold_the_thread() -> None:
    """An element with a hundred thousand attributes is refused without listing them, sooner than it is read twice.

    Attack: attribute-flood
    """
    attributes = " ".join(f'a{i}=""' for i in range(100_000))
    text = f'<RegistryPackage xmlns="{ns.RIM}" id="a" {attributes}/>'
    message = etree.fromstring(text)
    assert schema.validate(message) == [f"an element has more than {schema.ATTRIBUTES} attributes"]
    assert costs_at_most(2, lambda _: etree.fromstring(text), schema.validate, message)


def test_big_messages_get_a_full_verdict() -> None:
    """Above the size for direct validation a valid message passes, and one mistake is found with its line."""
    slot = '\n<Slot name="a"><ValueList><Value>v</Value></ValueList></Slot>'
    message = wide(schema.DIRECT, slot)
    assert schema.validate(message) == []
    message[3_000].set("other", "1")
    assert schema.validate(message) == ["line 3002: Slot, attribute other: not allowed"]
    del message[3_000].attrib["other"]
    message.append(message.makeelement(f"{{{ns.RIM}}}ObjectRef"))
    assert len(schema.validate(message)) == 1


def test_threads_do_not_mix_their_verdicts() -> None:
    """Valid and invalid, small and big messages validated at once in many threads each get their own verdict."""
    slot = '<Slot name="a"><ValueList/></Slot>'
    small = f'<Slot xmlns="{ns.RIM}" name="a"/>'.encode()
    texts = [
        (CORPUS / "iti42-request.xml").read_bytes(),
        small,
        etree.tostring(wide(schema.DIRECT, slot)),
        etree.tostring(wide(schema.DIRECT, slot + '<Slot name="a"/>')),
    ]
    expected = [schema.validate(etree.fromstring(text)) for text in texts]
    assert [bool(problems) for problems in expected] == [False, True, False, True]

    def work(number: int) -> bool:
        kind = number % 4 if number % 20 < 4 else number % 2
        return schema.validate(etree.fromstring(texts[kind])) == expected[kind]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400)))


def test_verdicts_at_the_same_moment_keep_their_own_errors() -> None:
    """The error list that lxml keeps on a schema is read before another thread may write to it."""
    good = '<Slot name="a"><ValueList/></Slot>'
    messages = [
        etree.tostring(wide(500, good + f'<Slot name="b" wrong{kind}="1"/>' * kind)) for kind in range(1, 5)
    ]
    expected = [schema.validate(etree.fromstring(text)) for text in messages]
    assert len({tuple(problems) for problems in expected}) == len(messages)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda n: schema.validate(etree.fromstring(messages[n % 4])), range(80)))
    finally:
        sys.setswitchinterval(interval)
    assert found == expected * 20


def test_no_address_in_a_message_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """``xsi:schemaLocation`` in a message is a hint that nobody follows.

    Attack: schema-location
    """
    message = parse("iti42-request.xml")
    message.set(f"{{{ns.XSI}}}schemaLocation", f"{ns.LCM} http://attacker.invalid/lcm.xsd urn:x file:///etc/passwd")
    assert schema.validate(message) == []


def test_imports_outside_the_package_are_not_read() -> None:
    """The resolver of the compiler answers from package data only; any other import ends the compilation."""
    parser = schema._parser()
    parser.resolvers.add(schema._FromPackage())
    text = (
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:import namespace="urn:x" '
        'schemaLocation="file:///etc/hostname"/></xs:schema>'
    )
    with pytest.raises(etree.XMLSchemaParseError, match="Start tag expected, '<' not found, line 1, column 1"):
        etree.XMLSchema(etree.fromstring(text, parser, base_url="schemas:/xsd/x.xsd"))
