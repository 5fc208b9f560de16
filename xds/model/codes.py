"""A coded value. Clause: ITI TF-3 4.2.3.1.2"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """Code value, coding scheme and display name.

    Value and scheme are the identity; the display name is carried and never compared.
    """

    code: str
    scheme: str
    display: str = ""

    @property
    def key(self) -> str:
        """``code^^scheme``, the form of a stored query parameter. Clause: ITI TF-2 3.18.4.1.2.3.4"""
        return f"{self.code}^^{self.scheme}"
