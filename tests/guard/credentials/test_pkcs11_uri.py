"""Addresses of tokens. Clause: RFC 7512"""

from __future__ import annotations

import pytest

from guard.credentials.pkcs11_uri import TokenAddress, parse


def test_an_address_names_token_and_library() -> None:
    """Percent-encoded values, several attributes, those of objects left aside."""
    assert parse(
        "pkcs11:token=Carte%20d%27Anne;serial=12ab;model=CPS%203;manufacturer=M;object=x;id=%01;type=private"
        "?module-path=/usr/lib/a%3Bb.so&pin-source=file:///run/pin&module-name=a"
    ) == TokenAddress(
        token="Carte d'Anne", serial="12ab", model="CPS 3", manufacturer="M", module_path="/usr/lib/a;b.so",
        pin_source="/run/pin",
    )
    assert str(parse("pkcs11:token=anne?module-path=/x.so")) == "pkcs11:token=anne"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pkcs11:", "names no token"),
        ("pkcs11:model=CPS", "names no token"),
        ("file:token=a", "begins with"),
        ("pkcs11:token=" + "a" * 3000, "at most"),
        ("pkcs11:token", "name=value"),
        ("pkcs11:token=a b", "name=value"),
        ("pkcs11:token=%4", "name=value"),
        ("pkcs11:token=a;token=b", "twice"),
        ("pkcs11:token=%ff", "UTF-8"),
        ("pkcs11:token=a%00b", "null"),
        ("pkcs11:token=a;colour=red", "unknown attribute"),
        ("pkcs11:token=a?token=b", "unknown attribute"),
        ("pkcs11:token=a?pin-source=pin.txt", "whole path"),
        ("pkcs11:token=a?pin-source=|command", "name=value"),
    ],
)
def test_a_wrong_address_is_told(text: str, told: str) -> None:
    """What is wrong, in words."""
    with pytest.raises(ValueError, match=told):
        parse(text)


@pytest.mark.parametrize("text", ["pkcs11:token=a?pin-value=4719", "pkcs11:token=a;pin-value=4719"])
def test_a_pin_has_no_place_in_an_address(text: str) -> None:
    """Refused, and not repeated."""
    with pytest.raises(ValueError, match="no place") as refused:
        parse(text)
    assert "4719" not in str(refused.value)
