"""Updates and removals in one world: sent, looked at afterwards, and proof that a refused one left nothing behind."""

from __future__ import annotations

from typing import Any

from conformance import updates
from conformance.client import Outcome
from tests.direct import TRACE, Desk, content
from tests.world import GET_DOCUMENTS
from xds.check.query_params import quote_list
from xds.errors import Severity
from xds.model import DocumentEntry, LocalizedString, Submission
from xds.model.messages import ReceivedError
from xds.namespaces import RESPONSE_FAILURE


def titled(text: str) -> list[LocalizedString]:
    return [LocalizedString(text, "fr-FR")]


class Shelf(Desk):
    """A desk whose documents are changed after they were registered."""

    def entry(self, entry_uuid: str) -> DocumentEntry:
        """One version as it is stored."""
        (found,) = self.found("EntryUUID", entry_uuid)
        return found

    def versions(self, logical_id: str) -> list[DocumentEntry]:
        """All versions of a logical object, oldest first."""
        return sorted(self.found("LogicalID", logical_id), key=lambda entry: entry.version)

    def found(self, selector: str, value: str) -> list[DocumentEntry]:
        """GetDocuments at the level that shows every version."""
        answer = self.world.client().query(
            GET_DOCUMENTS,
            [(f"$XDSDocumentEntry{selector}", [quote_list([value])]), ("$MetadataLevel", ["2"])],
            patient_id=self.patient_id,
        )
        assert answer.outcome.is_success, answer.outcome
        return [o for o in answer.objects if isinstance(o, DocumentEntry)]

    # -- updates --------------------------------------------------------------------------------------
    def empty(self, **changes: Any) -> Submission:
        return updates.empty_update(self.domain, self.patient_id, **changes)

    def update_of(self, of: str, /, **changes: Any) -> Submission:
        """One new version, with another title unless changed otherwise."""
        stored = self.entry(of)
        return updates.update_of(self.domain, stored, **({"title": titled("Corrigé")} | changes))

    def update(self, made: Submission, *, restricted: bool = False, who: str = "physician") -> Submission:
        """Must succeed without a word."""
        outcome = self.send(made, restricted=restricted, who=who)
        assert outcome.is_success and not outcome.errors, outcome
        return made

    def send(self, made: Submission, *, restricted: bool = False, who: str = "physician") -> Outcome:
        return self.world.client(who).update(made, restricted=restricted)

    def updated(self, of: str, /, **changes: Any) -> str:
        """entryUUID of the new version of the document."""
        lid = self.entry(of).logical_id
        self.update(self.update_of(of, **changes))
        return self.versions(lid)[-1].entry_uuid

    def not_updated(
        self, made: Submission, *, restricted: bool = False, who: str = "physician"
    ) -> list[ReceivedError]:
        """Must fail, change nothing but the access log, and say the same trace id there and here."""
        return self._refused(lambda: self.send(made, restricted=restricted, who=who))

    # -- removals -------------------------------------------------------------------------------------
    def remove(self, *entry_uuids: str) -> None:
        """Must succeed without a word."""
        outcome = self.world.client().remove_metadata(entry_uuids)
        assert outcome.is_success and not outcome.errors, outcome

    def not_removed(self, *entry_uuids: str) -> list[ReceivedError]:
        return self._refused(lambda: self.world.client().remove_metadata(entry_uuids))

    def _refused(self, send: Any) -> list[ReceivedError]:
        before = content(self.world)
        outcome = send()
        assert outcome.status == RESPONSE_FAILURE and outcome.errors, outcome
        assert content(self.world) == before, "a refused request has changed the database"
        traces = {match[1] for e in outcome.errors if (match := TRACE.search(e.context))}
        assert len(traces) == 1 and all(e.severity == Severity.ERROR for e in outcome.errors)
        line = self.world.last_lines(1)[-1]
        assert {line.trace_id} == traces and line.outcome == "refused"
        return list(outcome.errors)


def codes(errors: list[ReceivedError]) -> set[str]:
    return {e.code for e in errors}


def graph(made: Submission) -> list[str]:
    """Every entryUUID of a submission whose objects have UUIDs."""
    return [o.entry_uuid for o in made.objects()]
