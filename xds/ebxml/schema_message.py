"""Turns an error of the schema processor into a sentence for the person who wrote the message.

The processor's own text carries namespaces in braces, rule numbers and the whole offending value, which may be long
or may be patient data. Only names and numbers are taken from it.
"""

from __future__ import annotations

import re

from lxml import etree

NAME = 64
"""Longest name of an element, an attribute or a namespace that is repeated, in characters."""
SENTENCE = 300
"""Longest sentence, in characters."""

_SUBJECT = re.compile(
    r"Element '(?:\{(?P<ns>[^}]*)\})?(?P<element>[^{}']+)'"
    r"(?:, attribute '(?:\{[^}]*\})?(?P<attribute>[^{}']+)')?: (?P<rest>.*)",
    re.DOTALL,
)
_MISSING_ATTRIBUTE = re.compile(r"The attribute '(?:\{[^}]*\})?([^{}']+)' is required but missing")
_EXPECTED = re.compile(r"Expected is (?:one of )?\( (.*) \)\.\s*$")
_TOO_LONG = re.compile(r"has a length of '(\d+)'; this exceeds the allowed maximum length of '(\d+)'")
_TOO_SHORT = re.compile(r"this underruns the allowed minimum length of '(\d+)'")
_ALLOWED = re.compile(r"is not an element of the set \{(.*)\}\.\s*$")
_PATTERN = re.compile(r"is not accepted by the pattern '(.{1,80})'\.\s*$")
_TYPE = re.compile(r"type '(?:xs:|\{[^}]*\})?(\w+)'\.\s*$")
_WORDS = {
    "anyURI": "a URI",
    "base64Binary": "base64",
    "boolean": "true or false",
    "dateTime": "a date and time",
    "integer": "a whole number",
    "nonNegativeInteger": "a whole number from 0",
    "NCName": "a name",
}
_FIXED = {
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": "must be empty",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_2": "only text is allowed inside",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "text is not allowed between its children",
    "SCHEMAV_CVC_TYPE_3_1_2": "only text is allowed inside",
    "SCHEMAV_CVC_ELT_3_1": "xsi:nil is not allowed",
    "SCHEMAV_CVC_ELT_4_1": "xsi:type is not a name",
    "SCHEMAV_CVC_ELT_4_2": "xsi:type names an unknown type",
    "SCHEMAV_CVC_ELT_4_3": "xsi:type names a type that does not fit here",
}


def plain(entry: etree._LogEntry, *, with_line: bool = True) -> str:
    """One sentence: line, element, attribute, what is wrong and what is expected; never a value of the message.

    ``entry`` is one entry of the error log of an ``etree.XMLSchema``. The result has at most ``SENTENCE`` characters,
    all of them printable.
    """
    found = _SUBJECT.match(entry.message)
    if found is None:
        text = "the message does not fit its schema"
    elif entry.type_name == "SCHEMAV_ELEMENT_CONTENT":
        text = _content(found)
    elif entry.type_name == "SCHEMAV_CVC_ELT_1":
        text = f"{_name(found['element'])}{_namespace(found)} is not the beginning of a known message"
    else:
        subject = _name(found["element"])
        if found["attribute"]:
            subject += f", attribute {_name(found['attribute'])}"
        text = f"{subject}: {_reason(entry.type_name, found['rest'])}"
    line = f"line {entry.line}: " if with_line and entry.line > 0 else ""
    return (line + "".join(c if c.isprintable() else "?" for c in text))[:SENTENCE]


def _content(found: re.Match[str]) -> str:
    """A child that is missing, or one that is not expected where it stands."""
    listed = _EXPECTED.search(found["rest"][-4_000:])
    names = listed[1].split(", ") if listed else []
    hint = f", expected {' or '.join(_local(name) for name in names)}" if names else ""
    if found["rest"].startswith("Missing child"):
        return f"{_name(found['element'])}: a child element is missing{hint}"
    known = any(name.startswith(f"{{{found['ns']}}}") for name in names)
    return f"{_name(found['element'])}{'' if known else _namespace(found)} is not expected here{hint}"


def _reason(kind: str, rest: str) -> str:
    tail = rest[-400:]
    if kind in _FIXED:
        return _FIXED[kind]
    if kind == "SCHEMAV_CVC_COMPLEX_TYPE_4":
        missing = _MISSING_ATTRIBUTE.match(rest)
        return f"attribute {_name(missing[1])} is missing" if missing else "an attribute is missing"
    if kind in ("SCHEMAV_CVC_COMPLEX_TYPE_3_2_1", "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2", "SCHEMAV_CVC_TYPE_3_1_1"):
        return "not allowed"
    if kind == "SCHEMAV_CVC_MAXLENGTH_VALID":
        sizes = _TOO_LONG.search(tail)
        return f"{sizes[1]} characters long, at most {sizes[2]} are allowed" if sizes else "longer than allowed"
    if kind == "SCHEMAV_CVC_MINLENGTH_VALID":
        size = _TOO_SHORT.search(tail)
        return f"at least {size[1]} character(s) expected" if size else "shorter than allowed"
    if kind == "SCHEMAV_CVC_ENUMERATION_VALID":
        allowed = _ALLOWED.search(tail)
        return f"expected one of {allowed[1]}" if allowed else "not an allowed value"
    if kind == "SCHEMAV_CVC_PATTERN_VALID":
        pattern = _PATTERN.search(tail)
        return f"expected the form {pattern[1]}" if pattern else "not of the expected form"
    if kind.startswith("SCHEMAV_CVC_DATATYPE_VALID"):
        type_ = _TYPE.search(tail)
        return f"expected {_WORDS.get(type_[1], type_[1])}" if type_ else "not a valid value"
    return "does not fit the schema"


def _local(expected: str) -> str:
    """The local name of an expected element; a wildcard, which the processor writes ``##other{ns}*``, in words."""
    name = expected.rpartition("}")[2].strip("*")
    return _name(name) if name and not expected.startswith("##") else "an element of another namespace"


def _name(name: str) -> str:
    return name if len(name) <= NAME else f"{name[:NAME]}…"


def _namespace(found: re.Match[str]) -> str:
    return f" of namespace {_name(found['ns'])}" if found["ns"] else " without namespace"
