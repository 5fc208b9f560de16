"""Where each metadata and query rule is written, and the one way a rule reports.

Our rule numbers (R-xxx for metadata, Q-xx for query syntax, A-x for atomicity) are the keys of
``docs/traceability.md``.
"""

from __future__ import annotations

from collections.abc import Mapping

from xds.errors import ErrorCode, Finding, Severity

_SHOWN = 200
"""Characters of an offending value that are repeated to its sender."""

CLAUSES: Mapping[str, str] = {
    "A-6": "ITI TF-2 3.41.4.1.3",
    "R-001": "ITI TF-2 Appendix V 3.2",
    "R-003": "ITI TF-2 3.42.4.1.2",
    "R-004": "ITI TF-3 4.1.4",
    "R-005": "ITI TF-3 4.1.4",
    "R-006": "ITI TF-3 4.2.1",
    "R-007": "ITI TF-3 4.2.1",
    "R-008": "ITI TF-3 4.2.1",
    "R-009": "ITI TF-3 4.2.1",
    "R-010": "ITI TF-3 4.2.3.1",
    "R-011": "ITI TF-3 4.2.3.1",
    "R-012": "ITI TF-3 4.2.3.1",
    "R-013": "ITI TF-3 4.2.3.1",
    "R-014": "ITI TF-3 4.3.1",
    "R-015": "ITI TF-3 4.2.3.1",
    "R-016": "ITI TF-3 4.2.3.1",
    "R-017": "ITI TF-2 3.42.4.1.3",
    "R-020": "ITI TF-3 4.3.1",
    "R-021": "ITI TF-3 4.3.1",
    "R-022": "ITI TF-3 4.3.1",
    "R-023": "ITI TF-3 4.2.3.1.2",
    "R-024": "ITI TF-2 3.42.4.1.3",
    "R-025": "ITI TF-3 4.2.3.2.1",
    "R-026": "ITI TF-3 4.2.3.1",
    "R-027": "ITI TF-3 4.2.3.2.19",
    "R-028": "ITI TF-3 4.2.3.4.6",
    "R-029": "ITI TF-3 4.2.3",
    "R-030": "ITI TF-3 4.2.3",
    "R-031": "ITI TF-3 4.2.3",
    "R-032": "ITI TF-3 4.2.3.2",
    "R-033": "ITI TF-3 4.2.3.1",
    "R-034": "ITI TF-3 4.2.3.2.23",
    "R-036": "ITI TF-3 4.2.3.2.18",
    "R-040": "ITI TF-2 3.41.4.1.3",
    "R-041": "ITI TF-2 3.41.4.1.3",
    "R-042": "ITI TF-2 3.41.4.1.3",
    "R-043": "ITI TF-2 3.41.4.1.3",
    "R-044": "ITI TF-2 3.41.4.1.3",
    "R-045": "ITI TF-2 3.41.4.1.3",
    "R-060": "ITI TF-3 4.2.2",
    "R-061": "ITI TF-2 3.42.4.1.3",
    "R-062": "ITI TF-3 4.2.2",
    "R-063": "ITI TF-3 4.1.4",
    "R-064": "ITI TF-3 4.2.2",
    "R-065": "ITI TF-3 4.2.2",
    "R-066": "ITI TF-3 4.2.2",
    "R-067": "ITI TF-3 4.2.2",
    "R-068": "ITI TF-3 4.2.2",
    "R-069": "ITI TF-2 3.42.4.1.3",
    "R-070": "ITI TF-3 4.2.2.2",
    "R-071": "ITI TF-3 4.2.2.2",
    "R-072": "ITI TF-2 3.42.4.1.3",
    "R-073": "ITI TF-3 4.2.2.2",
    "R-074": "ITI TF-3 4.2.2.2",
    "R-075": "ITI TF-3 4.2.2",
    "R-076": "ITI TF-2 3.42.4.1.3",
    "R-078": "ITI TF-2 3.42.4.1.3",
    "R-080": "ITI TF-2 3.42.4.1.3",
    "R-082": "ITI TF-2 3.42.4.1.3",
    "R-083": "ITI TF-2 3.42.4.1.3",
    "R-084": "ITI TF-3 4.2.3.3.12",
    "R-085": "ITI TF-3 4.2.3.4.9",
    "R-086": "ITI TF-3 4.2.3.2.26",
    "R-087": "ITI TF-2 3.42.4.1.3",
    "R-088": "ITI TF-2 3.61.4.1.3",
    "R-090": "ITI TF-2 3.42.4.1.3",
    "R-091": "ITI TF-2 3.42.4.1.3",
    "R-092": "ITI TF-2 3.42.4.1.3",
    "R-106": "ITI TF-2 3.42.4.1.3",
    "R-108": "ITI TF-2 3.42.4.1.3",
    "R-120": "ITI TF-2 3.43.4.1.2",
    "R-121": "ITI TF-2 3.43.4.1.3",
    "R-122": "ITI TF-2 3.43.4.1.3",
    "R-130": "ITI TF-2 3.61.4.1.3",
    "R-131": "ITI TF-2 3.61.4.1.2",
    "R-132": "ITI TF-2 3.61.4.1.2",
    "R-140": "ITI TF-2 3.57.4.1.3",
    "R-141": "ITI TF-2 3.57.4.1.3",
    "R-142": "ITI TF-2 3.57.4.1.3",
    "R-143": "ITI TF-2 3.57.4.1.3",
    "R-145": "ITI TF-2 3.57.4.1.3",
    "R-146": "ITI TF-2 3.57.4.1.3",
    "R-147": "ITI TF-2 3.57.4.1.3",
    "R-148": "ITI TF-2 3.57.4.1.3",
    "R-149": "ITI TF-2 3.57.4.1.3",
    "R-150": "ITI TF-2 3.92.4.1.3",
    "R-151": "ITI TF-2 3.92.4.1.3",
    "R-152": "ITI TF-2 3.92.4.1.3",
    "R-153": "ITI TF-2 3.92.4.1.3",
    "R-154": "ITI TF-2 3.62.4.1.3",
    "R-155": "ITI TF-2 3.62.4.1.3",
    "R-156": "ITI TF-2 3.62.4.1.3",
    "R-157": "ITI TF-2 3.62.4.1.3",
    "R-158": "ITI TF-2 3.86.4.1.3",
    "R-159": "ITI TF-2 3.86.4.1.3",
    "R-160": "ITI TF-2 3.86.4.1.3",
    "L-03": "ITI TF-2 3.57.4.1.3",
    "L-04": "ITI TF-2 3.57.4.1.3",
    "L-05": "ITI TF-2 3.57.4.1.3",
    "D-41": "DMP reasonCode",
    "D-42": "DMP TD0.2",
    "D-43": "DMP VIHF resource-id",
    "D-45": "DMP TD1.4",
    "D-50": "DMP TD1.4",
    "D-52": "DMP TD0.3",
    "D-53": "DMP TD0.4",
    "D-54": "DMP TD0.4",
    "D-55": "CSP L1111-17",
    "D-57": "DMP TD3.3",
    "F-18": "ITI TF-2 3.44.4.1.2",
    "Q-02": "ITI TF-2 3.18.4.1.2.3.4",
    "Q-06": "ITI TF-2 3.18.4.1.2.3.5",
    "Q-08": "ITI TF-2 3.18.4.1.2.3.4",
    "Q-09": "ITI TF-2 3.18.4.1.2.3.4",
    "Q-12": "ITI TF-2 3.18.4.1.2.3.6",
    "Q-14": "ITI TF-2 3.18.4.1.2.3.6",
    "Q-17": "ITI TF-2 3.18.4.1.2.3.4",
    "Q-19": "ITI TF-2 3.18.4.1.2.2",
}


def problem(
    rule: str, code: ErrorCode, subject: str, field: str = "", *, found: str = "", expected: str = "",
    severity: Severity = Severity.ERROR, clause: str = "",
) -> Finding:
    """A finding of one rule, with its clause; a long value is cut.

    ``clause`` is given where the attribute has a clause of its own.
    """
    shown = found if len(found) <= _SHOWN else found[:_SHOWN] + "…"
    return Finding(
        code=code, subject=_cut(subject), field=_cut(field), found=shown, expected=expected, severity=severity,
        clause=clause or CLAUSES[rule], rule=rule,
    )


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
