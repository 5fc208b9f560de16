"""Association. Clause: ITI TF-3 4.2.2"""

from __future__ import annotations

from dataclasses import dataclass, field

from xds.model.codes import Code


@dataclass(slots=True, kw_only=True)
class Association:
    """A typed link between two objects. ``source`` and ``target`` are entryUUIDs or symbolic ids."""

    entry_uuid: str
    type: str
    source: str
    target: str
    status: str = ""
    home_community_id: str = ""
    documentation: Code | None = None
    slots: dict[str, list[str]] = field(default_factory=dict)

    kind = "Association"

    def slot(self, name: str) -> str:
        """The single value of a slot, or "" when absent or empty."""
        values = self.slots.get(name) or [""]
        return values[0]
