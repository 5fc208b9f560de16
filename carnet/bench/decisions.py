"""What a decision costs: the pure functions alone, and facts and filter in a store, for one patient's full record."""

from __future__ import annotations

import random
import timeit
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import storage
from carnet.bench import stage
from carnet.bench.messages import DOMAIN
from conformance import frames
from guard.credentials.caller import Caller, Mode
from guard.policy.decision import Policy
from guard.policy.facts import EVERYTHING, Action, EntryFilter, RecordFacts, RecordStatus
from record.facts import CONSENT_BASIS, entry_facts, facts_for
from record.store import Kind, Place
from registry.store import EntryCriteria
from storage.bulk import bulk_load
from xds import domain as domains
from xds.model import Code, Submission

DOCUMENTS = 200
"""Of one patient; every tenth is masked."""
PLACES = 50
"""Professionals whom the patient has authorised."""
MARK = 50.0
"""Microseconds that a decision, or the filter that stands for all of them, may take."""
_PATIENT = stage.QUERIED
_MASKED = Code("MASQUE_PS", "1.2.250.1.213.1.1.4.13")


def policy_of_dmp() -> Policy:
    """The shipped tables."""
    dmp = domains.load("dmp")
    return Policy.load(
        dmp.policy, hidden_from_professionals=dmp.hidden_from_professionals, unlisted_types=dmp.unlisted_types,
        hidden_from_patient=dmp.hidden_from_patient, hidden_from_representatives=dmp.hidden_from_representatives,
        patient_types=dmp.patient_types,
    )


def measure(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Rows of ``{"name", "us", "mark", "met"}``, microseconds at the best of ``rounds``.

    The first two have a mark. The others say what goes with them: every document judged one by one, the facts of a
    record with ``PLACES`` authorisations looked up in SQLite, and a search there without and with the filter.
    ``work`` is a folder for the store.
    """
    policy = policy_of_dmp()
    caller = Caller(
        identifier="899700000018", mode=Mode.DIRECT, profession=Code("10", "1.2.250.1.71.1.2.7"), patient_id=_PATIENT,
        structure_id=stage.STRUCTURE,
    )
    record = RecordFacts(RecordStatus.ACTIVE, patient_id=_PATIENT)
    submissions = _record()
    documents = [entry_facts(entry) for one in submissions for entry in one.entries]

    def judged() -> int:
        return sum(policy.decide(caller, Action.READ, record, one).allowed for one in documents)

    rows = [
        _row("decide on one document", _best(lambda: policy.decide(caller, Action.READ, record, documents[0]), rounds),
             mark=MARK),
        _row("make the filter of a record", _best(lambda: policy.visible(caller, Action.SEARCH, record), rounds),
             mark=MARK),
        _row(f"decide on {DOCUMENTS} documents one by one", _best(judged, rounds, 20)),
    ]
    rows += _in_store(work, submissions, caller, policy.visible(caller, Action.SEARCH, record), rounds)
    return rows


def _record() -> list[Submission]:
    """One document a submission, all of one patient."""
    rng = random.Random(DOCUMENTS)  # noqa: S311 - test data
    pattern = frames.valid_submission(DOMAIN)
    made = [stage.submission_like(pattern, _PATIENT, 1, rng) for _ in range(DOCUMENTS)]
    for one in made[::10]:
        entry = one.entries[0]
        one.entries[0] = replace(entry, confidentiality_codes=[*entry.confidentiality_codes, _MASKED])
    return made


def _in_store(
    work: Path, submissions: list[Submission], caller: Caller, visible: EntryFilter, rounds: int
) -> list[dict[str, Any]]:
    url = f"sqlite:///{work / 'decisions.db'}"
    storage.upgrade_registry(url)
    bulk_load(url, ((_PATIENT, one) for one in submissions))
    database = storage.open_registry(url)
    try:
        with database.write() as unit:
            record = unit.record.find(_PATIENT)
            assert record is not None
            key = record.patient_key
            for number in range(PLACES):
                unit.record.set_place(Place(
                    patient_key=key, kind=Kind.PERSON, subject=f"{int(caller.identifier) + number}",
                    basis=CONSENT_BASIS, until="2999-12-31T00:00:00Z",
                ))
        with database.read() as unit:
            assert facts_for(unit.record, record, caller).is_authorised
            spent = {f"facts of a record with {PLACES} authorisations": _best(
                lambda: facts_for(unit.record, record, caller), rounds, 200)}
            for name, chosen in (("without filter", EVERYTHING), ("with the filter", visible)):
                spent[f"find {DOCUMENTS} documents in the store {name}"] = _best(
                    partial(unit.registry.entry_uuids, key, EntryCriteria(), chosen), rounds, 20)
    finally:
        database.close()
    return [_row(name, microseconds) for name, microseconds in spent.items()]


def _best(work: Callable[[], object], rounds: int, number: int = 2000) -> float:
    """Microseconds of one call, in the best of ``rounds``: what else runs on the machine only ever adds."""
    return min(timeit.repeat(work, number=number, repeat=rounds)) / number * 1e6


def _row(name: str, microseconds: float, mark: float | None = None) -> dict[str, Any]:
    return {
        "name": name, "us": round(microseconds, 2), "mark": f"<= {mark:g}" if mark else "",
        "met": mark is None or microseconds <= mark,
    }


def as_table(rows: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """For ``carnet.console.table``."""
    return [(one["name"], f"{one['us']:,.1f} µs", one["mark"], "yes" if one["met"] else "NO") for one in rows]
