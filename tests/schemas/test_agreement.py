"""Our schemas and the published ones give the same verdict: on valid messages, and on each message spoilt in turn.

Every element of every message of ``corpus/`` is spoilt in some thirty ways. A place that repeats an earlier one (same
path of names, same attributes, same children) is spoilt once, an attribute of an element once in a message. What
differs on purpose is listed in ``DIFFERENCES``, each with a test of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lxml import etree

from xds import namespaces as ns
from xds.ebxml import schema

HERE = Path(__file__).resolve().parent
CORPUS = sorted((HERE / "corpus").glob("*.xml"))
FIXTURES = sorted((HERE.parent.parent / "fixtures" / "messages").rglob("*.xml"))
BASE64 = "PGRvYy8+"
INCLUDE = f"{{{ns.XOP}}}Include"
DOCUMENT = f"{{{ns.XDS}}}Document"

DIFFERENCES = {
    "include": "a Document may hold xop:Include: that is what travels, the published schema describes base64 only",
    "removal": "ITI-86 takes several documents, as the transaction says; the published draft takes one",
    "administration": "objects of ebXML that no IHE transaction carries are not in our schema",
    "requests": "ebXML requests that no IHE transaction uses are not in our schema",
    "stray characters": "libxml2 overlooks characters outside the base64 alphabet; XML Schema and we do not",
    "type names": "xsi:type may name a type; types without a name in the published schema have one in ours",
    "types that do not fit": "an xsi:type that the schema does not know is taken off, not refused (C-17)",
}
ADMINISTRATION = {
    "AuditableEvent": (
        'eventType="a" timestamp="2026-01-01T00:00:00Z" user="u" requestId="r"',
        "<affectedObjects/>",
    ),
    "ClassificationNode": ("", ""),
    "ClassificationScheme": ('isInternal="true" nodeType="n"', ""),
    "ExternalLink": ('externalURI="http://a.example"', ""),
    "Federation": ("", ""),
    "Organization": ("", ""),
    "Person": ("", ""),
    "Registry": ('operator="o" specificationVersion="3"', ""),
    "Service": ("", ""),
    "ServiceBinding": ('service="s"', ""),
    "SpecificationLink": ('serviceBinding="s" specificationObject="o"', ""),
    "Subscription": ('selector="s"', ""),
    "User": ("", ""),
}
REQUESTS = (
    f'<ApproveObjectsRequest xmlns="{ns.LCM}"/>',
    f'<DeprecateObjectsRequest xmlns="{ns.LCM}"/>',
    f'<UndeprecateObjectsRequest xmlns="{ns.LCM}"/>',
    f'<AcceptObjectsRequest xmlns="{ns.LCM}" correlationId="c"/>',
    f'<UpdateObjectsRequest xmlns="{ns.LCM}"><RegistryObjectList xmlns="{ns.RIM}"/></UpdateObjectsRequest>',
    f'<RegistryPackageQuery xmlns="{ns.QUERY}"/>',
)

SIZES = (16, 17, 64, 65, 256, 257, 1024, 1025)
VALUES = (*("A" * size for size in SIZES), "", " ", "not a value", "-1", "true", "LeafClass", "%zz", "é", " ObjectRef ")

Element = etree._Element
Verdict = Callable[[Element], bool]


@pytest.fixture(scope="module")
def published(oracles: Path) -> Verdict:
    """The verdict of the published schemas; they see base64 where a message has a proper Include."""
    folder = oracles / "ebxml-xsd"
    driver = etree.fromstring(
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:import namespace="{ns.XDS}" '
        'schemaLocation="XDS.b_DocumentRepository.xsd"/><xs:import namespace="urn:ihe:iti:rmd:2017" '
        'schemaLocation="rmd.xsd"/></xs:schema>',
        base_url=f"{folder}/driver.xsd",
    )
    compiled = etree.XMLSchema(driver)

    def verdict(element: Element) -> bool:
        element = copy.deepcopy(element)
        for document in element.iter(DOCUMENT):
            if len(document) == 1 and document[0].tag == INCLUDE and not (document.text or "").strip():
                include = document[0]
                if include.get("href") and not (include.tail or "").strip():
                    document.remove(include)
                    document.text = BASE64
        return bool(compiled.validate(element))

    return verdict


def ours(element: Element) -> bool:
    """Our verdict."""
    return not schema.validate(element)


def load(path: Path) -> Element:
    """The body element of a message file, with or without its envelope."""
    root = etree.parse(str(path), etree.XMLParser(resolve_entities=False, remove_comments=True)).getroot()
    body = root.find(f"{{{ns.SOAP12}}}Body")
    if body is None:
        return root
    alone: Element = etree.fromstring(etree.tostring(body[0], with_tail=False))
    return alone


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_valid_messages_are_accepted_by_both(path: Path, published: Verdict) -> None:
    """A realistic message of each transaction passes our schema and the published one."""
    message = load(path)
    assert schema.validate(message) == []
    assert published(message)


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_valid_messages_are_accepted_inside_an_envelope(path: Path) -> None:
    """A body is validated where it stands, under an envelope that declares the prefixes, and the tree is unchanged."""
    inner = etree.tostring(load(path)).decode()
    envelope = etree.fromstring(
        f'<s:Envelope xmlns:s="{ns.SOAP12}"><s:Header/><s:Body>{inner}</s:Body></s:Envelope>'
    )
    before = etree.tostring(envelope)
    assert schema.validate(envelope[1][0]) == []
    assert etree.tostring(envelope) == before
    assert envelope[1][0].getparent() is envelope[1]


def test_fixture_messages_get_the_same_verdict(published: Verdict) -> None:
    """Every wire message of ``fixtures/messages`` is judged alike, valid or not."""
    judged = 0
    for path in FIXTURES:
        try:
            message = load(path)
        except (etree.XMLSyntaxError, IndexError):
            continue
        if etree.QName(message).namespace not in (ns.XDS, ns.RS, ns.LCM, ns.QUERY):
            continue
        judged += 1
        assert ours(message) == published(message), f"{path}: {schema.validate(message)}"
    if not judged:
        pytest.skip("fixtures/messages holds no registry message yet")


# -- spoiling -------------------------------------------------------------------------------------


def spoilers(place: Element, tried: set[tuple[str, str]]) -> Iterator[tuple[str, Callable[[Element], None]]]:
    """Named changes of one element, its position, its text, and those of its attributes not yet in ``tried``."""
    namespace, local = etree.QName(place).namespace, etree.QName(place).localname
    parent = place.getparent()
    if parent is not None:
        yield "drop", lambda e: e.getparent().remove(e)
        yield "twice", lambda e: e.addnext(copy.deepcopy(e))
        yield "move to the beginning", lambda e: e.getparent().insert(0, e)
        yield "move to the end", lambda e: e.getparent().append(e)
        if place.getnext() is not None:
            yield "swap with the next", lambda e: e.getnext().addnext(e)
    yield "unknown child first", lambda e: e.insert(0, e.makeelement(f"{{{namespace}}}Unknown"))
    yield "unknown child last", lambda e: e.append(e.makeelement(f"{{{namespace}}}Unknown"))
    yield "child of another namespace", lambda e: e.append(e.makeelement("{urn:other}Slot"))
    yield "own copy inside", lambda e: e.append(copy.deepcopy(e))
    yield "no namespace", lambda e: setattr(e, "tag", local)
    yield "other namespace", lambda e: setattr(e, "tag", f"{{urn:other}}{local}")
    yield "other name", lambda e: setattr(e, "tag", f"{{{namespace}}}{local}s")
    yield "lower case name", lambda e: setattr(e, "tag", f"{{{namespace}}}{local.lower()}")
    yield "text first", lambda e: setattr(e, "text", "?text?" + (e.text or ""))
    yield "text after", lambda e: setattr(e, "tail", "?text?")
    for size in SIZES if not len(place) else ():
        yield f"text of {size}", lambda e, size=size: setattr(e, "text", "A" * size)
    yield "no text", lambda e: setattr(e, "text", None)
    yield "empty", lambda e: [e.remove(child) for child in list(e)] and None
    yield "xsi:nil", lambda e: e.set(f"{{{ns.XSI}}}nil", "true")
    yield "xsi:type unknown", lambda e: e.set(f"{{{ns.XSI}}}type", "Nowhere")
    yield "unknown attribute", lambda e: e.set("unknown", "1")
    yield "attribute of another namespace", lambda e: e.set("{urn:other}id", "1")
    yield "xml:lang", lambda e: e.set("{http://www.w3.org/XML/1998/namespace}lang", "fr")
    for name in place.attrib:
        if (place.tag, name) in tried:
            continue
        tried.add((place.tag, name))
        yield f"drop @{name}", lambda e, name=name: e.attrib.pop(name) and None
        for value in VALUES:
            yield f"@{name}={value[:12]}({len(value)})", lambda e, name=name, value=value: e.set(name, value)


def places(message: Element) -> Iterator[tuple[str, Element]]:
    """One element of each kind: same path of names, attributes and children count as the same kind."""
    tree = message.getroottree()
    seen = set()
    for element in message.iter(etree.Element):
        if element.tag == INCLUDE or any(a.tag == INCLUDE for a in element.iterancestors()):
            continue
        path = "/".join(str(a.tag) for a in element.iterancestors())
        kind = (path, element.tag, tuple(sorted(element.attrib)), tuple(dict.fromkeys(c.tag for c in element)))
        if kind not in seen:
            seen.add(kind)
            yield tree.getelementpath(element), element


def spoilt(message: Element) -> Iterator[tuple[str, Element]]:
    """Copies of the message, each with one change, and the name of the change."""
    tried: set[tuple[str, str]] = set()
    for path, place in places(message):
        for name, change in spoilers(place, tried):
            victim = copy.deepcopy(message)
            found = victim if path == "." else victim.find(path)
            assert found is not None
            change(found)
            yield f"{etree.QName(place).localname}: {name} ({path})", victim


def is_deliberate(message: Element) -> bool:
    """True for the differences that spoiling can reach.

    Several documents in a removal, stray characters in base64, long values of a stored query (Q-07), an unknown
    type named by xsi:type (C-17).
    """
    if any(f"{{{ns.XSI}}}type" in element.attrib for element in message.iter(etree.Element)):
        return True
    if message.tag == "{urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0}AdhocQueryRequest" and any(
        len(value.text or "") > 256 for value in message.iter("{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}Value")
    ):
        return True
    if message.tag == "{urn:ihe:iti:rmd:2017}RemoveDocumentsRequest" and len(message) > 1:
        return True
    return any("?" in (document.text or "") for document in message.iter(DOCUMENT))


def test_long_values_of_a_stored_query_are_taken(published: Verdict) -> None:
    """A list of identifiers in one Value: the published schema stops at 256 characters, we do not.

    Rule: Q-07
    """
    query = load(next(path for path in CORPUS if path.stem == "iti18-request"))
    value = next(query.iter("{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}Value"))
    value.text = "(" + ",".join(["'urn:uuid:00000000-0000-4000-8000-000000000000'"] * 40) + ")"
    assert ours(query) and not published(query)


def test_an_unknown_type_is_taken_off(published: Verdict) -> None:
    """What it stood on is then judged as if nothing had been written there.

    Rule: C-17
    """
    query = load(next(path for path in CORPUS if path.stem == "iti18-request"))
    value = next(query.iter("{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}Value"))
    value.set(f"{{{ns.XSI}}}type", "xs:string")
    assert not published(query) and ours(query)
    value.set(f"{{{ns.XSI}}}type", "xs:string")
    value.set("unknown", "1")
    assert not ours(query)


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_spoilt_messages_get_the_same_verdict(path: Path, published: Verdict) -> None:
    """Whatever is dropped, moved, repeated, renamed or put in, both schemas agree, and much of it is refused."""
    tried = refused = 0
    differ = []
    for name, victim in spoilt(load(path)):
        if is_deliberate(victim):
            continue
        tried += 1
        mine = ours(victim)
        refused += not mine
        if mine != published(victim):
            differ.append(f"{name}: we {'accept' if mine else 'refuse'}")
    assert not differ, f"{len(differ)} of {tried}: " + "; ".join(differ[:20])
    assert tried >= 60 and refused > tried / 3, f"{tried} tried, {refused} refused"


# -- the differences ------------------------------------------------------------------------------


def test_administrative_objects_are_refused_by_ours_only(published: Verdict) -> None:
    """DIFFERENCES["administration"]: they are valid ebXML and no part of XDS."""
    for name, (attributes, content) in ADMINISTRATION.items():
        message = etree.fromstring(
            f'<RegistryObjectList xmlns="{ns.RIM}"><{name} id="x" {attributes}>{content}</{name}></RegistryObjectList>'
        )
        assert published(message), name
        assert not ours(message), name


def test_unused_requests_are_refused_by_ours_only(published: Verdict) -> None:
    """DIFFERENCES["requests"]: they are valid ebXML and no part of XDS."""
    for text in REQUESTS:
        assert published(etree.fromstring(text)), text
        assert not ours(etree.fromstring(text)), text


def test_removal_of_several_documents_is_accepted_by_ours_only(published: Verdict) -> None:
    """DIFFERENCES["removal"]."""
    message = load(HERE / "corpus" / "iti86-request.xml")
    message.append(copy.deepcopy(message[0]))
    assert ours(message)
    assert not published(message)


def test_include_is_accepted_by_ours_only(oracles: Path) -> None:
    """DIFFERENCES["include"]: the published schema itself, without the exchange for base64, refuses it.

    Rule: M-06
    """
    compiled = etree.XMLSchema(file=str(oracles / "ebxml-xsd" / "XDS.b_DocumentRepository.xsd"))
    message = load(HERE / "corpus" / "iti41-request.xml")
    assert ours(message)
    assert not compiled.validate(message)


def test_stray_characters_in_base64_are_refused_by_ours_only(published: Verdict) -> None:
    """DIFFERENCES["stray characters"]: strict on the alphabet, tolerant of white space.

    Rule: M-09
    """
    message = load(HERE / "corpus" / "iti41-request.xml")
    document = message[-1]
    document.text = f" {BASE64[:3]}\r\n\t{BASE64[3:]} "
    assert ours(message) and published(message)
    document.text = f"?{BASE64}"
    assert published(message)
    assert schema.validate(message) == [f"line {document.sourceline}: Document: not valid base64"]


def test_named_types_differ(published: Verdict) -> None:
    """DIFFERENCES["type names"]: visible only to a sender that writes xsi:type on the root, which none does."""
    message = load(HERE / "corpus" / "iti42-request.xml")
    message.set(f"{{{ns.XSI}}}type", "lcm:SubmitObjectsRequestType")
    assert ours(message)
    assert not published(message)
