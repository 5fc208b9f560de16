"""GetSubmissionSets: the sets that have one of these documents or folders as member, and these memberships.

Clause: ITI TF-2 3.18.4.1.2.3.7.9
"""

from __future__ import annotations

from registry.queries import LEVEL, Answer, QueryContext, is_current
from registry.store import SetCriteria
from xds.check.query_params import Kind, Param
from xds.namespaces import APPROVED, HAS_MEMBER

QUERY_ID = "urn:uuid:51224314-5390-4169-9b91-b1980040715a"
NAME = "GetSubmissionSets"
PARAMS = (Param("$uuid", Kind.ID, required=True, multiple=True), LEVEL)


def run(context: QueryContext, values: dict) -> Answer:
    wanted = values["$uuid"]
    statuses = frozenset({APPROVED}) if is_current(values) else None
    for view in context.of_owners(entry_uuids=wanted):
        links = view.associations(wanted, statuses, frozenset({HAS_MEMBER}))
        links = [link for link in links if link.target in wanted]
        sets = view.submission_sets(SetCriteria(entry_uuids=frozenset(link.source for link in links)))
        view.add(sets)
        owners = {one.entry_uuid for one in sets}
        view.add(link for link in links if link.source in owners)
    return context.answer
