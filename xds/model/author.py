"""Author of a document or of a submission set. Clause: ITI TF-3 4.2.3.2.1"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Author:
    """Values of the five slots, as submitted.

    ``person`` is XCN (0..1 value in a valid entry), ``institutions`` are XON, ``telecommunications``
    XTN, roles and specialties text or coded text. No positional link exists between the lists.
    """

    person: list[str] = field(default_factory=list)
    institutions: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    specialties: list[str] = field(default_factory=list)
    telecommunications: list[str] = field(default_factory=list)
