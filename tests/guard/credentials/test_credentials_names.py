"""Distinguished names as text, as the stacks in use write them."""

from __future__ import annotations

import contextlib

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from guard.credentials import distinguished_name as dn

PERSON = x509.Name(
    [
        x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COUNTRY_NAME, "FR")]),
        x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.TITLE, "Médecin")]),
        x509.RelativeDistinguishedName(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, "899900000011"),
                x509.NameAttribute(NameOID.SURNAME, "LE GOFF, dit L'AÎNÉ"),
                x509.NameAttribute(NameOID.GIVEN_NAME, "Max"),
            ]
        ),
    ]
)


@pytest.mark.parametrize(
    "text",
    [
        r"CN=899900000011+SN=LE GOFF\, dit L'AÎNÉ+GN=Max,title=Médecin,C=FR",
        r"GN=Max+CN=899900000011+SN=LE GOFF\, dit L'AÎNÉ, T=Médecin, C=FR",
        r'C=FR, title=Médecin, CN=899900000011 + SURNAME="LE GOFF, dit L\'AÎNÉ" + givenName=Max',
        r"cn=899900000011+sn=LE GOFF\, dit L'A\C3\8EN\C3\89+g=Max,2.5.4.12=#0c084dc3a9646563696e,c=FR",
        r"CN=899900000011+SN=LE GOFF\, dit L'AÎNÉ+GN=Max;OID.2.5.4.12=Médecin;C=FR",
    ],
)
def test_spellings_of_one_name(text: str) -> None:
    """Order of values, keywords, escapes, hexadecimal and separators differ; the name is the same. Step: g"""
    assert dn.same(text, PERSON)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "C=FR",
        "CN=899900000022,title=Médecin,C=FR",
        r"CN=899900000011,SN=LE GOFF\, dit L'AÎNÉ,GN=Max,title=Médecin,C=FR",
        r"CN=899900000011+SN=LE GOFF\, dit L'AÎNÉ+GN=Max,title=Médecin,C=FR,O=x",
        r"title=Médecin,CN=899900000011+SN=LE GOFF\, dit L'AÎNÉ+GN=Max,C=FR",
        r"CN=899900000011+SN=LE GOFF\, dit L'AÎNÉ+GN=Max,title=Médecin,C=FR,",
        "CN=899900000011+NOPE=x",
        "2.5.4.12=#0c7f41",
        "x" * 5000,
    ],
)
def test_other_names_are_other(text: str) -> None:
    """Missing, added, moved or split parts, unknown keywords and broken text never match. Step: g"""
    assert not dn.same(text, PERSON)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_what_is_written_is_read_back(values: list[str]) -> None:
    """Any values, whatever needs escaping in them."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, value) for value in values])
    assert dn.parse(dn.write(name)) == dn.relative_names(name)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Only ValueError comes out of the parser."""
    with contextlib.suppress(ValueError):
        dn.parse(text)
