"""The French health identifier (identité nationale de santé, INS): 13 characters and a two-digit key.

Clause: CI-SIS Structuration minimale 3.5.5.12
"""

from __future__ import annotations

import re

NIR = "1.2.250.1.213.1.4.8"
NIA = "1.2.250.1.213.1.4.9"
TEST_NIR = "1.2.250.1.213.1.4.10"
DEMO_NIR = "1.2.250.1.213.1.4.11"
INS_C = "1.2.250.1.213.1.4.2"
AUTHORITIES = (NIR, NIA, TEST_NIR, DEMO_NIR, INS_C)

_BODY = re.compile(r"[0-9]{5}(?:[0-9]{2}|2[AB])[0-9]{6}")
_CORSICA = {"2A": "19", "2B": "18"}


def control_key(body: str) -> str:
    """The key of a 13-character matricule: 97 minus the number modulo 97.

    A department of Corsica counts as 19 (2A) or 18 (2B). Raises ValueError when ``body`` has another form.
    """
    if not _BODY.fullmatch(body):
        raise ValueError("a matricule INS has 13 characters: digits, and 2A or 2B only as department")
    department = body[5:7]
    digits = body[:5] + _CORSICA.get(department, department) + body[7:]
    return f"{97 - int(digits) % 97:02d}"


def is_valid(matricule: str) -> bool:
    """True for 15 characters whose key fits. Says nothing about whether the person exists."""
    body, key = matricule[:13], matricule[13:]
    return bool(_BODY.fullmatch(body)) and key == control_key(body)
