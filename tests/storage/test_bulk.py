"""The bulk loader stores what single units would."""

from __future__ import annotations

from pathlib import Path

import pytest

from guard.policy.facts import EVERYTHING
from registry.store import EntryCriteria
from storage import bulk, open_registry, upgrade_registry
from tests.contract import store_objects as make


def test_bulk_and_single_units_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Across batches: same records, entries, order and links; then the database is an ordinary one."""
    monkeypatch.setattr(bulk, "BATCH", 7)
    patients = [f"{n}^^^&1.2&ISO" for n in range(3)]
    pairs = [(patients[n % 3], make.submission(make.entry(), make.entry(creation_time="2023"))) for n in range(20)]
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("bulk", "single")]
    for url in urls:
        upgrade_registry(url)
    assert bulk.bulk_load(urls[0], iter(pairs)) == 20
    loaded, single = (open_registry(url) for url in urls)
    keys = {patient: make.opened(single, patient) for patient in patients}
    for patient, one in pairs:
        make.stored(single, keys[patient], one)
    with loaded.read() as left, single.read() as right:
        for patient in patients:
            record = left.record.find(patient)
            assert record is not None
            found = [list(unit.registry.entries(key, EntryCriteria(), EVERYTHING))
                     for unit, key in ((left, record.patient_key), (right, keys[patient]))]
            assert found[0] == found[1]
            ids = [one.entry_uuid for one in found[0]]
            assert (left.registry.associations(record.patient_key, ids, EVERYTHING)
                    == right.registry.associations(keys[patient], ids, EVERYTHING))
    make.stored(loaded, 1, make.submission(make.entry()))
    with loaded.write() as unit:
        assert unit.registry._sql._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    loaded.close()
    single.close()
