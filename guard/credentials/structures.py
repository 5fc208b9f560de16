"""Legal entities and their sites: which structure's certificate may vouch for which structure.

A certificate belongs to one structure. That of a legal entity (FINESS of the entity, SIREN) also serves the sites
listed for it, and, where the domain says so, every establishment (SIRET) whose number begins with its SIREN.

Clause: DMP Struct_IdNat; IGC-Santé organisations
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from guard.professions import TableError, decode_table, table_rows

_COLUMNS = ("legal_entity", "site", "name")
_SIREN, _SIRET = "2", "3"


@dataclass(frozen=True, slots=True)
class Structures:
    """Immutable. ``sites`` by the identifier of their legal entity, Struct_IdNat both."""

    sites: dict[str, frozenset[str]] = field(default_factory=dict)
    siren_covers_siret: bool = False

    @classmethod
    def load(cls, file: Path | None, *, siren_covers_siret: bool) -> Structures:
        """From a CSV of the columns legal_entity, site, name; None for no list. Raises TableError."""
        if file is None:
            return cls({}, siren_covers_siret)
        try:
            text = decode_table(file.name, file.read_bytes())
        except OSError as problem:
            raise TableError(file.name, 0, "", f"cannot be read ({type(problem).__name__})") from problem
        found: dict[str, set[str]] = {}
        for line, row in table_rows(file.name, text, _COLUMNS):
            if not row["legal_entity"] or not row["site"]:
                raise TableError(file.name, line, "site", "legal_entity and site are both required")
            found.setdefault(row["legal_entity"], set()).add(row["site"])
        return cls({entity: frozenset(sites) for entity, sites in found.items()}, siren_covers_siret)

    def serves(self, certified: str, claimed: str) -> bool:
        """Whether the structure a certificate names may act as the one an assertion names."""
        if certified == claimed or claimed in self.sites.get(certified, ()):
            return True
        return (
            self.siren_covers_siret
            and certified[:1] == _SIREN and claimed[:1] == _SIRET
            and len(certified) == 10 and len(claimed) == 15 and claimed[1:10] == certified[1:]
        )


NO_STRUCTURES = Structures()
