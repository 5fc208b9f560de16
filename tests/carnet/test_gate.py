"""What an installation adds to the verifier: what is told of sources of revocation, and the register of software."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import generate_latest

import storage
from carnet import gate
from carnet.admin import Meter
from carnet.settings import Settings, load
from guard.audit import access_log
from guard.credentials import revocation_check as revocation
from tests.world import World


@pytest.fixture
def installation(tmp_path: Path) -> World:
    return World.prepare(tmp_path)


def test_a_silent_source_and_a_grace_are_in_log_and_measures(installation: World) -> None:
    """What went well is counted only; what did not is a line too, and a log that cannot be written stops nothing."""
    database, meter = storage.open_registry(installation.settings.registry_database), Meter()
    tell = gate.revocation_teller(database, "registry", meter)
    tell(revocation.FETCHED, "http://ocsp.example/")
    tell(revocation.FAILED, "http://ocsp.example/: timed out")
    tell(revocation.GRACE, "CN=8: last said good until 2026")
    with database.read() as unit:
        lines = list(unit.audit.read_latest(10))
    assert [line.action for line in lines] == [access_log.REVOCATION_UNSAID, access_log.REVOCATION_GRACE]
    assert "timed out" in lines[0].detail
    measures = generate_latest(meter.collected).decode()
    for outcome in ("fetched", "failed", "grace"):
        assert f'carnet_revocation_total{{outcome="{outcome}"}} 1.0' in measures
    for line in lines:
        assert access_log.in_words(line, "en") and json.loads(access_log.as_json(line))

    class Broken:
        replay = database.replay

        def write(self) -> object:
            raise OSError("disk full")

    gate.revocation_teller(Broken(), "registry", meter)(revocation.FAILED, "x")
    database.close()


def test_settings_reach_the_trust_store(installation: World) -> None:
    """Production refuses what the test authorities issue; hosts, grace and times are those of the file."""
    (installation.folder / "carnet.toml").write_text(
        '[credentials]\nproducts = "production"\nrevocation = "grace"\nrevocation_hosts = ["ocsp.example"]\n', "utf-8"
    )
    settings: Settings = load(installation.folder)
    from carnet.acceptance import trust_of
    from carnet.affinity import domain_of
    from guard.credentials.certificates import CertificateRefused, Use

    trust = trust_of(settings, domain_of(settings))
    with pytest.raises(CertificateRefused, match="production products"):
        trust.check(installation.cards["physician"].signature.der, Use.VIHF_SIGNATURE)
    rule = trust._revocation.rule
    assert (rule.hosts, rule.down) == (frozenset({"ocsp.example"}), revocation.Down.GRACE)
